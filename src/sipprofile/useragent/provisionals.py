"""Answers to an INVITE in their order, and reliable provisional ones (RFC 3262 §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..registration.requests import LARGEST_DATAGRAM
from ..sip.message import Request
from ..sip.syntax import decimal
from . import answering, inviting, responses
from .draft import Answer
from .incoming import Incoming
from .leg import Leg

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_WAITING = 16
"""Answers that wait for the PRACK of one before."""


def send(agent: UserAgent, incoming: Incoming, answer: Answer, now: float) -> None:
    """Send ``answer``, or keep it until a reliable provisional before it is acknowledged."""
    invitation = incoming.invitation
    if invitation is None:
        _send(agent, incoming, answer, False, now)
        return
    if invitation.waiting and invitation.waiting[-1].status >= 200:
        raise SipProfileError("invalid_state", "The request has its final answer already.")
    reliable = _is_reliable(incoming, answer)
    if answer.status >= 300:
        invitation.waiting = ()
    elif invitation.provisional and (reliable or (answer.status >= 200 and invitation.offered) or invitation.waiting):
        if len(invitation.waiting) >= MAXIMUM_WAITING:
            raise SipProfileError("invalid_state", "Too many answers wait for the PRACK of one before.")
        invitation.waiting += (answer,)
        return
    _send(agent, incoming, answer, reliable, now)


def acknowledged_by(agent: UserAgent, leg: Leg, prack: Request) -> Incoming | None:
    """The INVITE whose reliable provisional ``prack`` acknowledges."""
    words = (prack.header("rack") or "").split()
    if len(words) != 3 or words[2] != "INVITE":
        return None
    rseq, cseq = decimal(words[0], 1 << 32), decimal(words[1], 1 << 31)
    for number in leg.pending:
        incoming = agent.incoming.get(number)
        invitation = incoming.invitation if incoming is not None else None
        if (
            incoming is not None
            and invitation is not None
            and invitation.provisional
            and (invitation.rseq, incoming.cseq) == (rseq, cseq)
        ):
            return incoming
    return None


def pracked(agent: UserAgent, leg: Leg, prack: Incoming, now: float) -> None:
    """A PRACK came. It is answered here unless the owner wants to, or has to because it brings an offer."""
    incoming = acknowledged_by(agent, leg, prack.request)
    invitation = incoming.invitation if incoming is not None else None
    if incoming is None or invitation is None:
        answering.transmit(agent, prack, 481, now)
        return
    invitation.prack_came()
    if incoming.manual or leg.manual or prack.request.body:
        leg.owner.requested(prack, now)
    else:
        answering.transmit(agent, prack, 200, now)
        if incoming.owner is not None:
            incoming.owner.provisionally_acknowledged(incoming, invitation.rseq, now)
    while invitation.waiting and not invitation.provisional and not incoming.final:
        answer, *rest = invitation.waiting
        invitation.waiting = tuple(rest)
        _send(agent, incoming, answer, _is_reliable(incoming, answer), now)


def _is_reliable(incoming: Incoming, answer: Answer) -> bool:
    if not 100 < answer.status < 200:
        return False
    return answer.reliable or "100rel" in responses.options(incoming.request, "require")


def _send(agent: UserAgent, incoming: Incoming, answer: Answer, reliable: bool, now: float) -> None:
    if incoming.key.protocol == "udp" and len(answer.body) + incoming.request.head_size > LARGEST_DATAGRAM:
        raise SipProfileError("too_large", "The request came by UDP, which has no room for this answer.", field="body")
    headers = responses.headers_of(agent, incoming, answer, now)
    invitation = incoming.invitation
    if reliable and invitation is not None:
        invitation.rseq = invitation.rseq + 1 if invitation.rseq else agent.room.random.getrandbits(30) + 1
        headers += (("Require", "100rel"), ("RSeq", str(invitation.rseq)))
    try:
        answering.transmit(agent, incoming, answer.status, now, reason=answer.reason, headers=headers, body=answer.body)
    except ValueError:
        raise SipProfileError("header_refused", "A line break cannot be sent; remove the CR or LF.") from None
    if reliable:
        inviting.send_reliably(agent, incoming, answer.body, now)
