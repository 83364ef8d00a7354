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
BEGIN = 8  # that begin at once; as many REGISTERs go to the kernel as one (net/segments.py)
TURNS = 3  # of the loop from there to the next, for their answers, so that no turn has both; one costs two microseconds


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
        for _ in range(TURNS):
            await asyncio.sleep(0)
