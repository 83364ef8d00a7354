"""The non-INVITE client transaction (RFC 3261 §17.1.2, figure 6). No I/O: the clock is an argument, steps come out."""

from __future__ import annotations

from enum import Enum

import msgspec

T4 = 5.0  # RFC 3261 §17.1.1.1, seconds a message stays in the network


class State(Enum):
    """The states of figures 5 and 6, with the one that RFC 6026 §8.4 adds."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Step(Enum):
    """What is to be done after an input."""

    NOTHING = "nothing"
    SEND = "send the request again"
    PASS = "give the response to the transaction user"
    FAILED = "tell the transaction user that no answer came"
    # INVITE only
    REFUSED = "acknowledge the final response, and give it to the transaction user"
    AGAIN = "acknowledge the final response again"
    TOO_LONG = "cancel the request: provisional responses alone have come for too long"
    OVER = "tell the transaction user that no further 2xx will come"


class ClientTransaction(msgspec.Struct, gc=False):
    """One request on its way, sent at ``now`` by whoever makes this; times in seconds, 0 = the timer does not run.

    ``reliable``: over a connection nothing is retransmitted, and no late answer has to be absorbed.
    """

    branch: str
    reliable: bool
    t1: float
    t2: float
    state: State = State.TRYING
    interval: float = 0.0
    retransmit_at: float = 0.0
    """Timer E."""
    ends_at: float = 0.0
    """Timer F, after the final answer timer K."""

    @classmethod
    def sent(cls, branch: str, reliable: bool, t1: float, t2: float, now: float) -> ClientTransaction:
        """The transaction of a request that goes out now."""
        retransmit_at = 0.0 if reliable else now + t1
        return cls(branch, reliable, t1, t2, State.TRYING, t1, retransmit_at, now + 64 * t1)

    @property
    def due_at(self) -> float:
        """When to call :meth:`timer` next, 0 = never."""
        if self.retransmit_at and self.retransmit_at < self.ends_at:
            return self.retransmit_at
        return self.ends_at

    def response(self, status: int, now: float) -> Step:
        """A response with this branch came in; those after the first final one are absorbed."""
        if self.state in (State.COMPLETED, State.TERMINATED):
            return Step.NOTHING
        if status < 200:
            self.state = State.PROCEEDING
            self.interval = self.t2
            if self.retransmit_at:
                self.retransmit_at = now + self.t2
            return Step.PASS
        self.retransmit_at = 0.0
        self.state = State.TERMINATED if self.reliable else State.COMPLETED
        self.ends_at = 0.0 if self.reliable else now + T4
        return Step.PASS

    def timer(self, now: float) -> Step:
        """Time has passed."""
        if self.ends_at and now >= self.ends_at:
            completed = self.state is State.COMPLETED
            self._end()
            return Step.NOTHING if completed else Step.FAILED
        if self.retransmit_at and now >= self.retransmit_at:
            self.interval = min(self.interval * 2, self.t2)
            self.retransmit_at = now + self.interval
            return Step.SEND
        return Step.NOTHING

    def transport_failed(self) -> Step:
        """The transport reports that the request could not be sent (RFC 3261 §17.1.4)."""
        if self.state in (State.COMPLETED, State.TERMINATED):
            return Step.NOTHING
        self._end()
        return Step.FAILED

    def _end(self) -> None:
        self.state = State.TERMINATED
        self.retransmit_at = 0.0
        self.ends_at = 0.0
