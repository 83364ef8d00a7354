"""What one registration does with each input: enable, disable, new settings, time, a lost transport (RFC 3261 §10.2).

The functions take the room in which all registrations live, the registration, its flow and the time. How it registers
is in :mod:`~sipprofile.registration.attempt`, what an answer means in :mod:`~sipprofile.registration.outcomes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Plan
from ..events import Reason
from . import acceptance, attempt, bearer, detour, failures, ghosts, health, outbound, outcomes, queueing, regevent
from .actions import TransportKey
from .changes import Consequence, credentials_changed
from .pacing import AWAITED, REFRESH, RETRY
from .refresh import WIDEST_GRID
from .registration import (
    DEREGISTER,
    FETCHING,
    IDLE,
    OPENING,
    QUEUED,
    REGISTER,
    REMOVE_OLD,
    RESERVING,
    RESOLVING,
    SENT,
    WAITING,
    Flow,
    Registration,
)
from .state import store, tell
from .targets import hop_of
from .transmit import RESERVE_LIMIT, asked, end_transaction
from .transport import FLOW_FAILED, unbind

if TYPE_CHECKING:
    from .registrations import Registrations

SHORT_LIFE = 30.0  # a connection that lived shorter than this counts as a failure when it closes


# -- what applications and operators want ------------------------------------------------------------------------------


def wanted(room: Registrations, registration: Registration, flow: Flow, now: float, kind: int) -> None:
    """A binding is wanted."""
    if room.stopping or not registration.should_register:
        return
    if flow.phase == IDLE:
        if flow.lease_end == 0:
            attempt.begin(room, registration, flow, now, kind)
        else:
            rearm(room, registration, flow)
    elif kind < flow.queue_class:
        flow.queue_class = kind
        if flow.phase != QUEUED:
            return
        registrar = registration.plan.registrar
        queueing.enqueue(room, registrar, flow, kind, now, now)


def unwanted(room: Registrations, registration: Registration, flow: Flow, now: float, reason: str) -> None:
    """No binding is wanted any more. What is on the wire is waited for: its outcome decides."""
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if flow.phase == SENT or (flow.purpose == DEREGISTER and flow.phase != IDLE):
        return
    finish_unwanted(room, registration, flow, now, reason)


def finish_unwanted(room: Registrations, registration: Registration, flow: Flow, now: float, reason: str = "") -> None:
    """Nothing is on the wire and nothing is wanted: remove a binding that exists or may exist, else be idle."""
    if (flow.lease_end > 0 or flow.unknown_until > now) and not ghosts.replaced(room, registration, flow):
        deregister(room, registration, flow, now)
        return
    was_idle = flow.phase == IDLE and registration.status == "unregistered"
    leave(room, flow)
    flow.unknown_until = 0.0
    if registration.ghost:
        ghosts.exorcised(room, registration, flow, now)
        return
    if flow.number > 1:
        outbound.drop(room, registration, flow)
        attempt.show(room, registration, now)
        return
    if not was_idle:
        tell(room, registration, now, Reason.of(reason or reason_down(room, registration)))


def reason_down(room: Registrations, registration: Registration) -> str:
    """The reason code for being unregistered on purpose."""
    if registration.held:
        return registration.held
    return "stopped" if room.stopping else "disabled"


def held(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """An operator's word has changed."""
    down = flow.phase == IDLE and registration.status == "unregistered"
    if registration.held == "forcibly_disabled":
        end_transaction(room, flow)
        leave(room, flow)
        forget_lease(room, flow)
        flow.unknown_until = 0.0
        ghosts.dropped(room, flow, now)
        flow.purpose = REGISTER
        if flow.number > 1:
            outbound.drop(room, registration, flow)
            return
        tell(room, registration, now, Reason.of("forcibly_disabled"), event="forcibly_disabled")
        store(room, registration, flow)
    elif registration.should_register:
        wanted(room, registration, flow, now, AWAITED)
    else:
        unwanted(room, registration, flow, now, registration.held or "disabled")
        if down and flow.phase == IDLE:  # it was and is unregistered, only the reason changes
            tell(room, registration, now, Reason.of(reason_down(room, registration)))


