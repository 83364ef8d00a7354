"""What an owner wants to send is looked at before it goes anywhere (RFC 3261 §8.1.1, §12.2.1.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SipProfileError
from ..registration.line import Line
from ..registration.profile_line import ANONYMOUS, ProfileLine
from ..registration.registration import Registration
from ..sip.dialog import Dialog
from ..sip.headers import MAXIMUM_DELTA_SECONDS, parse_name_addr, parse_params, quote, split_list
from ..sip.names import COMPACT_FORMS
from ..sip.syntax import SipSyntaxError, is_token
from .draft import MAXIMUM_BODY, Draft
from .identity import check_identity, readable
from .leg import Leg

if TYPE_CHECKING:
    from .agent import UserAgent

OURS = frozenset(
    (
        "authorization",
        "call-id",
        "contact",
        "content-length",
        "content-type",
        "cseq",
        "from",
        "max-forwards",
        "proxy-authorization",
        "record-route",
        "route",
        "to",
        "via",
    )
)
"""Headers that the service writes; what an application may say of them has a field of its own."""
IDENTITIES = frozenset(("p-asserted-identity", "p-preferred-identity", "remote-party-id"))
"""Headers that say who sends: what they say is checked as From is."""
WITH_CONTACT = frozenset(("INVITE", "NOTIFY", "OPTIONS", "REFER", "SUBSCRIBE", "UPDATE"))
"""Methods whose requests have our Contact; RFC 3428 §4 forbids it in MESSAGE."""
IN_DIALOG_ONLY = frozenset(("BYE", "INFO", "PRACK", "UPDATE"))
NOT_SENT = {
    "ACK": "An ACK is sent by acknowledging the dialog.",
    "CANCEL": "A CANCEL is sent by cancelling the request.",
    "REGISTER": "The service registers by itself; ask for the bindings instead.",
}
NEEDED = {
    "SUBSCRIBE": ("event",),
    "NOTIFY": ("event",),
    "PUBLISH": ("event",),
    "REFER": ("refer-to",),
}
"""Headers without which a method means nothing (RFC 6665 §8.2.1, RFC 3903 §4.1, RFC 3515 §2.1)."""
REFRESHED = frozenset(("PUBLISH", "SUBSCRIBE"))
KNOWN = frozenset((*NOT_SENT, *IN_DIALOG_ONLY, *WITH_CONTACT, "MESSAGE", "PUBLISH"))
"""In any other spelling they are other methods here, and the same for a careless server."""
MAXIMUM_HEADERS = 128
MAXIMUM_HEAD = 16_384  # characters of an application's headers
MAXIMUM_CALL_ID = 256
MAXIMUM_NAME = 256
ALLOW = "ACK, BYE, CANCEL, INVITE, OPTIONS, PRACK"  # what every application that calls can be asked for
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_WORD = r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]+"  # RFC 3261 §25.1
_call_id = re.compile(f"{_WORD}(?:@{_WORD})?").fullmatch


class Checked(NamedTuple):
    """What a draft comes to."""

    dialog: Dialog
    headers: tuple[tuple[str, str], ...]
    has_contact: bool
    contact_params: str


def checked(agent: UserAgent, line: Line, draft: Draft, leg: Leg | None) -> Checked:
    """Look at a draft. Raises ``invalid_value``, ``missing_field``, ``header_refused``, ``identity_refused``,
    ``too_large`` or ``not_registered``."""
    method = draft.method
    _check_method(method, leg)
    registration = _registration(agent, line)
    headers = list(draft.headers)
    names = check_headers(draft.headers, registration)
    for needed in NEEDED.get(method, ()):
        if needed not in names:
            raise SipProfileError("missing_field", f"{method} needs the header {needed.title()}.", field="headers")
    check_body(draft.body, draft.content_type, headers)
    if not 0 < draft.max_forwards < 256:
        raise SipProfileError(
            "invalid_value", "max_forwards is from 1 to 255.", field="max_forwards", value=draft.max_forwards
        )
    if not 0 <= draft.refresh <= MAXIMUM_DELTA_SECONDS:
        raise SipProfileError("invalid_value", "refresh is a number of seconds.", field="refresh", value=draft.refresh)
    if draft.refresh and method not in REFRESHED:
        raise SipProfileError("invalid_value", "Only SUBSCRIBE and PUBLISH are refreshed.", field="refresh")
    if draft.refresh and "expires" not in names:
        headers.append(("Expires", str(draft.refresh)))
    identity = _identity(draft, registration, leg)
    if draft.anonymous and "privacy" not in names:
        headers.append(("Privacy", "id"))
    differs = draft.anonymous or (leg is None and registration is not None and identity != registration.plan.aor)
    if differs and registration is not None and "p-preferred-identity" not in names:
        headers.append(("P-Preferred-Identity", f"<{identity}>"))
    if method == "INVITE":
        if "supported" not in names and not draft.manual:
            headers.append(("Supported", "100rel"))
        if "allow" not in names and not draft.manual:
            headers.append(("Allow", ALLOW))
    params = contact_params(draft.contact_params)
    dialog = _dialog(agent, draft, identity) if leg is None else leg.dialog
    return Checked(dialog, tuple(headers), method in WITH_CONTACT, params)


def check_headers(headers: tuple[tuple[str, str], ...], registration: Registration | None = None) -> set[str]:
    """The names of an application's headers, long and small. Raises ``header_refused``, ``invalid_value``,
    ``identity_refused`` or ``too_large``."""
    if not headers:
        return set()
    if len(headers) > MAXIMUM_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAXIMUM_HEAD:
        raise SipProfileError(
            "too_large",
            f"A request has at most {MAXIMUM_HEADERS} headers of {MAXIMUM_HEAD} characters.",
            field="headers",
        )
    names = set()
    for name, value in headers:
        if not is_token(name):
            raise SipProfileError("invalid_value", "This is no name of a header.", field="headers", value=name)
        known = name.lower()
        known = COMPACT_FORMS.get(known, known)
        if known in OURS:
            raise SipProfileError("header_refused", f"{name} is written by the service.", field="headers", value=name)
        if _control(value) is not None:
            raise SipProfileError(
                "header_refused",
                f"{name} has a line break or another control character; a header is one line.",
                field="headers",
                value=name,
            )
        if known in IDENTITIES and registration is not None:
            _check_identities(registration, name, value)
        names.add(known)
    return names


def check_identities(agent: UserAgent, line: Line, headers: tuple[tuple[str, str], ...]) -> None:
    """What a response or an ACK says about who sends it. Raises ``invalid_value`` or ``identity_refused``."""
    registration = agent.room.by_profile.get(line.profile) if isinstance(line, ProfileLine) else None
    for name, value in headers if registration is not None else ():
        if name.lower() in IDENTITIES:
            assert registration is not None
            _check_identities(registration, name, value)


def _check_identities(registration: Registration, name: str, value: str) -> None:
    """Each value of the line: a receiver may take any of them."""
    try:
        uris = [parse_name_addr(each).uri for each in split_list(value)]
    except SipSyntaxError as error:
        raise SipProfileError("invalid_value", f"{name}: {error}.", field="headers", value=value) from None
    for uri in uris:
        check_identity(registration, uri, "headers")


def check_body(body: bytes, content_type: str | None, headers: list[tuple[str, str]]) -> None:
    """A body is not too large and says what it is; its Content-Type is put to ``headers``."""
    if len(body) > MAXIMUM_BODY:
        raise SipProfileError(
            "too_large", f"A body has at most {MAXIMUM_BODY} bytes; this one has {len(body)}.", field="body"
        )
    if content_type is not None:
        kind, slash, rest = content_type.partition("/")
        if not is_token(kind) or not slash or not is_token(rest.partition(";")[0].strip()) or _control(content_type):
            raise SipProfileError(
                "invalid_value", "A content type is type/subtype.", field="content_type", value=content_type
            )
        headers.append(("Content-Type", content_type))
    elif body:
        raise SipProfileError("missing_field", "A body needs its content type.", field="content_type")


def contact_params(text: str) -> str:
    """What is to follow our Contact's URI. Raises ``invalid_value``."""
    if not text:
        return ""
    text = text if text.startswith(";") else f";{text}"
    try:
        params = parse_params(text)
    except SipSyntaxError as error:
        raise SipProfileError("invalid_value", f"{error}.", field="contact_params", value=text) from None
    if len(text) > MAXIMUM_URI_PARAMS or _control(text) or _outside_quotes(text, "<>,"):
        raise SipProfileError(
            "invalid_value",
            "Contact parameters are ;name=value, one after the other.",
            field="contact_params",
            value=text,
        )
    if "expires" in params or "reg-id" in params:
        raise SipProfileError("invalid_value", "This is for registrations only.", field="contact_params", value=text)
    return text


