"""The scripted user agent on a real UDP socket."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sipprofile.sip.dialog import Dialog
from sipprofile.sip.message import Request, Response
from sipprofile.testing.forwarding import Address
from sipprofile.testing.peer import Exchange, Scripted, SipPeer
from sipprofile.testing.reply import Reply

LIMIT = 5.0  # seconds that a test waits for something


class SipPeerServer:
    """A :class:`~sipprofile.testing.peer.SipPeer` that listens on UDP.

    ::

        async with RegistrarServer(users={"alice": "secret"}) as registrar, SipPeerServer("bob") as bob:
            registrar.bind("sip:bob@example.test", bob.uri)
            ...  # have alice call sip:bob@example.test, or bob.uri
            invite = await bob.wait_for("INVITE")
            await bob.send("BYE", dialog=bob.peer.dialogs[0])

    With ``next_hop``, such as that of a :class:`~sipprofile.testing.server.RegistrarServer`, requests go there.
    """

    peer: SipPeer

    def __init__(
        self,
        user: str = "peer",
        *,
        host: str = "127.0.0.1",
        aor: str | None = None,
        next_hop: Address | None = None,
        credentials: tuple[str, str] | None = None,
        random: random.Random | None = None,
    ) -> None:
        self._user = user
        self._host = host
        self._aor = aor
        self._next_hop = next_hop
        self._credentials = credentials
        self._random = random or _system_random()
        self._heard = asyncio.Event()

    @property
    def uri(self) -> str:
        """Where it is reached; its Contact."""
        return self.peer.uri

    async def __aenter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((self._host, 0))
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.peer = SipPeer(
            f"sip:{self._user}@{host}:{self._socket.getsockname()[1]}",
            random=self._random,
            next_hop=self._next_hop,
            credentials=self._credentials,
        )
        self.peer.aor = self._aor or self.peer.uri
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def begin(
        self,
        method: str,
        uri: str = "",
        *,
        dialog: Dialog | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Exchange:
        """Send a request; what comes back is in the exchange. See :meth:`SipPeer.request`."""
        exchange, replies = self.peer.request(
            method, uri, dialog=dialog, headers=headers, body=body, content_type=content_type
        )
        self._send(replies)
        return exchange

    async def send(
        self,
        method: str,
        uri: str = "",
        *,
        dialog: Dialog | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Response:
        """Send a request and wait for its final response. Raises TimeoutError after :data:`LIMIT`."""
        exchange = self.begin(method, uri, dialog=dialog, headers=headers, body=body, content_type=content_type)
        return await self.final(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """CANCEL an INVITE."""
        self._send(self.peer.cancel(exchange))

    def answer(self, request: Request, scripted: Scripted) -> None:
        """Answer a request that waits: one whose script is empty."""
        self._send(self.peer.answer(request, scripted))

    async def final(self, exchange: Exchange, limit: float = LIMIT) -> Response:
        """The final response to a request that was begun. Raises TimeoutError."""
        await self.until(lambda: exchange.final is not None, limit)
        assert exchange.final is not None
        return exchange.final

    async def wait_for(self, method: str, count: int = 1, limit: float = LIMIT) -> Request:
        """The ``count``-th request of this method. Raises TimeoutError."""
        await self.until(lambda: len(self.requests(method)) >= count, limit)
        return self.requests(method)[count - 1]

    def requests(self, method: str) -> list[Request]:
        """What came in of this method, without retransmissions."""
        return [request for request in self.peer.requests if request.method == method]

    async def until(self, true: Callable[[], bool], limit: float = LIMIT) -> None:
        """Return when ``true`` is, looking at it after each message. Raises TimeoutError."""
        async with asyncio.timeout(limit):
            while not true():
                self._heard.clear()
                await self._heard.wait()

    def _read(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65535)
            except OSError:
                return
            self._send(self.peer.receive(data, source[:2]))
            self._heard.set()

    def _send(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if reply.delay > 0:
                self._loop.call_later(reply.delay, self._send_now, reply)
            else:
                self._send_now(reply)

    def _send_now(self, reply: Reply) -> None:
        try:
            self._socket.sendto(reply.data, reply.destination)
        except OSError:
            pass  # lost, as a datagram may be, or the test has ended


def _system_random() -> random.Random:
    return random.SystemRandom()
