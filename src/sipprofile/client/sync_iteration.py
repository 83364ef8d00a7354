"""An asynchronous iterator, followed without ``await``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .sync import Sip

T = TypeVar("T")


def iterate(sip: Sip, stream: Callable[[], AsyncIterator[T]] | AsyncIterator[T], timeout: float | None) -> Iterator[T]:
    """What ``stream`` gives, until it ends or nothing has come for ``timeout`` seconds."""
    iterator: AsyncIterator[T] | None = None if callable(stream) else stream
    nothing = object()

    async def following() -> Any:
        nonlocal iterator
        if iterator is None and callable(stream):
            iterator = stream()
        assert iterator is not None
        try:
            async with asyncio.timeout(timeout):
                return await anext(iterator)
        except (StopAsyncIteration, TimeoutError):
            return nothing

    while (thing := sip.run(following())) is not nothing:
        yield thing
