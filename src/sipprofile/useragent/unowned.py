"""The owner of what the service sends of its own accord, and of what an application has left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import Request, Response

if TYPE_CHECKING:
    from .incoming import Incoming
    from .leg import Leg
    from .outgoing import Outgoing


class Deaf:
    """An owner that hears nothing; one that wants to hear of some things only is made from it."""

    __slots__ = ()

    label = "service"

    def requested(self, incoming: Incoming, now: float) -> None:
        """Whoever received it answers in our place."""

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """Nothing to do."""

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        """Nothing to do."""

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        """Nothing to do."""

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """What follows from it is decided in :mod:`~.usages`."""

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        """What follows from it is decided in :mod:`~.usages`."""

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        """Nothing to do."""


UNOWNED = Deaf()
"""One object for all that nobody wants to hear of."""
