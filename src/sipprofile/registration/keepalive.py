"""Keepalives of a transport: CRLF pings and STUN (RFC 5626 §3.5, §4.4), as often as the registrar asks (RFC 6223).

One keepalive serves all flows of a connection, or of our UDP socket and one target: it is the NAT's state that is
kept, and the connection that is watched. It lives as long as a binding does that came this way; those of a profile
whose contact points elsewhere do not count.

A missing answer fails the flows only where answers are known to come: one came before on this transport, or the first
hop promised them with ``keep``, Flow-Timer or ``Require: outbound``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..sip import stun
from ..sip.headers import parse_delta_seconds, parse_via, split_list
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from . import machine
from .actions import CloseTransport, TransportKey
from .options import outbound_required
from .registration import OPENING, SENT, Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations

PING = b"\r\n\r\n"  # RFC 5626 §3.5.1
PONG = b"\r\n"
PONG_LIMIT = 10.0  # RFC 5626 §4.4.1, seconds
STUN_REQUESTS = 7  # RFC 8489 §6.2.1 Rc
STUN_LAST_WAIT = 16  # RFC 8489 §6.2.1 Rm, RFC 5626 §4.4.2; times RTO, for which T1 is the estimate
ASKED_SHARE = 0.8  # RFC 5626 §4.4: between 80 and 100 % of what the registrar asks for
UDP_SHARE = 24 / 29  # RFC 5626 §4.4.2
STREAM_SHARE = 95 / 120  # RFC 5626 §4.4.1
LONGEST = 86_400.0  # seconds; to be asked for less often than this is a mistake
BATCH = 200  # flows that are failed at once; one target may have a hundred thousand
BATCH_PAUSE = 0.05


class Keepalive:
    """What is known about the keepalives of one transport. Times are CLOCK_BOOTTIME seconds, 0 = not set."""

    __slots__ = (
        "answered",
        "asked",
        "bindings",
        "due_at",
        "key",
        "local",
        "mapped",
        "next_at",
        "promised",
        "requests",
        "sent_at",
        "transaction",
    )

    def __init__(self, key: TransportKey) -> None:
        self.key = key
        self.bindings = 0
        """Flows whose binding needs it."""
        self.promised = False
        """The first hop said that it answers."""
        self.answered = False
        """An answer was seen."""
        self.asked = 0.0
        """Longest interval that the first hop asked for."""
        self.due_at = 0.0
        """When to look at it again."""
        self.next_at = 0.0
        """When the next one goes out."""
        self.sent_at = 0.0
        """When the one went out that has no answer yet."""
        self.transaction = b""
        """Of the STUN request without an answer."""
        self.requests = 0
        """How often it was sent."""
        self.mapped: tuple[str, int] | None = None
        """What the first STUN answer called us, when our own address was ``local``."""
        self.local: tuple[str, int] | None = None


# -- who needs one ---------------------------------------------------------------------------------------------------


def granted(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """A 2xx: the binding is kept alive the way the answer asks for, unless its contact is not ours."""
    if registration.plan.contact_uri is not None:
        release(room, flow)
        return
    if not flow.keepalive:
        join(room, flow, now)
    seconds = _promise(response)
    if seconds is None or flow.bound is None:
        return
    keepalive = room.keepalives.get(flow.bound)
    if keepalive is None:  # the service is stopping
        return
    keepalive.promised = True
    if seconds and (not keepalive.asked or seconds < keepalive.asked):
        keepalive.asked = seconds
        _plan_next(room, keepalive, now)


def resumed(room: Registrations, flow: Flow, now: float) -> None:
    """A stored binding goes on after a restart: whatever NAT is between gets its packet at once."""
    assert flow.bound is not None
    keepalive = room.keepalives.get(flow.bound) if flow.keepalive else join(room, flow, now)
    if keepalive is not None and keepalive.due_at and not keepalive.sent_at:
        keepalive.sent_at = now
        room.keepalives_sent += 1
        room.send(keepalive.key, PING)


def join(room: Registrations, flow: Flow, now: float) -> Keepalive | None:
    """``flow`` has a binding that needs its transport kept alive; by what it is, unless the service stops."""
    key = flow.bound
    if key is None or room.stopping:
        return None
    keepalive = room.keepalives.get(key)
    if keepalive is None:
        keepalive = room.keepalives[key] = Keepalive(key)
        _plan_next(room, keepalive, now)
    keepalive.bindings += 1
    flow.keepalive = True
    return keepalive


def release(room: Registrations, flow: Flow) -> None:
    """``flow`` needs none any more; the last one ends it."""
    if not flow.keepalive:
        return
    flow.keepalive = False
    assert flow.bound is not None
    keepalive = room.keepalives.get(flow.bound)
    if keepalive is not None:
        keepalive.bindings -= 1
        if not keepalive.bindings:
            _end(room, keepalive)


def _end(room: Registrations, keepalive: Keepalive) -> None:
    room.keepalives.pop(keepalive.key, None)
    room.stun_requests.pop(keepalive.transaction, None)


def _promise(response: Response) -> float | None:
    """What a 2xx says about keepalives: the interval in seconds, 0 = as we like, ``None`` = nothing is promised.

    RFC 5626 §4.4 Flow-Timer, RFC 6223 §4.3 ``keep`` in our own Via, ``Require: outbound``.
    """
    promised = None
    via = response.header("via")
    if via is not None and ";keep=" in via:
        try:
            promised = _seconds(parse_via(split_list(via)[0]).params.get("keep"))
        except (SipSyntaxError, IndexError):
            pass
    timer = _seconds(response.header("flow-timer"))
    if timer is not None:
        promised = min(promised or timer, timer)
    return 0.0 if promised is None and outbound_required(response) else promised


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else min(float(parse_delta_seconds(text)), LONGEST)
    except SipSyntaxError:
        return None


# -- time ------------------------------------------------------------------------------------------------------------


def _interval(room: Registrations, keepalive: Keepalive) -> float:
    """How long until the next one, 0 = there is none.

    On UDP what we want ourselves is never stretched: the NAT whose memory is short is ours, not the registrar's.
    """
    udp = keepalive.key.protocol == "udp"
    own, share = (room.settings.udp_keepalive, UDP_SHARE) if udp else (room.settings.stream_keepalive, STREAM_SHARE)
    chance = room.random.random()
    own *= share + (1 - share) * chance
    if not keepalive.asked:
        return own
    theirs = keepalive.asked * (ASKED_SHARE + (1 - ASKED_SHARE) * chance)
    return min(own, theirs) if udp and own else theirs


def _plan_next(room: Registrations, keepalive: Keepalive, now: float) -> None:
    """Draw the time of the next one; whatever is under way is waited for."""
    interval = _interval(room, keepalive)
    if not interval:
        return
    keepalive.next_at = now + interval
    if keepalive.due_at <= now or keepalive.next_at < keepalive.due_at:
        _wake(room, keepalive, keepalive.next_at)


def again(room: Registrations, key: TransportKey, since: float, now: float) -> None:
    """The network was changing ``since`` then: one that went out meanwhile may be lost, and a NAT forgets us."""
    keepalive = room.keepalives.get(key)
    if keepalive is not None and keepalive.sent_at >= since and not keepalive.transaction:
        keepalive.next_at = now
        _wake(room, keepalive, now)


def _wake(room: Registrations, keepalive: Keepalive, at: float) -> None:
    keepalive.due_at = at
    room.call_at(at, partial(due, room, keepalive, at))


def due(room: Registrations, keepalive: Keepalive, at: float, now: float) -> None:
    """Time has passed: the next one, the same one again, or the end of the patience."""
    if keepalive.due_at != at or room.keepalives.get(keepalive.key) is not keepalive:
        return
    if room.stopping:
        _end(room, keepalive)
    elif keepalive.transaction:
        _stun_due(room, keepalive, now)
    elif keepalive.sent_at and keepalive.key.protocol != "udp" and _evidence(room, keepalive):
        if now < keepalive.sent_at + PONG_LIMIT:
            _wake(room, keepalive, keepalive.sent_at + PONG_LIMIT)
        else:
            _missing(room, keepalive, now)
    elif now < keepalive.next_at:
        _wake(room, keepalive, keepalive.next_at)
    else:
        _send(room, keepalive, now)


def _send(room: Registrations, keepalive: Keepalive, now: float) -> None:
    keepalive.sent_at = now
    keepalive.next_at = now + _interval(room, keepalive)
    room.keepalives_sent += 1
    if keepalive.key.protocol != "udp":
        room.send(keepalive.key, PING)
        limit = now + PONG_LIMIT if _evidence(room, keepalive) else keepalive.next_at
        _wake(room, keepalive, min(keepalive.next_at, limit))
    elif keepalive.promised:
        keepalive.transaction = room.random.getrandbits(96).to_bytes(stun.TRANSACTION_SIZE, "big")
        keepalive.requests = 0
        room.stun_requests[keepalive.transaction] = keepalive
        _stun_due(room, keepalive, now)
    else:
        room.send(keepalive.key, PING)
        _wake(room, keepalive, keepalive.next_at)


def _stun_due(room: Registrations, keepalive: Keepalive, now: float) -> None:
    """Send the request, again in growing intervals, until it is enough (RFC 8489 §6.2.1)."""
    if keepalive.requests == STUN_REQUESTS:
        _missing(room, keepalive, now)
        return
    room.send(keepalive.key, stun.binding_request(keepalive.transaction))
    keepalive.requests += 1
    waits = STUN_LAST_WAIT if keepalive.requests == STUN_REQUESTS else 1 << (keepalive.requests - 1)
    _wake(room, keepalive, now + waits * room.settings.t1)


# -- answers ---------------------------------------------------------------------------------------------------------


def received(room: Registrations, data: bytes, key: TransportKey, now: float) -> None:
    """CRLF or STUN came in. A ping is answered on a connection only: on UDP its source may be forged."""
    if stun.is_stun(data):
        if key.protocol == "udp":
            _stun_received(room, data, now)
        return
    if key.protocol == "udp":
        return
    keepalive = room.keepalives.get(key)
    if keepalive is not None and keepalive.sent_at:
        _alive(room, keepalive)
    if data == PING and key in room.transports:
        room.send(key, PONG)


def _stun_received(room: Registrations, data: bytes, now: float) -> None:
    keepalive = room.stun_requests.get(stun.transaction_of(data))
    if keepalive is None:
        return
    try:
        response = stun.parse_response(data)
    except stun.StunError:
        return
    if response.error:  # RFC 5626 §4.4.2: as bad as none
        _missing(room, keepalive, now)
        return
    if room.network.due_at:  # it may have left from another address of ours, and that is looked at in a moment
        _alive(room, keepalive)
        _wake(room, keepalive, max(keepalive.next_at, now))
        return
    transport = room.transports.get(keepalive.key)
    local = transport.local if transport is not None else None
    before = keepalive.mapped if keepalive.local == local else None
    if response.mapped is not None:
        keepalive.mapped, keepalive.local = response.mapped, local
    _alive(room, keepalive)
    if before is not None and response.mapped is not None and response.mapped != before:
        losses = room.health_of(keepalive.key).losses
        if not losses.spent(now):
            _fail(room, keepalive, "nat_binding_changed", now)
            return
        losses.goes_on(now)  # where every answer shows another address, it tells nothing
    _wake(room, keepalive, max(keepalive.next_at, now))


def _alive(room: Registrations, keepalive: Keepalive) -> None:
    keepalive.answered = True
    _forget_request(room, keepalive)
    health = room.health.get(keepalive.key)
    if health is not None:
        health.mute = False


def _forget_request(room: Registrations, keepalive: Keepalive) -> None:
    keepalive.sent_at = 0.0
    room.stun_requests.pop(keepalive.transaction, None)
    keepalive.transaction = b""


def _evidence(room: Registrations, keepalive: Keepalive) -> bool:
    """Whether answers are known to come. A promise that was broken while REGISTER was answered counts no more."""
    if keepalive.answered:
        return True
    health = room.health.get(keepalive.key)
    return keepalive.promised and not (health is not None and health.mute)


def _missing(room: Registrations, keepalive: Keepalive, now: float) -> None:
    """No answer, or a STUN error. An answer to a REGISTER meanwhile shows life as well as any."""
    health = room.health_of(keepalive.key)
    alive = health.answered_at >= keepalive.sent_at
    _forget_request(room, keepalive)
    if alive or not _evidence(room, keepalive):
        _wake(room, keepalive, max(keepalive.next_at, now))
        return
    if not keepalive.answered:
        health.mute = True  # it may never answer: one flow after the other must not fail for that
    _fail(room, keepalive, "keepalive_lost", now)


def _fail(room: Registrations, keepalive: Keepalive, code: str, now: float) -> None:
    """The flows of a transport have failed (RFC 5626 §4.4): all of them recover at once, through the bucket."""
    key = keepalive.key
    room.keepalive_failures += 1
    _end(room, keepalive)
    if key.protocol != "udp":
        room.act(CloseTransport(key))
        room.transport_failed(key, code, "", now)
        return
    room.health_of(key).losses.add(now, room.settings)
    lost = []
    for flow in room.flows.values():
        if flow.keepalive and flow.bound == key:
            flow.keepalive = False
            lost.append(flow.id)
    room.random.shuffle(lost)
    _fail_next(room, key, code, lost, now, now)


def _fail_next(room: Registrations, key: TransportKey, code: str, lost: list[int], since: float, now: float) -> None:
    """Fail the next of ``lost``, but none whose REGISTER is on the wire or went out after ``since``."""
    if room.stopping:
        return
    batch, lost[-BATCH:] = lost[-BATCH:], []
    for identity in batch:
        flow = room.flows.get(identity)
        if flow is None or flow.bound != key or flow.sent_at > since or flow.phase in (OPENING, SENT):
            continue
        machine.transport_lost(room, room.owner(flow), flow, key, code, now)
    if lost:
        room.call_at(now + BATCH_PAUSE, partial(_fail_next, room, key, code, lost, since))
