"""The implicit subscription of a REFER (RFC 3515 §2.4.4, RFC 4488)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import Message, Response
from . import resubscribing
from .leg import Leg
from .outgoing import Outgoing
from .subscription import TIMER_N, Subscription

if TYPE_CHECKING:
    from .agent import UserAgent

SIPFRAG = "message/sipfrag;version=2.0"  # RFC 3420
UNAVAILABLE = b"SIP/2.0 503 Service Unavailable\r\n"
"""What the last NOTIFY says when nobody is left who knows how the reference went."""


def suppressed(message: Message) -> bool:
    """Whether a REFER or its answer says that there is to be no subscription (RFC 4488 §4)."""
    return (message.header("refer-sub") or "").partition(";")[0].strip().lower() == "false"


def event_of_refer(cseq: int) -> str:
    """The event of the subscription that the REFER with this CSeq makes."""
    return f"refer;id={cseq}"


def accepted(agent: UserAgent, subscription: Subscription, outgoing: Outgoing, response: Response, now: float) -> None:
    """A 2xx to our REFER: NOTIFYs follow unless the other side has declined to send any."""
    leg = subscription.leg
    if leg is None or suppressed(response):
        resubscribing.over(agent, subscription, "dialog_ended", "", now)
        return
    event = event_of_refer(outgoing.cseq)
    usage = (leg.number, subscription.event)
    if agent.subscriptions.by_usage.get(usage) is subscription:
        del agent.subscriptions.by_usage[usage]
    leg.usages = (*(each for each in leg.usages if each != subscription.event), event)
    subscription.event = event
    agent.subscriptions.by_usage[leg.number, event] = subscription
    if subscription.ending:
        resubscribing.over(agent, subscription, "dialog_ended", "", now)
    elif not subscription.notified:
        subscription.notify_by = now + TIMER_N * agent.room.settings.t1
        resubscribing.wake(agent, subscription, now)


def of_notify(agent: UserAgent, leg: Leg, event: str) -> Subscription | None:
    """The subscription of a NOTIFY with ``refer``: the first of a dialog may leave its id out (RFC 3515 §2.4.6), and
    one that comes before the 2xx of the REFER has the id that will be known then."""
    mine = [each for each in agent.subscriptions.of_leg(leg) if each.refer]
    if event == "refer":
        return mine[0] if mine else None
    for each in mine:
        if each.event == "refer" and each.outgoing is not None and event == event_of_refer(each.outgoing.cseq):
            return each
    return None
