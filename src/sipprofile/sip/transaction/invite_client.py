"""The INVITE client transaction (RFC 3261 §17.1.1, figure 5; RFC 6026 §8.4). No I/O: the clock is an argument."""

from __future__ import annotations

import msgspec

from sipprofile.sip.transaction.client import State, Step

TIMER_C = 180.0  # RFC 3261 §16.6 step 11, seconds: the longest wait between provisional responses
TIMER_D = 32.0  # RFC 3261 §17.1.1.2, seconds that final responses are acknowledged again


class InviteClientTransaction(msgspec.Struct, gc=False):
    """One INVITE on its way, sent at ``now`` by whoever makes this; times in seconds, 0 = the timer does not run.

    The ACK of a final response other than 2xx belongs to the transaction, that of a 2xx to its user (§13.2.2.4).
    """

    branch: str
    reliable: bool
    t1: float
    state: State = State.CALLING
    interval: float = 0.0
    retransmit_at: float = 0.0
    """Timer A."""
    ends_at: float = 0.0
    """Timer B; then a timer C of our own, D after a refusal, M after a 2xx (RFC 6026 §8.4)."""
    called_off: bool = False
    """A CANCEL was sent."""

    @classmethod
    def sent(cls, branch: str, reliable: bool, t1: float, now: float) -> InviteClientTransaction:
        """The transaction of an INVITE that goes out now."""
        return cls(branch, reliable, t1, State.CALLING, t1, 0.0 if reliable else now + t1, now + 64 * t1)

    @property
    def due_at(self) -> float:
        """When to call :meth:`timer` next, 0 = never."""
        if self.retransmit_at and self.retransmit_at < self.ends_at:
            return self.retransmit_at
        return self.ends_at

    def response(self, status: int, now: float) -> Step:
        """A response with this branch came in."""
        state = self.state
        if state is State.ACCEPTED:  # another 2xx, be it of another branch of a fork
            return Step.PASS if 200 <= status < 300 else Step.NOTHING
        if state is State.COMPLETED:
            return Step.AGAIN if status >= 300 else Step.NOTHING
        if state is State.TERMINATED:
            return Step.NOTHING
        self.retransmit_at = 0.0
        if status < 200:
            if not self.called_off and (status > 100 or state is State.CALLING):
                self.ends_at = now + TIMER_C
            self.state = State.PROCEEDING
            return Step.PASS
        if status < 300:
            self.state = State.ACCEPTED
            self.ends_at = now + 64 * self.t1
            return Step.PASS
        self.state = State.TERMINATED if self.reliable else State.COMPLETED
        self.ends_at = 0.0 if self.reliable else now + TIMER_D
        return Step.REFUSED

    def cancelled(self, now: float) -> None:
        """A CANCEL went out: a server that does not answer it has 64·T1 (RFC 3261 §9.1)."""
        self.called_off = True
        self.ends_at = now + 64 * self.t1

    def timer(self, now: float) -> Step:
        """Time has passed."""
        if self.ends_at and now >= self.ends_at:
            state = self.state
            if state is State.PROCEEDING and not self.called_off:
                return Step.TOO_LONG
            self._end()
            if state is State.ACCEPTED:
                return Step.OVER
            return Step.NOTHING if state is State.COMPLETED else Step.FAILED
        if self.retransmit_at and now >= self.retransmit_at:
            self.interval *= 2
            self.retransmit_at = now + self.interval
            return Step.SEND
        return Step.NOTHING

    def transport_failed(self) -> Step:
        """The transport reports that the request could not be sent, or the connection for its answers is lost."""
        if self.state is State.CALLING or (self.state is State.PROCEEDING and self.reliable):
            self._end()
            return Step.FAILED
        return Step.NOTHING

    def _end(self) -> None:
        self.state = State.TERMINATED
        self.retransmit_at = 0.0
        self.ends_at = 0.0
