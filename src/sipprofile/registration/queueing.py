"""Waiting for a token of the registrar's bucket: who comes when there is one."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING

from . import attempt
from .pacing import Pacer
from .registration import QUEUED, Flow

if TYPE_CHECKING:
    from .registrations import Registrations


def enqueue(room: Registrations, registrar: str, flow: Flow, kind: int, key: float, now: float) -> None:
    """Let ``flow`` wait for a token."""
    pacer = room.pacer(registrar, now)
    pacer.wait(flow.id, kind, key)
    _arm(room, pacer, now)


def draw(room: Registrations, pacer: Pacer, now: float) -> None:
    """Hand out the tokens that are there, in order."""
    pacer.timer = 0.0
    while pacer.queue:
        flow = room.flows.get(pacer.queue[0][2])
        if flow is None or flow.phase != QUEUED or flow.queue_class != pacer.queue[0][0]:
            heapq.heappop(pacer.queue)
            continue
        if not pacer.draw(now):
            _arm(room, pacer, now)
            return
        heapq.heappop(pacer.queue)
        attempt.drawn(room, room.owner(flow), flow, now)


def _arm(room: Registrations, pacer: Pacer, now: float) -> None:
    if pacer.timer == 0.0:
        pacer.timer = max(pacer.next_draw(now), now + 0.001)
        room.call_at(pacer.timer, partial(draw, room, pacer))