MAXIMUM_URI_PARAMS = 1024  # characters


def _outside_quotes(text: str, characters: str) -> bool:
    plain = "".join(text.split('"')[::2]) if "\\" not in text else text
    return any(character in plain for character in characters)


def _check_method(method: str, leg: Leg | None) -> None:
    if not is_token(method) or len(method) > 32:
        raise SipProfileError("invalid_value", "This is no method.", field="method", value=method)
    if method in NOT_SENT:
        raise SipProfileError("invalid_value", NOT_SENT[method], field="method", value=method)
    if method != method.upper() and method.upper() in KNOWN:
        detail = "Methods are case-sensitive (RFC 3261 §7.1); write it large."
        raise SipProfileError("invalid_value", detail, field="method", value=method)
    if leg is None and method in IN_DIALOG_ONLY:
        raise SipProfileError("invalid_value", f"{method} is sent in a dialog only.", field="method", value=method)


def _registration(agent: UserAgent, line: Line) -> Registration | None:
    """The registration whose line it is, ``None`` for a line of another kind, which answers for its identities."""
    if not isinstance(line, ProfileLine):
        return None
    registration = agent.room.by_profile.get(line.profile)
    if registration is None:
        raise SipProfileError("not_registered")
    return registration


def _identity(draft: Draft, registration: Registration | None, leg: Leg | None) -> str:
    if draft.identity is not None:
        if registration is not None:
            check_identity(registration, draft.identity)
        else:
            readable(draft.identity, "from")
        return draft.identity
    if registration is not None:
        return registration.plan.aor
    if leg is not None:
        return leg.dialog.local_uri
    raise SipProfileError("missing_field", "Say as whom the request is sent.", field="from")


def _dialog(agent: UserAgent, draft: Draft, identity: str) -> Dialog:
    """What a request outside of dialogs begins: a Call-ID, a From tag, where to."""
    bits = agent.room.random.getrandbits
    if not draft.uri:
        raise SipProfileError("missing_field", "Say where the request goes.", field="uri")
    uri = readable(draft.uri, "uri")
    to = uri if draft.to is None else readable(draft.to, "to")
    call_id = draft.call_id
    if call_id is None:
        call_id = f"{bits(128):032x}"
    elif len(call_id) > MAXIMUM_CALL_ID or _call_id(call_id) is None:
        raise SipProfileError("invalid_value", "This is no Call-ID.", field="call_id", value=call_id)
    name = ""
    if draft.anonymous:
        identity, name = ANONYMOUS, '"Anonymous"'
    elif draft.display_name:
        if len(draft.display_name) > MAXIMUM_NAME or _control(draft.display_name):
            raise SipProfileError(
                "invalid_value", "A display name is one short line.", field="display_name", value=draft.display_name
            )
        name = quote(draft.display_name)
    return Dialog(call_id, identity, f"{bits(64):016x}", to, uri, local_name=name)
