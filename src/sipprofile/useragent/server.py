"""Requests that come in: validated, told apart, and given to whom they are for (RFC 3261 §8.2, §17.2).

The inputs are :func:`received`, for every request, and :func:`respond`, for what owners answer.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..registration.actions import TransportKey
from ..registration.line import Line
from ..sip.dialog import Dialog, tag_of
from ..sip.headers import Via, split_list
from ..sip.message import MalformedMessage, Request, build_response, validate_request
from ..sip.syntax import SipSyntaxError
from ..sip.transaction import Step
from ..sip.transaction.invite_server import InviteServerState, InviteServerTransaction
from ..sip.transaction.matching import transaction_key
from ..sip.transaction.server import ServerTransaction
from ..sip.uri import user_of
from . import addressed, answering, drafts, in_dialog, inviting, legs, provisionals, responses, usages
from .draft import MAXIMUM_BODY, Answer
from .incoming import Incoming
from .leg import Leg
from .return_path import return_path, top_via
from .server_transactions import MAXIMUM_AGAIN, Served

if TYPE_CHECKING:
    from .agent import UserAgent

METHODS = (
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "INFO",
    "PRACK",
    "UPDATE",
    "PUBLISH",
)
ALLOW = ("Allow", ", ".join(METHODS))
EXTENSIONS = frozenset(
    (
        "100rel",
        "answermode",
        "early-session",
        "eventlist",
        "from-change",
        "histinfo",
        "join",
        "multiple-refer",
        "norefersub",
        "nosub",
        "precondition",
        "pref",
        "privacy",
        "recipient-list-invite",
        "recipient-list-message",
        "recipient-list-subscribe",
        "replaces",
        "resource-priority",
        "sdp-anat",
        "tdialog",
        "timer",
        "trickle-ice",
    )
)
"""Option tags that ask nothing of the service itself, or what it does: whether an application understands them is for
it to say. All others are refused (RFC 3261 §8.2.2.3)."""
BUSY = (("Retry-After", "1"),)
"""With a 503: otherwise proxies would look elsewhere for as long as they like (RFC 3261 §21.5.4)."""
IN_DIALOG = ("BYE", "PRACK", "UPDATE")
"""Methods that make sense only in a dialog."""
Headers = tuple[tuple[str, str], ...]


def received(agent: UserAgent, request: Request, source: tuple[str, int], key: TransportKey, now: float) -> None:
    """A request came in from ``source`` over ``key``."""
    via = top_via(request)
    method = request.method
    if via is None:
        return  # no way back
    try:
        number, _ = request.cseq()
        transaction = transaction_key(request, via, "INVITE" if method == "ACK" else method)
    except MalformedMessage:
        number, transaction = 0, ""
    if key.local_port:
        transaction = f"{key.local_port} {transaction}"
    served = agent.server.by_key.get(transaction)
    if method == "ACK":
        _acknowledged(agent, request, transaction, now)
        return
    if served is not None:
        if served.again < MAXIMUM_AGAIN and served.machine.request() is Step.SEND and served.data:
            served.again += 1
            agent.room.send(served.back, served.data)
        return
    try:
        validate_request(request)
        status, headers = _judge(agent, request, via, source, key, transaction, number, now)
    except MalformedMessage as error:
        status, headers = error.status or 400, ()
    except SipSyntaxError:
        status, headers = 400, ()
    if status:
        refuse(agent, request, source, key, status, headers, now)


def respond(agent: UserAgent, incoming: Incoming, answer: Answer, now: float) -> Leg | None:
    """Answer a request. Returns its dialog, which a 1xx or 2xx to an INVITE and a 2xx to SUBSCRIBE or REFER makes.

    Raises ``invalid_state`` after a final answer and when nobody waits for one any more, ``invalid_value``,
    ``missing_field``, ``header_refused``, ``identity_refused`` and ``too_large`` for what cannot be sent,
    ``quota_exceeded`` when there are too many dialogs or subscriptions.
    """
    responses.check(incoming, answer)
    drafts.check_identities(agent, incoming.line, answer.headers)
    if incoming.final or incoming.number not in agent.incoming:
        raise SipProfileError("invalid_state", "The request has its final answer, or nobody waits for one any more.")
    if incoming.owner is None:
        raise SipProfileError("invalid_state", "Nobody has this request yet.")
    answer = usages.granting(agent, incoming, answer)
    if answer.manual:
        incoming.manual = True
    if responses.makes_dialog(incoming, answer):
        _make_leg(agent, incoming)
    leg = incoming.leg
    if leg is not None and answer.manual:
        leg.manual = True
    provisionals.send(agent, incoming, answer, now)
    if leg is not None and incoming.request.method in ("SUBSCRIBE", "REFER") and 200 <= answer.status < 300:
        usages.subscribed(agent, incoming, answer, leg, now)
    return leg


def give_up(agent: UserAgent, incoming: Incoming, status: int, now: float) -> None:
    """Give the final answer in the place of an owner that is gone; nobody is told."""
    if not incoming.final:
        answering.transmit(agent, incoming, status, now)


def decline(agent: UserAgent, incoming: Incoming, status: int, headers: Headers, now: float) -> None:
    """Answer a request that was delivered and that nobody wants, as :func:`refuse` does: nothing of it is kept."""
    agent.incoming.pop(incoming.number, None)
    served = agent.server.by_key.get(incoming.transaction)
    agent.server.end(incoming)
    incoming.status = status
    if incoming.invitation is not None:
        incoming.invitation.finished()
    if served is not None and agent.server.unclaimed.has_room(now, incoming.request.head_size):
        _answer(agent, incoming.request, incoming.source, served.back, status, headers)


def refuse(
    agent: UserAgent,
    request: Request,
    source: tuple[str, int],
    key: TransportKey,
    status: int,
    headers: Headers,
    now: float,
) -> None:
    """Answer without a transaction (RFC 3261 §8.2.7): a retransmission gets the same again. Limited in its rate."""
    via = top_via(request)
    stranger = not key.local_port and key not in agent.room.transports
    rate = agent.server.unwanted if stranger else agent.server.unclaimed
    if via is not None and rate.has_room(now, request.head_size):
        _answer(agent, request, source, return_path(via, source, key), status, headers)


def _answer(
    agent: UserAgent, request: Request, source: tuple[str, int], back: TransportKey, status: int, headers: Headers
) -> None:
    try:
        data = build_response(request, status, to_tag=_tag(agent, request), source=source, headers=headers)
    except ValueError:  # what we would have to repeat cannot be sent
        return
    agent.room.send(back, data)


def _tag(agent: UserAgent, request: Request) -> str:
    """The same for a retransmission, a CANCEL and its INVITE, another for anything else (RFC 3261 §8.2.7, §19.3)."""
    header = request.header
    identity = "\n".join((request.branch() or "", header("call-id") or "", header("from") or "", request.uri))
    return blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8, key=agent.secret).hexdigest()


def _acknowledged(agent: UserAgent, ack: Request, transaction: str, now: float) -> None:
    """An ACK: of a refusal it ends the transaction, of a 2xx it belongs to the dialog. It is never answered."""
    served = agent.server.by_key.get(transaction)
    if (
        served is not None
        and isinstance(served.machine, InviteServerTransaction)
        and served.machine.ack(now) is not Step.PASS
    ):
        if served.machine.state is InviteServerState.TERMINATED:
            agent.server.acknowledged(transaction)
        return
    try:
        leg = legs.of(agent, ack)
        if leg is not None:
            validate_request(ack)
            inviting.acknowledged(agent, leg, ack, now)
    except (MalformedMessage, SipSyntaxError):
        return


def _judge(
    agent: UserAgent,
    request: Request,
    via: Via,
    source: tuple[str, int],
    key: TransportKey,
    transaction: str,
    number: int,
    now: float,
) -> tuple[int, Headers]:
    """Deliver a well-formed request; a status with headers: it is refused."""
    method = request.method
    if method not in METHODS and (method != "REGISTER" or not key.local_port):
        return 405, (ALLOW,)  # REGISTER too: we are a registrar for local programs only (RFC 3261 §8.2.1)
    if method == "CANCEL":
        return _cancelled(agent, request, via, source, key, now), ()
    if len(request.body) > MAXIMUM_BODY:
        return 513, ()
    wanted = request.headers("require")
    if wanted:
        unknown = [tag for line in wanted for tag in split_list(line) if tag.lower() not in EXTENSIONS]
        if unknown:
            return 420, (("Unsupported", ", ".join(unknown)),)
    if method in ("NOTIFY", "OPTIONS") and not key.local_port:
        own = agent.room.requested(request, now)
        if own is not None:
            return own
    leg: Leg | None = None
    line: Line | None
    status = 0
    headers: Headers = ()
    if tag_of(request.header("to")):
        leg = legs.of(agent, request)
        if leg is None and method == "NOTIFY":
            leg = usages.expected(agent, request, now)
        if leg is None or (key.local_port and leg.line is not agent.local_lines.get(key.local_port)):
            return 481, ()  # RFC 3261 §12.2.2
        line = leg.line
        status, headers = in_dialog.judge(agent, leg, request, number, now)
        if status and not in_dialog.crosses(leg, request, number, status):
            return status, headers
    elif method in IN_DIALOG:
        return 481, ()
    else:
        line = addressed.line_of(agent, request, key)
        if line is None:
            return _for_nobody(request)
        if method in responses.MAKES_DIALOG:
            if not request.header("contact"):
                return 400, ()  # RFC 3261 §8.1.1.8
            if len(agent.legs) >= legs.MAXIMUM_LEGS:
                return 503, BUSY
    caller = tag_of(request.header("from"))
    merged = f"{line.profile} {key.local_port} {request.header('call-id')} {caller} {number} {method}"
    if merged in agent.server.merged:
        return 482, ()  # RFC 3261 §8.2.2.2
    size = request.head_size + len(request.body)
    share = 1 if leg is None else 2  # what ends a dialog makes room for others
    if not agent.server.has_room(size, share) or not agent.server.wanted.has_room(now, request.head_size):
        return 503, BUSY
    reliable = key.protocol != "udp"
    settings = agent.room.settings
    machine: InviteServerTransaction | ServerTransaction
    if method == "INVITE":
        machine = InviteServerTransaction(reliable, settings.t1, settings.t2)
    else:
        machine = ServerTransaction(reliable, settings.t1)
    incoming = Incoming(agent.new_number(), line, request, source, key, _tag(agent, request))
    incoming.leg = None if status else leg
    incoming.received_at = now
    incoming.transaction = transaction
    incoming.merged = merged
    incoming.cseq = number
    agent.incoming[incoming.number] = incoming
    agent.server.begin(Served(machine, incoming.number, return_path(via, source, key)), incoming, now)
    if method == "INVITE":
        inviting.begin(incoming, now)
    if status:
        answering.transmit(agent, incoming, status, now, headers=headers)
    elif leg is None:
        agent.deliver(incoming, now)
    else:
        in_dialog.deliver(agent, leg, incoming, now)
    if method == "INVITE":
        inviting.await_answer(agent, incoming)
    return 0, ()


def _for_nobody(request: Request) -> tuple[int, Headers]:
    if user_of(request.uri) is None and request.method == "OPTIONS":
        return 200, (ALLOW, ("Accept", "application/sdp"), ("Supported", ""))  # a peer that looks whether we live
    # A hop could not forward it either (RFC 3261 §16.3). An endpoint takes 0 as it is.
    hops = request.header("max-forwards")
    return (404 if hops is None or hops.strip("0") else 483), ()


def _cancelled(
    agent: UserAgent, cancel: Request, via: Via, source: tuple[str, int], key: TransportKey, now: float
) -> int:
    """A CANCEL (RFC 3261 §9.2). It is answered, and the INVITE too if it was not yet; 481 when there is none."""
    transaction = transaction_key(cancel, via, "INVITE")
    served = agent.server.by_key.get(f"{key.local_port} {transaction}" if key.local_port else transaction)
    if served is None:
        return 481
    _answer(agent, cancel, source, return_path(via, source, key), 200, ())
    incoming = agent.incoming.get(served.number)
    if incoming is not None and not incoming.final:
        answering.give_up(agent, incoming, 487, "cancelled", now)
    return 0


def _make_leg(agent: UserAgent, incoming: Incoming) -> None:
    assert incoming.owner is not None
    request = incoming.request
    dialog = Dialog.called(request, incoming.tag)
    dialog.flow = addressed.flow_of(agent, incoming.line, incoming.key)
    leg = legs.begin(agent, incoming.owner, incoming.line, dialog, request.method, initiator=False)
    incoming.leg = leg
    leg.pending = (incoming.number,)
    if request.method == "INVITE":
        leg.invite = incoming.number
