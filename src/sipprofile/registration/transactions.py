"""Client transactions at work: what answers, time and lost transports do to requests (RFC 3261 §9.1, §17.1, §22.2).

Challenges are answered here with what the line knows, and the ACK of a refused INVITE is sent here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..sip.dialog import tag_of
from ..sip.message import MalformedMessage, Response, build_request
from ..sip.transaction import ClientTransaction, InviteClientTransaction, State, Step
from .actions import TransportKey
from .challenge import MAXIMUM_ROUNDS
from .requests import BRANCH, ClientRequest, Refusal, Requests, arm, forget, once_more, settle, transmit
from .size import without_tcp

if TYPE_CHECKING:
    from .registrations import Registrations

WITHOUT_CONNECTION = 3600.0  # seconds for which a server that took no connection is sent large requests by UDP


def begin(room: Registrations) -> Requests:
    """None is under way yet."""
    return Requests(partial(due, room))


def answered(room: Registrations, response: Response, branch: str, now: float) -> None:
    """A response whose branch is one of ours."""
    requests = room.requests
    digits, _, _ = branch[len(BRANCH) :].partition(".")
    if len(digits) > 15 or not digits.isdecimal():
        return
    try:
        cseq, method = response.cseq()
    except MalformedMessage:
        return
    number = int(digits)
    if method == "CANCEL":
        number = requests.cancels.get(number, 0)
    request = requests.outstanding.get(number)
    if request is None or request.transaction is None or request.transaction.branch != branch:
        refusal = requests.refusals.get(branch)
        if (
            refusal is not None
            and method == "INVITE"
            and refusal.transaction.response(response.status, now) is Step.AGAIN
        ):
            room.send(refusal.key, refusal.ack)
        return
    if cseq != request.cseq or method != request.method:
        return
    step = request.transaction.response(response.status, now)
    if step is Step.REFUSED:
        _refused(room, request, response, now)
    elif step is not Step.PASS:
        return
    if response.status < 200:
        request.rang = request.rang or (response.status > 100 and bool(tag_of(response.header("to"))))
        arm(room, request)
        if request.cancelling < 0:
            request.cancelling = 0
            cancel(room, request, now)
        request.heard(request, response, now)
        return
    if response.status in (401, 407) and not request.cancelling:
        request.code = _challenged(room, request, response, now)
        if not request.code:
            return
    settle(room, request)
    request.heard(request, response, now)


def _challenged(room: Registrations, request: ClientRequest, response: Response, now: float) -> str:
    """Answer a challenge by the way it came: empty when the request is on its way again, else a reason code."""
    assert request.way is not None
    if request.rang:
        return "foreign_challenge"
    request.rounds += 1
    if request.rounds > MAXIMUM_ROUNDS:
        return "too_many_challenges"
    code = request.line.challenged(room, request.way, request.number, response, now)
    if code:
        return code
    way = request.way
    if request.detour:
        again = request.line.way(room, request.dialog, now, 0)
        if isinstance(again, str):
            return again
        way = again
    return transmit(room, request, way, now)


def opened(room: Registrations, key: TransportKey, now: float) -> None:
    """A connection is open: what waits for it goes out."""
    for number in tuple(room.requests.opening.get(key, ())):
        _go_on(room, number, now)


def transport_lost(room: Registrations, key: TransportKey, code: str, now: float) -> None:
    """The transport failed, and with it what waits for an answer on it; what is too large for UDP goes by UDP now."""
    for number in tuple(room.requests.opening.get(key, ())):
        _without_connection(room, number, now)
    for number in sorted(room.requests.by_key.pop(key, ())):
        request = room.requests.outstanding.get(number)
        if request is None or request.transaction is None or request.way is None or request.way.key != key:
            continue
        if request.transaction.transport_failed() is Step.FAILED:
            settle(room, request)
            request.heard(request, code, now)


def _go_on(room: Registrations, number: int, now: float) -> None:
    request = room.requests.outstanding.get(number)
    if request is None or request.transaction is not None:
        return
    code = once_more(room, request, now)
    if code:
        forget(room, request)
        request.heard(request, code, now)


def _without_connection(room: Registrations, number: int, now: float) -> None:
    request = room.requests.outstanding.get(number)
    if request is not None and request.way is not None:
        without_tcp(room, request.way.key, now + WITHOUT_CONNECTION)
        _go_on(room, number, now)


def cancel(room: Registrations, request: ClientRequest, now: float) -> bool:
    """CANCEL an INVITE, once a provisional response has come (RFC 3261 §9.1); False when it is over."""
    if room.requests.outstanding.get(request.number) is not request:
        return False
    if request.transaction is None:  # nothing of it was sent
        forget(room, request)
        request.heard(request, "cancelled", now)
    elif request.transaction.state is State.CALLING:
        request.cancelling = -1
    elif request.transaction.state is not State.PROCEEDING:
        return False
    elif not request.cancelling:
        _send_cancel(room, request, now)
    return True


def _send_cancel(room: Registrations, request: ClientRequest, now: float) -> None:
    """RFC 3261 §9.1: the INVITE's branch, Request-URI, Route and CSeq number."""
    requests, settings, invite = room.requests, room.settings, request.transaction
    assert request.way is not None
    assert isinstance(invite, InviteClientTransaction)
    other = ClientRequest(request.dialog, "CANCEL", request.line, _ignored, way=request.way, cseq=request.cseq)
    other.number = request.cancelling = requests.new_number()
    other.cancelling = request.number
    other.data = beside(request, "CANCEL", request.dialog.to_value)
    other.transaction = ClientTransaction.sent(invite.branch, invite.reliable, settings.t1, settings.t2, now)
    requests.outstanding[other.number] = other
    requests.by_key.setdefault(request.way.key, set()).add(other.number)
    requests.cancels[request.number] = other.number
    invite.cancelled(now)
    room.send(request.way.key, other.data)
    arm(room, other)
    arm(room, request)


