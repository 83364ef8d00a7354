"""Several flows for one registration: when they are made, which hop is whose, and when they go (RFC 5626 §4.2, §4.5).

Before a 2xx says ``Require: outbound`` the hops of a plan are for failover and there is one flow. Then each hop may
have its own flow, with reg-id, Call-ID, CSeq and back-off of its own. The first flow always stays; what belongs to the
registration as a whole (a refused password, failover) is settled with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Hop, Plan
from ..events import Reason
from ..records import FlowRecord
from ..sip.message import Response
from . import attempt, ghosts, machine
from .actions import TransportKey
from .changes import Consequence, without_credentials
from .options import outbound_required
from .pacing import RETRY
from .rare import USUAL_FLOW, FlowRarities
from .registration import BREAKER, IDLE, REFUSED_CREDENTIALS, SENT, WAITING, Flow, Registration, kept_call_id
from .request import reg_id
from .state import record, store, tell
from .targets import Target, targets_of
from .transmit import end_transaction

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_FLOWS = 4


def call_id_of(first: str, number: int) -> str:
    """The Call-ID of flow ``number``, always the same one.

    Kamailio takes a REGISTER that replaces a binding under another Call-ID for a device that has lost its memory, and
    removes all other bindings of the instance.
    """
    return f"{first}.{number}"


def remember(registration: Registration, number: int, cseq: int) -> None:
    """Where flow ``number``, which has gone, is to go on should it come again."""
    registration.cseqs = (*(known for known in registration.cseqs if known[0] != number), (number, cseq))


# -- which hop is whose ------------------------------------------------------------------------------------------------


def hops_of(registration: Registration, flow: Flow) -> tuple[Hop, ...]:
    """The hops that one of several flows may use: its own.

    While no flow lives, the first one also tries those that do not do outbound.
    """
    hops = registration.plan.hops
    if flow.pinned < 0:
        return hops
    others: tuple[int, ...] = ()
    if flow.number == 1 and not any(each.lease_end > 0 for each in registration.flows):
        others = registration.lacking
    return (hops[flow.pinned], *(hops[index] for index in others if index < len(hops)))


def index_of(registration: Registration, flow: Flow, chosen: int) -> int:
    """The index in the plan of the hop that is number ``chosen`` among :func:`hops_of`."""
    if flow.pinned < 0:
        return chosen
    return flow.pinned if chosen == 0 else registration.lacking[chosen - 1]


def own_targets(registration: Registration, flow: Flow, targets: list[Target]) -> list[Target]:
    """``targets`` without those of earlier flows: two flows never lead to the same address (RFC 5626 §4.2)."""
    if flow.number == 1:
        return targets
    taken = _taken(registration, flow.number)
    return [target for target in targets if _place(target.key) not in taken]


def _taken(registration: Registration, before: int) -> set[tuple[str, str, int]]:
    """The targets that flows with a number lower than ``before`` use."""
    keys = (
        flow.bound or flow.key
        for flow in registration.flows
        if flow.number < before and (flow.lease_end > 0 or flow.phase not in (IDLE, WAITING))
    )
    return {_place(key) for key in keys if key is not None}


def _place(key: TransportKey) -> tuple[str, str, int]:
    return key.protocol, key.host, key.port


# -- what follows from an answer ---------------------------------------------------------------------------------------


def learn(registration: Registration, flow: Flow, response: Response) -> None:
    """Take from a 2xx whether the binding is one of several that there may be."""
    by_flow = reg_id(registration.plan, flow) > 0 and outbound_required(response)
    if not by_flow and flow.rare is USUAL_FLOW:
        return
    flow.outbound = by_flow
    if len(registration.flows) == 1:
        flow.pinned = flow.hop if flow.outbound and len(registration.plan.hops) > 1 and flow.redirect is None else -1
    elif flow.outbound and flow.hop in registration.lacking and flow.redirect is None:
        # The first flow found it by failover, and it does outbound by now: the flow stays with it.
        registration.lacking = tuple(index for index in registration.lacking if index != flow.hop)
        flow.pinned = flow.hop


def arrange(room: Registrations, registration: Registration, flow: Flow, now: float) -> bool:
    """After a 2xx on ``flow``: as many flows as there may be. ``False``: it has gone itself."""
    before = registration.flows
    if flow.outbound:
        for other in before:
            if other.number > 1 and other.lease_end > 0 and not other.outbound:
                _exclude(registration, other)
                retire(room, registration, other, now)
        _part(room, registration, flow, now)
        add(room, registration, now)
    elif flow.number == 1:
        for other in before:
            if other.number > 1:
                retire(room, registration, other, now)
        flow.pinned = -1
        registration.lacking = ()
        store(room, registration, flow)
    elif any(other.outbound and other.lease_end > 0 for other in before if other is not flow):
        _exclude(registration, flow)
        retire(room, registration, flow, now)
    if any(other not in registration.flows for other in before):
        tell(room, registration, now, transition=False)
    return flow in registration.flows


def _part(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Two flows that have come to one address while both were on their way: the later one goes (RFC 5626 §4.2)."""
    assert flow.bound is not None
    place = _place(flow.bound)
    there = [each for each in registration.flows if each.bound is not None and _place(each.bound) == place]
    for other in there[1:]:
        retire(room, registration, other, now)


