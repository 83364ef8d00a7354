"""Subscriptions of others to something of ours: how long they last, what a NOTIFY needs, and how they end
(RFC 6665 §4.2, RFC 3515 §2.4.4).

Whether and what is notified is the owner's; the service watches the time and writes what Subscription-State has to say.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..errors import SipProfileError
from ..sip.message import MalformedMessage, Response
from . import client, legs
from .draft import Answer, Draft
from .event_headers import event_of, header_of, seconds_of, state_of, with_headers
from .incoming import Incoming
from .leg import Leg
from .notifier import Notifier
from .outgoing import Outgoing
from .referring import SIPFRAG, UNAVAILABLE, event_of_refer
from .unowned import UNOWNED

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_NOTIFIERS = 10_000
MAXIMUM_USAGES = 32  # subscriptions in one dialog (RFC 5057 advises against more than one)
DEFAULT_EXPIRES = 3600  # seconds, for packages whose subscriber does not say
REFERENCE = 300  # seconds that we report on a reference, unless a NOTIFY of the owner says otherwise
LAST_NOTIFY = 5.0  # seconds that an owner has for the last NOTIFY after an unsubscription or for a single look
GONE = frozenset((404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"""Answers to a NOTIFY after which the subscription is over (RFC 6665 §4.2.2, RFC 5057 §5.1)."""
UNHEARD = frozenset(("timeout", "timed_out"))


# -- a SUBSCRIBE or REFER from outside -------------------------------------------------------------------------------


def granting(agent: UserAgent, incoming: Incoming, answer: Answer) -> Answer:
    """The owner's 2xx to a SUBSCRIBE with the Expires that it must have, no longer than was asked for (§4.2.1.1).

    Raises ``quota_exceeded`` when there are too many subscriptions.
    """
    if not 200 <= answer.status < 300 or incoming.request.method not in ("SUBSCRIBE", "REFER"):
        return answer
    _check_room(agent, incoming)
    if incoming.request.method == "REFER":
        return answer
    others = tuple(header for header in answer.headers if header[0].strip().lower() != "expires")
    seconds = _granted(incoming, answer)
    return msgspec.structs.replace(answer, headers=(*others, ("Expires", str(seconds))))


def _check_room(agent: UserAgent, incoming: Incoming) -> None:
    leg, event = incoming.leg, event_of(incoming.request.header("event"))
    if leg is not None and (leg.number, event) in agent.notifiers.by_usage:
        return
    if len(agent.notifiers.by_usage) >= MAXIMUM_NOTIFIERS:
        raise SipProfileError("quota_exceeded", f"There are {MAXIMUM_NOTIFIERS} subscriptions already.")
    if leg is not None and len(leg.usages) >= MAXIMUM_USAGES:
        raise SipProfileError("quota_exceeded", f"A dialog has at most {MAXIMUM_USAGES} subscriptions.")


def subscribed(agent: UserAgent, incoming: Incoming, answer: Answer, leg: Leg, now: float) -> None:
    """A SUBSCRIBE or REFER was answered with 2xx in ``leg``."""
    refer = incoming.request.method == "REFER"
    if refer:
        declined = any(
            name.strip().lower() == "refer-sub" and value.strip().lower().startswith("false")
            for name, value in answer.headers
        )
        event = "" if declined else _refer_event(incoming)
        seconds = REFERENCE
    else:
        event = event_of(incoming.request.header("event"))
        seconds = _granted(incoming, answer)
    if not event:
        if refer and not leg.usages and not leg.invite:
            legs.close(agent, leg, "dialog_ended")
        return
    known = agent.notifiers.by_usage.get((leg.number, event))
    if known is None:
        known = Notifier(leg, event, refer, "pending" if answer.status == 202 and not refer else "active")
        agent.notifiers.by_usage[leg.number, event] = known
        leg.usages = (*leg.usages, event)
    leg.state = "confirmed" if not leg.invite else leg.state
    known.ending = seconds == 0
    known.expires_at = now + (seconds or LAST_NOTIFY)
    _wake(agent, known)


def _granted(incoming: Incoming, answer: Answer) -> int:
    asked = seconds_of(incoming.request.header("expires"))
    asked = DEFAULT_EXPIRES if asked is None else asked
    given = next((seconds_of(value) for name, value in answer.headers if name.strip().lower() == "expires"), None)
    return asked if given is None else min(given, asked)


def _refer_event(incoming: Incoming) -> str:
    try:
        return event_of_refer(incoming.request.cseq()[0])
    except MalformedMessage:
        return ""


# -- a NOTIFY of ours ------------------------------------------------------------------------------------------------


def notifies(agent: UserAgent, leg: Leg, draft: Draft, now: float) -> Draft:
    """The owner's NOTIFY in ``leg`` with Event and Subscription-State; raises ``invalid_state`` when nobody there has
    subscribed to that, or does not any more."""
    event = event_of(header_of(draft, "event", "o"))
    mine = agent.notifiers.of_leg(leg)
    known = _of_draft(mine, event)
    if known is None or known.terminated:
        if leg.manual and event and header_of(draft, "subscription-state") is not None:
            return draft
        raise SipProfileError("invalid_state", "Nobody has subscribed to that in this dialog.", value=event)
    if not event:
        draft = with_headers(draft, ("Event", known.event))
    given = header_of(draft, "subscription-state")
    state = state_of(given if given is not None else ("terminated;reason=timeout" if known.ending else known.word))
    if state.word == "terminated":
        if given is None:
            draft = with_headers(draft, ("Subscription-State", "terminated;reason=timeout"))
        return draft
    if known.refer and state.expires is not None:
        known.expires_at = now + state.expires
        _wake(agent, known)
    if state.expires is None:
        left = max(0, int(known.expires_at - now))
        draft = with_headers(draft, ("Subscription-State", f"{given or known.word};expires={left}"))
    return draft


def sent(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """A NOTIFY is on its way."""
    leg = outgoing.leg
    known = _of_draft(agent.notifiers.of_leg(leg), event_of(header_of(outgoing.draft, "event", "o"))) if leg else None
    if known is None:
        return
    agent.notifiers.by_request[outgoing.number] = known
    state = state_of(header_of(outgoing.draft, "subscription-state"))
    if state.word == "terminated":
        known.terminated = True
    else:
        known.word = state.word or known.word


def responded(agent: UserAgent, outgoing: Outgoing, response: Response, now: float) -> None:
    """The final answer to a NOTIFY of ours."""
    known = agent.notifiers.by_request.pop(outgoing.number, None)
    if known is None or response.status < 200:
        return
    if known.terminated:
        _over_after(agent, known, "dialog_ended", "", now)
    elif response.status in GONE and response.header("retry-after") is None:
        _over_after(agent, known, "subscriber_gone", str(response.status), now)


def failed(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> None:
    """No answer to a NOTIFY of ours: nobody listens (RFC 6665 §4.2.2)."""
    known = agent.notifiers.by_request.pop(outgoing.number, None)
    if known is None:
        return
    if known.terminated:
        _over_after(agent, known, "dialog_ended", "", now)
    elif code in UNHEARD:
        _over_after(agent, known, "subscriber_gone", "", now)


def _of_draft(mine: list[Notifier], event: str) -> Notifier | None:
    if not event:
        return mine[0] if len(mine) == 1 else None
    for known in mine:
        if known.event == event:
            return known
    references = [known for known in mine if known.refer]
    return references[0] if event == "refer" and len(references) == 1 else None


# -- its end ---------------------------------------------------------------------------------------------------------


def terminate(agent: UserAgent, known: Notifier, reason: str, code: str, now: float) -> None:
    """Send the last NOTIFY in the owner's place, and be done with it (RFC 6665 §4.2.2)."""
    headers = (("Event", known.event), ("Subscription-State", f"terminated;reason={reason}"))
    body, kind = (UNAVAILABLE, SIPFRAG) if known.refer else (b"", None)
    if not known.terminated:
        try:
            client.send(
                agent,
                UNOWNED,
                known.leg.line,
                Draft("NOTIFY", headers=headers, body=body, content_type=kind),
                now,
                leg=known.leg,
            )
        except SipProfileError:
            pass  # without a way to the subscriber its own clock ends it
    _over(agent, known, code, "", now)


def _over_after(agent: UserAgent, known: Notifier, code: str, text: str, now: float) -> None:
    """It is over as soon as the owner has heard of the answer."""
    agent.room.call_at(now, partial(_over, agent, known, code, text))


def _over(agent: UserAgent, known: Notifier, code: str, text: str, now: float) -> None:
    if agent.notifiers.by_usage.pop((known.leg.number, known.event), None) is not None:
        known.terminated = True
        legs.usage_ended(agent, known.leg, known.event, code, text, now)


def _wake(agent: UserAgent, known: Notifier) -> None:
    if not known.wake_at or known.expires_at < known.wake_at:
        known.wake_at = known.expires_at
        agent.room.call_at(known.expires_at, partial(_due, agent, known, known.expires_at))


def _due(agent: UserAgent, known: Notifier, at: float, now: float) -> None:
    if known.wake_at != at or agent.notifiers.by_usage.get((known.leg.number, known.event)) is not known:
        return
    known.wake_at = 0.0
    if now < known.expires_at:
        _wake(agent, known)
    elif known.terminated:
        return  # the last NOTIFY is on its way
    else:
        terminate(agent, known, "timeout", "dialog_ended" if known.ending else "subscriber_gone", now)
