"""A session at the service of :mod:`fake_service`, one enabled profile in it and its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from fake_service import FakeService, running

from sipprofile import Profile, ProfileRegistry, Sip, SipConnection
from sipprofile.client.events import EventStream


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add("trunk", registration={"status": "registered"})
        service.add("desk", registration={"status": "registered"})
        yield service


@pytest_asyncio.fixture
async def registry(service: FakeService) -> AsyncIterator[ProfileRegistry]:
    async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
        yield registry


@pytest_asyncio.fixture
async def profile(registry: ProfileRegistry) -> Profile:
    profile = await registry.profile(name="trunk")
    await registry.enable(profile)
    return profile


@pytest_asyncio.fixture
async def connection(registry: ProfileRegistry, profile: Profile) -> SipConnection:
    return await registry.connection(profile)


async def until(true: Any) -> None:
    """Wait for something that events bring about."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def heard(stream: EventStream, name: str) -> Any:
    """The next event of this name."""
    async with asyncio.timeout(5):
        async for event in stream:
            if event.event == name:
                return event
    raise AssertionError(f"the stream ended without {name}")
