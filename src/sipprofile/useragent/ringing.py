"""INVITEs that nobody has answered yet, looked at once a minute: they ring for minutes, and most of them are answered
within seconds. Nothing of one is kept here once it has its final answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..registration.registrations import Registrations
    from .incoming import Incoming

INTERVAL = 60.0
"""Seconds after which a provisional goes out again, so that no proxy gives up (RFC 3261 §13.3.1.1)."""


class Ringing:
    """Calls ``due(incoming, now)`` when nothing was sent for an INVITE within :data:`INTERVAL`."""

    __slots__ = ("_armed", "_due", "_room", "_waiting")

    def __init__(self, room: Registrations, due: Callable[[Incoming, float], None]) -> None:
        self._room = room
        self._due = due
        self._waiting: dict[int, tuple[float, Incoming]] = {}
        """By its number, the one that is due first in front."""
        self._armed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, incoming: Incoming, now: float) -> None:
        """The interval begins, anew if it was running."""
        self._waiting.pop(incoming.number, None)
        self._waiting[incoming.number] = now + INTERVAL, incoming
        self._arm(now + INTERVAL)

    def stop(self, number: int) -> None:
        """The INVITE is answered, or nobody waits for that any more."""
        self._waiting.pop(number, None)

    def _arm(self, at: float) -> None:
        if not self._armed:
            self._armed = True
            self._room.call_at(at, self._run)

    def _run(self, now: float) -> None:
        self._armed = False
        while self._waiting:
            number, (at, incoming) = next(iter(self._waiting.items()))
            if at > now:
                self._arm(at)
                return
            del self._waiting[number]
            self._due(incoming, now)
