"""Who waits and is cancelled ends, even when what it waits for comes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest

from sipprofile.client import sync
from sipprofile.client.events import EventStream
from sipprofile.client.sync_iteration import iterate
from sipprofile.events import Event
from sipprofile.server.daemon import Daemon
from sipprofile.server.events import EventRing, Reader
from sipprofile.service.policy import Actor

ADMIN = Actor("test", frozenset({"admin"}), 0)
pytestmark = pytest.mark.parametrize("passes", range(6))
"""How often the loop goes round between what comes and the cancellation."""


async def cancelled(waiting: asyncio.Task[Any], comes: Callable[[], None], passes: int) -> bool:
    """Whether it ended as cancelled; true too when it was over before."""
    for _ in range(3):
        await asyncio.sleep(0)
    comes()
    for _ in range(passes):
        await asyncio.sleep(0)
    taken = waiting.cancel()
    await asyncio.wait([waiting], timeout=5)
    return waiting.cancelled() or not taken


async def test_a_script_that_follows_events(passes: int) -> None:
    stream = EventStream()
    begun: list[asyncio.Task[Any]] = []

    class Session:
        def run(self, work: Coroutine[Any, Any, Any]) -> Any:
            begun.append(asyncio.create_task(work))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(iterate(cast(sync.Sip, Session()), stream, 60))
    assert await cancelled(begun[0], lambda: stream.put(Event("status", 1)), passes)


async def test_an_event_stream_of_the_interface(passes: int) -> None:
    ring = EventRing(streams=1)
    reader = ring.reader()
    chunks = Reader(cast(Daemon, None), ring, ADMIN, None).chunks(0, reader)

    async def follow(chunks: AsyncIterator[bytes]) -> None:
        async for _ in chunks:
            pass

    waiting = asyncio.create_task(follow(chunks))
    assert await cancelled(waiting, lambda: ring.append(Event("status", 1)), passes)
