"""The INVITE server transaction (RFC 3261 §17.2.1, figure 7, as RFC 6026 §7.1 changes it). No I/O.

The 2xx is repeated by the transaction user (RFC 3261 §13.3.1.4), every other final response here.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from sipprofile.sip.transaction.client import T4, Step


class InviteServerState(Enum):
    """The states of figure 7 and RFC 6026 §8.4."""

    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class InviteServerTransaction(msgspec.Struct, gc=False):
    """One INVITE that came in; times in seconds, 0 = the timer does not run."""

    reliable: bool
    t1: float
    t2: float
    state: InviteServerState = InviteServerState.PROCEEDING
    interval: float = 0.0
    retransmit_at: float = 0.0
    """Timer G."""
    ends_at: float = 0.0
    """Timer H, I or L."""

    @property
    def due_at(self) -> float:
        """When to call :meth:`timer` next, 0 = never."""
        if self.retransmit_at and self.retransmit_at < self.ends_at:
            return self.retransmit_at
        return self.ends_at

    def request(self) -> Step:
        """The INVITE came in again."""
        if self.state in (InviteServerState.PROCEEDING, InviteServerState.COMPLETED):
            return Step.SEND
        return Step.NOTHING  # RFC 6026 §7.1: absorbed

    def response(self, status: int, now: float) -> Step:
        """The transaction user answers; :data:`Step.NOTHING` when there was a final answer already."""
        if self.state is InviteServerState.ACCEPTED and 200 <= status < 300:
            return Step.SEND  # RFC 6026 §7.1: the same 2xx again
        if self.state is not InviteServerState.PROCEEDING:
            return Step.NOTHING
        if status < 200:
            return Step.SEND
        self.ends_at = now + 64 * self.t1
        if status < 300:
            self.state = InviteServerState.ACCEPTED
        else:
            self.state = InviteServerState.COMPLETED
            self.interval = self.t1
            self.retransmit_at = 0.0 if self.reliable else now + self.t1
        return Step.SEND

    def ack(self, now: float) -> Step:
        """An ACK came in; :data:`Step.PASS`: it is the transaction user's."""
        if self.state is InviteServerState.ACCEPTED:
            return Step.PASS
        if self.state is InviteServerState.COMPLETED:
            self.retransmit_at = 0.0
            if self.reliable:
                self._end()
            else:
                self.state = InviteServerState.CONFIRMED
                self.ends_at = now + T4
        return Step.NOTHING

    def timer(self, now: float) -> Step:
        """Time has passed. :data:`Step.FAILED`: no ACK came."""
        if self.ends_at and now >= self.ends_at:
            failed = self.state is InviteServerState.COMPLETED
            self._end()
            return Step.FAILED if failed else Step.NOTHING
        if self.retransmit_at and now >= self.retransmit_at:
            self.interval = min(self.interval * 2, self.t2)
            self.retransmit_at = now + self.interval
            return Step.SEND
        return Step.NOTHING

    def _end(self) -> None:
        self.state = InviteServerState.TERMINATED
        self.retransmit_at = 0.0
        self.ends_at = 0.0
