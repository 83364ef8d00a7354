"""TCP connections that others open to us: a request too large for UDP comes that way (RFC 3261 §18.1.1, §18.2.1).

Whoever reaches the port may connect, so everything is bounded: how many connections there are, how many from one host,
how long one may be idle or keep a message unfinished, and what is kept of it (one message in, a few answers out).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

from sipprofile.net.addresses import address_family, destination, host_and_port
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import MalformedMessage

MAXIMUM_CONNECTIONS = 100
MAXIMUM_PER_HOST = 20
IDLE_LIMIT = 300.0  # seconds; more than any transaction lasts (RFC 3261 §18)
MESSAGE_LIMIT = 10.0  # seconds from a message's first byte, or from the connection's beginning, to the message's last
MAXIMUM_UNSENT = 128 << 10  # bytes of answers that the other side leaves unread; one may have a body of 64 kB
LOOK_INTERVAL = 2.0  # seconds between looks for connections that are over their time
BACKLOG = 64

_PING, _PONG = b"\r\n\r\n", b"\r\n"  # RFC 5626 §4.4.1


class AcceptedConnections:
    """The listening sockets and every connection they have accepted, by key.

    `received` and `flush` are those of :class:`sipprofile.net.transports.Transports`; `buffer` may be shared by all
    connections of a loop. When there are too many, the one that was silent for the longest time goes, first one that
    has never sent a message. Nobody is told of an end: an answer that comes too late has nowhere to go.
    """

    def __init__(
        self,
        buffer: bytearray,
        *,
        received: Callable[[bytes, tuple[str, int], TransportKey], None],
        flush: Callable[[], None],
    ) -> None:
        self.buffer = buffer
        self.received = received
        self.flush = flush
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []
        self._open: dict[TransportKey, AcceptedConnection] = {}
        """Who was heard last is last."""
        self._hosts: Counter[str] = Counter()
        self._look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, hosts: Iterable[str], port: int) -> None:
        """Accept connections at `port` of every numeric address. Raises OSError that names the one that cannot be had;
        then there is none at all."""
        listeners: list[socket.socket] = []
        try:
            for host in hosts:
                listeners.append(_listener(host, port))
        except OSError:
            for listener in listeners:
                listener.close()
            raise
        for listener in listeners:
            server = await self._loop.create_server(lambda: AcceptedConnection(self), sock=listener, backlog=BACKLOG)
            self._servers.append(server)

    def get(self, key: TransportKey) -> AcceptedConnection | None:
        """The connection, if it is still open."""
        return self._open.get(key)

    def close(self) -> None:
        """Stop listening and end every connection; what is unsent is still sent."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._open.values()):
            connection.close()

    def add(self, connection: AcceptedConnection) -> None:
        """A connection was made."""
        host = connection.key.host
        if self._hosts[host] >= MAXIMUM_PER_HOST:
            self._make_room(other for other in self._open.values() if other.key.host == host)
        elif len(self._open) >= MAXIMUM_CONNECTIONS:
            self._make_room(self._open.values())
        self._open[connection.key] = connection
        self._hosts[host] += 1
        if self._look is None:
            self._look = self._loop.call_later(LOOK_INTERVAL, self._end_overdue)

    def heard(self, connection: AcceptedConnection) -> None:
        """Something complete came in on it."""
        if self._open.pop(connection.key, None) is not None:
            self._open[connection.key] = connection

    def discard(self, connection: AcceptedConnection) -> None:
        """A connection is over."""
        if self._open.get(connection.key) is connection:
            del self._open[connection.key]
            host = connection.key.host
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def _make_room(self, connections: Iterable[AcceptedConnection]) -> None:
        min(connections, key=lambda connection: connection.useful).abort()

    def _end_overdue(self) -> None:
        now = self._loop.time()
        for connection in [each for each in self._open.values() if each.overdue(now)]:
            connection.abort()
        self._look = self._loop.call_later(LOOK_INTERVAL, self._end_overdue) if self._open else None


class AcceptedConnection(asyncio.BufferedProtocol):
    """One of them: cuts what arrives into messages, answers pings, and sends what goes back."""

    __slots__ = ("_all", "_framer", "_over", "_source", "_transport", "_unfinished_at", "heard_at", "key", "useful")

    def __init__(self, connections: AcceptedConnections) -> None:
        self._all = connections
        self._framer = StreamFramer()
        self._source = ("", 0)
        self._transport: asyncio.Transport | None = None
        self._over = False
        self._unfinished_at: float | None = None
        self.key = TransportKey("tcp", "", 0, accepted=True)
        self.heard_at = 0.0
        """When the last message was complete, by the loop's clock."""
        self.useful = False
        """Whether a message ever was."""

    def overdue(self, now: float) -> bool:
        """Whether it was idle, or kept a message unfinished, for too long."""
        since = self._unfinished_at
        return now - self.heard_at > IDLE_LIMIT or (since is not None and now - since > MESSAGE_LIMIT)

    def send(self, data: bytes) -> None:
        """Write one message."""
        transport = self._transport
        if transport is None or self._over:
            return
        if transport.get_write_buffer_size() + len(data) > MAXIMUM_UNSENT:
            self.abort()
        else:
            transport.write(data)

    def close(self) -> None:
        """Send what is still unsent, then close."""
        self._end()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if not peer:  # it has gone already
            self.abort()
            return
        self._source = host, port = host_and_port(peer)
        self.key = TransportKey("tcp", host, port, accepted=True)
        self.heard_at = self._unfinished_at = asyncio.get_running_loop().time()
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self._all.buffer)[:nbytes])
        try:
            while not self._over and (messages := self._framer.feed(data)):
                self._take(messages)
                data = b""  # raises for what followed them
        except MalformedMessage:
            self.abort()  # where the next message begins is unknown
            return
        if not self._framer.incomplete:
            self._unfinished_at = None
        elif self._unfinished_at is None:
            self._unfinished_at = asyncio.get_running_loop().time()

    def _take(self, messages: list[bytes]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._all.heard(self)
        self._unfinished_at = None
        if _PING in messages:
            self.send(_PONG)  # one for all that were read at once
        requests = [message for message in messages if message not in (_PING, _PONG)]
        if not requests:
            return
        self.useful = True
        try:
            for request in requests:
                self._all.received(request, self._source, self.key)
        finally:
            self._all.flush()

    def _end(self) -> None:
        self._over = True
        self._all.discard(self)


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(address_family(host), socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # Connections of an earlier run that linger in TIME_WAIT do not count; a listening socket does (socket(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on TCP {destination(host, port)}: {error.strerror}") from None
    return listener
