"""Deadlines of many: one entry per deadline in a heap of numbers, one call of the registrations' clock for all of them.

Who is over does not take its entry away: a number costs less than looking for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .registrations import Registrations

Due = Callable[[int, float, float], None]
"""Called with the number, the time that was set for it, and the time now."""


class Deadlines:
    """Calls ``due`` for each number at its time; a number set twice comes up twice."""

    __slots__ = ("_busy", "_heap", "_wakes_at", "due")

    def __init__(self, due: Due) -> None:
        self.due = due
        self._heap: list[tuple[float, int]] = []
        self._wakes_at = 0.0
        """0 = nobody is to be woken."""
        self._busy = False

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, room: Registrations, at: float, number: int) -> None:
        """Let ``number`` come up at ``at``."""
        heapq.heappush(self._heap, (at, number))
        if not self._busy and (not self._wakes_at or at < self._wakes_at):
            self._wake_at(room, at)

    def _wake_at(self, room: Registrations, at: float) -> None:
        self._wakes_at = at
        room.call_at(at, partial(self._wake, room, at))

    def _wake(self, room: Registrations, expected: float, now: float) -> None:
        if expected != self._wakes_at:  # another call has taken the place of this one
            return
        heap = self._heap
        self._busy = True
        try:
            while heap and heap[0][0] <= now:
                at, number = heapq.heappop(heap)
                self.due(number, at, now)
        finally:
            self._busy = False
            self._wakes_at = 0.0
            if heap:
                self._wake_at(room, heap[0][0])
