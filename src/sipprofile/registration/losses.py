"""Bindings that are taken from us again and again, by the way or by the registrar: the back-off grows (RFC 5626 §4.5).

A grant between two losses does not end the row, only time without a loss does. Without this a registrar that grants
and takes away would be asked as fast as it does so.
"""

from __future__ import annotations

from .backoff import backoff
from .settings import RegistrationSettings


class Losses:
    """How often in a row a binding was lost."""

    __slots__ = ("_at", "_count", "_free", "_stable_for", "_waits_until")

    def __init__(self, free: int, stable_for: float) -> None:
        """``free``: losses in a row after which one registers again at once. ``stable_for``: seconds without a loss,
        beside the time to wait after the last one, that end the row."""
        self._free = free
        self._stable_for = stable_for
        self._count = 0
        self._at = -1.0
        self._waits_until = -stable_for

    def over(self, now: float) -> bool:
        """Whether there is no row now: the next loss is the first."""
        return now - self._waits_until >= self._stable_for

    def add(self, now: float, settings: RegistrationSettings) -> int:
        """A loss. 0: register again at once, else the step of the back-off. Several at one time are one."""
        if now == self._at:
            return self.step
        if self.over(now):
            self._count = 0
        self._count = min(self._count + 1, 64)
        self._at = now
        longest = backoff(self.step, settings.backoff_base, settings.backoff_maximum, 1.0) if self.step else 0.0
        self._waits_until = now + longest
        return self.step

    def spent(self, now: float) -> bool:
        """Whether the next loss is not one after which one registers again at once."""
        return self._count >= self._free and not self.over(now)

    def goes_on(self, now: float) -> None:
        """What would be a loss is taken for none; the row does not end."""
        self._waits_until = max(self._waits_until, now)

    @property
    def step(self) -> int:
        """What :meth:`add` said last."""
        return max(0, self._count - self._free)
