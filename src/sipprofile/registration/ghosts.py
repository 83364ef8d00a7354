"""Bindings that outlive their settings: the old one of a moved profile, the last one of a removed profile.

A ghost is a registration that only exists to remove a binding. Nobody is told about it and nothing of it is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from . import attempt, machine, outbound
from .pacing import AWAITED, RETRY
from .registration import DEREGISTER, IDLE, SENT, WAITING, Flow, Registration, kept_call_id
from .transmit import end_transaction

if TYPE_CHECKING:
    from .registrations import Registrations

GHOST_CSEQS = 32
"""CSeq numbers left to the old binding when a new one takes over the Call-ID."""


def rebound(room: Registrations, registration: Registration, flow: Flow, now: float) -> Flow:
    """Another AOR or registrar: a fresh flow for it; the old one stays behind as a ghost until the new one stands."""
    has_old = flow.lease_end > 0 or flow.unknown_until > now or flow.phase == SENT or _removes(flow)
    # The registrar may take the old binding, told apart by its reg-id, and the new one for one that has lost it: then
    # the numbers of one Call-ID would go back.
    call_id, cseq, reserved, asked = flow.call_id, flow.cseq + GHOST_CSEQS, flow.cseq_reserved, flow.cseq_asked
    if flow.outbound:
        # The row of another Call-ID must be on disk first, and the store tells only of one that reserves other numbers.
        call_id = room.new_flow(flow.profile).call_id
        cseq = reserved = asked = max(cseq, asked)
    new = Flow(
        id=room.new_identity(),
        profile=flow.profile,
        call=kept_call_id(call_id),
        contact_token=flow.contact_token,
        cseq=cseq,
        cseq_reserved=reserved,
        cseq_asked=asked,
    )
    new.number = flow.number
    new.predecessor = flow.id if has_old else flow.predecessor
    room.flows[new.id] = new
    others = [other for other in registration.flows if other is not flow]
    registration.flows = (new,)
    if call_id != flow.call_id:
        registration.cseqs = ()
    _leave_behind(room, registration, flow, stays=has_old)
    tail = new
    while tail.predecessor in room.flows:
        tail = room.flows[tail.predecessor]
    for other in others:  # they go one after the other, when the first has gone
        stays = other.lease_end > 0 or other.unknown_until > now or other.phase == SENT or _removes(other)
        _leave_behind(room, registration, other, stays=stays)
        if stays:
            tail.predecessor = other.id
            tail = other
    return new


def _leave_behind(room: Registrations, registration: Registration, flow: Flow, *, stays: bool) -> None:
    """Make a ghost of a flow that has or may have a binding, and forget one that has none."""
    if stays:
        room.ghosts[flow.id] = _ghost_of(registration, flow)
        flow.again = False
        if flow.phase != SENT and not _removes(flow):
            machine.leave(room, flow)
        machine.rearm(room, room.ghosts[flow.id], flow)
    else:
        machine.leave(room, flow)
        del room.flows[flow.id]


def _ghost_of(registration: Registration, flow: Flow) -> Registration:
    ghost = msgspec.structs.replace(registration, flows=(flow,), wanted=False, kept=False, counted=None)
    ghost.ghost = True
    ghost.lacking = ()
    return ghost


def lay(room: Registrations, flow: Flow, now: float) -> None:
    """The new binding stands, or cannot stand beside the old one, or is not wanted: the old one goes."""
    ghost = room.ghosts.get(flow.predecessor)
    if ghost is None:
        flow.predecessor = 0
    elif ghost.first.phase == IDLE:
        machine.finish_unwanted(room, ghost, ghost.first, now)


def replaced(room: Registrations, registration: Registration, flow: Flow) -> bool:
    """Whether a ghost's binding is its successor's by now: the same contact at the same address-of-record."""
    successor = room.by_profile.get(registration.profile) if registration.ghost else None
    if successor is None:
        return False
    plan, before = successor.plan, registration.plan
    if (plan.aor, plan.domain) != (before.aor, before.domain):
        return False
    if flow.outbound:  # RFC 5626 §6: its contact does not matter
        return plan.instance_id == before.instance_id and any(
            heir.outbound and heir.number == flow.number for heir in successor.flows
        )
    for heir in successor.flows:
        if heir.contact == flow.contact:
            if heir.lease_end == 0:  # its own REGISTER has not been granted yet
                heir.unknown_until = max(heir.unknown_until, flow.lease_end, flow.unknown_until)
            return True
    return False


def exorcised(room: Registrations, ghost: Registration, flow: Flow, now: float) -> None:
    """A ghost's binding is gone, or as gone as it will be; who waited for that goes on."""
    machine.forget_lease(room, flow)
    room.ghosts.pop(flow.id, None)
    room.flows.pop(flow.id, None)
    if flow.predecessor:
        lay(room, flow, now)
    successor = room.by_profile.get(ghost.profile)
    if successor is None:
        return
    if flow.number > 1:
        outbound.gone(room, successor, ghost, flow, now)
    for heir in successor.flows:
        if heir.predecessor == flow.id:
            heir.predecessor = 0
            if heir.phase == WAITING and successor.should_register and not heir.breaker_open:
                attempt.begin(room, successor, heir, now, RETRY)
        if heir.phase == IDLE and not successor.should_register and heir.unknown_until > now:
            machine.finish_unwanted(room, successor, heir, now)  # it took over a binding that nobody wants


def succeeded(room: Registrations, ghost: Registration, now: float) -> None:
    """A ghost's binding was removed; where both registrars were one, our new binding may have gone with it.

    A registrar under two names has one binding for one contact, and Kamailio finds what to remove by its instance id.
    """
    successor = room.by_profile.get(ghost.profile)
    if successor is None or successor.plan.aor != ghost.plan.aor or not successor.should_register:
        return
    for heir in successor.flows:
        if heir.phase == SENT:
            heir.again = True
        elif heir.phase == IDLE and heir.lease_end > 0:
            attempt.begin(room, successor, heir, now, AWAITED)


def dropped(room: Registrations, flow: Flow, now: float) -> None:
    """Forget the ghosts behind ``flow`` without SIP."""
    ghost = room.ghosts.get(flow.predecessor)
    flow.predecessor = 0
    if ghost is not None:
        old = ghost.first
        dropped(room, old, now)
        end_transaction(room, old)
        machine.leave(room, old)
        exorcised(room, ghost, old, now)


def haunt(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The profile was removed: only its binding, if any, is left to be removed."""
    ghost = room.ghosts[flow.id] = _ghost_of(registration, flow)
    if flow.phase != SENT and not _removes(flow):
        machine.finish_unwanted(room, ghost, flow, now)


def _removes(flow: Flow) -> bool:
    return flow.purpose == DEREGISTER and flow.phase != IDLE
