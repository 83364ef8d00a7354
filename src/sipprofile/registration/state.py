"""From a registration's memory to what users see and what is stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from ..events import EventName, FlowState, Reason, RegistrationState, StateChanged, Status
from ..records import NONCE_BLOCK, RESERVED_BLOCK, FlowRecord, Held, NonceRecord, TransitionRecord
from .changes import bound_as
from .registration import DEREGISTER, IDLE, WAITING, Flow, Nonce, Registration, shared_number
from .request import bracketed, sent_by

if TYPE_CHECKING:
    from .registrations import Registrations

BEST_FIRST: tuple[Status, ...] = ("registered", "unregistering", "registering", "unregistered")
"""The status of several flows is the first of these that one of them has."""


def status_shown(room: Registrations, profile: int) -> Status:
    """The status that users were told last."""
    return cast(Status, room.by_profile[profile].status)


def status_of(registration: Registration) -> Status:
    """The public status: what the registrar would say, and what is going on."""
    flows = registration.flows
    if len(flows) == 1:
        return _status_of(flows[0])
    found = {_status_of(flow) for flow in flows}
    return next(status for status in BEST_FIRST if status in found)


def _status_of(flow: Flow) -> Status:
    if flow.purpose == DEREGISTER and flow.phase not in (IDLE, WAITING):
        return "unregistering"
    if flow.lease_end > 0:
        return "registered"
    if flow.phase not in (IDLE, WAITING):
        return "registering"
    return "unregistered"


def granted_contact(flow: Flow) -> str:
    """The contact that the lease is for; while another one is being registered in its place it still is the old one."""
    return flow.old_contact.partition(" ")[0] if flow.middle and flow.rare.old_contact else flow.contact


def _best(registration: Registration) -> Flow:
    """The flow whose state is shown as the registration's; of several without a binding, the one tried next."""
    flows = registration.flows
    return flows[0] if len(flows) == 1 else min(flows, key=_goodness)


def _goodness(flow: Flow) -> tuple[int, float]:
    status = _status_of(flow)
    waits = (flow.next_try or math.inf) if status == "unregistered" and flow.phase == WAITING else 0.0
    return BEST_FIRST.index(status), waits


def _attempts(flow: Flow) -> int:
    """How often it was tried since it was last well, the present attempt included."""
    return flow.failures if flow.phase in (IDLE, WAITING) else flow.failures + 1


def target_of(flow: Flow) -> str | None:
    """Where the binding is, or else where the attempt goes."""
    key = flow.bound if flow.lease_end > 0 and flow.bound is not None else flow.key
    return None if key is None else f"{key.protocol}:{bracketed(key.host)}:{key.port}"


def _way(flow: Flow) -> tuple[str | None, str | None]:
    """The target and the local address of the binding, or else of the attempt."""
    local = flow.bound_local if flow.lease_end > 0 else flow.local
    return target_of(flow), None if local is None else sent_by(local)


def _flow_state(
    room: Registrations, registration: Registration, flow: Flow, target: str | None, local: str | None
) -> FlowState:
    live = flow.lease_end > 0
    alone = len(registration.flows) == 1
    return FlowState(
        flow.number,
        _status_of(flow),
        flow.outbound,
        target,
        local,
        flow.lease_end + room.wall_offset if live else None,
        flow.next_try + room.wall_offset if flow.phase == WAITING and flow.next_try else None,
        ((live and registration.last_error) or registration.reason) if alone else flow.reason,
    )


