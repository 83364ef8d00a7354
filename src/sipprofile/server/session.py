"""The WebSocket of a session (RFC 6455): frames to and from the core, each client at its own speed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec
from aiohttp import WSMsgType, web

from ..errors import SipProfileError
from .revocation import REVOCATION
from .routes import DAEMON, Route, actor_of

LARGEST_FRAME = 1 << 20  # octets
HEARTBEAT = 12.0  # seconds between pings on TCP; aiohttp waits half as long for a pong, and rounds up: 20 at most
END_LIMIT = 2.0  # seconds a client has to take the frames that end its session
FRAMES_PER_TURN = 32  # of one session, whose client may send hundreds at once: three milliseconds; fewer cost more each

CLOSE_CODES = {"slow_consumer": 1013, "shutting_down": 1001}  # RFC 6455 §7.4.1; 1013 is registered with IANA
POLICY_VIOLATION = 1008


class Turn:
    """Counts what one session is served while the loop turns to nobody else."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._served = 0

    async def served(self) -> None:
        """One more frame; after some of them others come first."""
        if not self._served:
            self._loop.call_soon(self._over)
        self._served += 1
        if self._served >= FRAMES_PER_TURN:
            await asyncio.sleep(0)

    def _over(self) -> None:
        self._served = 0


class Sender:
    """Sends the core's frames to one client; the core is asked for more only when the client has taken the last."""

    def __init__(self) -> None:
        self._sending = asyncio.Lock()
        """Who has it asks the core until there are no more frames."""
        self._woken = asyncio.Event()
        self._progress = asyncio.Event()
        self._error: SipProfileError | None = None
        self._abort: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Frames are waiting in the core."""
        if not self._sending.locked():
            self._woken.set()

    def end(self, error: SipProfileError) -> None:
        """The core has ended the session; a client that takes nothing any more is cut off."""
        self._error = error
        self._woken.set()
        self._progress.set()
        asyncio.get_running_loop().call_later(END_LIMIT, lambda: self._abort())

    @property
    def ended(self) -> bool:
        """The core has ended the session."""
        return self._error is not None

    async def answer(
        self, client: web.WebSocketResponse, frames: Callable[[], list[bytes]], handle: Callable[[], None]
    ) -> None:
        """Call ``handle`` and send what follows from it before the loop turns to others, unless the client has not
        taken yet what came before."""
        if self._sending.locked():
            handle()
            return
        async with self._sending:
            handle()
            with suppress(ConnectionError):  # there is nothing more to read then either
                await self._send(client, frames)

    async def run(
        self, client: web.WebSocketResponse, frames: Callable[[], list[bytes]], abort: Callable[[], None]
    ) -> None:
        """Send until the session ends; ``abort`` cuts the connection."""
        self._abort = abort
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                async with self._sending:
                    await self._send(client, frames)
                    if self._error is not None:
                        await self._close(client, self._error)
                        return
        except ConnectionError:  # the reading half notices it too and closes the session
            return
        finally:
            self._progress.set()
            self._abort = lambda: None

    async def _send(self, client: web.WebSocketResponse, frames: Callable[[], list[bytes]]) -> None:
        while batch := frames():
            for data in batch:
                await client.send_frame(data, WSMsgType.TEXT)
            self._progress.set()

    async def room(self, congested: Callable[[], bool]) -> None:
        """Wait while the client asks for more than it reads."""
        while congested() and not self.ended:
            self._progress.clear()
            await self._progress.wait()

    async def _close(self, client: web.WebSocketResponse, error: SipProfileError) -> None:
        closing = {"event": "closing", "error": error.problem()}
        await client.send_str(msgspec.json.encode(closing, enc_hook=repr).decode())
        await client.close(code=CLOSE_CODES.get(error.code, POLICY_VIOLATION), message=error.code.encode())


async def session(request: web.Request) -> web.StreamResponse:
    """Serve one session until either side ends it."""
    daemon = request.app[DAEMON]
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise SipProfileError("bad_request", "A session is a WebSocket; this request does not ask for one.")
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    local = transport.get_extra_info("socket").family == socket.AF_UNIX
    client = web.WebSocketResponse(
        heartbeat=None if local else HEARTBEAT, max_msg_size=LARGEST_FRAME, compress=False, timeout=END_LIMIT
    )
    await daemon.until_loaded()
    sender, turn = Sender(), Turn()
    number = daemon.open_session(actor_of(request), sender)
    sending: asyncio.Task[None] | None = None

    def frames() -> list[bytes]:
        return [] if sender.ended else daemon.frames(number)

    def revoked() -> None:
        daemon.close_session(number)
        sender.end(SipProfileError("unauthenticated", "The token was removed."))

    try:
        with request.app[REVOCATION].watched(request, revoked):
            await client.prepare(request)
            sending = asyncio.create_task(sender.run(client, frames, transport.abort))
            async for message in client:
                if message.type is WSMsgType.TEXT:
                    await sender.answer(client, frames, partial(daemon.frame, number, message.data.encode()))
                    if daemon.congested(number):
                        await sender.room(lambda: daemon.congested(number))
                    await turn.served()
                elif message.type is WSMsgType.BINARY:
                    await client.close(code=1003, message=b"frames are text")
                if sender.ended:
                    break
            if sender.ended:
                await sending
    finally:
        daemon.close_session(number)
        if sending is not None:
            sending.cancel()
    return client


ROUTES = (
    Route(
        "GET",
        "/v1/session",
        session,
        "openSession",
        "A session as a WebSocket; docs/session-protocol.md describes its frames.",
        ("use", "read", "control"),
        status=101,
    ),
)
