"""One TCP connection that we open (RFC 3261 §18.1.1, §18.3)."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import cast

from sipprofile.net.addresses import address_family, destination, is_numeric
from sipprofile.net.failures import failure_code, failure_sentence
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import MalformedMessage

CONNECT_TIMEOUT = 10.0  # seconds
MAXIMUM_UNSENT = 256 << 10  # bytes; a peer that leaves more unread is not served any longer


class StreamConnection(asyncio.BufferedProtocol):
    """Connects, cuts what arrives into messages, and tells once when it is over.

    `opened`, `received` and `flush` are those of :class:`sipprofile.net.transports.Transports`. `buffer` may be
    shared by all connections of a loop, because what was read is taken out of it at once. After `close` nothing
    is told.
    """

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
        """Our address and port, once connected."""
        self._local_host = local_host
        self._buffer = buffer
        self._received = received
        self._opened = opened
        self._failed = failed
        self._flush = flush
        self._framer = StreamFramer()
        self._source = (key.host, key.port)
        self._transport: asyncio.Transport | None = None
        self._over = False
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def send(self, data: bytes) -> None:
        """Write one message. The connection must be open (`local` is not None)."""
        transport = self._transport
        if transport is None or self._over:
            return
        if transport.get_write_buffer_size() + len(data) > MAXIMUM_UNSENT:
            self._fail("transport_failed", f"{self._name()} over TCP does not read what is sent to it")
            return
        transport.write(data)

    def close(self) -> None:
        """Send what is still unsent, then close."""
        self._over = True
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _connect(self) -> None:
        key = self.key
        loop = asyncio.get_running_loop()
        tcp = socket.socket(address_family(key.host), socket.SOCK_STREAM)
        try:
            if not is_numeric(key.host):
                raise OSError(errno.EINVAL, "not a numeric address")
            tcp.setblocking(False)
            if key.dscp is not None:
                _set_dscp(tcp, key.dscp)
            if self._local_host is not None:
                tcp.bind((self._local_host, 0))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(tcp, (key.host, key.port))
            await loop.create_connection(lambda: self, sock=tcp)
        except TimeoutError:
            tcp.close()
            sentence = f"{self._name()} over TCP did not answer within {CONNECT_TIMEOUT:.0f} s"
            self._fail("transport_timeout", sentence)
        except OSError as error:
            tcp.close()
            self._fail(*_failure(error, key))
        except asyncio.CancelledError:
            tcp.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._over:
            self._transport.abort()
            return
        host, port = transport.get_extra_info("sockname")[:2]
        self.local = (host, port)
        self._opened(self.key, self.local)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self._fail(*_failure(exc, self.key))
        else:
            self._fail("transport_closed", f"{self._name()} closed the TCP connection")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._over:
            return
        try:
            messages = self._framer.feed(bytes(memoryview(self._buffer)[:nbytes]))
            if messages:
                self._deliver(messages)
                self._framer.feed(b"")  # raises for what followed them
        except MalformedMessage as error:
            self._fail("transport_failed", f"{self._name()} over TCP sent no SIP: {error}")

    def _deliver(self, messages: list[bytes]) -> None:
        try:
            for message in messages:
                self._received(message, self._source, self.key)
        finally:
            self._flush()

    def _name(self) -> str:
        return destination(self.key.host, self.key.port)

    def _fail(self, code: str, sentence: str) -> None:
        if self._over:
            return
        self._over = True
        if self._transport is not None:
            self._transport.abort()
        self._failed(self.key, code, sentence)


def _failure(error: OSError, key: TransportKey) -> tuple[str, str]:
    number = error.errno or 0
    return failure_code(number), failure_sentence(number, key.host, key.port, key.protocol)


def _set_dscp(tcp: socket.socket, dscp: int) -> None:
    if tcp.family == socket.AF_INET6:
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        tcp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
