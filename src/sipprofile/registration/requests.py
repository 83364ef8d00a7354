"""Requests other than REGISTER in a profile's name, along its registered flow (RFC 3261 §8.1, RFC 3608 §6.1).

:func:`send` puts one on the wire; its ``done`` is called exactly once, with the final response or with the reason code
why there is none. Challenges are answered here with the profile's credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Plan
from ..sip.dialog import Dialog, routed
from ..sip.headers import parse_name_addr
from ..sip.message import MalformedMessage, Response, build_request
from ..sip.syntax import SipSyntaxError
from ..sip.transaction import ClientTransaction, State, Step
from ..sip.transport import port_of
from ..sip.uri import Uri
from .actions import TransportKey
from .challenge import MAXIMUM_ROUNDS, authorizations, challenges_of, taken
from .registration import Flow, Registration
from .request import sent_by
from .targets import hop_of
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_OUTSTANDING = 10_000
BRANCH = "z9hG4bKq"
"""How the branches of these requests begin; a REGISTER's has the flow's number in hexadecimal in this place."""

Done = Callable[["Outgoing", Response | str, float], None]


class Outgoing(msgspec.Struct, gc=False):
    """One request, through all its rounds of authentication."""

    dialog: Dialog
    method: str
    done: Done
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    number: int = 0
    flow: int = 0
    cseq: int = 0
    rounds: int = 0
    key: TransportKey | None = None
    data: bytes = b""
    transaction: ClientTransaction | None = None
    armed_at: float = 0.0

    def __repr__(self) -> str:
        return f"Outgoing(number={self.number}, method={self.method!r}, flow={self.flow}, cseq={self.cseq}, …)"


class Requests:
    """The requests under way."""

    __slots__ = ("by_key", "last", "outstanding")

    def __init__(self) -> None:
        self.outstanding: dict[int, Outgoing] = {}
        self.by_key: dict[TransportKey, set[int]] = {}
        self.last = 0


def best_flow(room: Registrations, registration: Registration) -> Flow | None:
    """The flow that requests go along: the first with a binding on an open transport."""
    for flow in registration.flows:
        if flow.lease_end > 0 and _way(room, flow) is not None:
            return flow
    return None


def send(room: Registrations, registration: Registration, flow: Flow, outgoing: Outgoing, now: float) -> bool:
    """Send a request; False, and ``done`` is never called, when there is no way or too many are under way."""
    requests = room.requests
    if len(requests.outstanding) >= MAXIMUM_OUTSTANDING:
        return False
    requests.last += 1
    outgoing.number = requests.last
    outgoing.flow = flow.id
    return _transmit(room, registration, flow, outgoing, now)


def _transmit(room: Registrations, registration: Registration, flow: Flow, outgoing: Outgoing, now: float) -> bool:
    transport = _way(room, flow)
    if transport is None:
        return False
    key = transport.key  # none of these requests is large enough for a connection of its own (RFC 3261 §18.1.1)
    assert transport.local is not None
    hop = hop_of(room, registration.plan, key, flow.hop, now)
    dialog = outgoing.dialog
    routes = dialog.route_set if dialog.established else own_routes(registration.plan, hop, flow.service_route)
    uri, routes = routed(dialog.target, routes)
    outgoing.cseq = dialog.next_cseq()
    branch = f"{BRANCH}{outgoing.number}.{room.random.getrandbits(64):016x}"
    headers = [
        ("Via", f"SIP/2.0/{key.protocol.upper()} {sent_by(transport.local)};rport;branch={branch}"),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in routes),
        ("From", dialog.from_value),
        ("To", dialog.to_value),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{outgoing.cseq} {outgoing.method}"),
        ("Contact", f"<{flow.contact}>"),
        *outgoing.headers,
    ]
    if room.settings.user_agent:
        headers.append(("User-Agent", room.settings.user_agent))
    credentials = authorizations(flow, uri, outgoing.method, outgoing.body)
    for line in credentials.split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        headers.append((name, value))
    try:
        outgoing.data = build_request(outgoing.method, uri, headers, outgoing.body)
    except ValueError:  # something in a route or a challenge that cannot go back
        return False
    settings = room.settings
    _unfile(room, outgoing)
    outgoing.key = key
    outgoing.transaction = ClientTransaction.sent(branch, key.protocol != "udp", settings.t1, settings.t2, now)
    room.requests.outstanding[outgoing.number] = outgoing
    room.requests.by_key.setdefault(key, set()).add(outgoing.number)
    room.send(key, outgoing.data)
    _arm(room, outgoing)
    return True


def own_routes(plan: Plan, hop: int, service_route: tuple[str, ...]) -> tuple[str, ...]:
    """The pre-loaded route: the outbound proxy, unless the first Service-Route entry is that, then Service-Route."""
    first = plan.hops[hop].route
    if first is None or (service_route and _same_place(first, service_route[0])):
        return service_route
    return (first, *service_route)


def answered(room: Registrations, response: Response, branch: str, now: float) -> None:
    """A response whose branch is one of ours."""
    number, _, _ = branch[len(BRANCH) :].partition(".")
    outgoing = room.requests.outstanding.get(int(number)) if number.isdecimal() and len(number) < 16 else None
    if outgoing is None or outgoing.transaction is None or outgoing.transaction.branch != branch:
        return
    try:
        if response.cseq() != (outgoing.cseq, outgoing.method):
            return
    except MalformedMessage:
        return
    step = outgoing.transaction.response(response.status, now)
    if step is not Step.PASS:
        return
    if response.status < 200:
        _arm(room, outgoing)
        return
    _settle(room, outgoing)
    if response.status not in (401, 407):
        outgoing.done(outgoing, response, now)
    elif code := _challenged(room, outgoing, response, now):
        outgoing.done(outgoing, code, now)


def transport_lost(room: Registrations, key: TransportKey, code: str, now: float) -> None:
    """The transport failed, and with it what waits for an answer on it."""
    for number in sorted(room.requests.by_key.pop(key, ())):
        outgoing = room.requests.outstanding.get(number)
        if outgoing is None or outgoing.transaction is None or outgoing.key != key:
            continue
        failed = outgoing.transaction.transport_failed() is Step.FAILED
        _settle(room, outgoing)
        if failed:
            outgoing.done(outgoing, code, now)


def _challenged(room: Registrations, outgoing: Outgoing, response: Response, now: float) -> str:
    """Answer a challenge: empty when the request is on its way again, else a reason code."""
    flow = room.flows.get(outgoing.flow)
    if flow is None:
        return "no_credentials"
    registration = room.owner(flow)
    challenges = challenges_of(response)
    if any(not _trusted(registration.plan, flow, challenge.realm) for challenge in challenges):
        return "no_credentials"
    outgoing.rounds += 1
    if outgoing.rounds > MAXIMUM_ROUNDS:
        return "too_many_challenges"
    cnonce = f"{room.random.getrandbits(64):016x}"
    code, nonces = taken(flow, registration.plan, challenges, cnonce, -outgoing.number)
    if code:
        return code
    flow.nonces = nonces
    return "" if _transmit(room, registration, flow, outgoing, now) else "transport_closed"


def _trusted(plan: Plan, flow: Flow, realm: str) -> bool:
    """Whether the realm is configured, the registrar's domain, or met while registering: no callee harvests digests."""
    ours = (plan.credentials, *(hop.credentials for hop in plan.hops))
    return (
        any(credentials is not None and credentials.realm == realm for credentials in ours)
        or realm.lower() in (plan.domain.lower(), Uri.parse(plan.aor).host)
        or any(nonce.challenge.realm == realm for nonce in flow.nonces)
    )


