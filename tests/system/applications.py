"""A daemon with a registrar, a peer and sessions around it; every socket is real."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from sipprofile.testing.peer_server import SipPeerServer
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService

AOR = "sip:alice@example.test"
BOB = "sip:bob@example.test"
LIMIT = 10.0  # seconds


class Session:
    """The application at the other end of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closing: dict[str, Any] | None = None
        self.token = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            frame = json.loads(message.data)
            if "id" in frame:
                self._answers.pop(frame["id"]).set_result(frame)
            elif frame["event"] == "closing":
                self.closing = frame["error"]
            else:
                self.events.put_nowait(frame)

    async def frame(self, op: str, **members: Any) -> dict[str, Any]:
        """The whole answer to a command."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": number, "op": op, **members}))
        return await asyncio.wait_for(answer, LIMIT)

    async def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """The result of a command that succeeds."""
        frame = await self.frame(op, **members)
        assert "ok" in frame, frame
        ok: dict[str, Any] = frame["ok"]
        return ok

    async def refused(self, op: str, **members: Any) -> dict[str, Any]:
        """The error of a command that fails."""
        frame = await self.frame(op, **members)
        assert "error" in frame, frame
        error: dict[str, Any] = frame["error"]
        return error

    async def event(self, name: str, **members: Any) -> dict[str, Any]:
        """The next event of this name with these members; others before it are passed over."""
        async with asyncio.timeout(LIMIT):
            while True:
                frame = await self.events.get()
                if frame["event"] == name and members.items() <= frame.items():
                    return frame

    async def close(self) -> None:
        await self._socket.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading


class World:
    """A daemon with one profile, alice's, its registrar, and bob, who is reached through that."""

    def __init__(self, daemon: RunningService, registrar: RegistrarServer, bob: SipPeerServer) -> None:
        self.daemon = daemon
        self.registrar = registrar
        self.bob = bob
        self._sessions: list[Session] = []
        self._http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(daemon.socket)))

    async def session(self, app: str = "test", *, registered: bool = True, resume: str | None = None) -> Session:
        """A session that uses the profile."""
        session = Session(await self._http.ws_connect("http://localhost/v1/session"))
        self._sessions.append(session)
        session.token = (await session.ask("hello", version=1, app=app, resume=resume))["session"]
        await session.ask("hold", profile=1)
        state = (await session.ask("enable", profile=1))["registration"]
        if registered and state["status"] != "registered":
            await session.event("registered")
        return session

    async def post(self, path: str, document: Any) -> tuple[int, dict[str, Any]]:
        async with self._http.post(f"http://localhost{path}", json=document) as answer:
            return answer.status, await answer.json()

    async def text(self, path: str) -> str:
        async with self._http.get(f"http://localhost{path}") as answer:
            return await answer.text()

    async def to_alice(self, method: str = "MESSAGE", **more: Any) -> int:
        """The status that bob gets."""
        return (await self.bob.send(method, AOR, **more)).status

    async def until(self, true: Callable[[], Any], what: str) -> None:
        await asyncio.to_thread(self.daemon.wait_until, true, what)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        await self._http.close()


@asynccontextmanager
async def running(daemon: RunningService) -> AsyncIterator[World]:
    async with (
        RegistrarServer(users={"alice": "secret"}) as registrar,
        SipPeerServer("bob", aor=BOB, next_hop=("127.0.0.1", registrar.port)) as bob,
    ):
        registrar.bind(BOB, bob.uri)
        await asyncio.to_thread(daemon.start)
        world = World(daemon, registrar, bob)
        try:
            server = {"uri": registrar.uri, "username": "alice", "password": "secret"}
            status, document = await world.post("/v1/profiles", {"name": "line", "aor": AOR, "registrar": server})
            assert status == 201, document
            yield world
        finally:
            await world.close()
