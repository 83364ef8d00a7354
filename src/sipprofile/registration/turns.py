"""What many flows have to do at the same moment is done in turns, so that answers and applications come in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from .registration import Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations

Item = TypeVar("Item")

AT_ONCE = 16
"""REGISTERs that are sent, or as much other work that is done, in one turn: half a millisecond. What an application
asks for waits for the rest of a turn and for another one; a turn itself costs a few microseconds."""
PAUSE = 0.0005
"""Seconds until the next turn of the same work."""


def each(
    room: Registrations, items: Sequence[Item], act: Callable[[Item, float], None], now: float, first: int = 0
) -> None:
    """``act(item, now)`` for all ``items`` from the index ``first`` on, the first of them at once."""
    rest = first + AT_ONCE
    for item in items[first:rest]:
        act(item, now)
    if rest < len(items):
        room.call_at(now + PAUSE, lambda later: each(room, items, act, later, rest))


def each_flow(
    room: Registrations,
    flows: Sequence[int],
    act: Callable[[Registrations, Registration, Flow, float], None],
    now: float,
) -> None:
    """The same for flows, by their numbers; ``act`` must look whether the flow still waits for it."""

    def act_on(identity: int, later: float) -> None:
        flow = room.flows.get(identity)
        if flow is not None:
            act(room, room.owner(flow), flow, later)

    each(room, flows, act_on, now)