def add(room: Registrations, registration: Registration, now: float) -> None:
    """Begin a flow for each hop that has none, unless it leads where another one is already."""
    plan = registration.plan
    first = registration.first
    if len(plan.hops) < 2 or first.pinned < 0 or not first.outbound:
        return
    if room.stopping or not registration.should_register:
        return
    if any(ghost.profile == registration.profile for ghost in room.ghosts.values()):
        return  # a flow that is going may have the same reg-id; when it has gone it is asked again
    for index, hop in enumerate(plan.hops):
        if len(registration.flows) >= MAXIMUM_FLOWS:
            return
        if index in registration.lacking or any(flow.pinned == index for flow in registration.flows):
            continue
        number = min({*range(1, MAXIMUM_FLOWS + 1)} - {flow.number for flow in registration.flows})
        if room.locations.known(hop.server, now):
            targets = {_place(target.key) for target in targets_of(room, (hop,), plan.dscp)}
            if targets and targets <= _taken(registration, number):
                continue
        cseq = dict(registration.cseqs).get(number, 0)
        flow = Flow(
            id=room.new_identity(),
            profile=registration.profile,
            call=kept_call_id(call_id_of(first.call_id, number)),
            contact_token=first.contact_token,
            cseq=cseq,
            cseq_reserved=cseq,
            cseq_asked=cseq,
            rare=FlowRarities(number=number, hop=index, pinned=index),
        )
        room.flows[flow.id] = flow
        registration.flows = tuple(sorted((*registration.flows, flow), key=lambda each: each.number))
        attempt.begin(room, registration, flow, now, RETRY)


def failed(room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason) -> None:
    """The flow is known to be broken, by a 430 for example: nobody reaches us over it, whatever its lease says.

    The caller goes on to register again, with the same reg-id (RFC 5626 §4.5).
    """
    if flow.lease_end > 0:
        flow.unknown_until = flow.lease_end
        machine.forget_lease(room, flow)
        store(room, registration, flow)
        tell(room, registration, now, reason, flow=flow)


def rejected(room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason) -> None:
    """The password was refused on a further flow: that counts for the registration, and this flow tries no more.

    It does not open the breaker: a first flow that is let in must not lose its lease for what other hops refuse.
    """
    first = registration.first
    if reason.code in REFUSED_CREDENTIALS and first.rejected < BREAKER - 1:
        first.rejected += 1
        store(room, registration, first)
    machine.forget_lease(room, flow)
    flow.unknown_until = 0.0
    leave_hop(room, registration, flow, now, reason)


def leave_hop(room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason) -> None:
    """A further flow cannot be had over its hop: it goes, and the hop is left alone until settings change
    or an operator wants it tried."""
    end_transaction(room, flow)
    _exclude(registration, flow)
    alive = registration.another_lives(flow)
    redundant(room, registration, flow, now)
    if alive:
        registration.last_error = reason
        tell(room, registration, now, event="error")
        return
    tell(room, registration, now, reason, event=None if registration.status == "registered" else "error")
    first = registration.first
    if attempt.waits(registration, first):
        attempt.begin(room, registration, first, now, RETRY)


def _exclude(registration: Registration, flow: Flow) -> None:
    if flow.pinned >= 0 and flow.pinned not in registration.lacking:
        registration.lacking = (*registration.lacking, flow.pinned)


