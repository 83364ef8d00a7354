"""The profile: the stored settings of one user at one service provider (``CSIPProfile`` of the original API).

Plain data and what follows from data alone: decoding, merging and the difference between two versions. What a value
must be is judged by the agent of the profile's type (:mod:`sipprofile.agents.base`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .claims import StandingClaim
from .errors import SipProfileError

Extension = int | bool | str | list[str]
"""The value of an extension parameter (the four kinds of the original API)."""


class ProfileType(msgspec.Struct, frozen=True, gc=False):
    """What kind of provider a profile belongs to (``TSIPProfileTypeInfo``). ``name`` is unique among agents."""

    name: str
    profile_class: Literal["internet", "ims", "other"] = "other"


class TlsSettings(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """TLS parameters of one server: PEM content, never file names."""

    server_name: str | None = None
    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None

    def __repr__(self) -> str:
        return f"TlsSettings(server_name={self.server_name!r}, …)"


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Whom a TLS or WebSocket connection must lead to, and as whom we come: two that differ share no connection."""

    server_name: str
    """The domain: server name indication (RFC 6066 §3), the name in the certificate (RFC 5922 §4), the HTTP Host."""
    path: str = "/"
    """The resource of a WebSocket (RFC 6455 §3)."""
    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None

    def __repr__(self) -> str:
        return f"Identity(server_name={self.server_name!r}, …)"


