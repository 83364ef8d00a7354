"""The registrar ended or shortened our binding of its own accord: the right step at once (RFC 3680 §5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Reason
from . import attempt, failures, machine
from .losses import Losses
from .pacing import REFRESH, RETRY
from .registration import DEREGISTER, IDLE, SENT, WAITING, Flow, Registration
from .state import store, tell
from .transport import unbind

if TYPE_CHECKING:
    from .registrations import Registrations

SHORTEST_LEASE = 10  # seconds; as with the setting expires
SHORTENED_BY = 2  # seconds; less is the time that the news took


def ended(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    reason: Reason,
    *,
    at_once: bool,
    after: float | None = None,
    step: int = 0,
) -> None:
    """Our binding is gone: leave ``registered``; register again at once, after ``after`` s or by the back-off.

    ``step``: that of the back-off when this happens again and again; then nothing is done at once.
    """
    if flow.lease_end == 0 or (flow.purpose == DEREGISTER and flow.phase != IDLE):
        return
    if flow.phase not in (IDLE, WAITING):  # a request is on its way: its answer may be older than this news
        flow.again = flow.again or (flow.phase == SENT and not step)
        machine.forget_lease(room, flow)
        tell(room, registration, now, reason, flow=flow)
        store(room, registration, flow)
        machine.rearm(room, registration, flow)
    elif step or not at_once:
        flow.failures = max(flow.failures, step - 1)
        after = max(after, failures.SHORTEST_RETRY) if after is not None else None
        at_least, after = (after or 0.0, None) if step else (0.0, after)
        failures.give_up(room, registration, flow, now, reason, lost=True, after=after, at_least=at_least)
    else:
        flow.lease_end = 0.0
        flow.granted = 0
        flow.refresh_at = 0.0
        flow.phase = IDLE
        tell(room, registration, now, reason, flow=flow)
        store(room, registration, flow)
        if registration.should_register:
            attempt.begin(room, registration, flow, now, RETRY)
        unbind(room, flow)  # last: the next REGISTER may go over the same connection
        if flow.phase != IDLE:
            machine.rearm(room, registration, flow)


def shortened(
    room: Registrations, registration: Registration, flow: Flow, now: float, seconds: int | None, losses: Losses
) -> None:
    """The registrar cut the lease: renew it before its new end, at once when that is not told.

    To next to nothing, again and again, it is as good as an end.
    """
    if flow.lease_end == 0 or flow.phase not in (IDLE, WAITING) or not registration.should_register:
        return
    hurried = seconds is None or seconds < SHORTEST_LEASE
    if hurried and losses.add(now, room.settings):
        reason = Reason("deregistered_by_network", None, "The registrar shortens our registration again and again.")
        ended(room, registration, flow, now, reason, at_once=False, step=losses.step)
    elif seconds is None or seconds < 1:
        attempt.begin(room, registration, flow, now, REFRESH)
    elif now + seconds < flow.lease_end - SHORTENED_BY:
        flow.lease_end = now + seconds
        flow.granted = seconds
        flow.refresh_at = room.refresh_times.next(now, seconds, room.random.random())
        if flow.phase == WAITING:
            flow.next_try = min(flow.next_try, flow.refresh_at) if flow.next_try else flow.next_try
        tell(room, registration, now)
        store(room, registration, flow)
    machine.rearm(room, registration, flow)


def doubted(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Something says that our binding may be gone: one refresh finds out."""
    if flow.lease_end > 0 and flow.phase == IDLE and registration.should_register:
        attempt.begin(room, registration, flow, now, REFRESH)
        machine.rearm(room, registration, flow)
