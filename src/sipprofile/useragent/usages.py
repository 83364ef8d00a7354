"""What the server side asks of subscriptions and of the end of dialogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import Request
from . import legs

if TYPE_CHECKING:
    from .agent import UserAgent
    from .draft import Answer
    from .incoming import Incoming
    from .leg import Leg


def end_leg(agent: UserAgent, leg: Leg, now: float, code: str) -> None:
    """End a dialog the right way."""
    legs.close(agent, leg, code)
    leg.owner.leg_changed(leg, code, now)


def subscribed(agent: UserAgent, incoming: Incoming, answer: Answer, leg: Leg, now: float) -> None:
    """A SUBSCRIBE or REFER was accepted."""


def notified(agent: UserAgent, leg: Leg, request: Request, now: float) -> int:
    """The status for a NOTIFY in a dialog."""
    return 200


def expected(agent: UserAgent, request: Request, now: float) -> Leg | None:
    """The dialog that a NOTIFY makes which comes before the answer to its SUBSCRIBE (RFC 6665 §4.4.1)."""
    return None
