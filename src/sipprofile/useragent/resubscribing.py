"""The SUBSCRIBEs that the service sends: refreshes, the next dialog after one that ended, and the last one
(RFC 6665 §4.1.2.2, §4.1.2.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..errors import SipProfileError
from ..sip.dialog import Dialog
from . import client, legs
from .draft import Draft
from .event_headers import with_headers
from .leg import Leg
from .refreshing import Next, unheard
from .subscription import TIMER_N, Renewal, Subscription, pace_of
from .unowned import UNOWNED

if TYPE_CHECKING:
    from .agent import UserAgent

LINE_RETRY = 30.0  # seconds after which one looks whether the profile is registered again, should nobody say so
LINE_SPREAD = 2.0  # seconds over which a profile's subscriptions are renewed when its flow has moved
WAITS_FOR_LINE = frozenset(("not_registered", "quota_exceeded"))
ENDED_AFTER = 1.0  # seconds after the end of what is not refreshed: the notifier's last NOTIFY may come first


def wake(agent: UserAgent, subscription: Subscription, now: float) -> None:
    """Come back when the next thing is due."""
    grant = subscription.grant
    times = [subscription.notify_by, subscription.refresh_at]
    if grant.expires_at and not subscription.ending:
        if not subscription.refreshed:
            times.append(grant.expires_at + ENDED_AFTER)
        elif subscription.trouble == "not_refreshed":
            times.append(grant.expires_at)
    at = min((time for time in times if time), default=0.0)
    if at and (not subscription.wake_at or at < subscription.wake_at):  # a later time is looked at then
        subscription.wake_at = at
        agent.room.call_at(max(at, now), partial(_due, agent, subscription, at))


def _due(agent: UserAgent, subscription: Subscription, at: float, now: float) -> None:
    if subscription.over or subscription.wake_at != at:
        return
    subscription.wake_at = 0.0
    if subscription.notify_by and now >= subscription.notify_by:
        subscription.notify_by = 0.0
        if subscription.outgoing is None:
            _unheard(agent, subscription, now)
    elif subscription.refresh_at and now >= subscription.refresh_at:
        subscription.refresh_at = 0.0
        if subscription.outgoing is None and not subscription.ending:
            _send(agent, subscription, now)
    elif subscription.grant.expires_at and not subscription.grant.lives(now):
        if not subscription.refreshed:
            over(agent, subscription, "dialog_ended" if subscription.refer else "subscription_lost", "", now)
        elif subscription.outgoing is None:
            _rest(agent, subscription, "", now)
        else:
            subscription.grant.lost()  # the answer says how it goes on
    if not subscription.over:
        wake(agent, subscription, now)


def _unheard(agent: UserAgent, subscription: Subscription, now: float) -> None:
    """No NOTIFY: there is none, or the last one is not coming."""
    if subscription.ending:
        over(agent, subscription, "dialog_ended", "", now)
    elif subscription.notified:
        return
    elif not subscription.refreshed:
        over(agent, subscription, "subscription_lost", "", now)
    else:
        follows = unheard(subscription.grant, now, agent.room.random.random(), pace_of(agent))
        goes_on(agent, subscription, follows, "", now)


# -- what follows ----------------------------------------------------------------------------------------------------


def renewed(agent: UserAgent, subscription: Subscription, delay: float, now: float) -> None:
    """It was granted; the next refresh is due after ``delay`` seconds."""
    leg = subscription.leg
    if subscription.refreshed:
        subscription.refresh_at = now + delay
    if not subscription.notified and not subscription.notify_by:
        subscription.notify_by = now + TIMER_N * agent.room.settings.t1
    if subscription.trouble == "not_refreshed" and leg is not None:
        subscription.trouble = ""
        leg.code, leg.text = "refreshed", ""
        subscription.owner.leg_changed(leg, "refreshed", now)
    wake(agent, subscription, now)
    if _moved(agent, subscription, now):
        subscription.refresh_at = now
        wake(agent, subscription, now)


def goes_on(agent: UserAgent, subscription: Subscription, follows: Next, text: str, now: float) -> None:
    """Something failed: the owner hears of it once, and what ``follows`` is due."""
    alive = subscription.grant.lives(now)
    if follows.step == "over" or (subscription.fork and follows.step == "anew" and not alive):
        over(agent, subscription, "subscription_lost", text, now)
        return
    if follows.step == "anew" and not alive:
        _rest(agent, subscription, text, now)
    elif subscription.trouble == "" and subscription.leg is not None and follows.delay:
        subscription.trouble = "not_refreshed"
        subscription.leg.code, subscription.leg.text = "not_refreshed", text
        subscription.owner.leg_changed(subscription.leg, "not_refreshed", now)
    if not subscription.over:
        subscription.refresh_at = now + follows.delay
        wake(agent, subscription, now)


def _rest(agent: UserAgent, subscription: Subscription, text: str, now: float) -> None:
    """Its dialog is gone; until another one is there its owner knows it by the leg that it had."""
    _forget_early(agent, subscription)
    subscription.notify_by = 0.0
    subscription.grant.lost()
    leg = subscription.leg
    if leg is None or subscription.rests:
        return
    subscription.trouble = "resubscribing"
    legs.rest(agent, leg, subscription.event, text)
    subscription.owner.leg_changed(leg, "resubscribing", now)


def over(agent: UserAgent, subscription: Subscription, code: str, text: str, now: float) -> None:
    """It is over for good."""
    if subscription.over:
        return
    leg = subscription.leg
    _forget_early(agent, subscription)
    agent.subscriptions.remove(subscription)
    if leg is not None:
        legs.usage_ended(agent, leg, subscription.event, code, text, now)


def unsubscribe(agent: UserAgent, subscription: Subscription, now: float) -> None:
    """End it with Expires: 0, and wait for the last NOTIFY (RFC 6665 §4.1.2.3)."""
    leg = subscription.leg
    subscription.ending = True
    subscription.refresh_at = 0.0
    subscription.asked = None
    outgoing = subscription.outgoing
    if outgoing is not None and outgoing.leg is None and (leg is None or subscription.rests):
        _release(agent, subscription, now)
        return  # it ends when its dialog is known
    if leg is None or subscription.rests or subscription.refer:
        over(agent, subscription, "dialog_ended", "", now)
        return
    agent.subscriptions.forget_request(subscription)
    try:
        client.send(agent, Renewal(subscription), subscription.line, _draft(subscription, 0), now, leg=leg)
    except SipProfileError:
        over(agent, subscription, "dialog_ended", "", now)


def _release(agent: UserAgent, subscription: Subscription, now: float) -> None:
    """To its owner it is over; the dialog that is being asked for is ended as soon as it is there."""
    leg, subscription.leg = subscription.leg, None
    subscription.trouble = ""
    agent.subscriptions.give(subscription, UNOWNED)
    if leg is not None:
        agent.subscriptions.leaves(subscription, leg)
        legs.usage_ended(agent, leg, subscription.event, "dialog_ended", "", now)


# -- sending ---------------------------------------------------------------------------------------------------------


def _send(agent: UserAgent, subscription: Subscription, now: float) -> None:
    leg = subscription.leg
    if leg is not None and not subscription.rests and not subscription.grant.lives(now):
        if subscription.fork:
            over(agent, subscription, "subscription_lost", "", now)
            return
        _rest(agent, subscription, "", now)
    within = None if subscription.rests else leg
    draft = _draft(subscription, subscription.grant.seconds, within)
    try:
        client.send(agent, Renewal(subscription), subscription.line, draft, now, leg=within)
    except SipProfileError as error:
        if error.code not in WAITS_FOR_LINE or leg is None:
            asked, subscription.asked = subscription.asked, None
            if asked is not None:
                subscription.owner.failed(asked, "not_registered", now)
            over(agent, subscription, "subscription_lost", error.detail, now)
            return
        subscription.contact = ""
        subscription.refresh_at = now + LINE_RETRY * (0.5 + 0.5 * agent.room.random.random())


def _draft(subscription: Subscription, seconds: int, leg: Leg | None = None) -> Draft:
    """The SUBSCRIBE for ``seconds``: a refresh keeps the filter that the first one's body has set (RFC 4660 §5.2)."""
    draft = with_headers(subscription.draft, ("Expires", str(seconds)))
    changes = {"call_id": None, "refresh": 0}
    if leg is not None or not seconds:
        return msgspec.structs.replace(draft, **changes, body=b"", content_type=None)
    return msgspec.structs.replace(draft, **changes)