def retry_now(room: Registrations, registration: Registration, flow: Flow, now: float, *, operator: bool) -> None:
    """Somebody wants it tried now. Only an operator's word goes past the breaker: refused credentials stay refused."""
    if flow.breaker_open and not operator:
        return
    flow.rejected = 0
    flow.failures = 0
    if not registration.should_register or flow.phase not in (IDLE, WAITING):
        return
    flow.forced = True
    attempt.begin(room, registration, flow, now, AWAITED)


def updated(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    before: Plan,
    plan: Plan,
    change: Consequence,
    now: float,
) -> None:
    """The settings have changed: put on the wire what must be, and nothing else."""
    registration.plan = plan
    if credentials_changed(before, plan) and change != "rebind":
        flow.realms = frozenset(nonce.terms.realm for nonce in flow.nonces) or flow.realms
        flow.nonces = ()
        flow.bearer = None
        if flow.rejected and change == "credentials" and flow.phase == WAITING:
            change = "refresh"
    if flow.rejected and (credentials_changed(before, plan) or change == "replace"):
        flow.rejected = 0
        store(room, registration, flow)
    if change == "credentials":
        return
    if change == "rebind":
        registration.plan = before  # which the ghost keeps
        flow = ghosts.rebound(room, registration, flow, now)
        registration.plan = plan
    elif change == "replace" and flow.lease_end > 0:
        flow.old_contact = flow.contact
    flow.middle = b""
    if flow.hop >= len(plan.hops):
        flow.hop = 0
    if change == "replace":
        flow.tried = ()
        flow.minimum_expires = 0
        flow.without = ()
    if not registration.should_register:
        if flow.predecessor:
            ghosts.lay(room, flow, now)
    elif flow.phase == SENT:
        flow.again = True
    elif flow.purpose != DEREGISTER or flow.phase == IDLE:
        flow.failures = 0
        attempt.begin(room, registration, flow, now, AWAITED)
    attempt.show(room, registration, now)


