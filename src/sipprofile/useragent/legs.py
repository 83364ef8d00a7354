"""The table of legs: a dialog begins, is found by a request, and ends (RFC 3261 §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..registration.line import Line
from ..sip.dialog import Dialog, tag_of
from ..sip.message import Request
from .leg import Leg
from .owner import Owner

if TYPE_CHECKING:
    from .agent import UserAgent
    from .incoming import Incoming

MAXIMUM_LEGS = 100_000


def key_of(dialog: Dialog) -> tuple[str, str, str]:
    """What requests inside a dialog know it by."""
    return dialog.call_id, dialog.local_tag, dialog.remote_tag


def begin(agent: UserAgent, owner: Owner, line: Line, dialog: Dialog, method: str, *, initiator: bool) -> Leg:
    """A leg for a dialog that has both tags; ``initiator``: our ``method`` began it. Raises ``quota_exceeded``."""
    if len(agent.legs) >= MAXIMUM_LEGS:
        raise SipProfileError("quota_exceeded", f"There are {MAXIMUM_LEGS} dialogs already.")
    leg = Leg(agent.new_number(), line, owner, dialog, initiator, method)
    agent.legs[leg.number] = leg
    agent.legs_by_dialog[key_of(dialog)] = leg
    return leg


def close(agent: UserAgent, leg: Leg, code: str, text: str = "") -> None:
    """It has ended because of ``code``; telling the owner is up to the caller."""
    leg.state = "terminated"
    leg.code = code
    leg.text = text or leg.text
    leg.usages = ()
    leg.invite = 0
    agent.legs.pop(leg.number, None)
    detach(agent, leg)


def detach(agent: UserAgent, leg: Leg) -> None:
    """Requests do not belong to it any more, yet its owner still knows it: another dialog is to take its place."""
    if agent.legs_by_dialog.get(key_of(leg.dialog)) is leg:
        del agent.legs_by_dialog[key_of(leg.dialog)]


def of(agent: UserAgent, request: Request) -> Leg | None:
    """The dialog that a request with a To tag is in (RFC 3261 §12.2.2)."""
    call_id = request.header("call-id") or ""
    return agent.legs_by_dialog.get((call_id, tag_of(request.header("to")), tag_of(request.header("from"))))


def invite_ended(agent: UserAgent, leg: Leg, code: str) -> None:
    """The dialog is no call any more; it lives on while there are subscriptions on it (RFC 5057 §4.1)."""
    leg.invite = 0
    if not leg.usages and leg.state != "terminated":
        close(agent, leg, code)


def settled(agent: UserAgent, incoming: Incoming) -> None:
    """A final answer went out to a request that came in. The 2xx to an INVITE still waits for its ACK."""
    leg = incoming.leg
    accepted = incoming.status < 300
    if not (accepted and incoming.request.method == "INVITE"):
        no_longer_pending(agent, incoming)
    if leg is None or leg.initiator or leg.state != "early" or leg.invite not in (0, incoming.number):
        return
    if accepted:
        leg.state = "confirmed"
    else:
        invite_ended(agent, leg, "none")


def no_longer_pending(agent: UserAgent, incoming: Incoming) -> None:
    """Nothing more comes of this request."""
    agent.incoming.pop(incoming.number, None)
    leg = incoming.leg
    if leg is not None and incoming.number in leg.pending:
        leg.pending = tuple(number for number in leg.pending if number != incoming.number)


def end(agent: UserAgent, leg: Leg, code: str, now: float) -> None:
    """The dialog has ended with all its usages; its owner is told, once."""
    if leg.state != "terminated":
        close(agent, leg, code)
        leg.owner.leg_changed(leg, code, now)


def end_invite(agent: UserAgent, leg: Leg, code: str, now: float) -> None:
    """The dialog is no call any more, see :func:`invite_ended`; its owner is told, once."""
    if leg.state != "terminated":
        invite_ended(agent, leg, code)
        leg.owner.leg_changed(leg, code, now)


def rest(agent: UserAgent, leg: Leg, event: str, text: str) -> None:
    """The usage ``event`` has lost this dialog and gets another; without other usages no request belongs to it."""
    leg.usages = tuple(each for each in leg.usages if each != event)
    leg.code = "resubscribing"
    leg.text = text
    if not leg.usages and not leg.invite:
        leg.state = "early"
        detach(agent, leg)


def usage_ended(agent: UserAgent, leg: Leg, event: str, code: str, text: str, now: float) -> None:
    """A usage, that of the INVITE if ``event`` is empty, is over; with the last one the dialog ends (RFC 5057 §4.2).
    The owner hears of it."""
    if leg.state == "terminated":
        return
    if not event:
        leg.invite = 0
    leg.usages = tuple(each for each in leg.usages if each != event)
    leg.code = code
    leg.text = text
    if not leg.usages and not leg.invite:
        close(agent, leg, code, text)
    leg.owner.leg_changed(leg, code, now)
