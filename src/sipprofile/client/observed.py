"""The calls of an observer: one after the other, in order, bounded."""

from __future__ import annotations

import asyncio
from typing import Any

from .unread import Unread

MAXIMUM_CALLS = 1024
"""Calls that wait for an observer that is slow; further ones are left out, and requests are answered 480."""


class Observed:
    """Calls the methods that ``observer`` has."""

    def __init__(self, observer: Any) -> None:
        self._observer = observer
        self._calls: Unread[tuple[str, tuple[Any, ...]]] = Unread(MAXIMUM_CALLS)
        self._task = asyncio.create_task(self._run())

    def has(self, name: str) -> bool:
        """It has this method."""
        return hasattr(self._observer, name)

    def call(self, name: str, *arguments: Any) -> bool:
        """Call it when its turn comes; false when it has no such method, or too many calls wait."""
        return self.has(name) and self._calls.put((name, arguments))

    def finish(self) -> None:
        """Nothing follows what waits."""
        self._calls.close()

    def stop(self) -> None:
        """Call it no more."""
        self._calls.close()
        self._calls.drain()

    async def _run(self) -> None:
        async for name, arguments in self._calls:
            try:
                answer = getattr(self._observer, name)(*arguments)
                if answer is not None:
                    await answer
            except Exception as error:  # the application's mistake must neither end the calls nor be hidden
                context = {"message": f"Observer {self._observer!r} raised on {name}", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
