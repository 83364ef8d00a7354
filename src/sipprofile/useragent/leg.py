"""A leg: one dialog of ours (RFC 3261 §12) with its owner and what it is used for (RFC 5057)."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..registration.actions import TransportKey
from ..registration.line import Line
from ..sip.dialog import Dialog
from .owner import Owner
from .rate import Rate

LegState = Literal["early", "confirmed", "terminated"]


class Leg(msgspec.Struct, eq=False):
    """One dialog and its usages. The original API's ``CSIPDialog`` with its associations."""

    number: int
    """What applications know it by; never used again while the service runs."""
    line: Line
    owner: Owner
    dialog: Dialog
    initiator: bool
    """We have sent the request that began it."""
    method: str
    """Of the request that began it: INVITE, SUBSCRIBE, REFER or NOTIFY."""
    state: LegState = "early"
    invite: int = 0
    """Number of the INVITE (outgoing or incoming) whose usage is alive; 0 = there is none."""
    usages: tuple[str, ...] = ()
    """Event packages with their id (``presence``, ``refer;id=3``) of subscriptions that are alive on it."""
    manual: bool = False
    """ACK, PRACK and the answers to them are the owner's work; see :class:`~.draft.Draft`."""
    pending: tuple[int, ...] = ()
    """Numbers of incoming requests in it that have no final answer yet."""
    asked: tuple[int, ...] = ()
    """Numbers of our requests in it that have no final answer yet."""
    code: str = "none"
    """Why it has ended."""
    text: str = ""
    """What the other side said about that, such as ``481 Gone`` or ``terminated;reason=noresource``."""
    replaces: int = 0
    """Number of the leg whose place this one has taken: the same subscription goes on in another dialog. The owner is
    told of this one first (``resubscribed``), then that the other has ended; what has ended is never replaced later."""
    ack_cseq: int = 0
    """CSeq number of our INVITE that was answered with 2xx last; 0 = none was."""
    ack_credentials: str = ""
    """The header lines that authenticated it; its ACK has the same (RFC 3261 §13.2.2.4)."""
    ack: tuple[TransportKey, bytes] | None = None
    """The ACK to that 2xx, sent again whenever it comes again; ``None``: not acknowledged yet."""
    rseq: tuple[int, int] = (0, 0)
    """CSeq number of our INVITE, and RSeq of its last reliable provisional response (RFC 3262 §4)."""
    pracks: int = 0
    """PRACKs of the service that have no answer yet."""
    notifies: Rate | None = None
    """NOTIFYs of the other side."""

    def __repr__(self) -> str:
        return f"Leg(number={self.number}, method={self.method!r}, state={self.state!r}, …)"
