"""Deadlines of the service itself; the registrations keep their own."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Timers:
    """Calls in the order of their times. A call that became pointless finds that out itself."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, time: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function(*arguments, now)`` once it is ``time``."""
        heapq.heappush(self._heap, (time, next(self._order), function, arguments))

    def next(self) -> float | None:
        """When to call :meth:`run` next."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Make the calls that are due."""
        while self._heap and self._heap[0][0] <= now:
            _, _, function, arguments = heapq.heappop(self._heap)
            function(*arguments, now)

    def clear(self) -> None:
        """Make none of the calls."""
        self._heap.clear()
