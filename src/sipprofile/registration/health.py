"""Which addresses are down, and the canary that finds out when they are back (RFC 3263 §4.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..events import NO_REASON, Reason
from . import attempt, hurry, size, turns
from .actions import TransportKey
from .losses import Losses
from .registration import IDLE, WAITING, Flow
from .transport import close_unused

if TYPE_CHECKING:
    from .registrations import Registrations


FREE_LOSSES = 3
STABLE_FOR = 120.0  # seconds


class Health:
    """What is known about one address, over all profiles.

    A target is down after a failure, unless it answered somebody else since the failed attempt began: then the
    failure is that one profile's. While it is down a canary tries it, another profile each time. When nobody waits
    for it any more it is forgotten, and the next profile that wants it finds out.
    """

    __slots__ = (
        "answered_at",
        "canary",
        "canary_at",
        "down_since",
        "losses",
        "mute",
        "reason",
        "waiting",
        "without_tcp_until",
    )

    def __init__(self) -> None:
        self.answered_at = -1.0
        self.down_since = 0.0
        """0 = up."""
        self.reason = NO_REASON
        """Why it is down."""
        self.canary = 0
        """The flow that is trying it now; 0 = none."""
        self.canary_at = 0.0
        """When the next canary goes."""
        self.losses = Losses(FREE_LOSSES, STABLE_FOR)
        """Of the flows that lived on it."""
        self.mute = False
        """It promised to answer keepalives and does not, though it answers REGISTER."""
        self.waiting: set[int] = set()
        self.without_tcp_until = 0.0
        """Large requests go by UDP until then; see :mod:`~sipprofile.registration.size`."""

    @property
    def down(self) -> bool:
        """Whether it is to be avoided."""
        return self.down_since > 0.0


def failed(
    room: Registrations,
    key: TransportKey,
    flow: Flow,
    since: float,
    now: float,
    reason: Reason,
    retry_after: float = 0.0,
) -> None:
    """An attempt that began at ``since`` got no usable answer from ``key``; it may have said when to come again."""
    health = room.health_of(key)
    if health.canary == flow.id:
        health.canary = 0
    if health.answered_at > since:
        return  # it answered somebody else meanwhile: this failure is the profile's own
    health.reason = reason
    if not health.down:
        health.down_since = now
        health.without_tcp_until = 0.0  # what comes back may be another
        # One answer must not stop everybody for a day.
        _arm_canary(room, key, health, now, min(retry_after, room.settings.backoff_maximum))


def answered(room: Registrations, key: TransportKey, flow: Flow, now: float) -> list[int]:
    """``key`` answered and is up; everybody who waited for it, to be given to :func:`wake`."""
    health = room.health_of(key)
    if now - health.answered_at > room.settings.t2:
        hurry.retransmit(room, key, now)
    health.answered_at = now
    if health.canary == flow.id:
        health.canary = 0
    if not health.down:
        return []
    return [identity for identity in _up(room, health) if identity != flow.id]


def _up(room: Registrations, health: Health) -> list[int]:
    """It is not down any more; who waited for that, in random order."""
    health.down_since = 0.0
    health.canary_at = 0.0
    health.canary = 0
    waiting = sorted(health.waiting)
    health.waiting = set()
    room.random.shuffle(waiting)
    return waiting


def why_down(room: Registrations, keys: list[TransportKey]) -> Reason:
    """What to tell who waits for ``keys``: what somebody has to mend if that is known, else that they are down."""
    for key in keys:
        reason = room.health_of(key).reason
        if reason.code.startswith(("tls_", "websocket_")):
            return reason
    return Reason.of("target_down")


def forgive(room: Registrations, key: TransportKey) -> list[int]:
    """What went wrong with ``key`` went wrong in another network: it is up until shown otherwise. Who waited for it."""
    health = room.health.get(key)
    if health is None or not health.down:
        return []
    return _up(room, health)


def wake(room: Registrations, waiting: list[int], now: float) -> None:
    """A target answered: those who waited for it are due, in random order, through the bucket."""
    turns.each_flow(room, waiting, attempt.target_back, now)


def canary_due(room: Registrations, key: TransportKey, at: float, now: float) -> None:
    """Send the next canary to ``key``, unless the last one is still at it."""
    health = room.health.get(key)
    if health is None or not health.down or health.canary_at != at:
        return
    waiting = [room.flows[identity] for identity in sorted(health.waiting) if identity in room.flows]
    waiting = [flow for flow in waiting if attempt.waits(room.owner(flow), flow)]
    health.waiting = {flow.id for flow in waiting}
    trying = room.flows.get(health.canary)
    if trying is not None and (trying.phase in (IDLE, WAITING) or trying.key != key):
        trying = None
    if trying is None:
        health.canary = 0
        if not waiting:
            del room.health[key]
            return
    _arm_canary(room, key, health, now)
    if trying is None:
        flow = waiting[room.random.randrange(len(waiting))]
        health.waiting.discard(flow.id)
        health.canary = flow.id
        attempt.canary(room, room.owner(flow), flow, now)


def wait_for(room: Registrations, flow: Flow, keys: tuple[TransportKey, ...] | list[TransportKey]) -> None:
    """Have ``flow`` told when one of ``keys`` answers again."""
    for key in keys:
        health = room.health_of(key)
        if health.canary == flow.id:
            health.canary = 0
        if health.down:
            health.waiting.add(flow.id)


def release(room: Registrations, flow: Flow) -> None:
    """``flow`` no longer tries its target: another may be the canary, an unused connection is closed."""
    key = flow.key
    if key is None:
        return
    health = room.health.get(key)
    if health is not None and health.canary == flow.id:
        health.canary = 0
    if flow.carrier is not None:
        size.leave(room, flow)
    transport = room.transports.get(key)
    if transport is not None:
        transport.waiting.discard(flow.id)
        close_unused(room, key, transport)


def _arm_canary(room: Registrations, key: TransportKey, health: Health, now: float, retry_after: float = 0.0) -> None:
    wait = room.settings.canary_interval * (0.5 + 0.5 * room.random.random())
    health.canary_at = now + max(wait, retry_after)
    room.call_at(health.canary_at, partial(canary_due, room, key, health.canary_at))
