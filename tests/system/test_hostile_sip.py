"""Attacks on the SIP side of the running service, and what applications on it notice of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from sipprofile.testing.peer import SDP

from .applications import AOR, BOB, Session, World, running
from .conftest import RunningService
from .hostile import SECRET, megabytes, mistakes

GROWTH = 150
"""Megabytes that the service may take more than before, while it is attacked with many times that."""


@pytest.fixture
async def world(service: RunningService) -> AsyncIterator[World]:
    service.configuration += "[service]\nlog_level = 'debug'\n"
    async with running(service) as world:
        yield world


class Stranger:
    """A socket that is nobody's server, and knows the contact of alice."""

    def __init__(self, contact: str) -> None:
        found = re.search(r"(sip:[^@>]+@([0-9.]+):([0-9]+))", contact)
        assert found is not None
        self.uri = found[1]
        self._where = (found[2], int(found[3]))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._numbers = itertools.count()
        self.bytes = 0

    def send(self, data: bytes) -> None:
        self.bytes += len(data)
        with contextlib.suppress(BlockingIOError):
            self._socket.sendto(data, self._where)

    def request(self, method: str, *headers: str, uri: str = "", body: bytes = b"") -> bytes:
        number = next(self._numbers)
        lines = [
            f"{method} {uri or self.uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self._socket.getsockname()[1]};branch=z9hG4bKs{number}",
            "Max-Forwards: 70",
            f"From: <sip:mallory@elsewhere.test>;tag=m{number}",
            f"To: <{AOR}>",
            f"Call-ID: m{number}",
            f"CSeq: 1 {method}",
            f"Contact: <sip:mallory@127.0.0.1:{self._socket.getsockname()[1]}>",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def answers(self) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[Stranger]:
    await world.session("first")
    (contact,) = [binding.contact for binding in world.registrar.bindings(AOR)]
    stranger = Stranger(contact)
    yield stranger
    stranger.close()


async def bot(world: World) -> Session:
    """Answers every MESSAGE."""
    session = await world.session("bot")
    await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})

    async def serve() -> None:
        while True:
            request = await session.event("request")
            with contextlib.suppress(AssertionError):
                await session.ask("respond", request=request["request"], status=200)

    session.serving = asyncio.create_task(serve())  # type: ignore[attr-defined]
    return session


class TestFloods:
    async def test_calls_and_bodies_that_nobody_answers(self, world: World, stranger: Stranger) -> None:
        """A quarter of a gigabyte from a stranger: memory stays, applications that read stay, callers are answered."""
        silent = await world.session("silent")
        await silent.ask("claim", profile=1, claim={"methods": ["INVITE", "INFO"]})
        helper = await bot(world)
        before = megabytes(world.daemon)
        registers = len(world.registrar.registrar.log)
        for batch in range(40):
            for _ in range(100):
                stranger.send(stranger.request("INFO", "Content-Type: text/plain", body=b"x" * 60_000))
                stranger.send(stranger.request("INVITE"))
                stranger.send(stranger.request("OPTIONS", uri="sip:1000@127.0.0.1"))
                stranger.send(b"\r\n\r\n")
                stranger.send(b"\x00\x01\x00\x00" + bytes(16))
            await asyncio.sleep(0.05)
            if batch % 10 == 9:
                assert await world.to_alice() == 200
        assert stranger.bytes > 200 << 20
        assert megabytes(world.daemon) - before < GROWTH
        assert sum(map(len, stranger.answers())) < stranger.bytes / 100
        assert (silent.closing, helper.closing) == (None, None)
        assert len(world.registrar.registrar.log) == registers, "no request to the registrar comes of it"
        assert mistakes(world.daemon) == []

    async def test_an_application_that_reads_nothing_is_no_way_to_fill_the_memory(
        self, world: World, stranger: Stranger
    ) -> None:
        asleep = await world.session("asleep")
        await asleep.ask("claim", profile=1, claim={"methods": ["INFO"]})
        helper = await bot(world)
        before = megabytes(world.daemon)
        asleep._reading.cancel()
        for _ in range(2000):
            stranger.send(stranger.request("INFO", "Content-Type: text/plain", body=b"x" * 60_000))
            await asyncio.sleep(0.0005)
        assert await world.to_alice() == 200
        assert megabytes(world.daemon) - before < GROWTH
        assert helper.closing is None


