"""What has arrived and is not read yet: a bounded queue that is an asynchronous iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

from ..errors import SipProfileError

T = TypeVar("T")


class Unread(Generic[T]):
    """At most ``limit`` things in the order of their arrival. Each is read once, whoever iterates."""

    __slots__ = ("_arrived", "_error", "_things", "closed", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.closed = False
        self._things: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._error: SipProfileError | None = None

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: T) -> bool:
        """Append ``thing``; false when there is no room for it, or nobody will read it any more."""
        if self.closed or len(self._things) >= self.limit:
            return False
        self._things.append(thing)
        self._arrived.set()
        return True

    def put_newest(self, thing: T) -> None:
        """Append ``thing``; the oldest one makes room for it."""
        if not self.put(thing) and not self.closed:
            self._things.popleft()
            self.put(thing)

    def remove(self, thing: T) -> None:
        """Nobody wants to read it any more."""
        if thing in self._things:
            self._things.remove(thing)

    def drain(self) -> list[T]:
        """Everything that is unread; it is gone here."""
        things = list(self._things)
        self._things.clear()
        return things

    def close(self, error: SipProfileError | None = None) -> None:
        """End the iteration after what is unread, with ``error`` if there is one."""
        if not self.closed:
            self.closed, self._error = True, error
            self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._things:
            if self.closed:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._things.popleft()
