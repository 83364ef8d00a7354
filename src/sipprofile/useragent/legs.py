"""The table of legs: a dialog begins, is found by a request, and ends (RFC 3261 §12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registration.line import Line
from ..sip.dialog import Dialog
from .leg import Leg
from .owner import Owner

if TYPE_CHECKING:
    from .agent import UserAgent


def key_of(dialog: Dialog) -> tuple[str, str, str]:
    """What requests inside a dialog know it by."""
    return dialog.call_id, dialog.local_tag, dialog.remote_tag


def begin(agent: UserAgent, owner: Owner, line: Line, dialog: Dialog, method: str, *, initiator: bool) -> Leg:
    """A leg for a dialog that has both tags; ``initiator``: our ``method`` began it."""
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
