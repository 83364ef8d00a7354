"""Sessions and event streams of the HTTP interface of the real daemon."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from .conftest import RunningService
from .documents import LINE, named


@pytest.fixture
async def client(daemon: RunningService) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the Unix socket."""
    async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(daemon.socket))) as client:
        yield client


class Session:
    """One end of a session's WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._number = 0

    async def command(self, op: str, **members: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are kept in ``events``."""
        self._number += 1
        await self.socket.send_json({"id": self._number, "op": op, **members})
        while True:
            frame: dict[str, Any] = await self.socket.receive_json(timeout=5)
            if frame.get("id") == self._number:
                return frame
            self.events.append(frame)

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of this name."""
        while True:
            for number, frame in enumerate(self.events):
                if frame["event"] == name:
                    return self.events.pop(number)
            self.events.append(await self.socket.receive_json(timeout=5))


class TestSession:
    """The WebSocket: commands, events, and how it ends."""

    async def test_commands_and_events(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.ws_connect("/v1/session") as socket:
            session = Session(socket)
            assert (await session.command("list"))["error"]["code"] == "hello_expected"
            assert (await session.command("hello", version=1, app="test"))["ok"]["service"].startswith("sipprofile/")
            async with client.post("/v1/profiles", json=LINE) as answer:
                assert answer.status == 201
            assert (await session.event("created"))["name"] == "line"
            held = await session.command("hold", name="line")
            assert held["ok"]["profiles"][0]["id"] == 1
            async with client.patch("/v1/profiles/1", json={"expires": 700}) as answer:
                assert answer.status == 200
            assert (await session.event("updated"))["document"]["expires"] == 700
            assert (await session.command("nonsense"))["error"]["code"] == "unknown_command"

    async def test_a_user_keeps_its_profile(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.post("/v1/profiles", json={**LINE, "linger_lost": 0}) as answer:
            assert answer.status == 201
        async with client.ws_connect("/v1/session") as socket:
            session = Session(socket)
            await session.command("hello", version=1, app="test")
            assert (await session.command("enable", profile=1))["ok"]["registration"]["users"] == 1
            async with client.delete("/v1/profiles/1") as answer:
                problem = await answer.json(content_type=None)
            assert (answer.status, problem["code"], problem["users"]) == (409, "in_use", 1)
            assert (await session.command("disable", profile=1))["ok"]["registration"].get("users", 0) == 0

    async def test_service_that_ends_says_so(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.ws_connect("/v1/session") as socket:
            session = Session(socket)
            await session.command("hello", version=1, app="test")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            assert (await session.event("closing"))["error"]["code"] == "shutting_down"
            message = await socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == 1001
        assert await asyncio.to_thread(daemon.wait) == 0

    async def test_frame_that_is_too_large(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.ws_connect("/v1/session") as socket:
            session = Session(socket)
            await session.command("hello", version=1, app="test")
            assert "ok" in await session.command("ping", filler="x" * 1_000_000)
            try:
                await socket.send_str(" " * (1 << 20) + "{}")
                assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
            except ConnectionError:  # closed while we were still sending
                pass
        async with client.get("/healthz") as answer:
            assert answer.status == 200


class Stream:
    """A reader of the event stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, str, Any]:
        """Id, name and data of the next event."""
        while True:
            block = await asyncio.wait_for(self._answer.content.readuntil(b"\n\n"), 5)
            fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line[:1] not in ("", ":"))
            if fields:
                return fields["id"], fields["event"], json.loads(fields["data"])


class TestEvents:
    """Server-Sent Events: resumable, and honest about what was lost."""

    async def test_resume(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.get("/v1/events") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            await client.post("/v1/profiles", json=named("one"))
            first, name, _ = await Stream(answer).next()
            assert name == "created"
        await client.post("/v1/profiles", json=named("two"))
        async with client.get("/v1/events", headers={"Last-Event-ID": first}) as answer:
            _, name, data = await Stream(answer).next()
            assert (name, data["name"]) == ("created", "two")

    async def test_lost_events_are_replaced_by_the_present(
        self, daemon: RunningService, client: aiohttp.ClientSession
    ) -> None:
        for name in ("one", "two"):
            await client.post("/v1/profiles", json=named(name))
        async with client.get("/v1/events", headers={"Last-Event-ID": "before-17"}) as answer:
            stream = Stream(answer)
            assert (await stream.next())[1] == "reset"
            states = [await stream.next() for _ in range(2)]
            assert [(name, data["name"], data["state"]["status"]) for _, name, data in states] == [
                ("status", "one", "unregistered"),
                ("status", "two", "unregistered"),
            ]
            await client.post("/v1/profiles", json=named("three"))
            assert (await stream.next())[1] == "created"

    async def test_events_of_one_profile(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        for name in ("one", "two"):
            await client.post("/v1/profiles", json=named(name))
        async with client.get("/v1/events?profile=2") as answer:
            await client.patch("/v1/profiles/1", json={"expires": 700})
            await client.patch("/v1/profiles/2", json={"expires": 800})
            _, name, data = await Stream(answer).next()
            assert (name, data["profile"]) == ("updated", 2)
        async with client.get("/v1/events?profile=9") as answer:
            assert answer.status == 404

    async def test_stream_ends_with_the_service(self, daemon: RunningService, client: aiohttp.ClientSession) -> None:
        async with client.get("/v1/events") as answer:
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(answer.content.read(), 5) == b": sipprofile\n\n"
        assert await asyncio.to_thread(daemon.wait) == 0
