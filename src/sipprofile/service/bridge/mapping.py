"""What one side of a bridge gets of the other's messages (RFC 3261 §6, back-to-back user agent; RFC 7092).

Everything here is a function of the message and the profile. Via, Route, Contact, Call-ID, CSeq and tags are each
side's own and made by the user agent; SDP is never touched.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...agents.bridge import admits
from ...profile import Bridge
from ...sip.headers import parse_name_addr
from ...sip.message import Message, Request, Response
from ...sip.names import CANONICAL_NAMES
from ...sip.syntax import SipSyntaxError, decimal
from ...sip.uri import Uri
from . import dialogs

_OF_EACH_SIDE = frozenset(
    (
        *("via", "route", "record-route", "path", "service-route", "max-forwards"),
        *("contact", "cseq", "from", "to", "call-id", "rack", "rseq", "timestamp", "content-length", "content-type"),
    )
)
"""Headers that are about one side of the bridge alone; the user agent writes them."""
_OF_THE_WAY = frozenset(
    (
        *("authorization", "www-authenticate", "authentication-info"),
        *("proxy-authorization", "proxy-authenticate", "proxy-authentication-info", "proxy-require"),
        *("security-client", "security-server", "security-verify", "p-associated-uri", "flow-timer"),
    )
)
"""Between us and the provider: the program has no part in it, and must not have."""
_IDENTITIES = frozenset(("p-asserted-identity", "p-preferred-identity", "remote-party-id"))
"""Whom the program says it is; checked, and then in From."""
_OPTIONS_OF_THE_WAY = frozenset(("outbound", "path", "gruu", "sec-agree"))
"""Option tags of registrations and first hops; the program's own would promise in our name."""
_URIS = frozenset(("refer-to", "referred-by"))

ANONYMOUS = "anonymous.invalid"
MAXIMUM_FORWARDS = 70


class Side(msgspec.Struct, frozen=True):
    """What the mapping needs to know of a profile with a bridge."""

    bridge: Bridge
    aor: Uri
    port: int
    """Where the bridge listens for the program."""
    program: str = ""
    """The program's URI: ``bridge.uri``, or the contact that it has registered; empty while there is none."""
    token: str = ""
    """The user part of our Contact at the registrar."""


def to_program(side: Side, message: Message, peer: dialogs.Peer) -> tuple[tuple[str, str], ...]:
    """The headers of ``message`` from the provider that the program gets."""
    return _headers(message, _OF_EACH_SIDE | _OF_THE_WAY, peer, lambda uri: inward(side, uri))


def to_provider(side: Side, message: Message, peer: dialogs.Peer) -> tuple[tuple[str, str], ...]:
    """The headers of ``message`` from the program that the provider gets."""
    without = _OF_EACH_SIDE | _OF_THE_WAY | _IDENTITIES
    if isinstance(message, Request) and is_anonymous(message):
        without |= {"privacy"}  # the user agent writes it
    return _headers(message, without, peer, lambda uri: outward(side, uri))


def max_forwards(request: Request) -> int:
    """What is left for the next hop (RFC 3261 §16.6 step 3); below 0: the request goes no further (483)."""
    value = decimal((request.header("max-forwards") or "").strip(), 255)
    return MAXIMUM_FORWARDS if value is None else min(value, MAXIMUM_FORWARDS + 1) - 1


def outward(side: Side, text: str) -> str:
    """A URI that the program wrote, as the provider knows it: addresses of this machine become the AOR's domain."""
    try:
        uri = Uri.parse(text)
    except SipSyntaxError:
        return text  # tel: and others
    if not _is_local(side, uri):
        return text
    params = tuple(item for item in uri.params if item[0] in ("user", "method"))
    return str(Uri(side.aor.scheme, uri.user, None, side.aor.host, side.aor.port, params))


def inward(side: Side, text: str) -> str:
    """A URI that the provider's side wrote, as the program knows it: our contact is the program."""
    try:
        uri = Uri.parse(text)
        program = Uri.parse(side.program)
    except SipSyntaxError:
        return text
    return side.program if side.token and uri.user == side.token and uri.host != program.host else text


