"""Delays of equal length: the order of arrival is the order of time, so they need no heap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from ..registration.registrations import Registrations

T = TypeVar("T")


class Delays(Generic[T]):
    """Calls ``due(item, now)`` for each item ``delay`` seconds after it was added, or up to ``slack`` seconds later.

    An item that became pointless finds that out itself. With all of them one timer runs.
    """

    __slots__ = ("_armed", "_delay", "_due", "_queue", "_room", "_slack")

    def __init__(self, room: Registrations, delay: float, slack: float, due: Callable[[T, float], None]) -> None:
        self._room = room
        self._delay = delay
        self._slack = slack
        self._due = due
        self._queue: deque[tuple[float, T]] = deque()
        self._armed = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, item: T, now: float) -> None:
        """``item`` is due after the delay."""
        self._queue.append((now + self._delay, item))
        if not self._armed:
            self._armed = True
            self._room.call_at(now + self._delay, self._run)

    def hurry(self, now: float) -> None:
        """The oldest is due at once."""
        _, item = self._queue.popleft()
        self._due(item, now)

    def _run(self, now: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= now:
            _, item = queue.popleft()
            self._due(item, now)
        self._armed = bool(queue)
        if queue:
            self._room.call_at(max(queue[0][0], now + self._slack), self._run)