def state_of(machine_room: Registrations, registration: Registration) -> RegistrationState:
    """The read-only part of a profile; times in UTC."""
    flow = _best(registration)
    offset = machine_room.wall_offset
    live = flow.lease_end > 0
    next_try = flow.next_try if flow.phase == WAITING else 0.0
    if live and flow.phase == IDLE:
        next_try = 0.0
    subscription = machine_room.reg_events.by_profile.get(registration.profile)
    reachability = machine_room.reachabilities.by_profile.get(registration.profile)
    target, local = _way(flow)
    if len(registration.flows) == 1:
        flows = [_flow_state(machine_room, registration, flow, target, local)]
    else:
        flows = [_flow_state(machine_room, registration, each, *_way(each)) for each in registration.flows]
    return RegistrationState(
        status=cast(Status, registration.status),
        since=registration.since + offset,
        reason=registration.reason,
        attempt=_attempts(flow),
        next_try=next_try + offset if next_try else None,
        target=target,
        flow=None if target is None or local is None else f"{local}>{target}",
        lease_ends=flow.lease_end + offset if live else None,
        expires_granted=flow.granted if live else None,
        refresh_at=flow.refresh_at + offset if live and flow.refresh_at else None,
        last_error=registration.last_error if live else None,
        registered_aors=list(flow.registered_aors) if live else [],
        registered_contact=granted_contact(flow) if live else None,
        service_route=list(flow.rare.service_route) if live else [],
        path=list(flow.rare.path) if live else [],
        public_gruu=flow.rare.gruu[0] or None,
        temporary_gruu=flow.rare.gruu[1] or None,
        flows=flows,
        held=cast(Held, registration.held),
        revision=registration.revision,
        reg_event_state=machine_room.reg_events.state(registration.profile) if registration.plan.reg_event else None,
        other_contacts=subscription.others if live and subscription is not None else [],
        reachable=reachability.reachable if live and reachability is not None else None,
        reachable_at=reachability.at + offset if live and reachability is not None and reachability.at else None,
        reachable_reason=reachability.reason if live and reachability is not None else "",
    )


def tell(
    machine_room: Registrations,
    registration: Registration,
    now: float,
    reason: Reason | None = None,
    *,
    flow: Flow | None = None,
    event: EventName | None = None,
    transition: bool = True,
) -> None:
    """Make the present state public: event, history, counts. ``event`` is derived from the change when not given.

    ``flow``: it is this flow's reason; the registration's own stays as long as another flow lives.
    """
    if registration.rare.ghost:
        return
    before = registration.status
    registration.status = after = status_of(registration)
    registration.revision += 1
    told = reason or registration.reason
    if reason is not None:
        if flow is not None and flow.rare.reason is not reason:
            flow.reason = reason
        if flow is not None and registration.another_lives(flow):
            if reason.code != "none":
                registration.last_error = reason
                event = event or "error"
        else:
            registration.reason = reason
    if before != after:
        registration.since = now
    if event is None or (event == "deregistered" and after in ("registered", "unregistering")):
        event = "status"
        if after == "registered" and before != "registered":
            event = "registered"
        elif before in ("registered", "unregistering") and after not in ("registered", "unregistering"):
            event = "deregistered"
    if transition:
        machine_room.pressing = True
        best = _best(registration)
        machine_room.save(
            TransitionRecord(
                registration.profile,
                registration.revision,
                now + machine_room.wall_offset,
                after,
                told.code,
                told.status_code,
                told.text,
                _attempts(best),
                target_of(best),
            )
        )
    change = StateChanged(registration.profile, event, after, registration.reason, machine_room.state, transition)
    machine_room.changed(registration, change, now)