def _refused(room: Registrations, request: ClientRequest, response: Response, now: float) -> None:
    """An INVITE got its final response, and not a 2xx: acknowledge it (RFC 3261 §17.1.1.3)."""
    transaction = request.transaction
    assert request.way is not None
    assert isinstance(transaction, InviteClientTransaction)
    ack = beside(request, "ACK", response.header("to") or request.dialog.to_value)
    room.send(request.way.key, ack)
    if transaction.state is State.COMPLETED:
        room.requests.refusals[transaction.branch] = Refusal(transaction, request.way.key, ack)
        room.call_at(transaction.ends_at, partial(_refusal_ends, room, transaction.branch))


def _refusal_ends(room: Registrations, branch: str, now: float) -> None:
    room.requests.refusals.pop(branch, None)


def beside(request: ClientRequest, method: str, to: str) -> bytes:
    """The CANCEL or ACK that belongs to the transaction of an INVITE, with its Via."""
    via = request.data[request.data.index(b"Via: ") + 5 : request.data.index(b"\r\nMax-Forwards: ")].decode()
    dialog = request.dialog
    headers = [
        ("Via", via),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in request.routes),
        ("From", dialog.from_value),
        ("To", to),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{request.cseq} {method}"),
    ]
    return build_request(method, request.uri, headers)


def _ignored(request: ClientRequest, result: Response | str, now: float) -> None:
    """What a CANCEL is answered with says nothing: the INVITE's own final response counts."""


def due(room: Registrations, number: int, at: float, now: float) -> None:
    request = room.requests.outstanding.get(number)
    if request is None or request.wakes_at != at:
        return
    request.wakes_at = 0.0
    transaction = request.transaction
    if transaction is None:
        _without_connection(room, number, now)
        return
    step = transaction.timer(now)
    if step is Step.SEND and request.way is not None:
        room.send(request.way.key, request.data)
    elif step is Step.TOO_LONG:
        cancel(room, request, now)
    settle(room, request)
    if step is Step.FAILED:
        request.heard(request, "timeout", now)
    elif step is Step.OVER:
        request.heard(request, "", now)
