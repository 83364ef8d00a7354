"""What requests and answers mean for subscriptions, references and publications: the one place where the client and
the server side ask (RFC 5057, RFC 6665, RFC 3515, RFC 3903)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..sip.message import Request, Response
from . import ending, notifying, publications, subscriptions
from .draft import Answer, Draft
from .event_headers import event_of, header_of, with_headers
from .incoming import Incoming
from .leg import Leg
from .outgoing import Outgoing
from .owner import Owner
from .subscription import MAXIMUM_OF_OWNER, MAXIMUM_SUBSCRIPTIONS, Renewal

if TYPE_CHECKING:
    from .agent import UserAgent

DEFAULT_EXPIRES = 3600  # seconds that a SUBSCRIBE asks for whose owner does not say
METHODS = frozenset(("SUBSCRIBE", "REFER", "NOTIFY", "PUBLISH"))


# -- the client side ---------------------------------------------------------------------------------------------------


def prepared(agent: UserAgent, owner: Owner, draft: Draft, leg: Leg | None, now: float) -> Draft:
    """The draft with the headers that its method needs. Raises ``missing_field``, ``invalid_value``, ``invalid_state``
    or ``quota_exceeded``."""
    method = draft.method
    if leg is not None and leg.code == "resubscribing" and leg.state == "early":
        detail = "The subscription has no dialog just now; the next one is asked for."
        raise SipProfileError("invalid_state", detail, dialog=leg.number)
    if method == "SUBSCRIBE":
        return _subscribe(agent, owner, draft, leg)
    if method == "NOTIFY":
        _need_event(draft)
        return notifying.notifies(agent, leg, draft, now) if leg is not None else draft
    if method == "PUBLISH":
        _need_event(draft)
        return publications.prepared(agent, owner, draft)
    if method == "REFER":
        if header_of(draft, "refer-to", "r") is None:
            raise SipProfileError("missing_field", "A REFER needs Refer-To (RFC 3515 §2.1).", field="headers")
        _check_room(agent, owner)
    return draft


def sent(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """A request is on its way; called once for it, not for its retransmissions or answers to challenges."""
    method = outgoing.method
    if method in ("SUBSCRIBE", "REFER"):
        subscriptions.sent(agent, outgoing, now)
    elif method == "NOTIFY":
        notifying.sent(agent, outgoing, now)
    elif method == "PUBLISH":
        publications.sent(agent, outgoing, now)


def responded(agent: UserAgent, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> bool:
    """A final response; True: the owner need not hear of it, because the service goes on or has told it."""
    method = outgoing.method
    if method in ("SUBSCRIBE", "REFER"):
        return subscriptions.responded(agent, outgoing, response, leg, now)
    if method == "NOTIFY":
        notifying.responded(agent, outgoing, response, now)
    elif method == "PUBLISH":
        return publications.responded(agent, outgoing, response, now)
    return False


def failed(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> bool:
    """No final response will come; True: the owner need not hear of it."""
    method = outgoing.method
    if method in ("SUBSCRIBE", "REFER"):
        return subscriptions.failed(agent, outgoing, code, now)
    if method == "NOTIFY":
        notifying.failed(agent, outgoing, code, now)
    elif method == "PUBLISH":
        return publications.failed(agent, outgoing, code, now)
    return False


def _subscribe(agent: UserAgent, owner: Owner, draft: Draft, leg: Leg | None) -> Draft:
    _need_event(draft)
    if header_of(draft, "expires") is None:
        draft = with_headers(draft, ("Expires", str(draft.refresh or DEFAULT_EXPIRES)))
    if isinstance(owner, Renewal):
        return draft
    event = event_of(header_of(draft, "event", "o"))
    if not event:
        raise SipProfileError("invalid_value", "The header Event cannot be read.", field="headers")
    if leg is None or (leg.number, event) not in agent.subscriptions.by_usage:
        _check_room(agent, owner)
    return draft


def _need_event(draft: Draft) -> None:
    if header_of(draft, "event", "o") is None and draft.method != "NOTIFY":
        raise SipProfileError("missing_field", f"A {draft.method} needs the header Event.", field="headers")


def _check_room(agent: UserAgent, owner: Owner) -> None:
    if not agent.subscriptions.has_room(owner):
        detail = f"There are {MAXIMUM_OF_OWNER} subscriptions of its own, or {MAXIMUM_SUBSCRIPTIONS} in all."
        raise SipProfileError("quota_exceeded", detail)


# -- the server side ---------------------------------------------------------------------------------------------------


def granting(agent: UserAgent, incoming: Incoming, answer: Answer) -> Answer:
    """The owner's answer with what a 2xx to SUBSCRIBE must have. Raises ``quota_exceeded``."""
    return notifying.granting(agent, incoming, answer)


def subscribed(agent: UserAgent, incoming: Incoming, answer: Answer, leg: Leg, now: float) -> None:
    """A SUBSCRIBE or REFER was answered with 2xx in ``leg``."""
    notifying.subscribed(agent, incoming, answer, leg, now)


def notified(agent: UserAgent, leg: Leg, request: Request, now: float) -> int:
    """The status for a NOTIFY in ``leg``; what it means takes effect after its owner has got it."""
    return subscriptions.notified(agent, leg, request, now)


def expected(agent: UserAgent, request: Request, now: float) -> Leg | None:
    """The dialog that a NOTIFY makes which comes before the answer to its SUBSCRIBE, or from another notifier that
    the SUBSCRIBE was forked to (RFC 6665 §4.1.2.4)."""
    return subscriptions.begun(agent, request, now)


def end_leg(agent: UserAgent, leg: Leg, now: float, code: str) -> None:
    """End a dialog the right way."""
    ending.end_leg(agent, leg, now, code)
