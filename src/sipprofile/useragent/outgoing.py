"""A request that an owner has sent."""

from __future__ import annotations

import msgspec

from ..registration.requests import ClientRequest
from .draft import Draft
from .leg import Leg
from .owner import Owner
from .rate import Rate


class Outgoing(ClientRequest, kw_only=True):
    """One request with its owner, and the dialogs that it has made."""

    owner: Owner
    draft: Draft
    leg: Leg | None = None
    """The dialog it was sent in."""
    legs: dict[str, Leg] = msgspec.field(default_factory=dict)
    """Dialogs that responses to it have made, by remote tag: an INVITE may have several (RFC 3261 §13.2.2.4)."""
    status: int = 0
    """Of the last response; 0 = none came."""
    abandoned: bool = False
    """Nobody wants to know any more."""
    accepted: bool = False
    """The owner has heard of a 2xx to its INVITE."""
    provisionals: Rate | None = None
    """Provisional responses that its owner was told of."""
    ended: tuple[str, ...] = ()
    """Remote tags of answers that nobody wanted, and whose dialogs were ended."""

    def __repr__(self) -> str:
        return f"Outgoing(number={self.number}, method={self.method!r}, status={self.status}, …)"
