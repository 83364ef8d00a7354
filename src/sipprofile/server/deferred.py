"""What a start does not need is imported when nothing else is to be done.

Who asks for profiles or changes them needs SQLAlchemy, half as much to import as all the rest, in the store's threads.
Imported beside the registering it would take the interpreter from it: 1,000 profiles would be registered in double the
time. Who asks earlier waits for it, the loop does not.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from importlib import import_module

MODULE = "sipprofile.store.profiles"
INTERVAL = 5.0  # seconds between looks
IDLE = 0.1  # of an interval; 1,000 refreshes a second take less


async def idle(
    used: Callable[[], float] = time.process_time, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Return when the process has ``used`` little CPU time in an interval."""
    before = used()
    while True:
        await sleep(INTERVAL)
        now = used()
        if now - before < IDLE * INTERVAL:
            return
        before = now


async def import_when_idle() -> None:
    """Import it in a thread, and leave it out of garbage collections."""
    await idle()
    await asyncio.to_thread(import_module, MODULE)
    gc.freeze()
