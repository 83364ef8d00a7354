"""Who sends and receives requests: the transaction user (RFC 3261 §5), be it a session, a webhook or a bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..sip.message import Request, Response

if TYPE_CHECKING:
    from .incoming import Incoming
    from .leg import Leg
    from .outgoing import Outgoing


class Owner(Protocol):
    """Told what happens to its requests and dialogs. None of these raises, and each may call the user agent back."""

    label: str
    """For the audit log, and for others whose claim is refused because of it."""

    def requested(self, incoming: Incoming, now: float) -> None:
        """A request for it: by its claim, or in one of its dialogs (``incoming.leg``). It answers with ``respond``."""

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """Nobody waits for its answer any more: ``cancelled``, ``answered_elsewhere``, ``timed_out`` or
        ``dialog_ended``."""

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        """The ACK to its 2xx to an INVITE; ``None``: none came within 64·T1, and the dialog ends with a BYE."""

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        """A PRACK for its reliable provisional ``rseq`` came and was answered (RFC 3262), unless it has asked for
        PRACKs as requests (``incoming.manual``)."""

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """A provisional or final response to its request; ``leg``: the dialog it belongs to, or has just made."""

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        """No final response will come; ``code`` is one of :data:`~sipprofile.events.REASONS`."""

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        """A dialog, or one of its usages, has changed by itself: refreshed, not refreshed, ended. ``leg`` says more."""