OPS = ("unclaim", "send", "cancel", "ack", "respond", "end", "stop-refresh", "dialogs", "claim", "connection")


class TestHostileApplications:
    """A client with the capability ``use``, and the same profile as others."""

    async def test_what_others_have_is_out_of_reach(self, world: World) -> None:
        """Whatever numbers it tries."""
        honest = await world.session("honest")
        claim = (await honest.ask("claim", profile=1, claim={"methods": ["MESSAGE", "INVITE"]}))["claim"]
        call = {"uri": BOB, "body": {"text": SDP.decode()}, "content_type": "application/sdp"}
        await honest.ask("send", profile=1, method="INVITE", **call)
        dialog = (await honest.event("response", status=200))["dialog"]
        exchange = world.bob.begin("MESSAGE", AOR, body=b"for the honest one", content_type="text/plain")
        request = (await honest.event("request"))["request"]
        evil = await world.session("evil")
        random = Random(4)
        for number in [*range(-1, 40), 2**31, 2**63, 10**30] * 4:
            for op in OPS:
                members = {
                    "profile": random.choice([1, number]),
                    "request": number,
                    "dialog": number,
                    "claim": number,
                    "status": random.choice([180, 200, 486]),
                    "method": random.choice(["BYE", "INFO", "INVITE", "NOTIFY", "\u2028"]),
                    "refresh": number,
                    "headers": random.choice([[["X", "a\r\nVia: x"]], [["Via", "x"]], [[" ", ""]], []]),
                    "body": random.choice([{"base64": "####"}, {"text": "a"}, {}, None]),
                }
                frame = await evil.frame(op, **members)
                if op not in ("dialogs", "connection"):
                    assert "error" in frame, (op, members, frame)
                    assert frame["error"]["status"] < 500
        assert (await evil.ask("dialogs", profile=1))["dialogs"] == []
        while not evil.events.empty():
            assert evil.events.get_nowait()["event"] in ("connection", "status", "registered")
        await honest.ask("respond", request=request, status=202)
        assert (await world.bob.final(exchange)).status == 202
        assert [one["dialog"] for one in (await honest.ask("dialogs", profile=1))["dialogs"]] == [dialog]
        await honest.ask("end", dialog=dialog)
        await world.bob.wait_for("BYE")
        await honest.ask("unclaim", claim=claim)
        assert mistakes(world.daemon) == []

    async def test_nothing_secret_is_logged(self, world: World, stranger: Stranger) -> None:
        session = await world.session("careless")
        await session.ask("claim", profile=1, claim={"methods": ["MESSAGE"]})
        for members in (
            {"uri": f"sip:bob:{SECRET}@example.test"},
            {"uri": BOB, "headers": [["Authorization", f"Digest response={SECRET}"]]},
            {"uri": BOB, "from": f"sip:alice:{SECRET}@example.test"},
            {"uri": BOB, "to": f"sip:alice:{SECRET}@example.test"},
            {"uri": BOB, "body": {"text": SECRET}, "content_type": "text/plain"},
            {"uri": BOB, "headers": [["Proxy-Authorization", SECRET], ["Subject", SECRET]]},
        ):
            frame = await session.frame("send", profile=1, method="MESSAGE", **members)
            assert SECRET not in json.dumps(frame)
        data = stranger.request("MESSAGE", f"Authorization: Digest response={SECRET}", body=SECRET.encode())
        stranger.send(data.replace(b"sip:mallory@e", f"sip:mallory:{SECRET}@e".encode()))
        request = await session.event("request")
        assert [value for name, value in request["headers"] if name == "Authorization"] == []
        await session.ask("respond", request=request["request"], status=200, reason=SECRET)
        text = world.daemon.log.read_text()
        assert "sip request" in text, "the audit log is in it"
        for secret in (SECRET, session.token, '"secret"', "response="):
            assert secret not in text
