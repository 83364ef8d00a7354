"""One token bucket per registrar, and who draws from it first.

Refreshes draw before anybody else, the earliest lease end first, and may exceed the bucket rather than wait past their
margin. Answers to challenges, retransmissions and de-registrations never wait but are debited.
"""

from __future__ import annotations

import heapq

import msgspec

REFRESH, AWAITED, RETRY, AUTOMATIC = range(4)
"""Classes of waiting requests, in the order in which they draw."""


class QueueStatus(msgspec.Struct, frozen=True):
    """The queue of one registrar as operators see it."""

    registrar: str
    waiting: int
    rate: float
    seconds_to_empty: float


class Pacer:
    """The bucket and the queue of one registrar."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens", "overdrawn", "queue", "timer")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._filled_at = now
        self.overdrawn = 0
        """Refreshes sent beyond the rate because their margin had come."""
        self.queue: list[tuple[int, float, int]] = []
        """(class, key, waiter); entries of waiters that left are skipped when they come up."""
        self.timer = 0.0
        """When the queue is looked at next; 0 = not armed."""

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now

    def try_draw(self, now: float) -> bool:
        """Take a token if nobody waits and there is one."""
        if self.queue:
            return False
        return self.draw(now)

    def draw(self, now: float) -> bool:
        """Take a token if there is one."""
        self._fill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        return False

    def debit(self, now: float) -> None:
        """Count a request that did not wait; the debt is at most one burst, so that it ends."""
        self._fill(now)
        self._tokens = max(-self._burst, self._tokens - 1.0)

    def wait(self, waiter: int, kind: int, key: float) -> None:
        """Queue ``waiter``; inside a class the smallest ``key`` draws first."""
        heapq.heappush(self.queue, (kind, key, waiter))

    def next_draw(self, now: float) -> float:
        """When the next token will be there."""
        self._fill(now)
        return now if self._tokens >= 1.0 else now + (1.0 - self._tokens) / self._rate

    def status(self, registrar: str) -> QueueStatus:
        """The queue in figures."""
        waiting = len(self.queue)
        debt = max(0.0, -self._tokens)
        return QueueStatus(registrar, waiting, self._rate, (waiting + debt) / self._rate)
