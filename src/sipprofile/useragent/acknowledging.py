"""The ACK of a 2xx, sent again whenever that comes again, and the BYE of a dialog that nobody wants.

RFC 3261 §13.2.2.4.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..registration import requests
from ..registration.actions import TransportKey
from ..registration.line import Line
from ..registration.request import sent_by
from ..registration.requests import ClientRequest
from ..sip.dialog import Dialog, routed
from ..sip.message import Response, build_request
from . import legs
from .drafts import check_body, check_headers, check_identities
from .kept_line import kept
from .leg import Leg
from .outgoing import Outgoing

if TYPE_CHECKING:
    from .agent import UserAgent

MAXIMUM_ENDED = 64
BRANCH = "z9hG4bKa"
"""How the branches of ACKs begin: no response ever has one."""


def accepted(agent: UserAgent, outgoing: Outgoing, leg: Leg, now: float) -> bool:
    """A 2xx to an INVITE came for ``leg``; whether it is one that has not come before."""
    if leg.ack_cseq >= outgoing.cseq:
        again(agent, outgoing, leg)
        return False
    leg.ack_cseq, leg.ack_credentials, leg.ack = outgoing.cseq, outgoing.credentials, None
    if outgoing.abandoned or (outgoing.draft.body and not outgoing.draft.manual):
        _acknowledge(agent, leg, (), b"", now)
    else:
        wait = 64 * agent.room.settings.t1
        agent.room.call_at(now + wait, partial(_too_late, agent, leg, outgoing.cseq))
    return True


def again(agent: UserAgent, outgoing: Outgoing, leg: Leg) -> None:
    """A 2xx came again: so does its ACK."""
    if leg.ack_cseq == outgoing.cseq and leg.ack is not None:
        agent.room.send(*leg.ack)


def acknowledge(
    agent: UserAgent,
    leg: Leg,
    answer_headers: tuple[tuple[str, str], ...],
    body: bytes,
    content_type: str | None,
    now: float,
) -> None:
    """The ACK of a 2xx that the service has not acknowledged by itself: it may carry the answer to a delayed offer.

    Raises ``invalid_state``, ``header_refused``, ``identity_refused``, ``invalid_value``, ``missing_field`` or
    ``too_large``.
    """
    if leg.state == "terminated" or not leg.ack_cseq or leg.ack is not None:
        raise SipProfileError("invalid_state", "No answer waits for an ACK.", dialog=leg.number, state=leg.state)
    check_headers(answer_headers)
    check_identities(agent, leg.line, answer_headers)
    headers = list(answer_headers)
    check_body(body, content_type, headers)
    _acknowledge(agent, leg, tuple(headers), body, now)


def hang_up(agent: UserAgent, leg: Leg, now: float) -> None:
    """A BYE whose answer nobody waits for."""
    bye = ClientRequest(leg.dialog, "BYE", leg.line, _ignored)
    requests.send(agent.room, bye, now)


def acknowledge_and_end(agent: UserAgent, outgoing: Outgoing, tag: str, response: Response, now: float) -> None:
    """ACK a 2xx that has no leg, and BYE its dialog, once.

    What claims to be more forks than there can be is left alone: each costs a request that is repeated.
    """
    if tag not in outgoing.ended and len(outgoing.ended) >= MAXIMUM_ENDED:
        return
    dialog = outgoing.dialog.branched(response)
    line = kept(outgoing.line, outgoing.way)  # the registration may have ended since
    sent = _ack(agent, line, dialog, outgoing.cseq, outgoing.credentials, (), b"", now)
    if sent is not None:
        agent.room.send(*sent)
    if tag not in outgoing.ended:
        outgoing.ended += (tag,)
        requests.send(agent.room, ClientRequest(dialog, "BYE", line, _ignored), now)


def _acknowledge(agent: UserAgent, leg: Leg, headers: tuple[tuple[str, str], ...], body: bytes, now: float) -> None:
    leg.ack = _ack(agent, leg.line, leg.dialog, leg.ack_cseq, leg.ack_credentials, headers, body, now)
    if leg.ack is not None:
        agent.room.send(*leg.ack)


def _ack(
    agent: UserAgent,
    line: Line,
    dialog: Dialog,
    cseq: int,
    credentials: str,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    now: float,
) -> tuple[TransportKey, bytes] | None:
    """RFC 3261 §13.2.2.4: a request of its own in the dialog, with the INVITE's CSeq number and credentials."""
    room = agent.room
    way = line.way(room, dialog, now, 0)
    if isinstance(way, str):
        return None  # the 2xx that comes again may find a way
    uri, routes = routed(dialog.target, dialog.route_set)
    branch = f"{BRANCH}{room.random.getrandbits(96):024x}"
    lines = [
        ("Via", f"SIP/2.0/{way.key.protocol.upper()} {sent_by(way.local)};rport;branch={branch}"),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in routes),
        ("From", dialog.from_value),
        ("To", dialog.to_value),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{cseq} ACK"),
        *headers,
    ]
    for credential in credentials.split("\r\n")[:-1]:
        name, _, value = credential.partition(": ")
        lines.append((name, value))
    try:
        return way.key, build_request("ACK", uri, lines, body)
    except ValueError:  # a line break in what the other side gave
        return None


def _too_late(agent: UserAgent, leg: Leg, cseq: int, now: float) -> None:
    """The owner has not acknowledged its 2xx: the service does, and ends the dialog (RFC 3261 §13.3.1.4)."""
    if leg.state == "terminated" or leg.ack_cseq != cseq or leg.ack is not None:
        return
    _acknowledge(agent, leg, (), b"", now)
    hang_up(agent, leg, now)
    legs.end_invite(agent, leg, "no_ack", now)


def _ignored(request: ClientRequest, result: Response | str, now: float) -> None:
    """The dialog has ended, whatever the answer is."""
