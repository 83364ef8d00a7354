"""An application's session that enables everything: commands pipelined on one WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

WINDOW = 500  # commands on the way; the service ends a session that leaves thousands unread


class _Frame(msgspec.Struct):
    id: int | None = None
    event: str | None = None
    error: dict[str, object] | None = None


_decode = msgspec.json.Decoder(_Frame).decode


class Session:
    """Counts the events it is sent."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.events: dict[str, int] = {}
        self.waited: list[float] = []
        """Seconds from sending each command to reading its answer."""
        self._websocket = websocket
        self._sent: dict[int, float] = {}
        self._window = asyncio.Semaphore(WINDOW)
        self._loop = asyncio.get_running_loop()

    async def enable(self, count: int) -> None:
        """Enable the profiles 1 to `count`; returns when the last command is sent."""
        for number in range(1, count + 1):
            await self._window.acquire()
            self._sent[number] = self._loop.time()
            await self._websocket.send_str(f'{{"id":{number},"op":"enable","profile":{number}}}')

    async def read(self) -> None:
        """Read until the connection ends. Raises RuntimeError for a refused command."""
        async for message in self._websocket:
            frame = _decode(message.data)
            if frame.event is not None:
                self.events[frame.event] = self.events.get(frame.event, 0) + 1
                continue
            if frame.error is not None:
                raise RuntimeError(f"the service refused a command: {frame.error}")
            if frame.id:
                self.waited.append(self._loop.time() - self._sent.pop(frame.id))
                self._window.release()
        raise RuntimeError("the service ended the session")


@asynccontextmanager
async def open_session(path: Path) -> AsyncIterator[Session]:
    """A session on the Unix socket at `path`; it reads what comes while the block runs."""
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as http, http.ws_connect("http://localhost/v1/session") as ws:
        session = Session(ws)
        await ws.send_str('{"id":0,"op":"hello","version":1,"app":"benchmark"}')
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(session.read())
            yield session
            reading.cancel()
