"""How many requests a second are served."""

from __future__ import annotations

HEAD_UNIT = 1024
"""Bytes of headers that cost as much to answer as one ordinary request: what is parsed is what a stranger can spend."""
LONG_SHARE = 4
"""Requests with more headers than two units get no more than this part of the rate, so that they starve no others."""


class Rate:
    """At most ``limit`` requests a second; those with long headers count as several, see :data:`HEAD_UNIT`."""

    __slots__ = ("_limit", "_long", "_second", "_served", "refused")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._served = 0
        self._long = 0
        self.refused = 0
        """Requests beyond the rate."""

    def has_room(self, now: float, head_size: int = 0) -> bool:
        """Whether one more request, with ``head_size`` bytes of headers, may be served in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._served = 0
            self._long = 0
        units = head_size // HEAD_UNIT
        if self._served >= self._limit or (units > 1 and self._long >= self._limit / LONG_SHARE):
            self.refused += 1
            return False
        self._served += 1
        if units > 1:
            self._long += units
        return True
