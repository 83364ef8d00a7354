"""A claim that was granted: requests that fit it come to the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..claims import Claim
from ..errors import SipProfileError

if TYPE_CHECKING:
    from .sip_connection import SipConnection


class _Granted(msgspec.Struct):
    claim: int


class GrantedClaim:
    """What :meth:`~.sip_connection.SipConnection.claim` returns. It is made again when the service is back.

    Leaving its ``async with`` block releases it.
    """

    def __init__(self, connection: SipConnection, claim: Claim) -> None:
        self.connection = connection
        self.claim = claim
        """What is claimed."""
        self.number = 0
        """The service's number for it, that of :attr:`IncomingRequest.claim`; another one after a reconnection."""
        self.error: SipProfileError | None = None
        """Why it could not be made again."""

    def __repr__(self) -> str:
        return f"<GrantedClaim {self.number} {self.claim}>"

    async def release(self) -> None:
        """Give it up; does nothing twice."""
        if self in self.connection.claims:
            self.connection.claims.remove(self)
            await self.connection.command("unclaim", claim=self.number)

    async def __aenter__(self) -> GrantedClaim:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release it."""
        if not self.connection.closed and self.connection.sip.connected:
            await self.release()

    async def make(self) -> None:
        """Ask the service for it."""

        def accept(answer: msgspec.Raw) -> None:
            self.number = msgspec.json.decode(answer, type=_Granted).claim

        await self.connection.sip.command("claim", accept, profile=self.connection.profile_id, claim=self.claim)