def deregister(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Remove our binding (RFC 3261 §10.2.2), from where it was made; this never waits for pacing."""
    key = flow.bound or flow.key
    regevent.end(room, registration, flow, now)
    leave(room, flow)
    if key is None:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
        return
    flow.purpose = DEREGISTER
    flow.tried = ()
    flow.leaving = False
    if key != flow.key:
        flow.redirect = None  # of an attempt that led elsewhere
        flow.redirect_uri = ""
    pinned = flow.pinned >= 0
    attempt.use(room, flow, key, flow.hop if pinned else hop_of(room, registration.plan, key, flow.hop, now))
    flow.attempt += 1
    flow.rounds = 0
    attempt.open_way(room, registration, flow, now)
    attempt.show(room, registration, now)


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
    flow.forced = False
    health.release(room, flow)


def rearm(room: Registrations, registration: Registration, flow: Flow) -> None:
    """Wake up for whatever comes first."""
    soonest = flow.ends_at
    if flow.phase == SENT and flow.retransmit_at and flow.retransmit_at < soonest:
        soonest = flow.retransmit_at
    elif flow.phase == WAITING and not room.stopping:
        soonest = flow.next_try
    if flow.lease_end > 0:
        if flow.phase == IDLE and registration.should_register and not room.stopping:
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
            flow.retransmitted = True
            before, flow.interval = flow.interval, min(flow.interval * 2, room.settings.t2)
            flow.retransmit_at = now + flow.interval
            if before < flow.interval == room.settings.t2 and flow.lease_end > 0:
                # Refreshes begin together, but do not go on together: a registrar that is back is noticed the sooner
                # the less time is between any two requests.
                flow.retransmit_at += WIDEST_GRID * room.random.random()
    elif phase == WAITING:
        if flow.next_try and now >= flow.next_try:
            attempt.begin(room, registration, flow, now, REFRESH if flow.lease_end > 0 else RETRY)
    elif phase == IDLE:
        if flow.lease_end > 0 and now >= flow.refresh_at and registration.should_register:
            attempt.begin(room, registration, flow, now, REFRESH)
    elif flow.ends_at and now >= flow.ends_at:
        _deadline(room, registration, flow, now)
    if flow.id in room.flows:
        rearm(room, registration, flow)


def _deadline(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    if flow.phase == QUEUED:
        pacer = room.pacer(registration.plan.registrar, now)
        pacer.overdrawn += 1
        pacer.debit(now)
        attempt.drawn(room, registration, flow, now)
    elif flow.phase == RESERVING and flow.purpose == DEREGISTER and flow.cseq < flow.cseq_reserved:
        flow.leaving = True  # the store cannot write; the binding must go all the same
        attempt.reserved(room, registration, flow, now)
    elif flow.phase == RESERVING:
        store(room, registration, flow)
        flow.ends_at = now + RESERVE_LIMIT
    elif flow.phase == FETCHING:
        bearer.unavailable(room, registration, flow, now)
    elif flow.phase == RESOLVING:
        attempt.resolve_limit_reached(room, registration, flow, now)
    elif flow.phase == OPENING and flow.carrier is not None:
        detour.not_opened(room, flow, now)
    elif flow.phase == OPENING and flow.key is not None:
        room.transport_timed_out(flow.key, now)


def _lease_ended(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The clock ends a lease, never hope."""
    forget_lease(room, flow)
    if flow.purpose == DEREGISTER and flow.phase != IDLE:
        return
    if registration.ghost and flow.phase == IDLE:
        ghosts.exorcised(room, registration, flow, now)
        return
    alone = len(registration.flows) == 1
    why = registration.last_error if alone else flow.reason if flow.reason.code != "none" else None
    tell(room, registration, now, why or Reason.of("lease_expired"), flow=flow)
    store(room, registration, flow)
    if flow.phase == IDLE and registration.should_register:
        attempt.begin(room, registration, flow, now, RETRY)


def forget_lease(room: Registrations, flow: Flow) -> None:
    """We have no binding."""
    flow.lease_end = 0.0
    flow.granted = 0
    flow.refresh_at = 0.0
    if flow.gruu[1]:
        flow.gruu = (flow.gruu[0], "")  # RFC 5627 §4.2: it goes with the binding
    unbind(room, flow)


def transport_lost(
    room: Registrations, registration: Registration, flow: Flow, key: TransportKey, code: str, now: float
) -> None:
    """A transport that this flow waits for, has a request on or is bound to has failed."""
    reason = Reason.of(code)
    lived = now - flow.sent_at
    failed = code in FLOW_FAILED
    if flow.bound == key and (failed or key.protocol != "udp") and flow.lease_end > 0:
        # The registrar still has the binding but can no longer reach us: we are not registered any more.
        flow.unknown_until = flow.lease_end
        forget_lease(room, flow)
        store(room, registration, flow)
        if flow.phase == IDLE:
            ended_early = lived < SHORT_LIFE and not failed and code != "address_lost"
            losses = room.health_of(key).losses
            step = losses.add(now, room.settings) if ended_early else losses.step if failed else 0
            if registration.should_register and (ended_early or step):
                flow.failures = max(flow.failures, step - 1)
                failures.give_up(room, registration, flow, now, reason)
                return
            tell(room, registration, now, reason, flow=flow)
            if registration.should_register:
                attempt.begin(room, registration, flow, now, RETRY)
            return
        if flow.purpose != DEREGISTER:
            tell(room, registration, now, reason, flow=flow)
    if flow.carrier == key:
        detour.lost(room, registration, flow, now)
        return
    if flow.key != key or flow.phase not in (OPENING, SENT):
        return
    was_sent = flow.phase == SENT
    by_connection = key.protocol != "udp" or flow.carrier is not None
    end_transaction(room, flow)
    if flow.purpose == DEREGISTER:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD and flow.lease_end > 0:
        acceptance.old_removed(room, registration, flow, now)
    else:
        flow.old_contact = "" if flow.purpose == REMOVE_OLD else flow.old_contact
        if was_sent and by_connection and code != "tls_certificate_wanted":  # what TLS 1.3 says after the fact
            flow.unknown_until = max(flow.unknown_until, flow.sent_at + asked(registration, flow))
        flow.purpose = REGISTER
        health.failed(room, key, flow, flow.sent_at if was_sent else now, now, reason)
        failures.next_target(room, registration, flow, now, reason)
