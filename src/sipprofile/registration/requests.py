"""Requests along a line: all but a registration's own REGISTER (RFC 3261 §8.1, §18.1.1).

:func:`send` puts one on the wire; its ``heard`` is told what it comes to. What answers and time do to it is in
:mod:`~sipprofile.registration.transactions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..sip.dialog import Dialog, routed
from ..sip.message import Response, build_request
from ..sip.transaction import ClientTransaction, InviteClientTransaction, State
from .actions import TransportKey
from .deadlines import Deadlines, Due
from .line import Line, Way
from .request import sent_by, sent_over
from .size import OPEN_LIMIT, keep

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_OUTSTANDING = 10_000
LARGEST_DATAGRAM = 65_507  # bytes: what IP leaves to UDP
BRANCH = "z9hG4bKq"
"""How the branches of these requests begin; a REGISTER's has the flow's number in hexadecimal in this place."""

Heard = Callable[["ClientRequest", Response | str, float], None]
"""Called with each provisional response, and then once with the final one or the code of the reason why there is none.
For an INVITE that was answered with 2xx: with every further 2xx, and once with an empty code when no more can come."""


class ClientRequest(msgspec.Struct, eq=False):
    """One request, through all its rounds of authentication."""

    dialog: Dialog
    method: str
    line: Line
    heard: Heard
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    max_forwards: int = 70
    has_contact: bool = False
    contact_params: str = ""
    """What follows our Contact's URI."""
    number: int = 0
    """Never used again while the service runs."""
    cseq: int = 0
    rounds: int = 0
    rang: bool = False
    """A provisional response with a tag has come: whoever challenges now is behind the servers of ours."""
    code: str = ""
    """Why the challenge was not answered, when the final response is one."""
    way: Way | None = None
    uri: str = ""
    """The Request-URI on the wire."""
    routes: tuple[str, ...] = ()
    """The Route values on the wire."""
    credentials: str = ""
    """The header lines that authenticate it."""
    data: bytes = b""
    transaction: ClientTransaction | InviteClientTransaction | None = None
    """``None``: it waits for a connection."""
    waits_for: TransportKey | None = None
    detour: bool = False
    """It is too large for its way, and went by a connection that is there for such only."""
    wakes_at: float = 0.0
    cancelling: int = 0
    """Number of the CANCEL, and of a CANCEL that of its INVITE; -1: one is wanted as soon as a provisional response has
    come."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(number={self.number}, method={self.method!r}, cseq={self.cseq}, …)"


class Refusal(msgspec.Struct, gc=False):
    """A refused INVITE, whose ACK is sent again whenever the refusal comes again."""

    transaction: InviteClientTransaction
    key: TransportKey
    ack: bytes


class Requests:
    """The requests under way."""

    __slots__ = ("by_key", "cancels", "deadlines", "last", "opening", "outstanding", "refusals")

    def __init__(self, due: Due) -> None:
        self.outstanding: dict[int, ClientRequest] = {}
        self.by_key: dict[TransportKey, set[int]] = {}
        self.opening: dict[TransportKey, dict[int, None]] = {}
        """Requests that wait for a connection, in order."""
        self.refusals: dict[str, Refusal] = {}
        """By branch."""
        self.cancels: dict[int, int] = {}
        """The number of the CANCEL under way by that of its INVITE."""
        self.deadlines = Deadlines(due)
        self.last = 0

    def new_number(self) -> int:
        """A number for a request, or anything that is told apart from requests by it."""
        self.last += 1
        return self.last


# -- sending -----------------------------------------------------------------------------------------------------------


def send(room: Registrations, request: ClientRequest, now: float) -> str:
    """Send a request. Empty: it is on its way; else the code of the reason why not, and ``heard`` is never called.

    ``too_many`` is such a code too, though nobody else has it.
    """
    requests = room.requests
    if len(requests.outstanding) >= MAXIMUM_OUTSTANDING:
        return "too_many"
    way = request.line.way(room, request.dialog, now, 0)
    if isinstance(way, str):
        return way
    if not request.number:
        request.number = requests.new_number()
    return transmit(room, request, way, now)


def transmit(room: Registrations, request: ClientRequest, way: Way, now: float) -> str:
    """Build the request for ``way`` and send it, by a connection instead when it is too large."""
    dialog = request.dialog
    _unfile(room, request)
    request.way = way
    dialog.flow = way.flow
    routes = dialog.route_set if dialog.established else way.routes
    request.uri, request.routes = routed(dialog.target, routes)
    request.cseq = dialog.next_cseq()
    branch = f"{BRANCH}{request.number}.{room.random.getrandbits(64):016x}"
    try:
        request.credentials = request.line.authorizations(room, way, request.uri, request.method, request.body)
        request.data = build_request(request.method, request.uri, _headers(room, request, way, branch), request.body)
    except ValueError:  # something in a route or a challenge that cannot go back
        return "invalid_value"
    if way.key.protocol == "udp":
        transport = room.transports.get(way.key)
        if transport is not None and len(request.data) > transport.limit:
            return _by_connection(room, request, branch, now)
    _put(room, request, branch, now)
    return ""


def _headers(room: Registrations, request: ClientRequest, way: Way, branch: str) -> list[tuple[str, str]]:
    dialog = request.dialog
    headers = [
        ("Via", f"SIP/2.0/{way.key.protocol.upper()} {sent_by(way.local)};rport;branch={branch}"),
        ("Max-Forwards", str(request.max_forwards)),
    ]
    for route in request.routes:
        headers.append(("Route", route))
    headers += (
        ("From", dialog.from_value),
        ("To", dialog.to_value),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{request.cseq} {request.method}"),
    )
    if request.has_contact:
        headers.append(("Contact", f"<{way.contact}>{request.contact_params}"))
    headers += request.headers
    if room.settings.user_agent and not any(name.lower() == "user-agent" for name, _ in request.headers):
        headers.append(("User-Agent", room.settings.user_agent))
    if request.credentials:
        for line in request.credentials.split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            headers.append((name, value))
    return headers


def _by_connection(room: Registrations, request: ClientRequest, branch: str, now: float) -> str:
    """The request is too large for UDP: the line knows of a connection, or it goes by UDP all the same."""
    assert request.way is not None
    way = request.line.way(room, request.dialog, now, len(request.data))
    if isinstance(way, str):
        return way
    transport = room.transports.get(way.key)
    if way.key.protocol == "udp" or transport is None:
        if len(request.data) > LARGEST_DATAGRAM:
            return "too_large"
        _put(room, request, branch, now)
        return ""
    if transport.local is None:
        requests = room.requests
        requests.opening.setdefault(way.key, {})[request.number] = None
        request.waits_for = way.key
        requests.outstanding[request.number] = request
        request.transaction = None
        keep(room, transport, now + OPEN_LIMIT)
        wake(room, request, now + OPEN_LIMIT)
        return ""
    request.data = sent_over(request.data, way.key.protocol, transport.local)
    request.way = msgspec.structs.replace(request.way, key=way.key, local=transport.local)
    request.detour = True
    _put(room, request, branch, now)
    return ""


def _put(room: Registrations, request: ClientRequest, branch: str, now: float) -> None:
    """Put the request on the wire: a transaction begins."""
    assert request.way is not None
    key, settings, requests = request.way.key, room.settings, room.requests
    reliable = key.protocol != "udp"
    if request.method == "INVITE":
        request.transaction = InviteClientTransaction.sent(branch, reliable, settings.t1, now)
    else:
        request.transaction = ClientTransaction.sent(branch, reliable, settings.t1, settings.t2, now)
    requests.outstanding[request.number] = request
    numbers = requests.by_key.get(key)
    if numbers is None:
        numbers = requests.by_key[key] = set()
    numbers.add(request.number)
    room.send(key, request.data)
    arm(room, request)


def once_more(room: Registrations, request: ClientRequest, now: float) -> str:
    """Send the request that waited for a connection: the connection is there, or will not be."""
    assert request.way is not None
    stop_waiting(room, request)
    branch = f"{BRANCH}{request.number}.{room.random.getrandbits(64):016x}"
    head, _, rest = request.data.partition(b";branch=")
    request.data = head + b";branch=" + branch.encode() + rest[rest.index(b"\r\n") :]
    return _by_connection(room, request, branch, now)


# -- how long it is waited for -----------------------------------------------------------------------------------------


def arm(room: Registrations, request: ClientRequest) -> None:
    """Have its transaction's next timer called."""
    transaction = request.transaction
    assert transaction is not None
    at = transaction.due_at
    if at and (not request.wakes_at or at < request.wakes_at):
        wake(room, request, at)
    if request.detour and request.way is not None:
        connection = room.transports.get(request.way.key)
        if connection is not None:
            keep(room, connection, transaction.ends_at)


