"""What is repeated and waited for while an INVITE is answered (RFC 3261 §13.3.1, RFC 3262 §3). Times in seconds."""

from __future__ import annotations

import msgspec

from .draft import Answer


class Invitation(msgspec.Struct, gc=False):
    """The transaction user's part of one INVITE that came in; 0 = the timer does not run."""

    give_up_at: float
    """Nobody has answered."""
    rings: bool = False
    """A provisional went out; see :mod:`~.ringing`."""
    interval: float = 0.0
    retransmit_at: float = 0.0
    """The 2xx goes out again."""
    acknowledge_by: float = 0.0
    """The end of waiting for the ACK."""
    rseq: int = 0
    """Of the last reliable provisional, 0 = there was none."""
    provisional: bytes = b""
    """A reliable provisional that waits for its PRACK."""
    offered: bool = False
    """It has a body: no 2xx before it is acknowledged."""
    provisional_interval: float = 0.0
    provisional_at: float = 0.0
    """It goes out again."""
    acknowledge_provisional_by: float = 0.0
    """The end of waiting for the PRACK."""
    answered: bool = False
    """The offer of the INVITE has its answer, in a reliable provisional."""
    waiting: tuple[Answer, ...] = ()
    """What is sent once the PRACK has come."""
    armed_at: float = 0.0

    @property
    def due_at(self) -> float:
        """When the next of these is due, 0 = none."""
        times = (
            self.retransmit_at,
            self.acknowledge_by,
            self.provisional_at,
            self.acknowledge_provisional_by,
        )
        return min((time for time in times if time), default=0.0)

    def prack_came(self) -> None:
        """The reliable provisional is acknowledged."""
        self.provisional = b""
        self.offered = False
        self.provisional_interval = self.provisional_at = self.acknowledge_provisional_by = 0.0

    def finished(self) -> None:
        """A final answer goes out: nothing of before it is repeated."""
        self.prack_came()
        self.waiting = ()
