"""The owner of what the service sends of its own accord, and of what an application has left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import Request, Response

if TYPE_CHECKING:
    from .incoming import Incoming
    from .leg import Leg
    from .outgoing import Outgoing


class Unowned:
    """Nobody wants to hear of it. One object may stand for many requests."""

    label = "service"

    def requested(self, incoming: Incoming, now: float) -> None:
        """A request in a dialog that is being ended: whoever received it answers in our place."""

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


UNOWNED = Unowned()