class ServerParameters(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Where a registrar or an outbound proxy is and how we authenticate there (original server types 130 and 131)."""

    uri: str = ""
    """SIP URI with port and ``;transport=`` as needed."""
    username: str | None = None
    """Digest user name; when absent the profile's private identity, else the user part of the AOR, is used."""
    realm: str | None = None
    """Realm these credentials are for; when absent they answer any realm this server challenges with."""
    password: str | None = None
    """Write-only: the interface never returns it."""
    loose_routing: bool = True
    tls: TlsSettings | None = None
    extensions: dict[str, Extension] = {}

    def __repr__(self) -> str:
        return f"ServerParameters(uri={self.uri!r}, username={self.username!r}, realm={self.realm!r}, …)"


class Bridge(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A local SIP program that makes and takes calls through the profile without knowing its password."""

    uri: str = ""
    """Where the program is: a ``sip:`` URI with a loopback or allowed address, ``sip:127.0.0.1:5060``."""
    request_user: Literal["token", "aor", "to", "keep", "p-called-party-id"] = "aor"
    """The user part of the Request-URI that the program sees: our contact's, the address-of-record's, that of To (the
    dialled number), that of ``uri``, or that of P-Called-Party-ID (RFC 7315 §4.2)."""
    host: str = "127.0.0.1"
    """The local address at which the program's requests are taken."""
    port: int = 0
    """And the port; 0: the first free one from 5080, shown as ``bridge_port``."""
    allowed: list[str] = []
    """Addresses or networks besides loopback from which requests are taken."""


class Profile(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Every configurable parameter of a profile with its default; times in seconds.

    ``id`` is assigned by the service and never reused; 0 means not saved yet.
    """

    id: int = 0
    name: str = ""
    """``[a-z][a-z0-9_-]*(\\.[a-z0-9_-]+)*``, at most 64 characters, unique, never ``default``."""
    type: str = "ietf"
    aor: str = ""
    """Address-of-record, a ``sip:`` or ``sips:`` URI (RFC 3261 §10)."""
    provider_name: str = ""
    labels: dict[str, str] = {}
    registrar: ServerParameters | None = None
    """When absent the AOR's domain is the registrar (RFC 3261 §10.2.6)."""
    proxies: list[ServerParameters] = []
    """Outbound proxies in order of preference."""
    register: Literal["always", "on-demand"] = "on-demand"
    linger: float = 0
    """How long the registration outlives the last user's disable."""
    linger_lost: float = 10
    """How long a session that was lost still counts as a user."""
    expires: int = 3600
    """Lease to ask for (RFC 3261 §10.2.1.1)."""
    contact_params: list[str] = []
    """``name`` or ``name=value``, added to the Contact of REGISTER (RFC 3840)."""
    contact_user: str | None = None
    """User part of the Contact; absent: a random token, the only safe choice for incoming requests."""
    contact_uri: str | None = None
    """A Contact that points elsewhere (an SBC): the profile then only registers."""
    reg_event: bool = False
    """Subscribe to the registrar's view of this registration (RFC 3680)."""
    reachable_interval: int = 0
    """Check this often that requests to the address-of-record arrive here; 0 = only when asked."""
    outbound: bool = True
    """Offer RFC 5626 to the registrar; off for registrars that choke on it."""
    gruu: bool = False
    """Ask the registrar for globally routable URIs of this instance (RFC 5627)."""
    headers: list[str] = []
    """Complete ``Name: value`` headers added to REGISTER."""
    allowed_identities: list[str] = []
    """Patterns (``*`` matches any run of characters) of From identities a user of the profile may take."""
    private_identity: str | None = None
    token_source: str | None = None
    """Where access tokens come from (RFC 8898), as the service's configuration names it; sent over TLS only."""
    dscp: int | None = None
    instance_id: str = ""
    """UUID (RFC 5626 §4.1), assigned by the service, new on clone."""
    locked: bool = False
    default: bool = False
    extensions: dict[str, Extension] = {}
    claims: list[StandingClaim] = []
    """Who gets which requests although it has no session."""
    bridge: Bridge | None = None
    # Known names whose behaviour is not built yet; anything but the default is refused at save.
    sigcomp: bool = False
    security_negotiation: bool = False
    access_point: str | None = None
    destination: str | None = None
    bearer: str | None = None
    resolve_proxy: bool = False


NOT_BUILT = (
    "sigcomp",
    "security_negotiation",
    "access_point",
    "destination",
    "bearer",
    "resolve_proxy",
)
"""Fields that exist so that their names are taken, and are refused at save."""

READ_ONLY = ("revision", "registration", "password_set", "private_key_set", "warnings")
"""Members of an answer that a client may send back; they are ignored."""

MAXIMUM_DEPTH = 16
"""Objects within objects that a patch may have."""


def decode(document: Any) -> Profile:
    """Turn a JSON object into a profile; raises ``unknown_field`` or ``invalid_value`` with field and value."""
    if not isinstance(document, dict):
        raise SipProfileError("bad_request", "A profile is a JSON object.", value=document)
    plain = {name: value for name, value in document.items() if name not in READ_ONLY}
    if isinstance(plain.get("registrar"), dict):
        plain["registrar"] = _configurable(plain["registrar"])
    if isinstance(plain.get("proxies"), list):
        plain["proxies"] = [_configurable(server) for server in plain["proxies"]]
    try:
        return msgspec.convert(plain, Profile)
    except msgspec.ValidationError as error:
        raise _explained(str(error), plain) from None


def _configurable(server: Any) -> Any:
    if not isinstance(server, dict):
        return server
    plain = {name: value for name, value in server.items() if name not in READ_ONLY}
    if isinstance(plain.get("tls"), dict):
        plain["tls"] = {name: value for name, value in plain["tls"].items() if name not in READ_ONLY}
    return plain


def _explained(message: str, document: dict[str, Any]) -> SipProfileError:
    """msgspec's sentence ``Expected `int`, got `str` - at `$.expires``` as one of our errors."""
    sentence, _, place = message.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if sentence.startswith("Object contains unknown field"):
        name = sentence.split("`")[1]
        return SipProfileError(
            "unknown_field", f"There is no field {name!r}.", field=f"{path}.{name}" if path else name
        )
    value = None if _may_hold_a_secret(path) else value_at(document, path)
    return SipProfileError("invalid_value", f"{path}: {sentence}.", field=path, value=value)


def _may_hold_a_secret(path: str) -> bool:
    """Whether a password or a key belongs at ``path`` or may be found there by mistake."""
    return path.endswith(("password", "private_key", "tls", "registrar")) or (
        path.startswith("proxies") and path.endswith("]")
    )


def value_at(document: Any, path: str) -> Any:
    """The value at a path like ``proxies[0].uri``; ``None`` where the path does not lead anywhere."""
    for part in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def merged(current: dict[str, Any], patch: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): ``null`` removes, objects merge, everything else replaces.

    Raises ``bad_request`` for objects in objects in objects, many more than a profile has.
    """
    if depth > MAXIMUM_DEPTH:
        raise SipProfileError("bad_request", f"Objects are nested more than {MAXIMUM_DEPTH} deep.")
    result = dict(current)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            inner = result.get(name)
            result[name] = merged(inner if isinstance(inner, dict) else {}, value, depth + 1)
        else:
            result[name] = value
    return result


def with_kept_secrets(document: dict[str, Any], current: Profile) -> dict[str, Any]:
    """``document`` with each absent password and private key taken from ``current``; an explicit ``null`` clears it.

    Proxies are matched by their URI, so reordering them loses no secret. A key stays as long as a certificate does.
    """
    result = dict(document)
    known = {server.uri: server for server in current.proxies}
    registrar = result.get("registrar")
    if isinstance(registrar, dict) and current.registrar is not None:
        result["registrar"] = _with_secrets_of(current.registrar, registrar)
    proxies = result.get("proxies")
    if isinstance(proxies, list):
        result["proxies"] = [
            _with_secrets_of(known[str(server["uri"])], server)
            if isinstance(server, dict) and str(server.get("uri")) in known
            else server
            for server in proxies
        ]
    return result


def _with_secrets_of(current: ServerParameters, server: dict[str, Any]) -> dict[str, Any]:
    result = dict(server)
    if "password" not in result and current.password is not None:
        result["password"] = current.password
    tls = result.get("tls")
    if isinstance(tls, dict) and tls.get("certificate") and "private_key" not in tls and current.tls is not None:
        result["tls"] = {**tls, "private_key": current.tls.private_key}
    return result


def public(profile: Profile) -> dict[str, Any]:
    """The profile as the interface shows it: no secret, ``password_set`` and ``private_key_set`` in place of each."""
    document: dict[str, Any] = msgspec.to_builtins(profile)
    document.update(id=profile.id, name=profile.name, type=profile.type, aor=profile.aor)
    document.update(register=profile.register, expires=profile.expires, default=profile.default)
    for server in (document.get("registrar"), *document.get("proxies", ())):
        if server is None:
            continue
        server["password_set"] = server.pop("password", None) is not None
        if "tls" in server:
            server["tls"]["private_key_set"] = server["tls"].pop("private_key", None) is not None
    return document


def changed_fields(old: Profile, new: Profile) -> frozenset[str]:
    """Names of the fields in which two versions differ."""
    return frozenset(name for name in Profile.__struct_fields__ if getattr(old, name) != getattr(new, name))
