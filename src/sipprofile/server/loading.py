"""The start: everything stored is taken in while the HTTP interface answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import chain, islice
from typing import Any

from ..service.service import Service
from ..store.store import Store
from . import clock

SLICE = 64  # profiles taken in before the loop runs again: one to three milliseconds
BEGIN = 10  # that begin before the loop runs again: one millisecond with their answers, which must not lag behind


async def take_in(
    service: Service, store: Store, log: Any, flush: Callable[[], None], called_off: Callable[[], bool]
) -> None:
    """All stored profiles, and after each slice of them whatever else the loop has to do; until it is called off."""
    stored = store.load()
    first = await asyncio.to_thread(list, islice(stored, 1))  # only when the whole journal has been read
    with closing(stored):
        records = chain(first, stored)
        while not called_off() and (some := list(islice(records, SLICE))):
            for name, mistake in service.take_in(some, clock.now()):
                log.error("profile left out, its agent cannot use it", profile=name, problem=mistake)
            flush()
            await asyncio.sleep(0)


async def begin(service: Service, log: Any, flush: Callable[[], None]) -> None:
    """Begin with the profiles that are always registered, in slices as well."""
    more = True
    while more:
        try:
            more = service.begin(BEGIN, clock.now())
        except Exception:  # with one profile, perhaps a plug-in's; those that come after it must begin
            log.exception("mistake", where="begin")
        flush()
        await asyncio.sleep(0)
