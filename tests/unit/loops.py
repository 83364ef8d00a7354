"""Both event loops that the service may run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LIMIT = 10.0  # seconds that one test may take on the network of this host


class Runner:
    """Runs a coroutine on one kind of loop, with a limit; an exception in a callback fails the test."""

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop_factory = loop_factory

    def __call__(self, main: Coroutine[Any, Any, None]) -> None:
        problems: list[dict[str, Any]] = []

        async def bounded() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            await asyncio.wait_for(main, LIMIT)

        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            runner.run(bounded())
        assert problems == []


both_loops = pytest.mark.parametrize(
    "run", [Runner(asyncio.SelectorEventLoop), Runner(uvloop.new_event_loop)], ids=["asyncio", "uvloop"]
)


class Told:
    """Keeps what a `Transports` tells; `wait` waits until something of a kind was told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.mtu: dict[Any, int] = {}
        """What `opened` said last of the path."""
        self._news = asyncio.Event()

    def _tell(self, *event: Any) -> None:
        self.events.append(event)
        self._news.set()

    def received(self, data: bytes, source: tuple[str, int], key: Any) -> None:
        self._tell("received", data, source, key)

    def opened(self, key: Any, local: tuple[str, int], mtu: int) -> None:
        self._tell("opened", key, local)
        self.mtu[key] = mtu

    def failed(self, key: Any, code: str, sentence: str) -> None:
        self._tell("failed", key, code, sentence)

    def flush(self) -> None:
        self._tell("flush")

    def callbacks(self) -> dict[str, Any]:
        return {"received": self.received, "opened": self.opened, "failed": self.failed, "flush": self.flush}

    def kinds(self) -> list[str]:
        return [event[0] for event in self.events]

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == kind]

    async def wait(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """The `count`-th event of a kind, waited for."""
        while len(self.all(kind)) < count:
            self._news.clear()
            await self._news.wait()
        return self.all(kind)[count - 1]
