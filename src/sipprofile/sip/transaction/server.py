"""The non-INVITE server transaction (RFC 3261 §17.2.2, figure 8). No I/O: the clock is an argument, steps come out."""

from __future__ import annotations

import msgspec

from sipprofile.sip.transaction.client import State, Step


class ServerTransaction(msgspec.Struct, gc=False):
    """One request that came in; times in seconds. What was sent last is kept by whoever makes this.

    ``reliable``: over a connection no retransmission has to be absorbed.
    """

    reliable: bool
    t1: float
    state: State = State.TRYING
    ends_at: float = 0.0
    """Timer J."""

    def request(self) -> Step:
        """The request came in again."""
        return Step.SEND if self.state in (State.PROCEEDING, State.COMPLETED) else Step.NOTHING

    def response(self, status: int, now: float) -> Step:
        """The transaction user answers; :data:`Step.NOTHING` when there was a final answer already."""
        if self.state in (State.COMPLETED, State.TERMINATED):
            return Step.NOTHING
        if status < 200:
            self.state = State.PROCEEDING
        elif self.reliable:
            self.state = State.TERMINATED
        else:
            self.state = State.COMPLETED
            self.ends_at = now + 64 * self.t1
        return Step.SEND

    def timer(self, now: float) -> Step:
        """Time has passed."""
        if self.state is State.COMPLETED and now >= self.ends_at:
            self.state = State.TERMINATED
            self.ends_at = 0.0
        return Step.NOTHING
