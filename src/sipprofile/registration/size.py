"""A request too large for UDP goes over TCP to the same host and port, if that can be had (RFC 3261 §18.1.1).

What becomes of a REGISTER whose connection does not open, or breaks, is in :mod:`~sipprofile.registration.detour`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .actions import TransportKey
from .registration import OPENING, Flow
from .request import sent_over
from .transport import Transport, close_unused

if TYPE_CHECKING:
    from .registrations import Registrations

UNKNOWN_LIMIT = 1300  # bytes that go by UDP while the path's MTU is not known
HEADROOM = 200  # bytes below the path's MTU: the answer is larger than the request
OPEN_LIMIT = 4.0  # seconds until a connection that does not open is not waited for any longer
WITHOUT_TCP = 3600.0  # seconds for which a target that took no connection is not asked again


def limit_of(mtu: int) -> int:
    """The largest request that goes by UDP where the path's MTU is ``mtu`` bytes; 0 = it is not known."""
    return mtu - HEADROOM if mtu > HEADROOM else UNKNOWN_LIMIT


def way_for(room: Registrations, key: TransportKey, length: int, now: float) -> TransportKey:
    """What a request of ``length`` bytes to ``key`` is to be sent by: ``key`` itself, or the connection beside it.

    Whoever gets another key than ``key`` opens it (``room.transport(way)``), gives it :data:`OPEN_LIMIT` seconds, says
    so with :func:`without_tcp` when it does not open, and sends by ``key`` then. The request's Via names the way it is
    sent by, its Contact the socket of ``key``.
    """
    if key.protocol != "udp":
        return key
    transport = room.transports.get(key)
    if length <= (UNKNOWN_LIMIT if transport is None or transport.local is None else transport.limit):
        return key
    health = room.health.get(key)
    if health is not None and health.without_tcp_until > now:
        return key
    return room.network.current(TransportKey("tcp", key.host, key.port, key.dscp))


def without_tcp(room: Registrations, key: TransportKey, until: float) -> None:
    """The target ``key`` takes no connection: large requests go by UDP until ``until``, or until it goes down."""
    health = room.health_of(key)
    health.without_tcp_until = max(health.without_tcp_until, until)


def carrier_of(room: Registrations, flow: Flow, transport: Transport, now: float) -> Transport | None:
    """What carries the flow's request, which is too large for ``transport``: a connection, or ``transport`` after all.

    ``None``: the connection is being opened, and the flow waits for it.
    """
    way = way_for(room, transport.key, len(flow.outstanding), now)
    if way.protocol == "udp" or flow.outbound:  # the binding would be the connection's (RFC 5626 §5.1)
        return transport
    connection = room.transport(way)
    flow.carrier = connection.key
    if connection.local is None:
        connection.waiting.add(flow.id)
        transport.waiting.add(flow.id)
        flow.phase = OPENING
        flow.ends_at = now + OPEN_LIMIT
        room.arm(flow, flow.ends_at)
        return None
    put_into(flow, connection)
    return connection


def put_into(flow: Flow, connection: Transport) -> None:
    """Make the flow's request one for ``connection``, which is open."""
    assert connection.local is not None
    flow.outstanding = sent_over(flow.outstanding, connection.key.protocol, connection.local)


def leave(room: Registrations, flow: Flow) -> None:
    """The request that the flow's carrier was for is over, or goes another way.

    A connection that was used stays open as long as the request could have taken: for the answer to a challenge, and
    for others' requests. Closed after each, it would be opened for each of a hundred profiles.
    """
    key, flow.carrier = flow.carrier, None
    connection = room.transports.get(key) if key is not None else None
    if connection is None:
        return
    connection.waiting.discard(flow.id)
    if flow.id in connection.active:
        connection.active.discard(flow.id)
        keep(room, connection, flow.ends_at)
    else:
        close_unused(room, connection.key, connection)


def keep(room: Registrations, connection: Transport, until: float) -> None:
    """Leave a connection open until then, though no flow uses it."""
    is_watched = connection.kept_until > 0
    connection.kept_until = max(connection.kept_until, until)
    if not is_watched:
        room.call_at(until, partial(_kept_long_enough, room, connection))


def _kept_long_enough(room: Registrations, connection: Transport, now: float) -> None:
    if room.transports.get(connection.key) is not connection:
        return
    if now < connection.kept_until:
        room.call_at(connection.kept_until, partial(_kept_long_enough, room, connection))
        return
    connection.kept_until = 0.0
    close_unused(room, connection.key, connection)