# -- flows that go -----------------------------------------------------------------------------------------------------


def redundant(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Nothing is left for this flow to do: its binding goes, and it with it."""
    flow.phase = IDLE
    retire(room, registration, flow, now)


def drop(room: Registrations, registration: Registration, flow: Flow) -> None:
    """Forget a further flow that has no binding."""
    end_transaction(room, flow)
    machine.leave(room, flow)
    machine.forget_lease(room, flow)
    registration.flows = tuple(other for other in registration.flows if other is not flow)
    room.flows.pop(flow.id, None)
    remember(registration, flow.number, flow.cseq)
    if flow.cseq_reserved:
        flow.pinned = -1
        room.save(record(room, registration, flow))


def retire(room: Registrations, registration: Registration, flow: Flow, now: float, before: Plan | None = None) -> None:
    """A further flow is no longer wanted: a binding that it has, or may have, is removed in the background.

    ``before``: the plan with which it was made, when that is no longer the registration's.
    """
    if flow.lease_end == 0 and flow.unknown_until <= now and flow.phase != SENT:
        drop(room, registration, flow)
        return
    registration.flows = tuple(other for other in registration.flows if other is not flow)
    row = record(room, registration, flow)
    room.save(_leaving(row))
    of = registration if before is None else msgspec.structs.replace(registration, plan=before)
    ghosts.haunt(room, of, flow, now)


def _leaving(row: FlowRecord) -> FlowRecord:
    """The row from which a restart goes on removing the binding."""
    return msgspec.structs.replace(row, leaving=row.lease_ends > 0)


def gone(room: Registrations, registration: Registration, ghost: Registration, flow: Flow, now: float) -> None:
    """The binding of a flow that was retired is removed: its row is of no use, its reg-id may be used again."""
    if all(other.number != flow.number for other in registration.flows):
        flow.pinned = -1
        room.save(record(room, ghost, flow))
    if flow.call_id == call_id_of(registration.first.call_id, flow.number):
        remember(registration, flow.number, flow.cseq)
    add(room, registration, now)


def removed(room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason) -> None:
    """The binding of a further flow was removed, or was given up; who is wanted again makes another one."""
    drop(room, registration, flow)
    if registration.reason.code == "binding_may_remain":
        reason = registration.reason
    tell(room, registration, now, None if registration.should_register else reason)
    add(room, registration, now)


# -- new settings ------------------------------------------------------------------------------------------------------


def updated(room: Registrations, registration: Registration, plan: Plan, change: Consequence, now: float) -> None:
    """The settings have changed from the registration's to ``plan``: tell each flow what that means for it."""
    before = registration.plan
    if change == "none":
        registration.plan = plan
        return
    if change == "replace" and not plan.outbound and any(flow.outbound for flow in registration.flows):
        change = "rebind"  # the registrar tells bindings with a reg-id from those without
    if change == "replace":
        _repin(room, registration, before, plan, now)
    registration.lacking = ()
    for flow in registration.flows:
        if flow.number == 1 or change != "rebind":  # then the others go with the first
            machine.updated(room, registration, flow, before, plan, change, now)


def _repin(room: Registrations, registration: Registration, before: Plan, plan: Plan, now: float) -> None:
    """Hops that are still there stay with their flows; a flow whose hop is gone takes a new one, or goes."""
    if len(registration.flows) == 1:
        registration.first.pinned = -1
        return
    old, new = without_credentials(before.hops), without_credentials(plan.hops)
    free = list(range(len(new)))
    homeless = []
    for flow in registration.flows:
        kept = next((index for index in free if flow.pinned < len(old) and new[index] == old[flow.pinned]), -1)
        if kept < 0:
            homeless.append(flow)
        else:
            free.remove(kept)
            flow.pinned = flow.hop = kept
    housed = [flow for flow in registration.flows if flow not in homeless]
    surplus = []
    for flow in homeless:
        if free:
            flow.pinned = flow.hop = free.pop(0)
        elif flow.number == 1:
            last = housed.pop()
            flow.pinned = flow.hop = last.pinned
            surplus.append(last)
        else:
            surplus.append(flow)
    if len(surplus) == len(registration.flows) - 1:
        registration.first.pinned = -1
    registration.plan = plan
    for flow in registration.flows:
        store(room, registration, flow)
    for flow in surplus:
        retire(room, registration, flow, now, before)
