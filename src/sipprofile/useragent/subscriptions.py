"""Subscriptions of ours: what their answers and NOTIFYs mean (RFC 6665 §4.1, RFC 3515 §2.4).

The requests themselves are sent by :mod:`~.resubscribing`. A subscription outlives its dialog: when the notifier has
forgotten or ended it, another one takes its place, in a leg whose ``replaces`` is the number of the leg before.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..sip.dialog import tag_of
from ..sip.message import Request, Response
from . import legs, referring, resubscribing
from .draft import Draft
from .event_headers import SubscriptionState, event_of, header_of, retry_after_of, seconds_of, state_of
from .leg import Leg
from .outgoing import Outgoing
from .refreshing import Grant, accepted, rejected, shortened, terminated
from .subscription import MAXIMUM_FORKS, TIMER_N, Renewal, Subscription, pace_of

if TYPE_CHECKING:
    from .agent import UserAgent

LONGEST_LIFE = 86_400  # seconds; a notifier that says more is asked again then, or has ended
LONGEST_REFERENCE = 3600.0  # seconds that a REFER is followed whose notifier does not say how long it will report


# -- a SUBSCRIBE or REFER of ours ------------------------------------------------------------------------------------


def sent(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """A SUBSCRIBE or REFER is on its way for the first time."""
    table = agent.subscriptions
    leg, draft = outgoing.leg, outgoing.draft
    if isinstance(outgoing.owner, Renewal):
        known: Subscription | None = outgoing.owner.subscription
    elif outgoing.method == "REFER":
        known = None
    else:
        known = table.by_usage.get((leg.number, event_of(header_of(draft, "event", "o")))) if leg is not None else None
        if known is not None:
            _changed(known, draft)
    if known is None:
        known = _begin(agent, outgoing)
    table.forget_request(known)
    known.outgoing = outgoing
    table.by_request[outgoing.number] = known
    way = known.line.way(agent.room, outgoing.dialog, now, 0)
    known.contact = known.contact if isinstance(way, str) else way.contact
    known.refresh_at = 0.0
    if leg is None:
        known.notified = False
        known.forks = 0
        resubscribing.await_notifiers(agent, known, outgoing.dialog, now)
    if not known.notified or known.ending:
        known.notify_by = now + TIMER_N * agent.room.settings.t1
        resubscribing.wake(agent, known, now)


def _changed(known: Subscription, draft: Draft) -> None:
    """Its owner changes it inside the dialog, or ends it."""
    seconds = seconds_of(header_of(draft, "expires")) or 0
    known.ending = seconds == 0
    if seconds:
        known.grant.asked = seconds
        known.draft = msgspec.structs.replace(
            known.draft,
            headers=draft.headers,
            body=draft.body or known.draft.body,
            content_type=draft.content_type or known.draft.content_type,
            contact_params=draft.contact_params or known.draft.contact_params,
            refresh=draft.refresh,
        )


def _begin(agent: UserAgent, outgoing: Outgoing) -> Subscription:
    draft = outgoing.draft
    refer = outgoing.method == "REFER"
    event = "refer" if refer else event_of(header_of(draft, "event", "o"))
    seconds = 0 if refer else seconds_of(header_of(draft, "expires")) or 0
    subscription = Subscription(outgoing.owner, outgoing.line, draft, event, Grant(seconds), refer=refer)
    subscription.ending = not refer and seconds == 0  # one look, RFC 6665 §4.4.3
    agent.subscriptions.add(subscription)
    return subscription


def responded(agent: UserAgent, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> bool:
    """A final response; True: the service goes on by itself, and the owner need not hear of it."""
    subscription = agent.subscriptions.by_request.get(outgoing.number)
    if subscription is None or response.status < 200:
        return False
    if response.status < 300:
        _granted(agent, subscription, outgoing, response, leg, now)
        return _pass_on(subscription, response, leg, now)
    if subscription.leg is None and subscription.notified:
        return False
    return _refused(agent, subscription, outgoing, response, now)


def _granted(
    agent: UserAgent, subscription: Subscription, outgoing: Outgoing, response: Response, leg: Leg | None, now: float
) -> None:
    table, room = agent.subscriptions, agent.room
    known = subscription.leg
    if leg is not None and leg is not known:
        if known is None or subscription.rests:
            attach(agent, subscription, leg, now)
        elif outgoing.leg is None:  # a NOTIFY of another notifier was faster
            _fork(agent, subscription, leg, now)
    table.by_request.pop(outgoing.number, None)
    if subscription.outgoing is outgoing:
        subscription.outgoing = None
    if subscription.refer:
        referring.accepted(agent, subscription, outgoing, response, now)
        return
    if subscription.ending:
        if seconds_of(header_of(outgoing.draft, "expires")):  # that was wanted while this one was on its way
            resubscribing.unsubscribe(agent, subscription, now)
        return
    seconds = seconds_of(response.header("expires"))
    follows = accepted(subscription.grant, seconds, now, room.random.random(), pace_of(agent))
    if follows.step == "refresh":
        resubscribing.renewed(agent, subscription, follows.delay, now)
    else:
        resubscribing.goes_on(agent, subscription, follows, _said(response), now)


def _refused(agent: UserAgent, subscription: Subscription, outgoing: Outgoing, response: Response, now: float) -> bool:
    agent.subscriptions.forget_request(subscription)
    text = _said(response)
    within = outgoing.leg is not None
    if subscription.ending or subscription.refer or not subscription.refreshed:
        if within and not subscription.ending and subscription.grant.lives(now) and not _gone(response):
            resubscribing.wake(agent, subscription, now)  # an owner's change was refused: it lives as before
        else:
            _over_after(agent, subscription, text, now)
        return False
    follows = rejected(
        subscription.grant,
        response.status,
        within,
        now,
        agent.room.random.random(),
        pace_of(agent),
        seconds_of(response.header("min-expires")) or 0,
        retry_after_of(response),
    )
    first = subscription.leg is None
    if first and (response.status != 423 or follows.step == "over" or follows.delay):
        handled = subscription.asked is not None  # else the owner hears the answer to its own request
        if subscription.asked is not None:
            subscription.owner.responded(subscription.asked, response, None, now)
        agent.subscriptions.remove(subscription)
        return handled
    if first and subscription.asked is None:
        subscription.asked = outgoing
    resubscribing.goes_on(agent, subscription, follows, text, now)
    return first


def _over_after(agent: UserAgent, subscription: Subscription, text: str, now: float) -> None:
    """It is over as soon as its owner has heard of the answer."""
    code = "dialog_ended" if subscription.ending else "subscription_lost"
    agent.room.call_at(now, partial(resubscribing.over, agent, subscription, code, text))


def _pass_on(subscription: Subscription, response: Response, leg: Leg | None, now: float) -> bool:
    """The owner's own SUBSCRIBE was repeated for it: this is the answer."""
    asked, subscription.asked = subscription.asked, None
    if asked is None:
        return False
    subscription.owner.responded(asked, response, leg, now)
    return True


