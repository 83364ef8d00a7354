"""One subscription of somebody else to something of ours (RFC 6665 §4.2), and the table of them."""

from __future__ import annotations

import msgspec

from .leg import Leg


class Notifier(msgspec.Struct, eq=False):
    """One subscriber's subscription. Times are CLOCK_BOOTTIME seconds."""

    leg: Leg
    event: str
    refer: bool
    word: str = "active"
    """Of the last Subscription-State."""
    expires_at: float = 0.0
    wake_at: float = 0.0
    ending: bool = False
    """The last NOTIFY is due, by the owner or else by the service."""
    terminated: bool = False
    """The last NOTIFY is out."""


class Notifiers:
    """The subscriptions of others."""

    __slots__ = ("by_request", "by_usage")

    def __init__(self) -> None:
        self.by_usage: dict[tuple[int, str], Notifier] = {}
        """By leg and event."""
        self.by_request: dict[int, Notifier] = {}
        """By the number of a NOTIFY that is on its way."""

    def of_leg(self, leg: Leg) -> list[Notifier]:
        """Those that live in ``leg``."""
        found = [self.by_usage.get((leg.number, event)) for event in leg.usages]
        return [each for each in found if each is not None]
