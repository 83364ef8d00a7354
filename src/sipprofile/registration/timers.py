"""When each flow, and whatever belongs to none, is to be woken: what is due at one time is one entry of the heap.

Refreshes share times, and so many are sent at a time that one entry each would be much of what a profile costs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator


class Timers:
    """Numbers by the time at which they come up; nobody is taken out before, and a number may come up several times."""

    __slots__ = ("_at", "_began", "_due", "_rest")

    def __init__(self) -> None:
        self._at: list[float] = []
        """A heap of the times."""
        self._due: dict[float, int | list[int]] = {}
        self._rest: list[int] = []
        """Of those whose time has come, the last first."""
        self._began = 0.0
        """The time of ``_rest``."""

    def __len__(self) -> int:
        return len(self._rest) + sum(1 if isinstance(due, int) else len(due) for due in self._due.values())

    def __iter__(self) -> Iterator[tuple[float, int]]:
        for number in self._rest:
            yield self._began, number
        for at, due in self._due.items():
            for number in (due,) if isinstance(due, int) else due:
                yield at, number

    def set(self, at: float, number: int) -> None:
        """Let ``number`` come up at ``at``."""
        due = self._due.get(at)
        if due is None:
            self._due[at] = number
            heapq.heappush(self._at, at)
        elif isinstance(due, int):
            self._due[at] = [due, number]
        else:
            due.append(number)

    def next(self) -> float | None:
        """The time of the first of them."""
        if self._rest:
            return self._began
        return self._at[0] if self._at else None

    def pop(self, now: float) -> tuple[float, int] | None:
        """The next that is due, with its time; of one time in the order in which they were set."""
        if not self._rest:
            if not self._at or self._at[0] > now:
                return None
            at = heapq.heappop(self._at)
            due = self._due.pop(at)
            if isinstance(due, int):
                return at, due
            due.reverse()
            self._rest, self._began = due, at
        return self._began, self._rest.pop()
