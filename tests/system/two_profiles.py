"""Profiles of alice and bob at one service, a program for each, and the registrar between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio

import sipprofile
from sipprofile import Claim, Line, ManagedProfileRegistry, ServerParameters, Sip
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService

ALICE, BOB = "sip:alice@example.test", "sip:bob@example.test"
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace("4000", "5000")
LIMIT = 10.0


@pytest_asyncio.fixture
async def registrar(daemon: RunningService) -> AsyncIterator[RegistrarServer]:
    async with RegistrarServer(users={"alice": "secret", "bob": "secret"}) as server:
        async with Sip("admin", url=daemon.url) as sip, ManagedProfileRegistry(sip) as registry:
            for name in ("alice", "bob"):
                profile = await registry.create("ietf")
                profile.name, profile.aor = name, f"sip:{name}@example.test"
                profile.registrar = ServerParameters(server.uri, username=name, password="secret")
                profile.proxies = [ServerParameters(f"{server.uri};lr", username=name, password="secret")]
                await registry.save(profile)
        yield server


@asynccontextmanager
async def two(daemon: RunningService, *claims: Claim | str) -> AsyncIterator[tuple[Line, Line]]:
    """Alice's program, and Bob's, which has these claims."""
    async with (
        sipprofile.use("alice", app="alice", url=daemon.url, timeout=LIMIT) as alice,
        sipprofile.use("bob", app="bob", url=daemon.url, timeout=LIMIT, claims=claims) as bob,
    ):
        yield alice, bob


async def soon(awaitable: Any) -> Any:
    """Its result, which is to come soon."""
    return await asyncio.wait_for(awaitable, LIMIT)


async def request_of(line: Line) -> Any:
    """The next request that is claimed."""
    connection = await line.connection()
    return await soon(anext(connection.requests()))
