"""The line of a registered profile: requests go along its best flow, and answer its servers' challenges.

RFC 3261 §22, RFC 3608 §6.1, RFC 5626 §4.3, RFC 5627 §4.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Plan
from ..sip.dialog import Dialog
from ..sip.headers import parse_name_addr
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from ..sip.transport import port_of
from ..sip.uri import Uri
from . import challenge
from .actions import TransportKey
from .line import Way
from .registration import Flow, Registration
from .size import way_for
from .targets import hop_of
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

ANONYMOUS = "sip:anonymous@anonymous.invalid"  # RFC 3323 §4.1.1.3


class ProfileLine:
    """The line of ``profile``; with ``flow`` that of one flow of it, be it a binding that is about to be removed."""

    __slots__ = ("_routes", "_routes_of", "flow", "profile")

    def __init__(self, profile: int, flow: int = 0) -> None:
        self.profile = profile
        self.flow = flow
        self._routes_of: tuple[Plan, tuple[str, ...], TransportKey] | None = None
        self._routes: tuple[str, ...] = ()

    def way(self, room: Registrations, dialog: Dialog, now: float, size: int) -> Way | str:
        """The flow that the dialog began on while its binding lives, else the best one."""
        if self.flow:
            flow = room.flows.get(self.flow)
            if flow is None:
                return "not_registered"
            registration = room.owner(flow)
        else:
            known = room.by_profile.get(self.profile)
            if known is None:
                return "not_registered"
            registration = known
            flow = _flow(room, registration, dialog.flow)
            if flow is None:
                lives = any(each.lease_end > 0 for each in registration.flows)
                return "transport_closed" if lives else "not_registered"
        transport = open_transport(room, flow)
        if transport is None:
            return "transport_closed"
        assert transport.local is not None
        key, local = transport.key, transport.local
        if size > transport.limit and not flow.outbound:
            key = way_for(room, key, size, now)
            if key.protocol != "udp":
                local = room.transport(key).local or local
        return Way(
            key, local, self._pre_loaded(room, registration, flow, transport.key, now), _contact(flow, dialog), flow.id
        )

    def authorizations(self, room: Registrations, way: Way, uri: str, method: str, body: bytes) -> str:
        """Answers to what the flow has been challenged with."""
        flow = room.flows.get(way.flow)
        if flow is None or not flow.nonces:
            return ""
        registrar = method == "REGISTER" or uri == room.owner(flow).plan.aor
        return challenge.authorizations(flow, uri, challenge.cnonce_of(room), method, body, registrar=registrar)

    def challenged(self, room: Registrations, way: Way, number: int, response: Response, now: float) -> str:
        """Take challenges of the profile's own servers: nobody else harvests digests.

        A nonce that another request has brought meanwhile is simply used; one that this request has answered is not
        answered again.
        """
        flow = room.flows.get(way.flow)
        if flow is None:
            return "no_credentials"
        plan = room.owner(flow).plan
        challenges = challenge.challenges_of(response)
        if any(not _trusted(plan, flow, each.realm) for each in challenges):
            return "foreign_challenge"
        request = room.requests.outstanding.get(number)
        sent = "" if request is None else request.credentials
        known = {(nonce.terms.realm, nonce.terms.proxy): nonce for nonce in flow.nonces}
        missing = []
        for each in challenges:
            nonce = known.get((each.realm, each.proxy))
            if nonce is None or nonce.text != each.nonce or each.nonce in sent:
                missing.append(each)
                continue
            nonce.asked = True
            if nonce.limit and nonce.count >= nonce.limit:
                nonce.limit = 0  # the server says that it is good, and its count goes on
        if challenges and not missing:
            return ""
        code, nonces = challenge.taken(flow, plan, missing, -number)
        if code:
            return code
        wanted = {(each.realm, each.proxy) for each in missing}
        for nonce in nonces:
            nonce.asked = nonce.asked or (nonce.terms.realm, nonce.terms.proxy) in wanted
        flow.nonces = nonces
        return ""

    def _pre_loaded(
        self, room: Registrations, registration: Registration, flow: Flow, key: TransportKey, now: float
    ) -> tuple[str, ...]:
        """The Route of requests outside of dialogs; the same as long as nothing that it comes from has changed."""
        plan, known = registration.plan, self._routes_of
        if known is not None and known[0] is plan and known[1] is flow.service_route and known[2] is key:
            return self._routes
        self._routes = own_routes(plan, hop_of(room, plan, key, flow.hop, now), flow.service_route)
        self._routes_of = (plan, flow.service_route, key)
        return self._routes


def best_flow(room: Registrations, registration: Registration) -> Flow | None:
    """The flow that requests go along: the first with a binding on an open transport."""
    for flow in registration.flows:
        if flow.lease_end > 0 and open_transport(room, flow) is not None:
            return flow
    return None


def _flow(room: Registrations, registration: Registration, preferred: int) -> Flow | None:
    flow = room.flows.get(preferred) if preferred else None
    if flow is None or flow.profile != registration.profile or flow.lease_end <= 0:
        return best_flow(room, registration)
    return flow if open_transport(room, flow) is not None else best_flow(room, registration)


def open_transport(room: Registrations, flow: Flow) -> Transport | None:
    """The transport that the flow's binding lives on, when it is open."""
    if flow.bound is None:
        return None
    transport = room.transports.get(flow.bound)
    if transport is None and flow.bound.protocol == "udp":
        transport = room.transport(flow.bound)  # there was no way once; perhaps there is one now
    return transport if transport is not None and transport.local is not None else None


def own_routes(plan: Plan, hop: int, service_route: tuple[str, ...]) -> tuple[str, ...]:
    """The pre-loaded route: the outbound proxy, unless the first Service-Route entry is that, then Service-Route."""
    first = plan.hops[hop].route
    if first is None or (service_route and _same_place(first, service_route[0])):
        return service_route
    return (first, *service_route)


def _contact(flow: Flow, dialog: Dialog) -> str:
    """Our Contact's URI: a GRUU where there is one, the temporary one where the caller does not want to be known."""
    public, temporary = flow.gruu
    if dialog.local_uri == ANONYMOUS:
        public = temporary
    if public:
        return public
    return f"{flow.contact};ob" if flow.outbound else flow.contact


def _trusted(plan: Plan, flow: Flow, realm: str) -> bool:
    """Whether the realm is configured, the registrar's domain, or met while registering: no callee harvests digests."""
    ours = (plan.credentials, *(hop.credentials for hop in plan.hops))
    return (
        any(credentials is not None and credentials.realm == realm for credentials in ours)
        or realm.lower() in (plan.domain.lower(), Uri.parse(plan.aor).host)
        or realm in flow.realms
        or any(nonce.terms.realm == realm for nonce in flow.nonces)
    )


def _same_place(one: str, other: str) -> bool:
    try:
        first, second = Uri.parse(parse_name_addr(one).uri), Uri.parse(parse_name_addr(other).uri)
    except SipSyntaxError:
        return False
    return (first.host, port_of(first)) == (second.host, port_of(second))
