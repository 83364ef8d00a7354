"""Going on after a restart as if nothing had happened: what a stored row is still worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Agent, Plan
from ..events import Reason
from ..records import HISTORY_LENGTH, NONCE_BLOCK, RESERVED_BLOCK, FlowRecord, ProfileRecord
from ..sip.digest import Challenge, Terms, available, shared
from . import attempt, keepalive, machine, nat, outbound, reachability, regevent
from .actions import TransportKey
from .challenge import credentials_for
from .changes import bound_as, sent_as
from .pacing import AUTOMATIC, REFRESH
from .registration import IDLE, OPENING, REGISTER, RESUME, Flow, Nonce, Registration, kept_call_id, shared_number
from .state import status_of
from .targets import identity_of

if TYPE_CHECKING:
    from .registrations import Registrations

CLOCK_TOLERANCE = 5.0  # seconds the wall clock may seem to go back before a lease is distrusted


def add(
    room: Registrations, record: ProfileRecord, agent: Agent, now: float, *, wanted: bool, waiting: bool = False
) -> None:
    """See :meth:`.registrations.Registrations.add`; this is the long way, see :mod:`~sipprofile.registration.alike`."""
    profile = record.profile
    stored, *others = record.flows or (room.new_flow(profile.id),)
    plan = room.identities.shared(agent.plan(profile, stored.contact_token))
    rows = (stored, *further(plan, others)) if others else (stored,)
    flows = tuple(restored_flow(room, plan, row, profile.id) for row in rows)
    registration = Registration(profile.id, plan, agent, flows, since=now, revision=stored.state_revision)
    if record.held:
        registration.held = record.held
    if stored.bridge_port:
        registration.bridge_port = stored.bridge_port
    remember(registration, rows, others)
    room.by_profile[profile.id] = registration
    room.addresses.add(registration)
    for flow, row in zip(flows, rows, strict=True):
        resume(room, registration, flow, row, now)
    room.kinds.count(registration)
    if len(flows) > 1:
        settle(room, registration, now)
    if plan.reg_event:
        regevent.resumed(room, registration, now)
    if plan.reachable_interval:
        reachability.changed(room, registration, now)
    if wanted:
        room.want(profile.id, True, now, waiting=waiting)
    if record.held:
        for flow in reversed(registration.flows):
            machine.unwanted(room, registration, flow, now, record.held)
    room.alike.learn(room, record, registration)


def further(plan: Plan, rows: list[FlowRecord]) -> list[FlowRecord]:
    """The rows of flows beside the first that still are, or may have to be removed (RFC 5626 §4.2)."""
    return [row for row in rows if row.lease_ends > 0 and 0 < row.hop <= len(plan.hops) and plan.outbound]


def remember(registration: Registration, restored: tuple[FlowRecord, ...], rows: list[FlowRecord]) -> None:
    """Flows that are not restored go on after everything that was perhaps used, should they be made again."""
    first = registration.first
    for row in rows:
        if row not in restored and row.call_id == outbound.call_id_of(first.call_id, row.number):
            outbound.remember(registration, row.number, max(0, row.cseq_reserved - RESERVED_BLOCK))


def settle(room: Registrations, registration: Registration, now: float) -> None:
    """Flows beside the first stay only while they have a binding and a hop of their own."""
    pinned = {registration.first.pinned, -1}
    for flow in registration.flows:
        if flow.number == 1:
            continue
        gone = flow.lease_end == 0 and flow.unknown_until == 0
        if gone or flow.leaving or registration.first.pinned < 0 or flow.pinned in pinned:
            outbound.redundant(room, registration, flow, now)
        pinned.add(flow.pinned)
    for flow in registration.flows:
        machine.wanted(room, registration, flow, now, AUTOMATIC)


def restored_flow(room: Registrations, plan: Plan, stored: FlowRecord, profile: int) -> Flow:
    """A flow that goes on after everything that was perhaps used: at the start of the block reserved last.

    The first one has the number of its ``profile``: one object and one number for most.
    """
    reserved = shared_number(stored.cseq_reserved)
    flow = Flow(
        id=profile if stored.number == 1 and profile not in room.flows else room.new_identity(),
        profile=profile,
        call=kept_call_id(stored.call_id),
        contact_token=stored.contact_token,
        cseq=shared_number(max(0, reserved - RESERVED_BLOCK)),
        cseq_reserved=reserved,
        cseq_asked=reserved,
    )
    if stored.number > 1:
        flow.number = stored.number
        flow.leaving = stored.leaving
    if plan.outbound and 0 < stored.hop <= len(plan.hops):
        flow.pinned = flow.hop = stored.hop - 1
    if stored.rejected_attempts:
        flow.rejected = stored.rejected_attempts
    if stored.public_gruu:
        flow.gruu = (stored.public_gruu, "")
    room.flows[flow.id] = flow
    return flow


def resume(room: Registrations, registration: Registration, flow: Flow, stored: FlowRecord, now: float) -> None:
    """Take over what the row says about a lease."""
    if stored.state_revision:
        # Rows of the history may be newer than this one; the distance keeps both the order and the slots.
        registration.revision = max(registration.revision, stored.state_revision + HISTORY_LENGTH)
    if registration.held:
        registration.reason = Reason.of(registration.held)
    if not stored.lease_ends > 0 or registration.held == "forcibly_disabled":
        return
    if stored.bound_as not in (0, bound_as(registration.plan)):
        return  # granted for settings that were changed before the end; that binding stays until its lease ends
    end = lease_end(room, stored, now)
    if end is None:
        flow.unknown_until = now + stored.expires_granted
        if flow.number == 1:
            registration.reason = Reason.of("lease_unknown")
        _remember_contact(registration, flow, stored)
        return
    if not end > now:  # nor of a time that is no number
        return
    _restore_nonces(room, registration, flow, stored)
    _remember_contact(registration, flow, stored)
    if stored.protocol != "udp":
        flow.unknown_until = end  # the connection is gone; only a new REGISTER makes us reachable
        return
    offset = stored.wall_offset if stored.boot_id == room.boot_id else room.wall_offset
    flow.lease_end = end
    flow.granted = stored.expires_granted
    flow.sent_as = stored.sent_as
    # An edge proxy may have forgotten the flow meanwhile; a REGISTER tells it, and us.
    current = stored.sent_as == sent_as(registration.plan) and not stored.outbound
    flow.refresh_at = max(now, stored.refresh_at - offset) if current else now
    aor = registration.plan.aor
    flow.registered_aors = (aor,) if stored.registered_aors == (aor,) else stored.registered_aors
    _restore_rarities(flow, stored)
    flow.bound_local = (stored.local_host, stored.local_port)
    flow.purpose = RESUME
    registration.kept = True
    registration.since = min(now, stored.since - offset) if stored.since else now
    assert flow.key is not None
    transport = room.transport(flow.key)
    flow.key = flow.bound = transport.key  # one object for all who go there
    if transport.local is not None:
        registration.status = status_of(registration)
        opened(room, registration, flow, now)
    else:
        transport.waiting.add(flow.id)
        flow.phase = OPENING
        flow.ends_at = now + room.settings.open_limit
        machine.rearm(room, registration, flow)
        registration.status = status_of(registration)


def _restore_rarities(flow: Flow, stored: FlowRecord) -> None:
    if stored.service_route:
        flow.service_route = stored.service_route
    if stored.path:
        flow.path = stored.path
    if stored.public_gruu or stored.temporary_gruu:
        flow.gruu = (stored.public_gruu, stored.temporary_gruu)
    if stored.outbound:
        flow.outbound = True


def opened(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The local address is known: if it is the one that is registered, a keepalive is all that is sent."""
    assert flow.key is not None
    transport = room.transports[flow.key]
    transport.waiting.discard(flow.id)
    local = transport.local
    flow.purpose = REGISTER
    flow.phase = IDLE
    flow.ends_at = 0.0
    if local == flow.bound_local:
        flow.bound_local = local
        if nat.applies(registration, flow, transport):
            nat.restore(flow, transport)
            flow.shown = nat.shown(registration, flow, transport)
        if registration.plan.contact_uri is None:
            keepalive.resumed(room, flow, now)
        machine.rearm(room, registration, flow)
        return
    flow.old_contact = flow.contact
    attempt.begin(room, registration, flow, now, REFRESH)


