"""Reliable provisional responses to our INVITEs, and the PRACKs that acknowledge them (RFC 3262 §4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..registration import requests
from ..registration.requests import ClientRequest
from ..sip.headers import MAXIMUM_CSEQ, split_list
from ..sip.message import Response
from ..sip.syntax import decimal
from .leg import Leg
from .outgoing import Outgoing

if TYPE_CHECKING:
    from .agent import UserAgent


MAXIMUM_PRACKS = 4
"""Without an answer in one dialog: each is repeated until it has one, and who sends provisionals need not send one."""


def arrived(agent: UserAgent, outgoing: Outgoing, leg: Leg | None, response: Response, now: float) -> bool:
    """A provisional response came in; whether the owner is to hear of it. A reliable one is acknowledged.

    One that comes again, or before its turn, is left alone: its PRACK is under way, or it will come again.
    """
    rseq = _rseq(response)
    if rseq is None:
        return True
    if leg is None:  # without a tag there is no dialog in which to acknowledge it
        return False
    cseq, last = leg.rseq
    if cseq == outgoing.cseq and rseq != last + 1:
        return False
    if leg.pracks >= MAXIMUM_PRACKS:
        return False
    leg.rseq = (outgoing.cseq, rseq)
    if not outgoing.draft.manual and not outgoing.abandoned:
        prack = ClientRequest(leg.dialog, "PRACK", leg.line, partial(_answered, leg), with_rack(leg, ()))
        if not requests.send(agent.room, prack, now):
            leg.pracks += 1
    return True


def with_rack(leg: Leg, headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers of a PRACK for the last reliable provisional, unless they say themselves which one it is for."""
    if any(name.lower() == "rack" for name, _ in headers) or not leg.rseq[0]:
        return headers
    cseq, rseq = leg.rseq
    return (*headers, ("RAck", f"{rseq} {cseq} INVITE"))


def _rseq(response: Response) -> int | None:
    options = [option.lower() for line in response.headers("require") for option in split_list(line)]
    if "100rel" not in options:
        return None
    rseq = decimal(response.header("rseq") or "", MAXIMUM_CSEQ)
    return rseq or None


def _answered(leg: Leg, request: ClientRequest, result: Response | str, now: float) -> None:
    """What a PRACK is answered with changes nothing, but that it is."""
    if isinstance(result, str) or result.status >= 200:
        leg.pracks -= 1
