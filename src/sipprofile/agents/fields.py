"""The ranges of a profile's fields and the checks that every profile type shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..profile import NOT_BUILT, Extension, Profile, ServerParameters, TlsSettings
from ..sip.headers import is_token
from ..sip.syntax import SipSyntaxError, quoted_end
from ..sip.transport import PROTOCOLS, SECURE, protocol_of
from ..sip.uri import Uri
from .base import Problem
from .bridge import bridge_problems
from .claim_fields import standing_problems
from .pem import tls_problems

NOT_SUPPORTED = NOT_BUILT

RANGES: dict[str, tuple[float, float]] = {
    "linger": (0, 86_400),
    "linger_lost": (0, 3_600),
    "expires": (10, 4_294_967_295),  # RFC 3261 §20.19: up to 2**32 - 1
    "dscp": (0, 63),  # RFC 2474 §3
    "reachable_interval": (0, 86_400),
}
LENGTHS = {
    "provider_name": 100,
    "aor": 1024,
    "private_identity": 256,
    "token_source": 64,
    "contact_user": 128,
    "contact_uri": 1024,
}
SHORTEST_REACHABLE_INTERVAL = 60
MAXIMUM_STRING = 4_096
MAXIMUM_ITEMS = 256

WS_PATH = "ws-path"
"""Extension parameter of a server: the resource of its WebSocket, ``/`` when absent."""

OWN_CONTACT_PARAMS = frozenset({"expires", "+sip.instance", "reg-id"})
_OWN = ("via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-length", "content-type")
_OWN_COMPACT = ("v", "f", "t", "i", "m", "l", "c")
_OWN_OPTIONAL = ("authorization", "proxy-authorization", "expires", "route", "record-route")
OWN_HEADERS = frozenset((*_OWN, *_OWN_COMPACT, *_OWN_OPTIONAL))
_FORBIDDEN = re.compile("[\r\n\0]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})+")  # RFC 3261 §25.1 user
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]{0,255}")
_PATTERN = re.compile(r"(?:sips?|tel):[^\s<>\"]+")


def common_problems(profile: Profile, transports: tuple[str, ...]) -> Iterator[Problem]:
    """Everything that is wrong with a profile of any type that registers by SIP."""
    yield from _forbidden_characters(profile)
    yield from _ranges(profile)
    yield from _unsupported(profile)
    if not profile.aor:
        yield Problem("missing_field", "aor", "A profile needs an address-of-record, such as sip:alice@example.com.")
    else:
        yield from uri_problems("aor", profile.aor, transports)
    if profile.registrar is not None:
        yield from server_problems("registrar", profile.registrar, transports)
    for index, proxy in enumerate(profile.proxies):
        yield from server_problems(f"proxies[{index}]", proxy, transports)
    yield from _security(profile)
    yield from _token(profile)
    yield from _contact(profile, transports)
    yield from _headers(profile)
    yield from bridge_problems(profile)
    yield from standing_problems(profile.claims)
    for key, value in profile.labels.items():
        if _LABEL.fullmatch(key) is None:
            yield _invalid("labels", key, "A label's name is letters, digits and '_', at most 64.")
        if len(value) > 200:
            yield _invalid(f"labels.{key}", value, "A label's value is at most 200 characters.")
    for index, pattern in enumerate(profile.allowed_identities):
        if _PATTERN.fullmatch(pattern) is None:
            yield _invalid(
                f"allowed_identities[{index}]", pattern, "Give a sip:, sips: or tel: URI; * matches any run."
            )
    if profile.instance_id and _UUID.fullmatch(profile.instance_id) is None:
        yield _invalid("instance_id", profile.instance_id, "The instance id is a UUID in lower case.")
    yield from _extensions("extensions", profile.extensions)


def uri_problems(field: str, text: str, transports: tuple[str, ...]) -> Iterator[Problem]:
    """``text`` must be a SIP URI that this type can reach."""
    try:
        uri = Uri.parse(text)
    except SipSyntaxError as error:
        if ":" in text.partition(":")[2].rpartition("@")[0]:
            yield Problem("invalid_value", field, f"{field} is not a SIP URI; it is not repeated for its password.")
        else:
            yield _invalid(field, text, f"{field} is not a SIP URI: {error}.")
        return
    if uri.password is not None:  # nothing else is said about it: that would repeat the password
        yield Problem("invalid_value", field, f"{field} must not contain a password; use the password field.")
        return
    if uri.headers:
        yield _invalid(field, text, f"{field} must not contain headers.")
    if uri.port is not None and not 1 <= uri.port <= 65_535:
        yield _invalid(field, text, f"{field}: the port is from 1 to 65535.")
    protocol = protocol_of(uri)
    if protocol is None:
        yield _invalid(field, text, f"{field}: sips is secured by TLS; {uri.transport} is not.")
    elif protocol not in transports:
        yield Problem("not_supported", field, f"{field}: the transport {protocol} is not supported.", text)


def server_problems(field: str, server: ServerParameters, transports: tuple[str, ...]) -> Iterator[Problem]:
    """A registrar or proxy must have a usable URI and supported parameters."""
    if not server.uri:
        yield Problem("missing_field", f"{field}.uri", f"{field} needs a uri.")
    else:
        yield from uri_problems(f"{field}.uri", server.uri, transports)
    if server.tls is not None:
        yield from tls_problems(f"{field}.tls", server.tls)
    for name in ("username", "realm"):
        text = getattr(server, name)
        if text is not None and not 0 < len(text) <= 256:
            yield _invalid(f"{field}.{name}", text, f"{field}.{name} has 1 to 256 characters.")
    yield from _extensions(f"{field}.extensions", server.extensions)
    path = server.extensions.get(WS_PATH)
    if path is not None and not (isinstance(path, str) and _PATH.fullmatch(path)):
        yield _invalid(f"{field}.extensions.{WS_PATH}", path, f"{WS_PATH} begins with '/', as in an HTTP URL.")


def _token(profile: Profile) -> Iterator[Problem]:
    """An access token is sent over TLS only (RFC 8898 §3)."""
    if profile.token_source is None:
        return
    if not profile.token_source:
        yield _invalid("token_source", "", "Give the name of a token source of the service's configuration.")
    servers = [(f"proxies[{index}].uri", proxy.uri) for index, proxy in enumerate(profile.proxies)]
    if not servers:
        servers = [("aor", profile.aor) if profile.registrar is None else ("registrar.uri", profile.registrar.uri)]
    for field, text in servers:
        try:
            uri = Uri.parse(text)
        except SipSyntaxError:
            continue  # told already
        if (uri.transport or uri.port) and protocol_of(uri) not in SECURE:
            yield _invalid(field, text, "With a token_source it needs sips:, ;transport=tls or ;transport=wss.")


def _security(profile: Profile) -> Iterator[Problem]:
    """A sips address-of-record is registered over TLS all the way (RFC 3261 §26.2.2)."""
    if not profile.aor.lower().startswith("sips:"):
        return
    servers = [("registrar", profile.registrar)] if profile.registrar is not None else []
    servers += [(f"proxies[{index}]", proxy) for index, proxy in enumerate(profile.proxies)]
    for field, server in servers:
        try:
            secure = protocol_of(Uri.parse(server.uri)) in SECURE
        except SipSyntaxError:
            continue  # told already
        if not secure:
            detail = "A sips address-of-record needs sips:, ;transport=tls or ;transport=wss here."
            yield _invalid(f"{field}.uri", server.uri, detail)


def _unsupported(profile: Profile) -> Iterator[Problem]:
    for name in NOT_BUILT:
        value = getattr(profile, name)
        if value not in (None, False, []):
            yield Problem("not_supported", name, f"{name} is not supported yet.", value)


def _ranges(profile: Profile) -> Iterator[Problem]:
    for name, (low, high) in RANGES.items():
        value = getattr(profile, name)
        if value is not None and not low <= value <= high:
            yield _invalid(name, value, f"{name} is from {low:g} to {high:.0f}.")
    for name, longest in LENGTHS.items():
        text = getattr(profile, name)
        if text is not None and len(text) > longest:
            yield _invalid(name, text, f"{name} has at most {longest} characters.")
    if 0 < profile.reachable_interval < SHORTEST_REACHABLE_INTERVAL:
        shortest = f"reachable_interval is 0, or {SHORTEST_REACHABLE_INTERVAL} or more."
        yield _invalid("reachable_interval", profile.reachable_interval, shortest)


def _forbidden_characters(profile: Profile) -> Iterator[Problem]:
    for field, text in _strings("", msgspec.structs.asdict(profile)):
        if _FORBIDDEN.search(text) is not None:
            secret = field.endswith("password")
            shown = None if secret else text
            yield Problem("invalid_value", field, f"{field} contains a line break or a NUL.", shown)
        elif len(text) > MAXIMUM_STRING:
            yield Problem("invalid_value", field, f"{field} is longer than {MAXIMUM_STRING} characters.")


def _strings(field: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, msgspec.Struct):
        if not isinstance(value, TlsSettings):  # PEM has lines; it is judged by tls_problems
            yield from _strings(field, msgspec.structs.asdict(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            inner_field = f"{field}.{key}" if field else key
            yield inner_field, key
            yield from _strings(inner_field, inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(f"{field}[{index}]", inner)


def _contact(profile: Profile, transports: tuple[str, ...]) -> Iterator[Problem]:
    if len(profile.contact_params) > MAXIMUM_ITEMS:
        yield Problem("invalid_value", "contact_params", f"At most {MAXIMUM_ITEMS} contact parameters.")
    for index, param in enumerate(profile.contact_params):
        field = f"contact_params[{index}]"
        name, separator, value = param.partition("=")
        if not is_token(name) and not (name[:1] == "+" and is_token(name[1:])):
            yield _invalid(field, param, "A contact parameter is 'name' or 'name=value'.")
        elif name.lower() in OWN_CONTACT_PARAMS:
            yield _invalid(field, param, f"{name} is set by the service.")
        elif separator and not (is_token(value) or _is_quoted(value)):
            yield _invalid(field, param, "The value is a token or a quoted string.")
        elif name.lower() == "q" and not re.fullmatch(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", value):
            yield _invalid(field, param, "q is from 0 to 1 with at most three decimals.")
    if profile.contact_user is not None:
        if _USER.fullmatch(profile.contact_user) is None:
            yield _invalid(
                "contact_user", profile.contact_user, "contact_user is a SIP user part; escape others as %XX."
            )
        if profile.contact_uri is not None:
            yield _invalid("contact_user", profile.contact_user, "contact_user and contact_uri exclude each other.")
    if profile.contact_uri is not None:
        yield from uri_problems("contact_uri", profile.contact_uri, (*transports, *PROTOCOLS))
        if profile.reg_event:
            yield _invalid("reg_event", True, "With contact_uri the profile only registers; reg_event needs its own.")
        if profile.reachable_interval:
            yield _invalid(
                "reachable_interval",
                profile.reachable_interval,
                "With contact_uri requests do not arrive here; reachable_interval must be 0.",
            )


def _headers(profile: Profile) -> Iterator[Problem]:
    if len(profile.headers) > MAXIMUM_ITEMS:
        yield Problem("invalid_value", "headers", f"At most {MAXIMUM_ITEMS} headers.")
    for index, line in enumerate(profile.headers):
        name, separator, _ = line.partition(":")
        if not separator or not is_token(name.strip()):
            yield _invalid(f"headers[{index}]", line, "A header is 'Name: value'.")
        elif name.strip().lower() in OWN_HEADERS:  # its value may be somebody's credentials
            yield _invalid(f"headers[{index}]", name.strip(), f"{name.strip()} is set by the service.")


def _extensions(field: str, extensions: dict[str, Extension]) -> Iterator[Problem]:
    for key, value in extensions.items():
        if _EXTENSION.fullmatch(key) is None:
            yield _invalid(field, key, "A parameter's name is letters, digits, '_', '.', '-', at most 100.")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield _invalid(f"{field}.{key}", value, "An integer has at most 64 bits.")


def _is_quoted(value: str) -> bool:
    try:
        return value.startswith('"') and quoted_end(value, 0) == len(value)
    except SipSyntaxError:
        return False


def _invalid(field: str, value: Any, detail: str) -> Problem:
    return Problem("invalid_value", field, detail, value)


def describe_fields() -> dict[str, dict[str, Any]]:
    """Name → type, default and range of every field, as ``GET /v1/types`` shows them."""
    described: dict[str, dict[str, Any]] = {}
    defaults = msgspec.structs.asdict(Profile())
    for info in msgspec.structs.fields(Profile):
        entry: dict[str, Any] = {"type": _type_name(info.type)}
        default = defaults[info.name]
        if default not in (None, "", [], {}):
            entry["default"] = default
        if info.name in RANGES:
            entry["range"] = list(RANGES[info.name])
        if info.name in LENGTHS:
            entry["maximum_length"] = LENGTHS[info.name]
        described[info.name] = entry
    described["register"]["values"] = ["always", "on-demand"]
    return described


def _type_name(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for long, short in (
        ("typing.", ""),
        ("sipprofile.profile.", ""),
        ("sipprofile.claims.", ""),
        ("NoneType", "null"),
        ("None", "null"),
    ):
        text = text.replace(long, short)
    if text.startswith("Literal"):
        return "str"
    return text