def request_uri(side: Side, request: Request, registered: bool) -> str:
    """The Request-URI that the program sees; its own contact as it is when it has registered one (§16.5)."""
    if registered:
        return side.program
    program = Uri.parse(side.program)
    aor_user = side.aor.user
    user: str | None
    match side.bridge.request_user:
        case "keep":
            user = program.user
        case "token":
            user = _user_of(request.uri) or aor_user
        case "to":
            user = _user_of(uri_in(request.header("to"))) or aor_user
        case "p-called-party-id":
            user = _user_of(uri_in(request.header("p-called-party-id"))) or aor_user
        case "aor":
            user = aor_user
    return str(msgspec.structs.replace(program, user=user, password=None, headers=""))


def identities(side: Side, request: Request) -> list[str]:
    """As whom the program wants to be seen, in order; the last resort, the AOR, is not among them."""
    found = []
    for name in ("p-preferred-identity", "p-asserted-identity", "from"):
        text = outward(side, uri_in(request.header(name)))
        if text and text not in found and text != str(side.aor) and not _is_anonymous(text):
            found.append(text)
    return found


def is_anonymous(request: Request) -> bool:
    """Whether the program wants its identity withheld (RFC 3323 §4.1, RFC 3325 §9.3)."""
    wanted = {part.strip().lower() for value in request.headers("privacy") for part in value.split(";")}
    return bool(wanted & {"id", "user", "header"}) or _is_anonymous(uri_in(request.header("from")))


def display_name(request: Request) -> str | None:
    """The display name of From."""
    try:
        return parse_name_addr(request.header("from") or "").display or None
    except SipSyntaxError:
        return None


def uri_in(value: str | None) -> str:
    """The URI of a From, To or the like; empty when there is none that can be read."""
    try:
        return parse_name_addr(value or "").uri
    except SipSyntaxError:
        return ""


def address(value: str | None) -> str | None:
    """The URI of a From or To, as far as it may be said again: without a password and headers."""
    text = uri_in(value)
    if text[:4].lower() == "tel:":
        return text
    try:
        uri = Uri.parse(text)
    except SipSyntaxError:
        return None
    return str(msgspec.structs.replace(uri, password=None, headers="")) if uri.password or uri.headers else text


def _headers(
    message: Message, without: frozenset[str], peer: dialogs.Peer, address: Callable[[str], str]
) -> tuple[tuple[str, str], ...]:
    passed = []
    for name, value in message.items():
        known = canonical(name)
        if known in without or not value.isprintable():
            continue
        if known in dialogs.NAMES:
            value = dialogs.mapped(known, value, peer)
        elif known in _URIS:
            value = dialogs.refer_to(value, peer, address)
        elif known in ("supported", "require"):
            left_out = _OPTIONS_OF_THE_WAY
            if known == "require" and isinstance(message, Response):
                left_out |= {"100rel"}  # each side numbers its provisionals, and says so
            value = ", ".join(tag for tag in _tags(value) if tag.lower() not in left_out)
            if not value:
                continue
        passed.append((name, value))
    return tuple(passed)


def canonical(name: str) -> str:
    """The long form of a header name in lower case."""
    return CANONICAL_NAMES[name.encode("latin-1", "replace")]


def _tags(value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(",")) if part]


def _is_local(side: Side, uri: Uri) -> bool:
    host = uri.host.strip("[]")
    return host in (side.bridge.host, "localhost") or admits(side.bridge, host)


def _is_anonymous(uri: str) -> bool:
    return uri.partition("@")[2].partition(":")[0].partition(";")[0].lower() == ANONYMOUS


def _user_of(uri: str) -> str | None:
    """The user part; a telephone number's digits."""
    if uri.lower().startswith("tel:"):
        return uri[4:].partition(";")[0] or None
    try:
        return Uri.parse(uri).user
    except SipSyntaxError:
        return None
