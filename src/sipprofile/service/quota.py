"""How much one session may send: a token bucket for requests, a limit for dialogs."""

from __future__ import annotations

from ..errors import SipProfileError

BURST = 2
"""How many seconds' worth of requests may be sent at once after a pause."""


class Quota:
    """One session's. ``rate``: requests a second."""

    __slots__ = ("_at", "_left", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = rate * BURST
        self._at = now

    def take(self, now: float) -> None:
        """Count one request; raises ``quota_exceeded`` with ``retry_after``, the seconds until there is room."""
        left = min(self.rate * BURST, self._left + (now - self._at) * self.rate)
        self._at = now
        if left < 1:
            self._left = left
            raise SipProfileError(
                "quota_exceeded",
                f"At most {self.rate:g} requests a second may be sent.",
                value=self.rate,
                retry_after=round((1 - left) / self.rate, 3),
            )
        self._left = left - 1


def check_dialogs(present: int, limit: int) -> None:
    """Raise ``quota_exceeded`` when one more dialog would be too many."""
    if present >= limit:
        raise SipProfileError("quota_exceeded", f"A session has at most {limit} dialogs and publications.", value=limit)