def lease_end(room: Registrations, stored: FlowRecord, now: float) -> float | None:
    """End of the stored lease in our clock, ``None`` when it cannot be known whether there is one."""
    if stored.leaving:
        return None
    if stored.boot_id == room.boot_id:
        return stored.lease_ends - stored.wall_offset
    granted_at = stored.lease_ends - stored.expires_granted
    if now + room.wall_offset < granted_at - CLOCK_TOLERANCE:  # the wall clock went back meanwhile
        return None
    return stored.lease_ends - room.wall_offset


def _remember_contact(registration: Registration, flow: Flow, stored: FlowRecord) -> None:
    flow.contact = stored.contact
    if stored.target_host:
        hops = registration.plan.hops
        hop = next((hop for hop in hops if hop.server.protocol == stored.protocol), hops[0])
        if flow.pinned >= 0:
            hop = hops[flow.pinned]
        identity = identity_of(hop, stored.protocol)
        host, port = stored.target_host, stored.target_port
        flow.key = TransportKey(stored.protocol, host, port, registration.plan.dscp, identity)


def _restore_nonces(room: Registrations, registration: Registration, flow: Flow, stored: FlowRecord) -> None:
    """Nonces go on after the counts that were reserved; if they are refused, that costs one round trip."""
    nonces = []
    for kept in stored.nonces:
        terms = Terms(
            realm=kept.realm,
            algorithm=kept.algorithm,
            algorithm_given=kept.algorithm_given,
            qop=tuple(kept.qop.split(",")) if kept.qop else (),
            opaque=kept.opaque,
            proxy=kept.proxy,
            userhash=kept.userhash,
            utf8=kept.utf8,
        )
        challenge = Challenge(kept.nonce, shared(terms))
        credentials = credentials_for(registration.plan, flow.hop, challenge)
        if credentials is not None and available(kept.algorithm):  # another OpenSSL than before may lack it
            first = kept.count_reserved
            nonces.append(Nonce(kept.nonce, challenge.terms, credentials, count=first, limit=first + NONCE_BLOCK))
    flow.nonces = tuple(nonces)
