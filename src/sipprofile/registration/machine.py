"""What one registration does with each input: enable, disable, targets, time (RFC 3261 §10.2, RFC 5626 §4.5).

The functions take the room in which all registrations live, the registration, its flow and the time. The life of an
attempt is: :func:`begin` → a target is resolved and opened → a token is drawn → :func:`transmit` → an answer
(:mod:`~sipprofile.registration.outcomes`), a time-out or a lost transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Plan
from ..events import Reason
from . import outcomes, restart
from .actions import TransportKey
from .changes import Consequence, credentials_changed
from .pacing import AWAITED, REFRESH, RETRY
from .refresh import latest_delay
from .registration import (
    DEREGISTER,
    IDLE,
    OPENING,
    QUEUED,
    REGISTER,
    REMOVE_OLD,
    RESERVING,
    RESOLVING,
    RESUME,
    SENT,
    WAITING,
    Flow,
    Registration,
)
from .state import status_of, store, tell
from .targets import Target, targets_of
from .transmit import RESERVE_LIMIT, end_transaction, transmit

if TYPE_CHECKING:
    from .registrations import Registrations

GHOST_CSEQS = 32
"""CSeq numbers left to the old binding when a new one takes over the Call-ID."""
SHORT_LIFE = 30.0  # a connection that lived shorter than this counts as a failure when it closes


# -- what applications and operators want ------------------------------------------------------------------------------


def wanted(room: Registrations, registration: Registration, flow: Flow, now: float, kind: int) -> None:
    """A binding is wanted."""
    if room.stopping or not registration.should_register:
        return
    if flow.phase == IDLE:
        if flow.lease_end == 0:
            begin(room, registration, flow, now, kind)
        else:
            rearm(room, registration, flow)
    elif flow.phase == QUEUED and kind < flow.queue_class:
        flow.queue_class = kind
        registrar = registration.plan.registrar
        room.queue(room.pacer(registrar, now), registrar, flow, kind, now, now)


def unwanted(room: Registrations, registration: Registration, flow: Flow, now: float, reason: str) -> None:
    """No binding is wanted any more. What is on the wire is waited for: its outcome decides."""
    if flow.phase == SENT or (flow.purpose == DEREGISTER and flow.phase != IDLE):
        return
    finish_unwanted(room, registration, flow, now, reason)


def finish_unwanted(room: Registrations, registration: Registration, flow: Flow, now: float, reason: str = "") -> None:
    """Nothing is on the wire and nothing is wanted: remove a binding that exists or may exist, else be idle."""
    if flow.lease_end > 0 or flow.unknown_until > now:
        deregister(room, registration, flow, now)
        return
    was_idle = flow.phase == IDLE and registration.status == "unregistered"
    leave(room, flow)
    if registration.ghost:
        exorcised(room, registration, flow, now)
    elif not was_idle:
        tell(room, registration, now, Reason.of(reason or reason_down(room, registration)))


def reason_down(room: Registrations, registration: Registration) -> str:
    """The reason code for being unregistered on purpose."""
    if registration.held:
        return registration.held
    return "stopped" if room.stopping else "disabled"


def held(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """An operator's word has changed."""
    if registration.held == "forcibly_disabled":
        end_transaction(room, flow)
        leave(room, flow)
        forget_lease(room, flow)
        flow.unknown_until = 0.0
        flow.purpose = REGISTER
        tell(room, registration, now, Reason.of("forcibly_disabled"), event="forcibly_disabled")
        store(room, registration, flow)
    elif registration.held:
        if registration.status == "unregistered":
            leave_and_tell(room, registration, flow, now, registration.held)
        else:
            unwanted(room, registration, flow, now, registration.held)
    elif registration.should_register:
        wanted(room, registration, flow, now, AWAITED)
    else:
        leave_and_tell(room, registration, flow, now, "disabled")


def leave_and_tell(room: Registrations, registration: Registration, flow: Flow, now: float, reason: str) -> None:
    """Stop waiting; the status was and is unregistered, only its reason changes."""
    if flow.phase != SENT:
        leave(room, flow)
    tell(room, registration, now, Reason.of(reason))


