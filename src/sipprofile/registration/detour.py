"""A REGISTER too large for UDP waits for a connection, or is out on it: it opens, or not, or breaks (RFC 3261 §18.1.1).

Without the connection the request goes by UDP in the same attempt, however large it is: fragments are better than
nothing. The binding is a UDP binding either way, so nothing is lost when the connection closes later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import attempt
from .registration import OPENING, REGISTER, SENT, Flow, Registration
from .size import WITHOUT_TCP, leave, put_into, without_tcp
from .transmit import asked, end_transaction, put

if TYPE_CHECKING:
    from .registrations import Registrations


def opened(room: Registrations, flow: Flow, now: float) -> None:
    """The connection is open: the request that waits goes out on it."""
    assert flow.carrier is not None
    connection = room.transports[flow.carrier]
    put_into(flow, connection)
    put(room, flow, connection, now)


def not_opened(room: Registrations, flow: Flow, now: float) -> None:
    """The connection was refused, or is not open in time: the request that waits goes by UDP, and the next ones too."""
    assert flow.key is not None
    without_tcp(room, flow.key, now + WITHOUT_TCP)
    leave(room, flow)
    put(room, flow, room.transports[flow.key], now)


def lost(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The connection failed."""
    if flow.phase == OPENING:
        not_opened(room, flow, now)
    elif flow.phase == SENT:
        # It may have been idle for too long or its server restarted, so the next attempt tries another one.
        _by_udp(room, registration, flow, now, now + 64 * room.settings.t1)
    else:
        flow.carrier = None


def timed_out(room: Registrations, registration: Registration, flow: Flow, now: float) -> bool:
    """Timer F: whether the request, unanswered on a connection, goes by UDP.

    What is unanswered by UDP because it is too large may have a connection the next time.
    """
    assert flow.key is not None
    if flow.carrier is not None:
        _by_udp(room, registration, flow, now, now + WITHOUT_TCP)
        return True
    health = room.health.get(flow.key)
    if health is not None and health.without_tcp_until and len(flow.outstanding) > room.transports[flow.key].limit:
        health.without_tcp_until = 0.0
    return False


def _by_udp(room: Registrations, registration: Registration, flow: Flow, now: float, until: float) -> None:
    """The request was sent and may have arrived, so this is another one: a new branch, a new CSeq."""
    assert flow.key is not None
    if flow.purpose == REGISTER:
        flow.unknown_until = max(flow.unknown_until, flow.sent_at + asked(registration, flow))
    end_transaction(room, flow)
    without_tcp(room, flow.key, until)
    attempt.once_more(room, registration, flow, now)