def _way(room: Registrations, flow: Flow) -> Transport | None:
    """The transport that the flow's binding lives on, when it is open."""
    transport = room.transports.get(flow.bound) if flow.bound is not None else None
    return transport if transport is not None and transport.local is not None else None


def _same_place(one: str, other: str) -> bool:
    try:
        first, second = Uri.parse(parse_name_addr(one).uri), Uri.parse(parse_name_addr(other).uri)
    except SipSyntaxError:
        return False
    return (first.host, port_of(first)) == (second.host, port_of(second))


def _arm(room: Registrations, outgoing: Outgoing) -> None:
    assert outgoing.transaction is not None
    at = outgoing.transaction.due_at
    if at and (not outgoing.armed_at or at < outgoing.armed_at):
        outgoing.armed_at = at
        room.call_at(at, partial(_due, room, outgoing))


def _due(room: Registrations, outgoing: Outgoing, now: float) -> None:
    transaction = outgoing.transaction
    if transaction is None or now < outgoing.armed_at or outgoing.number not in room.requests.outstanding:
        return
    outgoing.armed_at = 0.0
    step = transaction.timer(now)
    if step is Step.SEND and outgoing.key is not None:
        room.send(outgoing.key, outgoing.data)
    _settle(room, outgoing)
    if step is Step.FAILED:
        outgoing.done(outgoing, "timeout", now)


def _settle(room: Registrations, outgoing: Outgoing) -> None:
    """Wait on, or forget what is over."""
    transaction = outgoing.transaction
    assert transaction is not None
    if transaction.state is not State.TERMINATED:
        if transaction.state is State.COMPLETED:
            outgoing.data = b""
        _arm(room, outgoing)
        return
    room.requests.outstanding.pop(outgoing.number, None)
    _unfile(room, outgoing)


def _unfile(room: Registrations, outgoing: Outgoing) -> None:
    """It does not depend on its transport any more."""
    numbers = room.requests.by_key.get(outgoing.key) if outgoing.key is not None else None
    if numbers is not None and outgoing.key is not None:
        numbers.discard(outgoing.number)
        if not numbers:
            del room.requests.by_key[outgoing.key]
