"""Requests of owners: sent, cancelled, abandoned, and what responses make of dialogs (RFC 3261 §8.1, §9.1, §13.2).

The ACK of a 2xx is in :mod:`~sipprofile.useragent.acknowledging`, PRACK in :mod:`~sipprofile.useragent.reliable`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..events import REASONS
from ..registration import requests, transactions
from ..registration.line import Line
from ..registration.requests import ClientRequest
from ..sip.dialog import tag_of
from ..sip.message import Response
from . import acknowledging, in_dialog, legs, reliable, usages
from .acknowledging import acknowledge
from .bindings import fetch_bindings
from .draft import Draft
from .drafts import checked
from .leg import Leg
from .outgoing import Outgoing
from .owner import Owner
from .rate import Rate

if TYPE_CHECKING:
    from .agent import UserAgent

__all__ = ["abandon", "acknowledge", "cancel", "fetch_bindings", "send"]

REFRESHES_TARGET = frozenset(("INVITE", "NOTIFY", "REFER", "SUBSCRIBE", "UPDATE"))
MAXIMUM_PROVISIONALS = 50
"""Provisional responses to one request that its owner hears of in a second."""
MAXIMUM_FORKS = 32
"""Dialogs that one INVITE may make; a 2xx beyond is acknowledged and ended at once."""


def send(agent: UserAgent, owner: Owner, line: Line, draft: Draft, now: float, leg: Leg | None = None) -> Outgoing:
    """Send a request; with ``leg`` in that dialog. What comes of it is told to ``owner``.

    Raises ``not_registered``, ``invalid_value``, ``missing_field``, ``header_refused``, ``identity_refused``,
    ``too_large``, ``invalid_state`` or ``quota_exceeded``.
    """
    if leg is not None:
        _check_state(agent, draft.method, leg)
        line = leg.line
    draft = usages.prepared(agent, owner, draft, leg, now)
    found = checked(agent, line, draft, leg)
    headers = found.headers
    if draft.method == "PRACK" and leg is not None:
        headers = reliable.with_rack(leg, headers)
    outgoing = Outgoing(
        found.dialog,
        draft.method,
        line,
        partial(_heard, agent),
        headers,
        draft.body,
        draft.max_forwards,
        found.has_contact,
        found.contact_params,
        owner=owner,
        draft=draft,
        leg=leg,
    )
    code = requests.send(agent.room, outgoing, now)
    if code:
        raise _error(code)
    agent.outgoing[outgoing.number] = outgoing
    if leg is not None:
        leg.asked += (outgoing.number,)
        if draft.method == "INVITE":
            leg.invite = outgoing.number
    usages.sent(agent, outgoing, now)
    return outgoing


def cancel(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """CANCEL an INVITE; its final response says whether that came in time. Raises ``invalid_state``."""
    if outgoing.method != "INVITE":
        raise SipProfileError("invalid_state", "Only an INVITE can be cancelled.", value=outgoing.method)
    if not transactions.cancel(agent.room, outgoing, now):
        raise SipProfileError("invalid_state", "The request is answered already.", request=outgoing.number)


def abandon(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """Nobody wants to know any more: an INVITE is cancelled, or ended when it is answered all the same."""
    outgoing.abandoned = True
    if outgoing.method == "INVITE":
        transactions.cancel(agent.room, outgoing, now)


def _error(code: str) -> SipProfileError:
    if code == "too_many":
        return SipProfileError("quota_exceeded", "Too many requests of all applications are under way.")
    if code in ("too_large", "invalid_value"):
        return SipProfileError(code)
    return SipProfileError("not_registered", REASONS.get(code), reason=code)


def _check_state(agent: UserAgent, method: str, leg: Leg) -> None:
    if leg.state == "terminated":
        raise SipProfileError("invalid_state", "The dialog has ended.", dialog=leg.number, state=leg.state)
    if method in in_dialog.OF_CALLS and not leg.invite:
        raise SipProfileError("invalid_state", "The dialog is no call.", dialog=leg.number, state=leg.state)
    if method == "INVITE":
        if leg.state == "early" or _invite_pending(agent, leg):  # RFC 3261 §14.1
            raise SipProfileError(
                "invalid_state", "Another INVITE is not answered yet.", dialog=leg.number, state=leg.state
            )
    elif method == "BYE" and leg.state == "early" and not leg.initiator:  # RFC 3261 §15
        raise SipProfileError(
            "invalid_state", "Who is called refuses the INVITE instead.", dialog=leg.number, state=leg.state
        )


def _invite_pending(agent: UserAgent, leg: Leg) -> bool:
    ours = [agent.outgoing[number] for number in leg.asked if number in agent.outgoing]
    theirs = [agent.incoming[number] for number in leg.pending if number in agent.incoming]
    return any(each.method == "INVITE" for each in ours) or any(
        each.request.method == "INVITE" and not each.final for each in theirs
    )


# -- what comes back ---------------------------------------------------------------------------------------------------


def _heard(agent: UserAgent, request: ClientRequest, result: Response | str, now: float) -> None:
    assert isinstance(request, Outgoing)
    if isinstance(result, str):
        if result:
            _failed(agent, request, result, now)
        else:
            _no_more(agent, request, now)
    elif request.leg is not None:
        _in_dialog(agent, request, request.leg, result, now)
    elif request.method == "INVITE":
        _invited(agent, request, result, now)
    elif result.status != 100:
        request.status = result.status
        if result.status >= 200:
            agent.outgoing.pop(request.number, None)
        leg = None
        # Of a subscription that is over already, because a NOTIFY was faster, the dialog is over too.
        if 200 <= result.status < 300 and request.number in agent.subscriptions.by_request:
            leg = _leg(agent, request, result)
            if leg is not None:
                leg.state = "confirmed"
        _tell(agent, request, result, leg, now)


def _tell(agent: UserAgent, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
    if response.status < 200:
        outgoing.provisionals = outgoing.provisionals or Rate(MAXIMUM_PROVISIONALS)
        if not outgoing.provisionals.has_room(now):
            return
    handled = response.status >= 200 and usages.responded(agent, outgoing, response, leg, now)
    if not handled and not outgoing.abandoned:
        outgoing.owner.responded(outgoing, response, leg, now)


def _leg(agent: UserAgent, outgoing: Outgoing, response: Response) -> Leg | None:
    """The leg of the dialog that a response belongs to or makes; ``None`` without a tag, or when there are too many."""
    tag = tag_of(response.header("to"))
    leg = outgoing.legs.get(tag)
    if leg is not None or not tag:
        return leg
    dialog = outgoing.dialog
    leg = agent.legs_by_dialog.get((dialog.call_id, dialog.local_tag, tag))  # a NOTIFY may have made it
    if leg is None:
        if len(outgoing.legs) >= MAXIMUM_FORKS or outgoing.abandoned:
            return None
        try:
            made = dialog.branched(response)
            leg = legs.begin(agent, outgoing.owner, outgoing.line, made, outgoing.method, initiator=True)
        except SipProfileError:
            return None
        leg.manual = outgoing.draft.manual
    if outgoing.method == "INVITE":
        leg.invite = outgoing.number
    outgoing.legs[tag] = leg
    return leg


def _invited(agent: UserAgent, outgoing: Outgoing, response: Response, now: float) -> None:
    """A response to an INVITE outside of dialogs (RFC 3261 §13.2.2)."""
    status = response.status
    if status == 100:
        return
    if status >= 300:
        outgoing.status = status
        agent.outgoing.pop(outgoing.number, None)
        _tell(agent, outgoing, response, None, now)
        for made in list(outgoing.legs.values()):
            legs.end(agent, made, "dialog_ended", now)
        return
    leg = _leg(agent, outgoing, response)
    if status < 200:
        if outgoing.status < 200:
            outgoing.status = status
        if reliable.arrived(agent, outgoing, leg, response, now):
            _tell(agent, outgoing, response, leg, now)
        return
    outgoing.status = status
    if leg is None or outgoing.abandoned:
        _unwanted(agent, outgoing, response, leg, now)
        return
    if leg.state == "terminated":
        if leg.ack_cseq:
            acknowledging.again(agent, outgoing, leg)
        else:  # it was ended while it was early
            _unwanted(agent, outgoing, response, None, now)
        return
    if leg.state == "early":
        leg.state = "confirmed"
        leg.dialog.confirmed(response)
    if acknowledging.accepted(agent, outgoing, leg, now):
        outgoing.accepted = True
        _tell(agent, outgoing, response, leg, now)


def _unwanted(agent: UserAgent, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
    """A 2xx for nobody: it is acknowledged, and the dialog ended (RFC 3261 §13.2.2.4)."""
    tag = tag_of(response.header("to"))
    if leg is not None:
        legs.end(agent, leg, "owner_gone", now)
    acknowledging.acknowledge_and_end(agent, outgoing, tag, response, now)


def _in_dialog(agent: UserAgent, outgoing: Outgoing, leg: Leg, response: Response, now: float) -> None:
    """A response to a request in a dialog (RFC 3261 §12.2.1.2)."""
    status = response.status
    if status == 100:
        return
    first = outgoing.status < 200
    outgoing.status = status
    if status < 200:
        if outgoing.method != "INVITE" or reliable.arrived(agent, outgoing, leg, response, now):
            _tell(agent, outgoing, response, leg, now)
        return
    _answered(leg, outgoing)
    invite = outgoing.method == "INVITE"
    if status < 300:
        if outgoing.method in REFRESHES_TARGET:
            leg.dialog.answered(response)
        if invite:
            if acknowledging.accepted(agent, outgoing, leg, now) and first:
                outgoing.accepted = True
                _tell(agent, outgoing, response, leg, now)
            return
    agent.outgoing.pop(outgoing.number, None)
    _tell(agent, outgoing, response, leg, now)
    if outgoing.method == "BYE":
        legs.end_invite(agent, leg, "dialog_ended", now)
    elif status in (408, 481):
        _unheard_of(agent, outgoing, leg, now)


def _failed(agent: UserAgent, outgoing: Outgoing, code: str, now: float) -> None:
    """No final response will come."""
    agent.outgoing.pop(outgoing.number, None)
    leg = outgoing.leg
    if leg is not None:
        _answered(leg, outgoing)
    handled = usages.failed(agent, outgoing, code, now)
    if not handled and not outgoing.abandoned:
        outgoing.owner.failed(outgoing, code, now)
    for other in list(outgoing.legs.values()):
        legs.end(agent, other, "dialog_ended", now)
    if leg is not None and outgoing.method == "BYE":
        legs.end_invite(agent, leg, "dialog_ended", now)
    elif leg is not None and code == "timeout":
        _unheard_of(agent, outgoing, leg, now)


def _answered(leg: Leg, outgoing: Outgoing) -> None:
    leg.asked = tuple(number for number in leg.asked if number != outgoing.number)


def _unheard_of(agent: UserAgent, outgoing: Outgoing, leg: Leg, now: float) -> None:
    """The other side does not know the dialog, or does not answer: a call over it is over (RFC 3261 §12.2.1.2)."""
    if leg.invite and not leg.manual and outgoing.method not in ("NOTIFY", "SUBSCRIBE"):
        acknowledging.hang_up(agent, leg, now)
        legs.end_invite(agent, leg, "dialog_ended", now)


def _no_more(agent: UserAgent, outgoing: Outgoing, now: float) -> None:
    """64·T1 after the first 2xx: dialogs that are early still will never be more (RFC 3261 §13.2.2.4)."""
    agent.outgoing.pop(outgoing.number, None)
    if not outgoing.accepted and not outgoing.abandoned:  # its dialog had ended, or none could be made
        outgoing.owner.failed(outgoing, "dialog_ended", now)
    for leg in list(outgoing.legs.values()):
        if leg.state == "early":
            legs.end(agent, leg, "dialog_ended", now)