def failed(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> bool:
    """No final response will come; True: the owner need not hear of it."""
    subscription = agent.subscriptions.by_request.get(outgoing.number)
    if subscription is None:
        return False
    agent.subscriptions.forget_request(subscription)
    if subscription.leg is None:
        asked, subscription.asked = subscription.asked, None
        agent.subscriptions.remove(subscription)
        if asked is not None:
            subscription.owner.failed(asked, code, now)
        return asked is not None
    if subscription.ending or not subscription.refreshed:
        if subscription.ending or not subscription.grant.lives(now):
            _over_after(agent, subscription, "", now)
        return False
    fraction = agent.room.random.random()
    follows = rejected(subscription.grant, 0, outgoing.leg is not None, now, fraction, pace_of(agent))
    resubscribing.goes_on(agent, subscription, follows, "", now)
    return False


# -- NOTIFY ----------------------------------------------------------------------------------------------------------


def begun(agent: UserAgent, request: Request, now: float) -> Leg | None:
    """The leg of a NOTIFY that belongs to none yet: it came before the 2xx of its SUBSCRIBE, or from another notifier
    that the SUBSCRIBE was forked to (RFC 6665 §4.1.2.4, §4.5.2)."""
    key = request.header("call-id") or "", tag_of(request.header("to"))
    subscription = agent.subscriptions.early.get(key)
    if subscription is None or (subscription.outgoing is None and subscription.leg is None):
        return None
    package = event_of(request.header("event")).partition(";")[0]
    if package != subscription.event.partition(";")[0] or not tag_of(request.header("from")):
        return None
    origin = subscription.outgoing.dialog if subscription.outgoing is not None else None
    if origin is None:
        assert subscription.leg is not None
        origin = subscription.leg.dialog
    dialog = msgspec.structs.replace(origin, remote_tag="", remote_cseq=-1, route_set=())
    dialog.requested(request)
    alone = subscription.leg is None or subscription.rests
    if not alone and subscription.forks >= MAXIMUM_FORKS:
        return None
    method = "REFER" if subscription.refer else "SUBSCRIBE"
    leg = legs.begin(agent, subscription.owner, subscription.line, dialog, method, initiator=True)
    if alone:
        attach(agent, subscription, leg, now)
    else:
        _fork(agent, subscription, leg, now)
    return leg


def notified(agent: UserAgent, leg: Leg, request: Request, now: float) -> int:
    """What a NOTIFY in ``leg`` is to be answered with; what it means takes effect after its owner has got it."""
    event = event_of(request.header("event"))
    state = state_of(request.header("subscription-state"))
    if not event:
        return 489
    subscription = _of_notify(agent, leg, event, now)
    if subscription is None or subscription.over:
        return 481
    if not state.word:
        return 400
    subscription.notified = True
    if not leg.invite:
        leg.state = "confirmed"
    if not subscription.ending:
        subscription.notify_by = 0.0
    if state.word == "terminated":
        agent.room.call_at(now, partial(_terminated, agent, subscription, leg, state))
    elif not subscription.ending:
        _keep(agent, subscription, state, now)
    return 200


def _of_notify(agent: UserAgent, leg: Leg, event: str, now: float) -> Subscription | None:
    found = agent.subscriptions.by_usage.get((leg.number, event))
    if found is None and event.partition(";")[0] == "refer":
        found = referring.of_notify(agent, leg, event)
    return found if found is not None else _unanswered(agent, leg, event, now)


def _unanswered(agent: UserAgent, leg: Leg, event: str, now: float) -> Subscription | None:
    """One that was asked for inside ``leg``: its NOTIFY comes before its answer."""
    for each in agent.subscriptions.by_request.values():
        outgoing = each.outgoing
        if each.leg is None and outgoing is not None and outgoing.leg is leg:
            package = event.partition(";")[0] if each.refer else event
            if each.event == package and (event in ("refer", package) or event == f"refer;id={outgoing.cseq}"):
                attach(agent, each, leg, now)
                return each
    return None


def _keep(agent: UserAgent, subscription: Subscription, state: SubscriptionState, now: float) -> None:
    """The notifier says how long it lasts."""
    grant = subscription.grant
    if subscription.refer and state.expires is None and not grant.expires_at:
        grant.expires_at = now + LONGEST_REFERENCE
    if state.expires is not None:
        if subscription.refer or grant.begun_at == 0:
            grant.begun_at = grant.begun_at or now
            grant.expires_at = now + min(state.expires, LONGEST_LIFE)
        else:
            delay = shortened(grant, state.expires, now, agent.room.random.random())
            if delay is not None and subscription.refreshed and subscription.outgoing is None:
                subscription.refresh_at = now + delay
    resubscribing.wake(agent, subscription, now)


def _terminated(agent: UserAgent, subscription: Subscription, leg: Leg, state: SubscriptionState, now: float) -> None:
    if subscription.over or subscription.leg is not leg or subscription.rests:
        return
    text = f"terminated;reason={state.reason}" if state.reason.isascii() and state.reason else "terminated"
    if subscription.ending or subscription.refer or not subscription.refreshed:
        ordinary = subscription.ending or subscription.refer
        resubscribing.over(agent, subscription, "dialog_ended" if ordinary else "subscription_lost", text, now)
        return
    agent.subscriptions.forget_request(subscription)
    fraction = agent.room.random.random()
    follows = terminated(subscription.grant, state.reason, state.retry_after, now, fraction, pace_of(agent))
    resubscribing.goes_on(agent, subscription, follows, text, now)


# -- its legs --------------------------------------------------------------------------------------------------------


def attach(agent: UserAgent, subscription: Subscription, leg: Leg, now: float) -> None:
    """It lives in ``leg`` from now on; the owner hears of that when there was another one before."""
    before = subscription.leg
    subscription.leg = leg
    leg.owner = subscription.owner
    agent.subscriptions.enters(subscription, leg)
    if subscription.event not in leg.usages:
        leg.usages = (*leg.usages, subscription.event)
    if before is None or before is leg:
        return
    agent.subscriptions.leaves(subscription, before)
    leg.replaces = before.number
    leg.code = "resubscribed"
    subscription.trouble = ""
    subscription.owner.leg_changed(leg, "resubscribed", now)
    legs.usage_ended(agent, before, subscription.event, "resubscribed", "", now)


def _fork(agent: UserAgent, subscription: Subscription, leg: Leg, now: float) -> None:
    subscription.forks += 1
    grant = msgspec.structs.replace(subscription.grant)
    fork = Subscription(subscription.owner, subscription.line, subscription.draft, subscription.event, grant)
    fork.refer, fork.fork, fork.contact = subscription.refer, True, subscription.contact
    grant.begun_at = grant.begun_at or now
    grant.expires_at = grant.expires_at or now + grant.seconds
    agent.subscriptions.add(fork)
    attach(agent, fork, leg, now)
    fork.ending = subscription.ending
    fork.notify_by = subscription.notify_by or now + TIMER_N * agent.room.settings.t1
    if fork.refreshed and not fork.ending:
        fork.refresh_at = now + (grant.expires_at - now) / 2
    resubscribing.wake(agent, fork, now)


def _gone(response: Response) -> bool:
    return response.status in (404, 410, 481, 489, 604)


def _said(response: Response) -> str:
    reason = "".join(char for char in response.reason[:80] if char.isprintable())
    return f"{response.status} {reason}".rstrip()
