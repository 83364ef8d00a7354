"""An attempt failed: the next target, or the back-off; there is always a next try (RFC 3263 §4.3, RFC 5626 §4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Reason
from . import attempt, ghosts, health, machine
from .actions import TransportKey
from .backoff import backoff
from .pacing import AWAITED
from .registration import IDLE, REGISTER, WAITING, Flow, Registration
from .state import store, tell

if TYPE_CHECKING:
    from .registrations import Registrations

SHORTEST_RETRY = 5.0  # seconds between tries while a live lease runs out, and whatever Retry-After says


def next_target(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    reason: Reason,
    *,
    after: float | None = None,
) -> None:
    """The target failed; another one is tried before backing off."""
    assert flow.key is not None
    if not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
        return
    flow.tried = (*flow.tried, flow.key)
    targets = attempt.targets_for(room, registration, flow)
    for target in targets:
        if target.key not in flow.tried and (flow.forced or not room.health_of(target.key).down):
            attempt.go(room, registration, flow, target, now)
            return
    health.wait_for(room, flow, [target.key for target in targets])  # those passed over too
    give_up(room, registration, flow, now, reason, after=after)


def park(room: Registrations, registration: Registration, flow: Flow, now: float, keys: list[TransportKey]) -> None:
    """Every target is known to be down: wait until one answers somebody, or for a turn to try it."""
    flow.failures += 1
    health.wait_for(room, flow, keys)
    next_try = now + _delay(room, registration, flow, now)
    wait(room, registration, flow, now, health.why_down(room, keys), next_try)
    if flow.predecessor:
        ghosts.lay(room, flow, now)


def give_up(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    reason: Reason,
    *,
    lost: bool = False,
    after: float | None = None,
    at_least: float = 0.0,
    unknown_until: float = 0.0,
) -> None:
    """This attempt failed. There is always a next try: after ``after`` seconds if given, else after the back-off.

    ``lost``: the answer proves that we are not registered, or that it cannot be known whether we are until
    ``unknown_until``. Only an open breaker may wait for an operator.
    """
    if lost:
        machine.forget_lease(room, flow)
        flow.unknown_until = unknown_until
    if not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
        return
    flow.failures += 1
    health.wait_for(room, flow, flow.tried)
    if flow.breaker_open:
        next_try = next_probe(room, flow, now)
    else:
        next_try = now + (after or max(at_least, _delay(room, registration, flow, now)))
    wait(room, registration, flow, now, reason, next_try)
    if lost:
        store(room, registration, flow)
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if flow.again and flow.phase == WAITING:
        attempt.begin(room, registration, flow, now, AWAITED)


def _delay(room: Registrations, registration: Registration, flow: Flow, now: float) -> float:
    settings = room.settings
    base = settings.backoff_base_alive if registration.another_lives(flow) else settings.backoff_base
    delay = backoff(flow.failures, base, settings.backoff_maximum, room.random.random())
    if flow.lease_end > now:
        # A lease that runs out deserves tries before it does.
        delay = min(delay, max(SHORTEST_RETRY, (flow.lease_end - now) / 2))
    return delay


def wait(
    room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason, next_try: float
) -> None:
    flow.phase = WAITING
    flow.purpose = REGISTER
    flow.forced = False
    flow.ends_at = 0.0
    flow.next_try = next_try
    health.release(room, flow)
    flow.reason = reason
    if registration.another_lives(flow):
        tell(room, registration, now, reason, flow=flow, event="error")
    elif flow.lease_end > 0:
        registration.last_error = reason
        tell(room, registration, now, event="error")
    else:
        registration.last_error = None
        was_up = registration.status in ("registered", "unregistering")
        tell(room, registration, now, reason, event="deregistered" if was_up else "error")
    machine.rearm(room, registration, flow)


def next_probe(room: Registrations, flow: Flow, now: float) -> float:
    """When refused credentials are tried again, 0 = never."""
    interval = room.settings.probe_interval
    if not interval:
        flow.probe_at = 0.0
    elif flow.probe_at <= now:
        flow.probe_at = now + interval * (1.0 + 0.1 * room.random.random())
    return flow.probe_at