def record(machine_room: Registrations, registration: Registration, flow: Flow) -> FlowRecord:
    """The row from which a restart goes on. Nonce counts are reserved as far as the row says."""
    offset, rare, key = machine_room.wall_offset, flow.rare, flow.bound
    local = flow.bound_local or ("", 0)
    nonces = tuple([_nonce_record(nonce) for nonce in flow.nonces])
    if flow.lease_end <= 0:
        return FlowRecord(
            profile=flow.profile,
            number=rare.number,
            call_id=flow.call_id,
            cseq_reserved=flow.cseq_asked,
            contact_token=flow.contact_token,
            boot_id=machine_room.boot_id,
            wall_offset=offset,
            local_host=local[0],
            local_port=local[1],
            nonces=nonces,
            rejected_attempts=rare.rejected,
            since=registration.since + offset,
            state_revision=registration.revision,
            hop=rare.pinned + 1,
            outbound=rare.outbound,
            public_gruu=rare.gruu[0],
            bridge_port=registration.rare.bridge_port,
        )
    return FlowRecord(  # in the order of its fields, because names would double the time it takes
        flow.profile,
        rare.number,
        flow.call_id,
        flow.cseq_asked,
        flow.contact_token,
        flow.lease_end + offset,
        flow.refresh_at + offset,
        flow.granted,
        machine_room.boot_id,
        offset,
        key.protocol if key is not None else "",
        local[0],
        local[1],
        key.host if key is not None else "",
        key.port if key is not None else 0,
        granted_contact(flow),
        flow.registered_aors,
        rare.service_route,
        nonces,
        rare.rejected,
        registration.since + offset,
        registration.revision,
        bound_as(registration.plan),
        flow.sent_as,
        flow.purpose == DEREGISTER and flow.phase != IDLE,  # leaving
        rare.pinned + 1,
        rare.outbound,
        rare.path,
        rare.gruu[0],
        rare.gruu[1],
        registration.rare.bridge_port,
    )


def _nonce_record(nonce: Nonce) -> NonceRecord:
    terms = nonce.terms
    reserved = nonce.limit
    if not reserved:  # it has never been on disk, so no start can use it either
        reserved = nonce.limit = nonce.count + NONCE_BLOCK
    elif _runs_low(nonce):
        reserved = nonce.count + NONCE_BLOCK  # of use once it is on disk, see :func:`reserved_by`
    return NonceRecord(
        terms.realm,
        nonce.text,
        terms.algorithm,
        terms.algorithm_given,
        ",".join(terms.qop) or None,
        terms.opaque,
        terms.proxy,
        reserved,
        terms.userhash,
        terms.utf8,
    )


def store(machine_room: Registrations, registration: Registration, flow: Flow, refreshed: bool = False) -> None:
    """Write the flow's row, reserving the next CSeq numbers when the present block runs low.

    ``refreshed``: it says no more than that the lease is a later one. Such a row may come to the disk somewhat later:
    after a crash the lease before is believed, and refreshed earlier than needed.
    """
    if registration.rare.ghost:
        return
    if not refreshed:
        machine_room.pressing = True
    if flow.cseq_asked <= flow.cseq_reserved:
        if flow.cseq_reserved - flow.cseq < RESERVED_BLOCK // 4:
            flow.cseq_asked = shared_number(max(flow.cseq_reserved, flow.cseq) + RESERVED_BLOCK)
        elif flow.nonces and any(map(_runs_low, flow.nonces)):
            flow.cseq_asked = flow.cseq_reserved + 1  # who reserves CSeq numbers is told when they are on disk
    machine_room.save(record(machine_room, registration, flow))


def reserved_by(flow: Flow, row: FlowRecord) -> None:
    """``row`` is on disk, and with it what it reserves.

    Neither CSeq numbers nor counts of a nonce are used before the disk says that they are, however long a row may take
    to get there: what a crash forgets was not used. A flow's row may be that of another one which had its number
    before: what that reserved stays reserved.
    """
    flow.cseq_reserved = shared_number(max(flow.cseq_reserved, row.cseq_reserved))
    flow.cseq_asked = max(flow.cseq_asked, flow.cseq_reserved)
    for nonce in flow.nonces:
        for kept in row.nonces:
            if nonce.limit and kept.nonce == nonce.text and kept.proxy == nonce.terms.proxy:
                nonce.limit = max(nonce.limit, kept.count_reserved)


def _runs_low(nonce: Nonce) -> bool:
    return 0 < nonce.limit <= nonce.count + NONCE_BLOCK // 2


def store_lease(machine_room: Registrations, registration: Registration, flow: Flow, _: float) -> None:
    """Write the row again if it is one of a lease."""
    if flow.lease_end > 0:
        store(machine_room, registration, flow)
