"""What a demonstration promises, and how long that may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

STEP_LIMIT = 15.0  # seconds that each thing has to happen


class DidNotHappen(Exception):
    """Something that the demonstration promised was not seen."""


async def until(promise: Callable[[], bool | Awaitable[bool]], what: str, limit: float = STEP_LIMIT) -> None:
    """Return as soon as ``promise()`` is true. Raises DidNotHappen naming ``what`` after ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            while True:
                kept = promise()
                if kept if isinstance(kept, bool) else await kept:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DidNotHappen(f"not seen within {limit:g} s: {what}") from None