def retry_now(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Somebody wants it tried now, whatever is being waited for."""
    flow.rejected = 0
    flow.failures = 0
    if not registration.should_register or flow.phase not in (IDLE, WAITING):
        return
    flow.canary = True
    begin(room, registration, flow, now, AWAITED)


def updated(
    room: Registrations, registration: Registration, flow: Flow, plan: Plan, change: Consequence, now: float
) -> None:
    """The settings have changed: put on the wire what must be, and nothing else."""
    before = registration.plan
    if change == "none":
        return
    if credentials_changed(before, plan):
        flow.nonces = ()
        if flow.rejected:
            flow.rejected = 0
            store(room, registration, flow)
            if change == "credentials" and flow.phase == WAITING:
                change = "refresh"
    if change == "rebind":
        flow = _rebound(room, registration, flow, plan, now)
    elif change == "replace" and flow.lease_end > 0:
        flow.old_contact = flow.contact
    registration.plan = plan
    flow.middle = b""
    if change == "credentials":
        return
    if change in ("replace", "rebind"):
        flow.tried = ()
        flow.minimum_expires = 0
    if not registration.should_register:
        return
    if flow.phase == SENT:
        flow.again = True
    elif flow.purpose != DEREGISTER or flow.phase == IDLE:
        flow.failures = 0
        begin(room, registration, flow, now, AWAITED)


def _rebound(room: Registrations, registration: Registration, flow: Flow, plan: Plan, now: float) -> Flow:
    """Another AOR or registrar: a fresh flow for it; the old one stays behind as a ghost until the new one stands."""
    has_old = flow.lease_end > 0 or flow.unknown_until > now or flow.phase == SENT
    new = Flow(
        id=room.new_identity(),
        profile=flow.profile,
        number=flow.number,
        call_id=flow.call_id,
        contact_token=flow.contact_token,
        cseq=flow.cseq + GHOST_CSEQS,
        cseq_reserved=flow.cseq_reserved,
        cseq_asked=flow.cseq_asked,
    )
    room.flows[new.id] = new
    if has_old:
        ghost = msgspec.structs.replace(registration, flows=(flow,), ghost=True, wanted=False, kept=False, counted=None)
        flow.cseq_reserved = min(flow.cseq_reserved, flow.cseq + GHOST_CSEQS)
        flow.again = False
        room.ghosts[flow.id] = ghost
        new.predecessor = flow.id
        if flow.phase not in (SENT, IDLE):
            leave(room, flow)
        if not registration.should_register:
            lay_ghost(room, new, now)
    else:
        leave(room, flow)
        del room.flows[flow.id]
    registration.flows = (new,)
    return new


def lay_ghost(room: Registrations, flow: Flow, now: float) -> None:
    """The new binding stands, or cannot stand beside the old one: the old one goes."""
    ghost = room.ghosts.get(flow.predecessor)
    if ghost is None:
        flow.predecessor = 0
    elif ghost.flows[0].phase == IDLE:
        finish_unwanted(room, ghost, ghost.flows[0], now)


def exorcised(room: Registrations, ghost: Registration, flow: Flow, now: float) -> None:
    """A ghost's binding is gone, or as gone as it will be; who waited for that goes on."""
    forget_lease(room, flow)
    room.ghosts.pop(flow.id, None)
    room.flows.pop(flow.id, None)
    successor = room.by_profile.get(ghost.profile)
    if successor is None:
        return
    for heir in successor.flows:
        if heir.predecessor == flow.id:
            heir.predecessor = 0
            if heir.phase == WAITING and successor.should_register:
                begin(room, successor, heir, now, RETRY)


def haunt(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The profile was removed: only its binding, if any, is left to be removed."""
    registration.ghost = True
    registration.wanted = False
    registration.kept = False
    room.ghosts[flow.id] = registration
    if flow.phase != SENT and not (flow.purpose == DEREGISTER and flow.phase != IDLE):
        finish_unwanted(room, registration, flow, now)


# -- an attempt --------------------------------------------------------------------------------------------------------


def begin(room: Registrations, registration: Registration, flow: Flow, now: float, kind: int) -> None:
    """Start an attempt at the first target."""
    if room.stopping:
        return
    flow.purpose = REGISTER
    flow.tried = ()
    flow.redirect = None
    flow.redirect_uri = ""
    flow.queue_class = kind
    flow.again = False
    pursue(room, registration, flow, now)
    show(room, registration, now)


def show(room: Registrations, registration: Registration, now: float) -> None:
    """Tell the status if it has changed."""
    if status_of(registration) != registration.status:
        tell(room, registration, now)


def pursue(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Find the next target and go there; names that are not known yet are resolved first."""
    hops = registration.plan.hops if flow.redirect is None else (flow.redirect,)
    unknown = [hop.host for hop in hops if now >= room.host(hop.host).expires_at]
    if unknown:
        enter(room, flow, RESOLVING, now + room.settings.resolve_limit)
        for name in unknown:
            room.resolve(name, room.host(name), flow, now)
        return
    targets = targets_of(hops, room.hosts, registration.plan.dscp)
    if not targets:
        failures = [room.host(hop.host).failure for hop in hops]
        code = next((failure for failure in failures if failure), "resolve_not_found")
        wait = min(room.host(hop.host).expires_at for hop in hops) - now
        outcomes.give_up(room, registration, flow, now, Reason.of(code), at_least=wait)
        return
    target = _choose(room, flow, targets, now)
    if target is not None:
        go(room, registration, flow, target, now)
    elif all(target.key in flow.tried for target in targets):
        reason = registration.last_error or registration.reason
        outcomes.give_up(room, registration, flow, now, reason)
    else:
        outcomes.park(room, registration, flow, now, [target.key for target in targets])


def _choose(room: Registrations, flow: Flow, targets: list[Target], now: float) -> Target | None:
    """The first target that was not tried and is not down; a refresh stays where its binding is."""
    left = [target for target in targets if target.key not in flow.tried]
    if flow.bound is not None and len(left) > 1:
        left.sort(key=lambda target: target.key != flow.bound)
    for target in left:
        if not room.health_of(target.key).down:
            return target
    for target in left:
        health = room.health_of(target.key)
        if flow.canary or (now >= health.canary_at and not health.canary):
            health.canary = flow.id
            return target
    return None


def canary(room: Registrations, registration: Registration, flow: Flow, key: TransportKey, now: float) -> None:
    """Try a target that is down, on behalf of everybody who waits for it."""
    if flow.phase != WAITING or not registration.should_register:
        room.health_of(key).canary = 0
        return
    flow.canary = True
    begin(room, registration, flow, now, RETRY)


def target_back(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A target that was down has answered somebody."""
    if flow.phase == WAITING and registration.should_register and flow.rejected < 2:
        begin(room, registration, flow, now, REFRESH if flow.lease_end > 0 else RETRY)


def go(room: Registrations, registration: Registration, flow: Flow, target: Target, now: float) -> None:
    """Use ``target``: open the way to it, then draw a token."""
    flow.key = target.key
    flow.hop = target.hop if flow.redirect is None else 0
    flow.attempt += 1
    flow.rounds = 0
    _open(room, registration, flow, now)


def _open(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    assert flow.key is not None
    transport = room.transport(flow.key)
    if transport.local is None:
        transport.waiting.add(flow.id)
        enter(room, flow, OPENING, now + room.settings.open_limit + 1.0)
    else:
        pace(room, registration, flow, now)


def resolved(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A name that this flow waited for is resolved, or is known not to be."""
    if flow.phase == RESOLVING and not any(
        room.host(hop.host).asked_at for hop in (registration.plan.hops if flow.redirect is None else (flow.redirect,))
    ):
        pursue(room, registration, flow, now)


def opened(room: Registrations, registration: Registration, flow: Flow, key: TransportKey, now: float) -> None:
    """The transport is usable."""
    if flow.phase != OPENING or flow.key != key:
        return
    if flow.purpose == RESUME:
        restart.opened(room, registration, flow, now)
    else:
        pace(room, registration, flow, now)


def pace(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Draw a token, or wait for one. A refresh waits no longer than its margin."""
    registrar = registration.plan.registrar
    pacer = room.pacer(registrar, now)
    if flow.purpose != REGISTER:
        pacer.debit(now)
        transmit(room, registration, flow, now)
    elif pacer.try_draw(now):
        transmit(room, registration, flow, now)
    elif flow.lease_end > 0:
        latest = flow.lease_end - flow.granted + latest_delay(flow.granted)
        flow.queue_class = REFRESH
        enter(room, flow, QUEUED, max(latest, now + 0.05))
        room.queue(pacer, registrar, flow, REFRESH, flow.lease_end, now)
    else:
        enter(room, flow, QUEUED, 0.0)
        room.queue(pacer, registrar, flow, flow.queue_class, now, now)


def drawn(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A token was drawn; the target may have gone down or changed while we waited."""
    assert flow.key is not None
    health = room.health.get(flow.key)
    transport = room.transports.get(flow.key)
    if (health is not None and health.down and health.canary != flow.id) or transport is None or not transport.local:
        pursue(room, registration, flow, now)
    else:
        transmit(room, registration, flow, now)


def reserved(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """More CSeq numbers are on disk."""
    if flow.phase == RESERVING:
        transmit(room, registration, flow, now)


def deregister(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Remove our binding (RFC 3261 §10.2.2), from where it was made; this never waits for pacing."""
    key = flow.bound or flow.key
    leave(room, flow)
    if key is None:
        outcomes.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
        return
    flow.purpose = DEREGISTER
    flow.key = key
    flow.attempt += 1
    flow.rounds = 0
    _open(room, registration, flow, now)
    show(room, registration, now)


# -- time and transports -----------------------------------------------------------------------------------------------


def enter(room: Registrations, flow: Flow, phase: int, deadline: float) -> None:
    """Be in ``phase`` until ``deadline`` at the latest; 0 = until somebody else's deadline."""
    flow.phase = phase
    flow.ends_at = deadline
    if deadline:
        room.arm(flow, deadline)


def leave(room: Registrations, flow: Flow) -> None:
    """Be idle; whoever still has this flow in a waiting list will find that it does not wait."""
    flow.phase = IDLE
    flow.ends_at = 0.0
    flow.next_try = 0.0
    flow.canary = False
    if flow.key is not None:
        transport = room.transports.get(flow.key)
        if transport is not None:
            transport.waiting.discard(flow.id)


def rearm(room: Registrations, registration: Registration, flow: Flow) -> None:
    """Wake up for whatever comes first."""
    soonest = flow.ends_at
    if flow.phase == SENT and flow.retransmit_at and flow.retransmit_at < soonest:
        soonest = flow.retransmit_at
    elif flow.phase == WAITING and flow.next_try:
        soonest = flow.next_try
    if flow.lease_end > 0:
        if flow.phase == IDLE and registration.should_register:
            soonest = flow.refresh_at
        if not soonest or flow.lease_end < soonest:
            soonest = flow.lease_end
    if soonest:
        room.arm(flow, soonest)


def due(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Time has passed: something of this flow may be due."""
    if flow.lease_end > 0 and now >= flow.lease_end:
        _lease_ended(room, registration, flow, now)
    phase = flow.phase
    if phase == SENT:
        if now >= flow.ends_at:
            outcomes.timed_out(room, registration, flow, now)
        elif flow.retransmit_at and now >= flow.retransmit_at:
            assert flow.key is not None
            room.send(flow.key, flow.outstanding)
            room.register_retransmitted += 1
            flow.interval = min(flow.interval * 2, room.settings.t2)
            flow.retransmit_at = now + flow.interval
    elif phase == WAITING:
        if flow.next_try and now >= flow.next_try:
            begin(room, registration, flow, now, REFRESH if flow.lease_end > 0 else RETRY)
    elif phase == IDLE:
        if flow.lease_end > 0 and now >= flow.refresh_at and registration.should_register:
            begin(room, registration, flow, now, REFRESH)
    elif flow.ends_at and now >= flow.ends_at:
        _deadline(room, registration, flow, now)
    if flow.id in room.flows:
        rearm(room, registration, flow)


def _deadline(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    if flow.phase == QUEUED:
        pacer = room.pacer(registration.plan.registrar, now)
        pacer.overdrawn += 1
        pacer.debit(now)
        drawn(room, registration, flow, now)
    elif flow.phase == RESERVING:
        store(room, registration, flow)
        flow.ends_at = now + RESERVE_LIMIT
    elif flow.phase == RESOLVING:
        outcomes.give_up(room, registration, flow, now, Reason.of("resolve_timeout"))
    elif flow.phase == OPENING and flow.key is not None:
        transport_lost(room, registration, flow, flow.key, "transport_timeout", now)


def _lease_ended(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The clock ends a lease, never hope."""
    forget_lease(room, flow)
    if flow.phase == IDLE:
        if registration.should_register:
            tell(room, registration, now, Reason.of("lease_expired"))
            store(room, registration, flow)
            begin(room, registration, flow, now, RETRY)
            return
    if flow.purpose != DEREGISTER:
        tell(room, registration, now, registration.last_error or Reason.of("lease_expired"))
        store(room, registration, flow)


def forget_lease(room: Registrations, flow: Flow) -> None:
    """We have no binding."""
    flow.lease_end = 0.0
    flow.granted = 0
    flow.refresh_at = 0.0
    room.unbind(flow)


def transport_lost(
    room: Registrations, registration: Registration, flow: Flow, key: TransportKey, code: str, now: float
) -> None:
    """A transport that this flow waits for, has a request on or is bound to has failed."""
    reason = Reason.of(code)
    lived = now - flow.sent_at
    if flow.bound == key and key.protocol != "udp" and flow.lease_end > 0:
        # The registrar still has the binding but can no longer reach us: we are not registered any more.
        flow.unknown_until = flow.lease_end
        forget_lease(room, flow)
        if flow.phase == IDLE:
            store(room, registration, flow)
            if not registration.should_register:
                tell(room, registration, now, reason)
            elif lived < SHORT_LIFE:
                outcomes.give_up(room, registration, flow, now, reason)
            else:
                tell(room, registration, now, reason)
                begin(room, registration, flow, now, RETRY)
            return
    if flow.key != key or flow.phase not in (OPENING, SENT):
        return
    was_sent = flow.phase == SENT
    end_transaction(room, flow)
    if flow.purpose == DEREGISTER:
        outcomes.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD:
        outcomes.old_removed(room, registration, flow, now)
    else:
        if was_sent and key.protocol != "udp":
            flow.unknown_until = max(flow.unknown_until, flow.sent_at + registration.plan.expires)
        flow.purpose = REGISTER
        room.target_failed(key, flow, flow.sent_at if was_sent else now, now)
        outcomes.next_target(room, registration, flow, now, reason)
