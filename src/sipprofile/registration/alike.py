"""Stored profiles that are like others: what follows from what they have in common is found out once.

100,000 profiles of one registrar differ in their numbers, user, password and instance, and so do their leases. The
first of them goes the long way (:meth:`~.registrations.Registrations.add`): its agent makes a plan, and its lease is
resumed step by step. What comes of that but for what is its own is remembered, and those that are like it get the same
in a third of the time. Whoever is not quite like it goes the long way too, which says what is right.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..agents.base import OWN_SETTINGS, Agent, Credentials, Plan, is_uniform
from ..profile import Profile
from ..records import HISTORY_LENGTH, NONCE_BLOCK, RESERVED_BLOCK, FlowRecord, ProfileRecord
from ..sip.digest import Terms
from . import keepalive, nat
from .changes import bound_to, carried_behind, sent_as, sent_with
from .counts import Kind
from .kept_plan import KeptPlan
from .rare import USUAL_FLOW, USUAL_REGISTRATION, FlowRarities
from .registration import IDLE, Flow, Nonce, Registration, kept_call_id, shared_number
from .restart import lease_end
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

FORMS_KEPT = 1_000
"""Beyond it they begin anew."""
LEASES_KEPT = 100
"""The same for those of one form."""

_plain = re.compile(r"(sips?:)([A-Za-z0-9_.+-]+)").fullmatch
"""What is before the ``@`` of most addresses-of-record."""
settings_of = attrgetter(*[name for name in Profile.__struct_fields__ if name not in OWN_SETTINGS])
server_of = attrgetter("realm", "loose_routing", "tls", "extensions")
way_of = attrgetter(
    "number",
    "protocol",
    "local_host",
    "local_port",
    "target_host",
    "target_port",
    "service_route",
    "rejected_attempts",
    "leaving",
    "hop",
    "outbound",
    "path",
    "public_gruu",
    "temporary_gruu",
    "bridge_port",
)
"""What rows have in common that is more than the settings."""
terms_of = attrgetter("realm", "algorithm", "algorithm_given", "qop", "opaque", "proxy", "userhash", "utf8")
_unbound = attrgetter("number", "hop", "rejected_attempts", "public_gruu", "bridge_port")
_USUALLY_UNBOUND = (1, 0, 0, "", 0)


class Lease(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What follows from a row of a form's profile."""

    transport: Transport
    local: tuple[str, int]
    place: str
    """What follows the token in the contact."""
    shows_local: bool
    """Whether the contact shows where we are."""
    challenge: tuple[Any, ...]
    """Of the row's nonce, if there is one."""
    terms: Terms | None
    carried: bytes
    """What :attr:`Flow.sent_as` is the checksum of, but for the user of the contact."""
    rare: FlowRarities
    kind: Kind


