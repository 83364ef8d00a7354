"""One connection that we open, over TCP, TLS or WebSocket (RFC 3261 §18.1.1, §18.3, RFC 7118)."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Callable
from typing import cast

from sipprofile.net.addresses import address_family, destination, is_local, is_numeric
from sipprofile.net.failures import failure_code, failure_sentence
from sipprofile.net.tls import TlsClient, TlsFailed
from sipprofile.net.websocket import WebSocketClient, WebSocketFailed
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.locating import DEFAULT_PORTS
from sipprofile.sip.message import MalformedMessage
from sipprofile.sip.transport import SECURE, WEBSOCKETS

CONNECT_TIMEOUT = 10.0  # seconds
PROBE_AFTER = 60  # seconds of silence until the kernel asks whether the other side is still there
PROBE_INTERVAL = 10
PROBES = 3
UNACKNOWLEDGED_LIMIT = 60  # seconds that what was sent may stay without a TCP acknowledgement
MAXIMUM_UNSENT = 256 << 10  # bytes; a peer that leaves more unread is not served any longer


class StreamConnection(asyncio.BufferedProtocol):
    """Connects, cuts what arrives into messages, and tells once when it is over.

    `opened`, `received` and `flush` are those of :class:`sipprofile.net.transports.Transports`. `buffer` may be
    shared by all connections of a loop, because what was read is taken out of it at once. After `close` nothing
    is told.
    """

    __slots__ = (
        "_buffer",
        "_connecting",
        "_failed",
        "_flush",
        "_framer",
        "_local_host",
        "_opened",
        "_over",
        "_ready",
        "_received",
        "_source",
        "_tls",
        "_transport",
        "_websocket",
        "key",
        "local",
    )

    def __init__(
        self,
        key: TransportKey,
        local_host: str | None,
        buffer: bytearray,
        *,
        received: Callable[[bytes, tuple[str, int], TransportKey], None],
        opened: Callable[[TransportKey, tuple[str, int]], None],
        failed: Callable[[TransportKey, str, str], None],
        flush: Callable[[], None],
    ) -> None:
        """Begin to connect, from `local_host` if given."""
        self.key = key
        self.local: tuple[str, int] | None = None
        """What Via and Contact show, once it can be used: address and port, a made-up host and 0 on a WebSocket."""
        self._local_host = local_host
        self._buffer = buffer
        self._received = received
        self._opened = opened
        self._failed = failed
        self._flush = flush
        self._tls: TlsClient | None = None
        self._websocket: WebSocketClient | None = None
        self._framer = StreamFramer()
        self._source = (key.host, key.port)
        self._transport: asyncio.Transport | None = None
        self._over = False
        self._ready: asyncio.Event | None = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._connect())

    def source(self) -> str | None:
        """The address that it has of ours, empty when that is none of ours any more; `None` before it can be used."""
        if self.local is None or self._transport is None:
            return None
        host: str = self._transport.get_extra_info("sockname")[0]
        return host if is_local(host) else ""

    def send(self, data: bytes) -> None:
        """Write one message. The connection must be open (`local` is not None)."""
        transport = self._transport
        if transport is None or self._over:
            return
        if transport.get_write_buffer_size() + len(data) > MAXIMUM_UNSENT:
            self._fail("transport_failed", f"{self._name()} does not read what is sent to it")
        elif self._websocket is not None:
            self._websocket.send(data)
            self._write()
        elif self._tls is not None:
            self._tls.send(data)
            self._write()
        else:
            transport.write(data)

    def close(self) -> None:
        """Send what is still unsent, then close."""
        self._over = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            if self.local is not None:
                self._say_goodbye()
            self._transport.close()

    async def _connect(self) -> None:
        key = self.key
        loop = asyncio.get_running_loop()
        tcp = socket.socket(address_family(key.host), socket.SOCK_STREAM)
        ready = cast(asyncio.Event, self._ready)
        try:
            if not is_numeric(key.host):
                raise OSError(errno.EINVAL, "not a numeric address")
            tcp.setblocking(False)
            _notice_death(tcp)
            if key.dscp is not None:
                _set_dscp(tcp, key.dscp)
            if self._local_host is not None:
                tcp.bind((self._local_host, 0))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(tcp, (key.host, key.port))
                await loop.create_connection(lambda: self, sock=tcp)
                await ready.wait()
        except TimeoutError:
            tcp.close()
            self._fail("transport_timeout", f"{self._name()} did not answer within {CONNECT_TIMEOUT:.0f} s")
        except OSError as error:
            tcp.close()
            self._fail(*_failure(error, key))
        except asyncio.CancelledError:
            tcp.close()
            raise
        self._connecting = None  # a connection may live long; what opened it need not

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._over:
            self._transport.abort()
            return
        identity = self.key.identity
        try:
            if identity is not None and self.key.protocol in SECURE:
                self._tls = TlsClient(identity)
            if identity is not None and self.key.protocol in WEBSOCKETS:
                self._websocket = WebSocketClient(self._host_header(), identity.path)
        except TlsFailed as failed:
            self._fail(failed.code, f"{self._name()}: {failed.sentence}")
            return
        self._write()
        self._progress()

    def connection_lost(self, exc: Exception | None) -> None:
        code, sentence = "transport_closed", f"{self._name()} closed the connection"
        if isinstance(exc, OSError):
            code, sentence = _failure(exc, self.key)
        if self.local is None and code == "transport_closed":
            if self._tls is not None and not self._tls.open:
                code, sentence = "tls_failed", f"{self._name()} closed the connection during the TLS handshake"
            elif self._websocket is not None:
                code, sentence = "websocket_refused", f"{self._name()} closed the connection: it is no WebSocket server"
        self._fail(code, sentence)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self._buffer)[:nbytes])
        try:
            while not self._over and (messages := self._messages(data)):
                self._deliver(messages)
                data = b""  # raises for what followed them
        except (TlsFailed, WebSocketFailed) as failed:
            self._write()  # the other side is told, too
            self._fail(failed.code, f"{self._name()}: {failed.sentence}")
        except MalformedMessage as error:
            self._fail("transport_failed", f"{self._name()} sent no SIP: {error}")

    def _messages(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes; raises for what can be no message."""
        if self._tls is not None:
            data = self._tls.receive(data)
            self._write()
        if self._websocket is not None:
            messages = self._websocket.receive(data)
            self._write()
        else:
            messages = self._framer.feed(data)
        if self.local is None:
            self._progress()
        return messages

    def _progress(self) -> None:
        """Tell that the connection is open as soon as TLS and WebSocket are."""
        tls, websocket = self._tls, self._websocket
        if (tls is not None and not tls.open) or (websocket is not None and not websocket.open):
            return
        if websocket is not None:
            self.local = (f"{secrets.token_hex(8)}.invalid", 0)  # RFC 7118 §5: a random host
        else:
            transport = cast(asyncio.Transport, self._transport)
            host, port = transport.get_extra_info("sockname")[:2]
            self.local = (host, port)
        self._finish_connecting()
        self._opened(self.key, self.local)

    def _write(self) -> None:
        """Write what TLS and WebSocket have made."""
        tls, websocket = self._tls, self._websocket
        data = b""
        if websocket is not None and (tls is None or tls.open):
            data = websocket.outgoing()
        if tls is not None:
            if data:
                tls.send(data)
            data = tls.outgoing()
        if data and self._transport is not None:
            self._transport.write(data)

    def _say_goodbye(self) -> None:
        if self._websocket is not None:
            self._websocket.close()
            self._write()
        if self._tls is not None:
            self._tls.close()
            self._write()

    def _finish_connecting(self) -> None:
        if self._ready is not None:
            self._ready.set()
            self._ready = None

    def _deliver(self, messages: list[bytes]) -> None:
        try:
            for message in messages:
                self._received(message, self._source, self.key)
        finally:
            self._flush()

    def _host_header(self) -> str:
        key = self.key
        name = key.identity.server_name if key.identity is not None else key.host
        bracketed = f"[{name}]" if ":" in name else name
        return bracketed if key.port == DEFAULT_PORTS[key.protocol] else f"{bracketed}:{key.port}"

    def _name(self) -> str:
        return f"{destination(self.key.host, self.key.port)} over {self.key.protocol.upper()}"

    def _fail(self, code: str, sentence: str) -> None:
        if self._over:
            return
        self._over = True
        self._finish_connecting()
        if self._transport is not None:
            self._transport.close() if self._tls is not None else self._transport.abort()
        self._failed(self.key, code, sentence)


def _failure(error: OSError, key: TransportKey) -> tuple[str, str]:
    number = error.errno or 0
    return failure_code(number), failure_sentence(number, key.host, key.port, key.protocol)


def _notice_death(tcp: socket.socket) -> None:
    """Have the kernel close a connection whose other side is gone, where no SIP keepalive may judge (tcp(7))."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_INTERVAL)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_LIMIT * 1000)


def _set_dscp(tcp: socket.socket, dscp: int) -> None:
    if tcp.family == socket.AF_INET6:
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        tcp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
