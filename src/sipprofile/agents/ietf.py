"""The agent of type ``ietf``: registration as RFC 3261 §10 has it. It uses nothing that a plug-in cannot use."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, NamedTuple

import msgspec

from ..profile import Identity, Profile, ProfileType, ServerParameters, TlsSettings
from ..sip.locating import Server
from ..sip.message import Response
from ..sip.transport import port_of, with_scheme
from ..sip.uri import Uri
from .associated import registered_identities
from .base import Advice, Agent, Credentials, Hop, Plan, Problem, uniform
from .fields import WS_PATH, common_problems


class IetfAgent(Agent):
    """RFC 3261 registration; original type class ``EInternet``, name ``IETF``."""

    type: ClassVar[ProfileType] = ProfileType("ietf", "internet")
    extensions: ClassVar[dict[str, str]] = {
        WS_PATH: "Of a server: the path of its WebSocket, '/' when absent.",
    }

    def problems(self, profile: Profile) -> list[Problem]:
        """See :meth:`Agent.problems`."""
        return list(common_problems(profile, self.transports))

    def advice(self, profile: Profile) -> list[Advice]:
        """See :meth:`Agent.advice`."""
        found = []
        if profile.expires < 60:
            found.append(Advice("short_expires", "expires", "Leases below 60 s load the registrar needlessly."))
        if profile.contact_user is not None:
            found.append(
                Advice(
                    "guessable_contact",
                    "contact_user",
                    "A fixed contact user lets others address you directly.",
                )
            )
        has_password = profile.registrar is not None and profile.registrar.password is not None
        if not has_password and not any(proxy.password is not None for proxy in profile.proxies):
            found.append(Advice("no_password", "registrar.password", "Without a password a challenge fails."))
        return found

    def associated(self, aor: str, response: Response) -> tuple[str, ...]:
        """See :meth:`Agent.associated`."""
        return registered_identities(aor, response)

    @uniform
    def plan(self, profile: Profile, contact_token: str) -> Plan:
        """See :meth:`Agent.plan`."""
        aor = Uri.parse(profile.aor)
        uri = profile.registrar.uri if profile.registrar is not None else str(registrar_uri(aor, aor.scheme))
        registrar = _registrar(uri, aor.scheme, self.transports)
        own = _credentials(profile, profile.registrar, aor)
        proxies = tuple([_proxy_hop(profile, server, aor, self.transports) for server in profile.proxies])
        return Plan(
            aor=str(aor.without_params_and_headers() if aor.params or aor.headers else aor),
            request_uri=registrar.request_uri,
            registrar=registrar.label,
            domain=registrar.domain,
            hops=proxies or _direct(registrar, profile.registrar),
            contact_user=profile.contact_user or contact_token,
            contact_uri=profile.contact_uri,
            contact_params="".join([f";{param}" for param in profile.contact_params]),
            expires=profile.expires,
            headers=tuple(profile.headers),
            credentials=own,
            dscp=profile.dscp,
            instance_id=profile.instance_id,
            token_source=profile.token_source,
            reg_event=profile.reg_event,
            reachable_interval=profile.reachable_interval,
            outbound=profile.outbound and profile.contact_uri is None and bool(profile.instance_id),
            gruu=profile.gruu and bool(profile.instance_id),
            allowed_identities=tuple(profile.allowed_identities),
        )


class _Registrar(NamedTuple):
    """What follows from a registrar's URI alone; the same objects for all profiles of one registrar."""

    uri: Uri
    request_uri: str
    label: str
    domain: str
    hops: tuple[Hop, ...]


@lru_cache(maxsize=1024)
def _registrar(text: str, scheme: str, transports: tuple[str, ...]) -> _Registrar:
    uri = Uri.parse(text)
    label = f"{uri.host}:{port_of(uri)}"
    return _Registrar(uri, str(registrar_uri(uri, scheme)), label, uri.host, (Hop(Server.of(uri, transports)),))


def _direct(registrar: _Registrar, server: ServerParameters | None) -> tuple[Hop, ...]:
    """The registrar itself as the first hop."""
    identity = _identity(registrar.uri, server)
    if identity is None:
        return registrar.hops
    return (msgspec.structs.replace(registrar.hops[0], identity=identity),)


def registrar_uri(uri: Uri, scheme: str) -> Uri:
    """The request URI of REGISTER: no user, no headers, no ``lr`` (RFC 3261 §10.2), the AOR's scheme."""
    plain = Uri(
        scheme=uri.scheme,
        user=None,
        password=None,
        host=uri.host,
        port=uri.port,
        params=tuple(item for item in uri.params if item[0] not in ("lr", "method")),
        headers="",
    )
    return with_scheme(plain, scheme)


def _identity(uri: Uri, server: ServerParameters | None) -> Identity | None:
    """What a server's parameters say about TLS and WebSocket, ``None`` when its URI says it all."""
    if (server is None or (server.tls is None and not server.extensions)) and not uri.params:
        return None
    tls = server.tls if server is not None and server.tls is not None else TlsSettings()
    path = server.extensions.get(WS_PATH, "/") if server is not None else "/"
    if tls == TlsSettings() and path == "/" and not uri.has_param("maddr"):
        return None
    name = tls.server_name or uri.host
    return Identity(name.strip("[]").lower(), str(path), tls.ca, tls.certificate, tls.private_key)


def _proxy_hop(profile: Profile, server: ServerParameters, aor: Uri, transports: tuple[str, ...]) -> Hop:
    uri = Uri.parse(server.uri)
    route = with_scheme(uri, aor.scheme)
    if server.loose_routing and not uri.has_param("lr"):
        route = route.with_params(lr=None)
    return Hop(
        Server.of(uri, transports),
        route=f"<{route}>",
        strict=not server.loose_routing and not uri.has_param("lr"),
        credentials=_credentials(profile, server, aor),
        identity=_identity(uri, server),
    )


def _credentials(profile: Profile, server: ServerParameters | None, aor: Uri) -> Credentials | None:
    if server is None or server.password is None:
        return None
    username = server.username or profile.private_identity or aor.user
    if username is None:
        return None
    return Credentials(username, server.password, server.realm)