def line_changed(agent: UserAgent, profile: int, now: float) -> None:
    """The profile has registered, perhaps with another Contact: notifiers must know where to send."""
    for subscription in list(agent.subscriptions.by_profile.get(profile, ())):
        if subscription.refreshed and not subscription.ending and subscription.outgoing is None:
            waits = subscription.contact == "" and subscription.refresh_at > 0
            if waits or (not subscription.rests and _moved(agent, subscription, now)):
                subscription.refresh_at = now + LINE_SPREAD * agent.room.random.random()
                wake(agent, subscription, now)


def _moved(agent: UserAgent, subscription: Subscription, now: float) -> bool:
    """Whether our Contact is another than the notifier knows."""
    leg = subscription.leg
    if leg is None or not subscription.contact:
        return False
    way = subscription.line.way(agent.room, leg.dialog, now, 0)
    return not isinstance(way, str) and way.contact != subscription.contact


def await_notifiers(agent: UserAgent, subscription: Subscription, dialog: Dialog, now: float) -> None:
    """For 64·T1 the NOTIFYs of a SUBSCRIBE's notifiers begin dialogs (RFC 6665 §4.5.2)."""
    key = dialog.call_id, dialog.local_tag
    agent.subscriptions.early[key] = subscription
    agent.room.call_at(now + TIMER_N * agent.room.settings.t1, partial(_no_more_notifiers, agent, subscription, key))


def _no_more_notifiers(agent: UserAgent, subscription: Subscription, key: tuple[str, str], now: float) -> None:
    if agent.subscriptions.early.get(key) is subscription:
        del agent.subscriptions.early[key]


def _forget_early(agent: UserAgent, subscription: Subscription) -> None:
    """No NOTIFY begins another dialog any more."""
    outgoing, leg, early = subscription.outgoing, subscription.leg, agent.subscriptions.early
    for dialog in (outgoing.dialog if outgoing is not None else None, leg.dialog if leg is not None else None):
        if dialog is not None and early.get((dialog.call_id, dialog.local_tag)) is subscription:
            del early[dialog.call_id, dialog.local_tag]
