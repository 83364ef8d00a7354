"""An INVITE that came in: what is repeated until it is answered, and until its answer is acknowledged.

RFC 3261 §13.3.1 and RFC 3262 §3, on top of the transaction (§17.2.1). One timer runs for each.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..sip.message import Request
from ..sip.transaction import Step
from ..sip.transaction.invite_server import InviteServerState, InviteServerTransaction
from . import answering, legs, usages
from .invitation import Invitation

if TYPE_CHECKING:
    from .agent import UserAgent
    from .incoming import Incoming
    from .leg import Leg

RINGING_LIMIT = 180.0
"""Seconds after the owner's last provisional; what timer C gives it at proxies (RFC 3261 §16.6)."""


def begin(incoming: Incoming, now: float) -> None:
    """An INVITE has come in."""
    incoming.invitation = Invitation(now + RINGING_LIMIT)


def await_answer(agent: UserAgent, incoming: Incoming) -> None:
    """It was delivered; an INVITE that nobody wanted has its answer, and nothing of it is kept."""
    if not incoming.final:
        agent.server.ringing.wait(incoming, incoming.received_at)


def answered(agent: UserAgent, incoming: Incoming, status: int, now: float) -> None:
    """A response went out."""
    invitation = incoming.invitation
    assert invitation is not None
    if status < 200:
        if status > 100:
            invitation.give_up_at = now + RINGING_LIMIT
            invitation.rings = True
            agent.server.ringing.wait(incoming, now)
        return
    agent.server.ringing.stop(incoming.number)
    invitation.finished()
    if status < 300:
        t1 = agent.room.settings.t1
        invitation.interval = t1
        invitation.retransmit_at = now + t1
        invitation.acknowledge_by = now + 64 * t1
        if incoming.leg is not None:
            agent.server.unacknowledged[incoming.leg.number, incoming.cseq] = incoming
    _arm(agent, incoming)


def rung(agent: UserAgent, incoming: Incoming, now: float) -> None:
    """Nothing was said for a minute: its last provisional goes out again, or nobody answers."""
    invitation = incoming.invitation
    if invitation is None or incoming.final:
        return
    if now > invitation.give_up_at - 1.0:
        answering.give_up(agent, incoming, answering.UNAVAILABLE, "timed_out", now)
        return
    if invitation.rings:
        _send_again(agent, incoming)
    agent.server.ringing.wait(incoming, now)


def acknowledged(agent: UserAgent, leg: Leg, ack: Request, now: float) -> None:
    """An ACK came in a dialog. That of a 2xx which was acknowledged already says nothing."""
    number, _ = ack.cseq()
    incoming = agent.server.unacknowledged.get((leg.number, number))
    if incoming is None:
        return
    stop_waiting(agent, incoming)
    if incoming.owner is not None:
        incoming.owner.acknowledged(incoming, ack, now)


def stop_waiting(agent: UserAgent, incoming: Incoming) -> None:
    """The 2xx is not repeated any more: its ACK came, or the dialog has ended."""
    invitation, leg = incoming.invitation, incoming.leg
    assert invitation is not None
    if leg is not None:
        agent.server.unacknowledged.pop((leg.number, incoming.cseq), None)
    invitation.retransmit_at = invitation.acknowledge_by = 0.0
    legs.no_longer_pending(agent, incoming)


def send_reliably(agent: UserAgent, incoming: Incoming, body: bytes, now: float) -> None:
    """The provisional that has just gone out is repeated until its PRACK comes (RFC 3262 §3)."""
    invitation = incoming.invitation
    served = agent.server.by_key.get(incoming.transaction)
    assert invitation is not None
    if served is None:
        return
    t1 = agent.room.settings.t1
    invitation.provisional = served.data
    invitation.offered = bool(body)
    invitation.answered = invitation.answered or bool(body and incoming.request.body)
    invitation.provisional_interval = t1
    invitation.provisional_at = now + t1
    invitation.acknowledge_provisional_by = now + 64 * t1
    _arm(agent, incoming)


def _arm(agent: UserAgent, incoming: Incoming) -> None:
    invitation = incoming.invitation
    assert invitation is not None
    served = agent.server.by_key.get(incoming.transaction)
    at = invitation.due_at
    if served is not None and isinstance(served.machine, InviteServerTransaction):
        machine_at = served.machine.due_at
        at = min(at, machine_at) if at and machine_at else at or machine_at
    if at and (not invitation.armed_at or at < invitation.armed_at):
        invitation.armed_at = at
        agent.room.call_at(at, partial(_due, agent, incoming))


def _due(agent: UserAgent, incoming: Incoming, now: float) -> None:
    invitation = incoming.invitation
    assert invitation is not None
    if not invitation.armed_at or now < invitation.armed_at:
        return
    invitation.armed_at = 0.0
    _transaction_due(agent, incoming, now)
    if invitation.acknowledge_by:
        _acknowledgement_due(agent, incoming, invitation, now)
    elif invitation.acknowledge_provisional_by and now >= invitation.acknowledge_provisional_by:
        answering.give_up(agent, incoming, 500, "timed_out", now)  # RFC 3262 §3
    else:
        _repeat(agent, incoming, invitation, now)
    _arm(agent, incoming)


def _transaction_due(agent: UserAgent, incoming: Incoming, now: float) -> None:
    served = agent.server.by_key.get(incoming.transaction)
    if served is None or not isinstance(served.machine, InviteServerTransaction):
        agent.server.end(incoming)
        if incoming.invitation is not None:
            incoming.invitation.finished()
        return
    if served.machine.timer(now) is Step.SEND:
        agent.room.send(served.back, served.data)
    if served.machine.state is InviteServerState.TERMINATED:
        agent.server.end(incoming)


def _acknowledgement_due(agent: UserAgent, incoming: Incoming, invitation: Invitation, now: float) -> None:
    if incoming.leg is not None and incoming.leg.state == "terminated":  # something else has ended the call
        stop_waiting(agent, incoming)
    elif now >= invitation.acknowledge_by:
        stop_waiting(agent, incoming)
        if incoming.owner is not None:
            incoming.owner.acknowledged(incoming, None, now)
        if incoming.leg is not None:
            usages.end_leg(agent, incoming.leg, now, "no_ack")  # RFC 3261 §13.3.1.4
    elif invitation.retransmit_at and now >= invitation.retransmit_at:
        invitation.interval = min(2 * invitation.interval, agent.room.settings.t2)
        invitation.retransmit_at = now + invitation.interval
        _send_again(agent, incoming)


def _repeat(agent: UserAgent, incoming: Incoming, invitation: Invitation, now: float) -> None:
    served = agent.server.by_key.get(incoming.transaction)
    if invitation.provisional_at and now >= invitation.provisional_at:
        invitation.provisional_interval *= 2
        invitation.provisional_at = now + invitation.provisional_interval
        if served is not None:
            agent.room.send(served.back, invitation.provisional)


def _send_again(agent: UserAgent, incoming: Incoming) -> None:
    served = agent.server.by_key.get(incoming.transaction)
    if served is not None:
        agent.room.send(served.back, served.data)
