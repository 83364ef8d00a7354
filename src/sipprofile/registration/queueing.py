"""Waiting for a token of the registrar's bucket: who comes when there is one."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING

from . import attempt
from .pacing import REFRESH, Pacer
from .registration import QUEUED, Flow

if TYPE_CHECKING:
    from .registrations import Registrations

IN_FLIGHT = 500
"""Requests at a target upon which it gets no further registration before it has answered some. More of them would
wait for their answers in a buffer, here or there, longer than T1, and then all be sent again."""
SILENT = 1.0  # seconds without an answer after which that does not hold: nobody waits for a target that says nothing
PAUSE = 0.005  # seconds


def enqueue(room: Registrations, registrar: str, flow: Flow, kind: int, key: float, now: float) -> None:
    """Let ``flow`` wait for a token."""
    pacer = room.pacer(registrar, now)
    pacer.wait(flow.id, kind, key)
    arm(room, pacer, now)


def draw(room: Registrations, pacer: Pacer, now: float) -> None:
    """Hand out the tokens that are there, in order."""
    if room.quick is not None and room.quick.draw(room, pacer, now):
        return
    pacer.timer = 0.0
    while pacer.queue:
        flow = room.flows.get(pacer.queue[0][2])
        if flow is None or flow.phase != QUEUED or flow.queue_class != pacer.queue[0][0]:
            heapq.heappop(pacer.queue)
            continue
        if pacer.queue[0][0] != REFRESH and is_full(room, flow, now):
            arm(room, pacer, now, PAUSE)
            return
        if not pacer.draw(now):
            arm(room, pacer, now)
            return
        heapq.heappop(pacer.queue)
        attempt.drawn(room, room.owner(flow), flow, now)


def is_full(room: Registrations, flow: Flow, now: float) -> bool:
    """Whether the flow's target has enough to answer; refreshes do not ask."""
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    if transport is None or len(transport.active) < IN_FLIGHT:
        return False
    return now - room.health_of(flow.key).answered_at < SILENT


def arm(room: Registrations, pacer: Pacer, now: float, pause: float = 0.001) -> None:
    """Look at the queue again when there is a token, but not before ``pause`` is over."""
    if pacer.timer == 0.0:
        pacer.timer = max(pacer.next_draw(now), now + pause)
        room.call_at(pacer.timer, partial(draw, room, pacer))