class Form(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What follows from the settings of a profile, for all whose settings differ in :data:`OWN_SETTINGS` alone."""

    agent: Agent
    scheme: str
    settings: tuple[Any, ...]
    server: tuple[Any, ...]
    plan: KeptPlan
    request_uri: str
    unregistered: Kind
    leases: dict[tuple[Any, ...], Lease] = {}


class Alike:
    """Forms of profiles by the registrar and what is behind the ``@`` of the address-of-record."""

    def __init__(self) -> None:
        self.forms: dict[tuple[str, str], Form] = {}

    def add(self, room: Registrations, record: ProfileRecord, agent: Agent, now: float) -> bool:
        """Take a stored profile that is not wanted yet; false: nothing was done, it has to go the long way."""
        if room.quick is not None and room.quick.load(self.forms, room, record, agent, now):
            return True
        profile = record.profile
        server = profile.registrar
        if server is None or record.held or len(record.flows) != 1 or room.stopping:
            return False
        aor, number = profile.aor, profile.id
        head, _, domain = aor.partition("@")
        form = self.forms.get((server.uri, domain))
        if form is None or agent is not form.agent or number in room.by_profile or number in room.flows:
            return False
        own = _plain(head)
        password, instance = server.password, profile.instance_id
        if own is None or own[1] != form.scheme or password is None or not instance:
            return False
        user = own[2]
        username = server.username or profile.private_identity or user
        if username == user:
            user = username  # one object for both
        if settings_of(profile) != form.settings or server_of(server) != form.server:
            return False
        stored = record.flows[0]
        credentials = Credentials(username, password, server.realm)
        like = form.plan
        token = stored.contact_token
        plan = KeptPlan(aor, token, credentials, instance, like.hops, like.common)
        reserved = shared_number(stored.cseq_reserved)
        used = shared_number(reserved - RESERVED_BLOCK) if reserved > RESERVED_BLOCK else 0
        flow = Flow(number, number, kept_call_id(stored.call_id), token, used, reserved, reserved)
        registration = Registration(number, cast(Plan, plan), agent, (flow,), since=now)
        if stored.lease_ends > 0:
            lease = _resumed(room, form, registration, flow, stored, now)
            if lease is None:
                return False
            kind = lease.kind
        elif _unbound(stored) == _USUALLY_UNBOUND:
            kind = form.unregistered
        else:
            return False
        if stored.state_revision:
            registration.revision = stored.state_revision + HISTORY_LENGTH
        room.by_profile[number] = registration
        room.flows[number] = flow
        room.addresses.settle(token, user, number)
        if flow.bound is not None:
            keepalive.resumed(room, flow, now)
            room.arm(flow, flow.refresh_at if flow.refresh_at < flow.lease_end else flow.lease_end)
        room.kinds.count_as(registration, kind)
        return True

    def learn(self, room: Registrations, record: ProfileRecord, registration: Registration) -> None:
        """A profile went the long way: the next may be like it."""
        profile, agent = record.profile, registration.agent
        server = profile.registrar
        head, _, domain = profile.aor.partition("@")
        own = _plain(head) if domain else None
        if server is None or own is None or registration.rare is not USUAL_REGISTRATION or not is_uniform(agent):
            return
        flow, plan = registration.first, registration.plan
        usual = (
            isinstance(plan, KeptPlan)
            and len(registration.flows) == 1
            and plan.aor == profile.aor
            and plan.contact_user == flow.contact_token
            and profile.contact_user is None
            and not plan.gruu
            and not plan.reg_event
            and not plan.reachable_interval
            and plan.credentials is not None
            and plan.credentials.username == (server.username or profile.private_identity or own[2])
            and bool(plan.instance_id)
            and all(hop.credentials is None for hop in plan.hops)
        )
        if not usual:
            return
        key = server.uri, domain
        form = self.forms.get(key)
        settings, of_server = settings_of(profile), server_of(server)
        if form is None or (form.scheme, form.agent, form.settings, form.server) != (
            own[1],
            agent,
            settings,
            of_server,
        ):
            if len(self.forms) >= FORMS_KEPT:
                self.forms.clear()
            unregistered = ("unregistered", "none", plan.registrar)
            form = Form(agent, own[1], settings, of_server, cast(KeptPlan, plan), plan.request_uri, unregistered)
            self.forms[key] = form
        stored = record.flows[0] if record.flows else None
        lease = None if stored is None else _lease_of(room, registration, flow, stored)
        if stored is not None and lease is not None:
            if len(form.leases) >= LEASES_KEPT:
                form.leases.clear()
            form.leases[way_of(stored)] = lease


def _resumed(
    room: Registrations, form: Form, registration: Registration, flow: Flow, stored: FlowRecord, now: float
) -> Lease | None:
    """Take over what the row says about a lease, if it is like one that was; see :func:`.restart.resume`."""
    lease = form.leases.get(way_of(stored))
    if lease is None:
        return None
    transport, plan, token = lease.transport, registration.plan, flow.contact_token
    key, local = transport.key, transport.local
    if local != lease.local or room.transports.get(key) is not transport:
        return None
    if not lease.shows_local and transport.public is None:
        return None
    aor = plan.aor
    end = lease_end(room, stored, now)
    if end is None or not end > now or stored.registered_aors != (aor,):
        return None
    if stored.contact != f"sip:{token}{lease.place}":
        return None
    if stored.sent_as != sent_with(token, lease.carried):
        return None
    if stored.bound_as not in (0, bound_to(aor, form.request_uri, form.plan.registrar, plan.instance_id)):
        return None
    if stored.nonces:
        kept = stored.nonces[0]
        terms = lease.terms
        if len(stored.nonces) > 1 or terms is None or terms_of(kept) != lease.challenge:
            return None
        assert plan.credentials is not None
        first = kept.count_reserved
        flow.nonces = (Nonce(kept.nonce, terms, plan.credentials, first, first + NONCE_BLOCK),)
    offset = stored.wall_offset if stored.boot_id == room.boot_id else room.wall_offset
    refresh_at = stored.refresh_at - offset
    flow.key = flow.bound = key
    flow.lease_end = end
    flow.granted = stored.expires_granted
    flow.refresh_at = refresh_at if refresh_at > now else now
    flow.bound_local = local
    flow.shown = transport.public or local
    flow.place = lease.place
    flow.identities = aor
    flow.sent_as = stored.sent_as
    flow.rare = lease.rare
    registration.kept = True
    registration.status = "registered"
    if stored.since and stored.since - offset < now:
        registration.since = stored.since - offset
    return lease


def _lease_of(room: Registrations, registration: Registration, flow: Flow, stored: FlowRecord) -> Lease | None:
    """What others may have in common with this one; ``None`` when it is not bound as most are."""
    key, plan, rare = flow.bound, registration.plan, flow.rare
    transport = None if key is None else room.transports.get(key)
    if transport is None or transport.key.protocol != "udp" or transport.local is None:
        return None
    bound = flow.phase == IDLE and flow.keepalive and registration.status == "registered" and registration.kept
    if not bound or flow.bound_local != transport.local or stored.sent_as != sent_as(plan):
        return None
    usual = rare is USUAL_FLOW or msgspec.structs.replace(rare, service_route=(), path=()) == USUAL_FLOW
    if not usual or registration.counted is None or registration.reason.code != "none" or flow.place[:1] != "@":
        return None
    if len(flow.nonces) != len(stored.nonces) or len(flow.nonces) > 1:
        return None
    challenge: tuple[Any, ...] = ()
    terms = None
    if flow.nonces:
        terms, challenge = flow.nonces[0].terms, terms_of(stored.nonces[0])
    return Lease(
        transport,
        transport.local,
        flow.place,
        nat.shows(flow.contact, transport.local),
        challenge,
        terms,
        carried_behind(plan),
        rare,
        registration.counted,
    )
