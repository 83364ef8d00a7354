"""The sockets behind the core: what performs OpenTransport, CloseTransport and Send (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from typing import Literal

from sipprofile.net.accepted import AcceptedConnections
from sipprofile.net.addresses import address_family, destination
from sipprofile.net.failures import failure_code, failure_sentence
from sipprofile.net.local_sockets import LocalSockets
from sipprofile.net.stream import StreamConnection
from sipprofile.net.udp import UdpSocket
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.transport import PROTOCOLS

WILDCARDS = ("0.0.0.0", "::")
READ_BUFFER = 64 << 10  # bytes, one for all connections
_PORT_ATTEMPTS = 20  # the kernel's choice for one address family may be taken in the other
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Transports:
    """One UDP socket per local address, the connections over TCP, TLS and WebSocket opened from there, and the TCP
    connections that others open to the same address and port.

    `received(data, source, key)`: one SIP message or CRLF keepalive; on UDP the key is that of its source.
    `opened(key, local, mtu)`: the address and port of ours that Via and Contact must show for this key; on a WebSocket
    a made-up host and port 0 (RFC 7118 §5). `mtu`: that of the path as far as the kernel knows it, on UDP only, else 0.
    It is told again when the path turns out to carry less.
    `failed(key, code, sentence)`: could not open, connection lost, or an ICMP error about a datagram; the codes
    are those of :func:`sipprofile.net.failures.failure_code`, of TLS and of WebSocket. `flush()`: once after every
    batch of `received`.
    None of them is called from within `open`, `send` or `close`, nor after `stop`.
    """

    def __init__(
        self,
        *,
        bind: Sequence[str] = WILDCARDS,
        port: int = 5060,
        received: Callable[[bytes, tuple[str, int], TransportKey], None],
        opened: Callable[[TransportKey, tuple[str, int], int], None],
        failed: Callable[[TransportKey, str, str], None],
        flush: Callable[[], None],
        accept: Literal["required", "wanted", "no"] = "required",
    ) -> None:
        """`bind`: numeric local addresses. `port`: 0 is the kernel's choice, the same for all addresses.

        `accept`: whether to accept TCP connections there too, and whether `start` fails when that is impossible.
        """
        self._bind = tuple(bind)
        self._wanted_port = port
        self._accept = accept
        self.not_accepting = ""
        """Why TCP connections that are wanted are not accepted."""
        self._received = received
        self._opened = opened
        self._failed = failed
        self._flush = flush
        self._udp: list[UdpSocket] = []
        self._chosen: dict[TransportKey, UdpSocket] = {}
        self._connections: dict[TransportKey, StreamConnection] = {}
        self._local = LocalSockets(received=received, failed=failed, flush=flush)
        self._buffer = bytearray(READ_BUFFER)

    @property
    def port(self) -> int:
        """The real local UDP port, 0 before `start`."""
        return self._udp[0].port if self._udp else 0

    @property
    def dropped(self) -> int:
        """Datagrams not sent because too many were waiting."""
        return sum(udp.dropped for udp in self._udp)

    async def start(self) -> None:
        """Bind the sockets. Raises OSError that names the address which could not be bound."""
        self._loop = asyncio.get_running_loop()
        attempts = 1 if self._wanted_port else _PORT_ATTEMPTS
        self._accepted = AcceptedConnections(self._buffer, received=self._received, flush=self._flush)
        for attempt in range(attempts):
            last = attempt == attempts - 1
            try:
                self._bind_all()
                if self._accept != "no":
                    await self._accept_all(tell=self._accept == "required" or not last)
                return
            except OSError as error:
                self._close_udp()
                if error.errno != errno.EADDRINUSE or last:
                    raise

    async def accept(self) -> None:
        """Accept TCP connections if :attr:`not_accepting` says that this is wanted. Raises OSError."""
        if self.not_accepting:
            await self._accepted.listen([udp.host for udp in self._udp], self.port)
            self.not_accepting = ""

    def open(self, key: TransportKey) -> None:
        """Make `key` usable; `opened` or `failed` answers."""
        if key.protocol == "udp":
            self._loop.call_soon(self._open_udp, key)
            return
        if key.protocol not in PROTOCOLS or (key.protocol != "tcp" and key.identity is None):
            sentence = f"the transport {key.protocol!r} is not supported, or has no name to check"
            self._loop.call_soon(self._failed, key, "transport_failed", sentence)
            return
        connection = self._connections.get(key)
        if connection is None:
            self._connections[key] = self._connection(key)
        elif connection.local is not None:
            self._loop.call_soon(self._opened, key, connection.local, 0)

    def send(self, key: TransportKey, data: bytes) -> None:
        """Send one message. UDP needs no `open`; otherwise `failed` tells that there is no open connection."""
        if key.protocol == "udp":
            own = None if key.local_port else self._chosen.get(key) or self._udp_for(key)
            udp = own or self._local.get(key.local_port)
            if udp is not None:
                udp.send(key, data)
                return
            sentence = f"no local address can reach {destination(key.host, key.port)}"
            self._loop.call_soon(self._failed, key, "transport_unreachable", sentence)
            return
        if key.accepted:
            answered = self._accepted.get(key)
            if answered is not None:
                answered.send(data)
            return
        connection = self._connections.get(key)
        if connection is not None and connection.local is not None:
            connection.send(data)
            return
        sentence = f"there is no connection to {destination(key.host, key.port)}; open it first"
        self._loop.call_soon(self._failed, key, "transport_closed", sentence)

    def send_many(self, key: TransportKey, messages: Sequence[bytes]) -> None:
        """Send messages whose order does not matter; see :meth:`send`."""
        udp = None
        if key.protocol == "udp" and not key.local_port and len(messages) > 1:
            udp = self._chosen.get(key) or self._udp_for(key)
        if udp is not None:
            udp.send_many(key, messages)
            return
        for data in messages:
            self.send(key, data)

    def listen(self, host: str, port: int) -> int:
        """Open a socket for local programs, whose keys have its port as `local_port`; see :class:`LocalSockets`."""
        return self._local.listen(host, port)

    def stop_listening(self, port: int) -> None:
        """Close the socket that `listen` opened at `port`."""
        self._local.close(port)

    def close(self, key: TransportKey) -> None:
        """Nothing uses `key` any more. What is unsent on a connection is still sent."""
        udp = self._chosen.pop(key, None)
        if udp is not None:
            udp.forget(key)
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.close()

    def probe(self, key: TransportKey) -> tuple[tuple[str, int] | None, str | None, int]:
        """From where `key` would be reached now (on UDP it is from now on), what its open connection has, and the MTU.

        See :meth:`sipprofile.registration.registrations.Registrations.transport_probed`. Nothing goes on the wire.
        """
        if key.protocol == "udp":
            local = self._choose(key)
            return (local[0], None, local[1]) if isinstance(local, tuple) else (None, None, 0)
        connection = self._connections.get(key)
        used = None if connection is None else connection.source()
        udp = self._udp_for(key)
        try:
            source = used if udp is None else udp.path(key)[0]
        except OSError:
            source = None
        return (source, 0) if source else None, used, 0

    async def stop(self) -> None:
        """Close everything."""
        for key in list(self._connections):
            self.close(key)
        self._close_udp()
        self._local.close_all()
        self._accepted.close()
        await asyncio.sleep(0)  # what was about to be told is told before this returns

    def _bind_all(self) -> None:
        port = self._wanted_port
        for host in self._bind:
            try:
                udp = UdpSocket(
                    host,
                    port,
                    received=self._received,
                    failed=self._failed,
                    narrowed=self._narrowed,
                    flush=self._flush,
                )
            except OSError as error:
                if host == "::" and len(self._bind) > 1 and error.errno in _NO_IPV6:
                    continue
                where = destination(host, port)
                raise OSError(error.errno, f"cannot bind UDP {where}: {error.strerror}") from None
            self._udp.append(udp)
            port = udp.port

    async def _accept_all(self, *, tell: bool) -> None:
        try:
            await self._accepted.listen([udp.host for udp in self._udp], self.port)
        except OSError as error:
            if tell and (self._accept == "required" or error.errno == errno.EADDRINUSE):
                raise
            self.not_accepting = error.strerror or str(error)

    def _close_udp(self) -> None:
        for udp in self._udp:
            udp.close()
        self._udp.clear()
        self._chosen.clear()

    def _open_udp(self, key: TransportKey) -> None:
        local = self._choose(key)
        if isinstance(local, tuple):
            self._opened(key, *local)
        elif local is None:
            sentence = f"no local address can reach {destination(key.host, key.port)}"
            self._failed(key, "transport_unreachable", sentence)
        else:
            number = local.errno or 0
            self._failed(key, failure_code(number), failure_sentence(number, key.host, key.port, "udp"))

    def _choose(self, key: TransportKey) -> tuple[tuple[str, int], int] | OSError | None:
        """Our address and port towards `key`, and the path's MTU, by the first socket that has a way there, from now on
        the one that is used; else why the last one has none."""
        failure: OSError | None = None
        family = address_family(key.host)
        for udp in self._udp:
            if udp.family != family:
                continue
            try:
                host, mtu = udp.path(key)
            except OSError as error:
                failure = error
                continue
            self._chosen[key] = udp
            return (host, udp.port), mtu
        return failure

    def _narrowed(self, key: TransportKey) -> None:
        if key in self._chosen:
            self._open_udp(key)

    def _udp_for(self, key: TransportKey) -> UdpSocket | None:
        """The first socket of the destination's family."""
        family = address_family(key.host)
        for udp in self._udp:
            if udp.family == family:
                return udp
        return None

    def _connection(self, key: TransportKey) -> StreamConnection:
        udp = self._udp_for(key)
        return StreamConnection(
            key,
            None if udp is None or udp.host in WILDCARDS else udp.host,
            self._buffer,
            received=self._received,
            opened=self._connection_opened,
            failed=self._connection_failed,
            flush=self._flush,
        )

    def _connection_opened(self, key: TransportKey, local: tuple[str, int]) -> None:
        self._opened(key, local, 0)

    def _connection_failed(self, key: TransportKey, code: str, sentence: str) -> None:
        del self._connections[key]
        self._loop.call_soon(self._failed, key, code, sentence)
