"""The agent of type ``ietf``: registration as RFC 3261 §10 has it. It uses nothing that a plug-in cannot use."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, NamedTuple

from ..profile import Profile, ProfileType, ServerParameters
from ..sip.locating import Server
from ..sip.uri import Uri
from .base import Advice, Agent, Credentials, Hop, Plan, Problem
from .fields import common_problems

DEFAULT_PORT = 5060  # RFC 3261 §19.1.2


class IetfAgent(Agent):
    """RFC 3261 registration; original type class ``EInternet``, name ``IETF``."""

    type: ClassVar[ProfileType] = ProfileType("ietf", "internet")

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
        if profile.allowed_identities:
            found.append(
                Advice(
                    "no_effect_yet",
                    "allowed_identities",
                    "It takes effect when requests are sent; none are yet.",
                )
            )
        return found

    def plan(self, profile: Profile, contact_token: str) -> Plan:
        """See :meth:`Agent.plan`."""
        aor = Uri.parse(profile.aor)
        uri = profile.registrar.uri if profile.registrar is not None else str(registrar_uri(aor))
        registrar = _registrar(uri, self.transports)
        own = _credentials(profile, profile.registrar, aor)
        proxies = tuple(_proxy_hop(profile, server, aor, self.transports) for server in profile.proxies)
        return Plan(
            aor=str(aor.without_params_and_headers()),
            request_uri=registrar.request_uri,
            registrar=registrar.label,
            domain=registrar.domain,
            hops=proxies or registrar.hops,
            contact_user=profile.contact_user or contact_token,
            contact_uri=profile.contact_uri,
            contact_params="".join(f";{param}" for param in profile.contact_params),
            expires=profile.expires,
            headers=tuple(profile.headers),
            credentials=own,
            dscp=profile.dscp,
            instance_id=profile.instance_id,
        )


class _Registrar(NamedTuple):
    """What follows from a registrar's URI alone; the same objects for all profiles of one registrar."""

    request_uri: str
    label: str
    domain: str
    hops: tuple[Hop, ...]


@lru_cache(maxsize=1024)
def _registrar(text: str, transports: tuple[str, ...]) -> _Registrar:
    uri = Uri.parse(text)
    label = f"{uri.host}:{uri.port or DEFAULT_PORT}"
    return _Registrar(str(registrar_uri(uri)), label, uri.host, (Hop(Server.of(uri, transports)),))


def registrar_uri(uri: Uri) -> Uri:
    """The request URI of REGISTER: no user, no headers, no ``lr`` (RFC 3261 §10.2)."""
    return Uri(
        scheme=uri.scheme,
        user=None,
        password=None,
        host=uri.host,
        port=uri.port,
        params=tuple(item for item in uri.params if item[0] not in ("lr", "method")),
        headers="",
    )


def _proxy_hop(profile: Profile, server: ServerParameters, aor: Uri, transports: tuple[str, ...]) -> Hop:
    uri = Uri.parse(server.uri)
    route = uri if uri.has_param("lr") or not server.loose_routing else uri.with_params(lr=None)
    return Hop(
        Server.of(uri, transports),
        route=f"<{route}>",
        strict=not server.loose_routing and not uri.has_param("lr"),
        credentials=_credentials(profile, server, aor),
    )


def _credentials(profile: Profile, server: ServerParameters | None, aor: Uri) -> Credentials | None:
    if server is None or server.password is None:
        return None
    username = server.username or profile.private_identity or aor.user
    if username is None:
        return None
    return Credentials(username, server.password, server.realm)