def wake(room: Registrations, request: ClientRequest, at: float) -> None:
    """Look at it at ``at``."""
    request.wakes_at = at
    room.requests.deadlines.set(room, at, request.number)


def settle(room: Registrations, request: ClientRequest) -> None:
    """Wait on, or forget what is over.

    A non-INVITE transaction is forgotten before timer K ends: its late answers find nobody, which absorbs them as well.
    """
    transaction = request.transaction
    assert transaction is not None
    if transaction.state in (State.COMPLETED, State.TERMINATED):
        forget(room, request)
    else:
        if transaction.state is State.ACCEPTED:
            request.data = b""
        arm(room, request)


def stop_waiting(room: Registrations, request: ClientRequest) -> None:
    """It does not wait for a connection any more."""
    key, request.waits_for = request.waits_for, None
    waiting = room.requests.opening.get(key) if key is not None else None
    if waiting is not None and key is not None:
        waiting.pop(request.number, None)
        if not waiting:
            del room.requests.opening[key]


def forget(room: Registrations, request: ClientRequest) -> None:
    """Wait for nothing any more."""
    requests = room.requests
    requests.outstanding.pop(request.number, None)
    request.data = b""
    stop_waiting(room, request)
    if request.method == "CANCEL":
        requests.cancels.pop(request.cancelling, None)
    _unfile(room, request)


def _unfile(room: Registrations, request: ClientRequest) -> None:
    """It does not depend on its transport any more."""
    if request.way is None:
        return
    numbers = room.requests.by_key.get(request.way.key)
    if numbers is not None:
        numbers.discard(request.number)
        if not numbers:
            del room.requests.by_key[request.way.key]
