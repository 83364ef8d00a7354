"""The test registrar on real sockets: UDP and TCP on one port (RFC 3261 §18.2), TLS on another."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import MalformedMessage
from sipprofile.testing.faults import Faults
from sipprofile.testing.forwarding import address_of
from sipprofile.testing.location import Binding
from sipprofile.testing.registrar import Registrar
from sipprofile.testing.reply import Reply

_PORT_ATTEMPTS = 20  # the kernel's choice for UDP may be taken on TCP
_DATAGRAMS_PER_WAKE_UP = 64


class RegistrarServer:
    """A :class:`~sipprofile.testing.registrar.Registrar` that listens.

    ::

        async with RegistrarServer(users={"alice": "secret"}) as server:
            ...  # register sip:alice@example.test at server.uri
            assert server.bindings("sip:alice@example.test")
            server.registrar.faults.status = 503

    `host` is a numeric address, `port` 0 the kernel's choice. `random` makes nonces and tags repeatable. With a `tls`
    context, whose certificate must be for `host` or what the profile's `tls.server_name` says, it listens for TLS too,
    at `tls_port`; a context with ``CERT_REQUIRED`` wants client certificates. WebSocket is not spoken.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        realm: str = "example.test",
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        random: random.Random | None = None,
    ) -> None:
        self.registrar = Registrar(realm, users, random=random or _system_random(), faults=faults)
        self.host = host
        self.port = port
        """The port wanted, after the start the real one."""
        self.tls_port = 0
        """The port of TLS: the kernel's choice, kept when it is started again."""
        self._tls = tls
        self._connections: dict[tuple[str, int], _Connection] = {}
        self._others: dict[int, socket.socket] = {}

    @property
    def uri(self) -> str:
        """The registrar's URI. TCP listens at the same port: append ``;transport=tcp``."""
        return f"sip:{self._authority}:{self.port}"

    @property
    def tls_uri(self) -> str:
        """The registrar's URI over TLS, once it is started with a context."""
        return f"sip:{self._authority}:{self.tls_port};transport=tls"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def now(self) -> float:
        """The time the registrar lives by, in seconds."""
        return time.monotonic()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to listen. Raises OSError when the port is taken."""
        self._loop = asyncio.get_running_loop()
        self._udp, tcp = _bind(self.host, self.port)
        self.port = self._udp.getsockname()[1]
        self.registrar.address = (self.host, self.port)
        self._loop.add_reader(self._udp.fileno(), self._read_datagrams)
        self._listeners = [await self._loop.create_server(lambda: _Connection(self), sock=tcp)]
        if self._tls is not None:
            secured = _bind_stream(self.host, self.tls_port)
            self.tls_port = secured.getsockname()[1]
            self._listeners.append(
                await self._loop.create_server(lambda: _Connection(self), sock=secured, ssl=self._tls)
            )

    async def stop(self) -> None:
        """Close every socket. What the registrar knows is kept; it can be started again."""
        self._loop.remove_reader(self._udp.fileno())
        self._udp.close()
        for listener in self._listeners:
            listener.close()
        for other in self._others.values():
            other.close()
        self._others.clear()
        for connection in list(self._connections.values()):
            connection.abort()
        for listener in self._listeners:
            await listener.wait_closed()

    def bindings(self, aor: str) -> list[Binding]:
        """The bindings of an address-of-record now, the oldest first."""
        return self.registrar.bindings(aor, self.now)

    def bind(self, aor: str, contact: str) -> None:
        """Have requests for ``aor`` go to ``contact`` too, a URI with a numeric address: a peer that does not register.

        Raises ValueError for one without.
        """
        address = address_of(contact)
        if address is None:
            raise ValueError(f"{contact} has no numeric address")
        self.registrar.bind(aor, contact, address, self.now)

    def request(self, aor: str, method: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> int:
        """Send a request to every binding of `aor`; returns how many. Responses: ``registrar.responses``."""
        requests = self.registrar.request(aor, method, self.now, headers=headers, body=body)
        self.send(requests)
        return len(requests)

    def restart(self) -> None:
        """Let the registrar forget everything and drop its connections, as a restarted one does."""
        self.registrar.restart(self.now)
        for connection in list(self._connections.values()):
            connection.abort()

    def receive(self, data: bytes, source: tuple[str, int]) -> None:
        """Hand one message to the registrar and send what it replies."""
        self.send(self.registrar.receive(data, source, self.now))

    def send(self, replies: Sequence[Reply]) -> None:
        """Send replies, each after its delay: on the connection from that address, else as a datagram."""
        for reply in replies:
            if reply.delay > 0:
                self._loop.call_later(reply.delay, self._send, reply)
            else:
                self._send(reply)

    def connected(self, peer: tuple[str, int], connection: _Connection) -> None:
        self._connections[peer] = connection

    def disconnected(self, peer: tuple[str, int]) -> None:
        self._connections.pop(peer, None)

    def _send(self, reply: Reply) -> None:
        connection = self._connections.get(reply.destination)
        if connection is not None:
            connection.write(reply.data)
        else:
            try:
                self._from_port(reply.port).sendto(reply.data, reply.destination)
            except OSError:
                pass  # lost, as a datagram may be, or the server has stopped meanwhile

    def _from_port(self, port: int | None) -> socket.socket:
        """The socket at that port of our host. Raises OSError when it is somebody else's."""
        if port is None or port == self.port:
            return self._udp
        other = self._others.get(port)
        if other is None:
            other = socket.socket(self._udp.family, socket.SOCK_DGRAM)
            try:
                other.setblocking(False)
                other.bind((self.host, port))
            except OSError:
                other.close()
                raise
            self._others[port] = other
        return other

    def _read_datagrams(self) -> None:
        for _ in range(_DATAGRAMS_PER_WAKE_UP):
            try:
                data, source = self._udp.recvfrom(65535)
            except OSError:
                return
            self.receive(data, source[:2])


class _Connection(asyncio.Protocol):
    """One connection that a user agent opened, TCP or TLS."""

    def __init__(self, server: RegistrarServer) -> None:
        self._server = server
        self._framer = StreamFramer()
        self._transport: asyncio.Transport
        self._peer: tuple[str, int]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("peername")[:2]
        self._peer = (host, port)
        self._server.connected(self._peer, self)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._framer.feed(data):
                self._server.receive(message, self._peer)
        except MalformedMessage:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.disconnected(self._peer)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()


def _system_random() -> random.Random:
    return random.SystemRandom()


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a listening TCP socket on one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(_PORT_ATTEMPTS):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.setblocking(False)
            udp.bind((host, port))
            tcp = _bind_stream(host, udp.getsockname()[1])
        except OSError as error:
            udp.close()
            if port or error.errno != errno.EADDRINUSE or attempt == _PORT_ATTEMPTS - 1:
                raise
            continue
        return udp, tcp
    raise AssertionError("unreachable")


def _bind_stream(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    listener.setblocking(False)
    return listener
