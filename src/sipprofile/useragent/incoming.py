"""A request that has come in and is being answered."""

from __future__ import annotations

import msgspec

from ..registration.actions import TransportKey
from ..registration.line import Line
from ..sip.message import Request
from .invitation import Invitation
from .leg import Leg
from .owner import Owner


class Incoming(msgspec.Struct, eq=False):
    """One server transaction (RFC 3261 §17.2) with what its owner needs to answer it."""

    number: int
    """What applications know it by; never used again while the service runs."""
    line: Line
    request: Request
    source: tuple[str, int]
    key: TransportKey
    """Where responses go: the return path, not where the request came from."""
    tag: str
    """Our To tag."""
    leg: Leg | None = None
    """The dialog it came in, or that its answer has made."""
    owner: Owner | None = None
    """Who answers it; ``None`` until it is delivered."""
    claim: int = 0
    """The number of the claim by which the owner that is being told gets it; 0 = it came in a dialog."""
    status: int = 0
    """The last status sent; 0 = none."""
    manual: bool = False
    """PRACKs for its provisionals are requests of their own to the owner."""
    received_at: float = 0.0
    transaction: str = ""
    """Its server transaction's key; see :class:`~.server_transactions.ServerTransactions`."""
    merged: str = ""
    """What its copies would have in common with it (RFC 3261 §8.2.2.2)."""
    cseq: int = 0
    invitation: Invitation | None = None
    """For an INVITE: what the transaction user repeats and waits for."""

    @property
    def final(self) -> bool:
        """A final response was sent, or none is wanted any more."""
        return self.status >= 200

    def __repr__(self) -> str:
        return f"Incoming(number={self.number}, method={self.request.method!r}, status={self.status}, …)"
