"""Requests inside a dialog: their order, those that cross ours, and what ends it (RFC 3261 §12.2.2, §14.2, §15.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sip.message import Request
from . import answering, inviting, legs, provisionals, usages
from .incoming import Incoming
from .leg import Leg
from .rate import Rate
from .responses import REFRESHES_TARGET
from .unowned import UNOWNED

if TYPE_CHECKING:
    from .agent import UserAgent

Headers = tuple[tuple[str, str], ...]
OF_CALLS = frozenset(("BYE", "INVITE", "UPDATE"))
"""Requests about a call: in a dialog without one, be it over already, they have no meaning (RFC 5057 §4.1, §5.3.1)."""
MAXIMUM_NOTIFIES = 100
"""A second in one dialog: the service answers them itself, and their owner has to read them."""
MAXIMUM_PENDING = 64
"""Requests in one dialog that have no final answer yet: nobody keeps the owner of a dialog so busy in good faith."""


def judge(agent: UserAgent, leg: Leg, request: Request, number: int, now: float) -> tuple[int, Headers]:
    """The status with which a request in ``leg`` is refused, 0 when it is to be delivered; ``number``: its CSeq's."""
    method = request.method
    if number <= leg.dialog.remote_cseq:
        return 500, ()  # RFC 3261 §12.2.2
    if method in OF_CALLS and not leg.invite:
        return 481, ()
    if method != "BYE" and len(leg.pending) >= MAXIMUM_PENDING:
        return 503, (("Retry-After", "1"),)
    if method == "NOTIFY":
        leg.notifies = leg.notifies or Rate(MAXIMUM_NOTIFIES)
        return (0, ()) if leg.notifies.has_room(now) else (503, (("Retry-After", "1"),))
    if method == "PRACK":
        return (0 if provisionals.acknowledged_by(agent, leg, request) is not None else 481), ()
    if method in ("INVITE", "UPDATE"):
        return _crossing(agent, leg, request)
    return 0, ()


def crosses(leg: Leg, request: Request, number: int, status: int) -> bool:
    """Whether ``status`` refuses a request for meeting another one, which may be over when a copy of it comes: the copy
    must hear the same, so that both sides know whether it has changed the call."""
    return request.method in ("INVITE", "UPDATE") and status in (491, 500) and number > leg.dialog.remote_cseq


def deliver(agent: UserAgent, leg: Leg, incoming: Incoming, now: float) -> None:
    """Give a request to the owner of ``leg``, and do what the service itself does with it."""
    request = incoming.request
    incoming.owner = leg.owner
    leg.pending += (incoming.number,)
    leg.dialog.remote_cseq = incoming.cseq
    if request.method in REFRESHES_TARGET:
        leg.dialog.requested(request)
    if request.method == "BYE":
        _hung_up(agent, leg, incoming, now)
    elif request.method == "PRACK":
        provisionals.pracked(agent, leg, incoming, now)
    elif request.method == "NOTIFY":
        _notified(agent, leg, incoming, now)
    elif leg.owner is UNOWNED:  # the dialog is being ended, and nobody is left who could answer
        answering.transmit(agent, incoming, 481, now)
    else:
        leg.owner.requested(incoming, now)


def _crossing(agent: UserAgent, leg: Leg, request: Request) -> tuple[int, Headers]:
    """An INVITE or UPDATE that meets another one which has no answer yet (RFC 3261 §14.2, RFC 3311 §5.2)."""
    theirs = [agent.incoming[number] for number in leg.pending if number in agent.incoming]
    theirs = [incoming for incoming in theirs if not incoming.final]
    if any(incoming.request.method == request.method for incoming in theirs):
        return _later(agent)
    methods: tuple[str, ...] = ("INVITE",)
    if request.method == "UPDATE":
        if not request.body:
            return 0, ()
        if any(_unanswered_offer(incoming) for incoming in theirs):
            return _later(agent)
        methods = ("INVITE", "UPDATE")
    for number in leg.asked:
        ours = agent.outgoing.get(number)
        if ours is not None and ours.method in methods:
            return 491, ()
    return 0, ()


def _unanswered_offer(incoming: Incoming) -> bool:
    invitation = incoming.invitation
    return invitation is not None and bool(incoming.request.body) and not invitation.answered


def _later(agent: UserAgent) -> tuple[int, Headers]:
    return 500, (("Retry-After", str(agent.room.random.randrange(11))),)


def _hung_up(agent: UserAgent, leg: Leg, bye: Incoming, now: float) -> None:
    for number in leg.pending:
        incoming = agent.incoming.get(number)
        if incoming is None or incoming is bye:
            continue
        if incoming.final:
            inviting.stop_waiting(agent, incoming)
        else:
            answering.give_up(agent, incoming, 487, "dialog_ended", now)  # RFC 3261 §15.1.2
    if leg.manual:
        leg.owner.requested(bye, now)  # the dialog ends with its answer
        return
    answering.transmit(agent, bye, 200, now)
    leg.owner.requested(bye, now)
    hang_up(agent, leg, now)


def hang_up(agent: UserAgent, leg: Leg, now: float) -> None:
    """A BYE was answered: the call is over."""
    if leg.state != "terminated":
        legs.invite_ended(agent, leg, "dialog_ended")
        leg.owner.leg_changed(leg, "dialog_ended", now)


def _notified(agent: UserAgent, leg: Leg, incoming: Incoming, now: float) -> None:
    status = usages.notified(agent, leg, incoming.request, now)
    if status != 200 or not leg.manual:
        answering.transmit(agent, incoming, status, now)
    if status == 200:
        leg.owner.requested(incoming, now)
