"""One subscription of ours (RFC 6665 §4.1), through all the dialogs that it lives in, and the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ..registration.line import Line
from .draft import Draft
from .leg import Leg
from .outgoing import Outgoing
from .owner import Owner
from .refreshing import Grant, Pace
from .unowned import Deaf

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_SUBSCRIPTIONS = 10_000
MAXIMUM_OF_OWNER = 1_000
MAXIMUM_FORKS = 8  # dialogs that the notifiers behind one SUBSCRIBE may make (RFC 6665 §4.5.2)
TIMER_N = 64  # times T1: how long the first NOTIFY may take (RFC 6665 §4.1.2.4)

Trouble = Literal["", "not_refreshed", "resubscribing"]


class Subscription(msgspec.Struct, eq=False):
    """What an owner asked for with one SUBSCRIBE or REFER. Times are CLOCK_BOOTTIME seconds, 0 = not set."""

    owner: Owner
    line: Line
    draft: Draft
    """The SUBSCRIBE as its owner gave it, for the next dialog."""
    event: str
    """Package and id, see :func:`~.event_headers.event_of`."""
    grant: Grant
    refer: bool = False
    """A REFER has made it (RFC 3515 §2.4.4): the notifier says how long it lasts, and nothing refreshes it."""
    fork: bool = False
    """Another notifier answered the same SUBSCRIBE: it is refreshed, but does not begin again."""
    leg: Leg | None = None
    """The dialog it lives in, or lived in last."""
    outgoing: Outgoing | None = None
    """The SUBSCRIBE that is on its way; its transaction has a deadline."""
    asked: Outgoing | None = None
    """The owner's own SUBSCRIBE, while the service repeats it with the server's shortest time (423)."""
    contact: str = ""
    """The Contact that NOTIFYs are sent to."""
    notify_by: float = 0.0
    """When the first NOTIFY, or after an unsubscription the last, must have come."""
    notified: bool = False
    refresh_at: float = 0.0
    """When the next SUBSCRIBE is due."""
    ending: bool = False
    """Expires: 0 was sent, or will be when the dialog is known."""
    over: bool = False
    trouble: Trouble = ""
    """What the owner was told last."""
    forks: int = 0
    wake_at: float = 0.0

    @property
    def refreshed(self) -> bool:
        """Whether the service keeps it alive."""
        return self.draft.refresh > 0 and not self.refer

    @property
    def rests(self) -> bool:
        """Its dialog is gone, and another one is not there yet."""
        return self.trouble == "resubscribing"

    def __repr__(self) -> str:
        return f"Subscription(event={self.event!r}, trouble={self.trouble!r}, ending={self.ending}, …)"


class Renewal(Deaf):
    """The owner of a SUBSCRIBE that the service sends for ``subscription``."""

    __slots__ = ("subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription


class Subscriptions:
    """The subscriptions by what is asked about them."""

    __slots__ = ("_by_leg", "_of_owner", "by_profile", "by_request", "by_usage", "early")

    def __init__(self) -> None:
        self.by_request: dict[int, Subscription] = {}
        """By the number of a SUBSCRIBE or REFER that is on its way."""
        self.by_usage: dict[tuple[int, str], Subscription] = {}
        """By leg and event."""
        self.early: dict[tuple[str, str], Subscription] = {}
        """By Call-ID and our tag, while a NOTIFY may begin a dialog."""
        self.by_profile: dict[int, dict[Subscription, None]] = {}
        self._by_leg: dict[int, dict[Subscription, None]] = {}
        self._of_owner: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(self._of_owner.values())

    def has_room(self, owner: Owner) -> bool:
        """Whether ``owner`` may have one more."""
        return len(self) < MAXIMUM_SUBSCRIPTIONS and self._of_owner.get(id(owner), 0) < MAXIMUM_OF_OWNER

    def add(self, subscription: Subscription) -> None:
        """It exists from now on."""
        self.by_profile.setdefault(subscription.line.profile, {})[subscription] = None
        key = id(subscription.owner)
        self._of_owner[key] = self._of_owner.get(key, 0) + 1

    def give(self, subscription: Subscription, owner: Owner) -> None:
        """It is somebody else's."""
        self._uncount(subscription)
        subscription.owner = owner
        self._of_owner[id(owner)] = self._of_owner.get(id(owner), 0) + 1

    def remove(self, subscription: Subscription) -> None:
        """It exists no more."""
        subscription.over = True
        subscription.wake_at = 0.0
        mine = self.by_profile.get(subscription.line.profile)
        if mine is None or subscription not in mine:
            return
        del mine[subscription]
        if not mine:
            del self.by_profile[subscription.line.profile]
        self._uncount(subscription)
        if subscription.leg is not None:
            self.leaves(subscription, subscription.leg)
        self.forget_request(subscription)

    def forget_request(self, subscription: Subscription) -> None:
        """No answer to what is on its way matters any more."""
        outgoing, subscription.outgoing = subscription.outgoing, None
        if outgoing is not None:
            self.by_request.pop(outgoing.number, None)
            key = outgoing.dialog.call_id, outgoing.dialog.local_tag
            if self.early.get(key) is subscription:
                del self.early[key]

    def all(self) -> list[Subscription]:
        """Every one."""
        return [each for mine in self.by_profile.values() for each in mine]

    def of_leg(self, leg: Leg) -> list[Subscription]:
        """Those that live in ``leg``, or rest there."""
        return list(self._by_leg.get(leg.number, ()))

    def enters(self, subscription: Subscription, leg: Leg) -> None:
        """It lives in ``leg`` from now on."""
        self.by_usage[leg.number, subscription.event] = subscription
        self._by_leg.setdefault(leg.number, {})[subscription] = None

    def leaves(self, subscription: Subscription, leg: Leg) -> None:
        """It lives in ``leg`` no more."""
        self.by_usage.pop((leg.number, subscription.event), None)
        there = self._by_leg.get(leg.number)
        if there is not None:
            there.pop(subscription, None)
            if not there:
                del self._by_leg[leg.number]

    def _uncount(self, subscription: Subscription) -> None:
        key = id(subscription.owner)
        left = self._of_owner.get(key, 0) - 1
        if left > 0:
            self._of_owner[key] = left
        else:
            self._of_owner.pop(key, None)


def pace_of(agent: UserAgent) -> Pace:
    """The back-off of registrations."""
    return Pace(agent.room.settings.backoff_base, agent.room.settings.backoff_maximum)
