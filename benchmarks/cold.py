"""One measurement: profiles in the store, a daemon, a registrar, and everything registered from nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.daemon import Daemon
from benchmarks.process import Usage
from benchmarks.profiles import EXPIRES, fill
from benchmarks.report import Ceiling, Measurement
from benchmarks.responder import Responder
from benchmarks.session import Session, open_session

CORE, OTHER_CORE = 0, 1  # the daemon's own; everybody else's
REGISTER_LIMIT = 120.0  # seconds
SETTLE = 1.5  # seconds after which the store has written everything, the events are read, the loop is idle
POLL = 0.05

Case = Literal["always", "session"]
"""``always``: profiles that register when the daemon starts. ``session``: an application enables them."""


async def measure(case: Case, count: int, *, refresh: bool) -> Measurement:
    """Register `count` profiles from nothing and, if asked for, wait for their first refreshes."""
    with (
        TemporaryDirectory(prefix="sipprofile-bench") as name,
        Responder(expires=EXPIRES, core=OTHER_CORE) as responder,
    ):
        directory = Path(name)
        daemon = Daemon(directory, CORE)
        empty = _idle(daemon)
        register: Literal["always", "on-demand"] = "always" if case == "always" else "on-demand"
        fill(daemon.state, count, responder.uri, "on-demand")
        loaded = _idle(daemon)
        if register == "always":
            fill(daemon.state, count, responder.uri, register)
        with daemon:
            before = loaded if case == "always" else _settled(daemon)
            async with _users(case, daemon, count) as session:
                await _until_registered(responder, count)
                cold = responder.counters()
                await asyncio.sleep(SETTLE)
                after = daemon.usage()
                refreshed = await _refreshed(daemon, responder, count) if refresh else None
                waited = sorted(session.waited) if session is not None else []
            last = responder.counters()
            daemon.stop()
    return Measurement(
        case=case,
        profiles=count,
        seconds=cold.last_accepted - cold.first_request,
        per_second=cold.accepted_per_second,
        cpu=(after.cpu - before.cpu) / count * 1000,
        main_cpu=(after.main_cpu - before.main_cpu) / count * 1000,
        refresh_cpu=refreshed,
        empty=empty.proportional,
        loaded=(loaded.proportional - empty.proportional) / count,
        resident=(after.resident - empty.resident) / count,
        proportional=(after.proportional - empty.proportional) / count,
        retransmitted=last.retransmissions,
        lapsed=last.lapsed,
        enable_median=waited[len(waited) // 2] if waited else None,
        enable_worst=waited[len(waited) * 99 // 100] if waited else None,
    )


def _idle(daemon: Daemon) -> Usage:
    """A daemon's usage when it has started and has nothing to do."""
    with daemon:
        found = _settled(daemon)
        daemon.stop()
    return found


def _settled(daemon: Daemon) -> Usage:
    time.sleep(SETTLE)
    return daemon.usage()


@contextlib.asynccontextmanager
async def _users(case: Case, daemon: Daemon, count: int) -> AsyncIterator[Session | None]:
    if case == "always":
        yield None
        return
    async with open_session(daemon.socket) as session:
        await session.enable(count)
        yield session


async def _until_registered(responder: Responder, count: int) -> None:
    end = time.monotonic() + REGISTER_LIMIT
    while (counters := responder.counters()).distinct < count:
        if time.monotonic() > end:
            raise RuntimeError(f"only {counters.distinct} of {count} profiles registered in {REGISTER_LIMIT:g} s")
        await asyncio.sleep(POLL)


async def _refreshed(daemon: Daemon, responder: Responder, count: int) -> float:
    """CPU seconds per 1,000 refreshes, over the time in which each profile refreshes once."""
    usage_before, before = daemon.usage(), responder.counters()
    end = before.last_accepted + EXPIRES * 0.6 + SETTLE
    while (done := (now := responder.counters()).refreshes - before.refreshes) < count:
        if now.now > end:
            raise RuntimeError(f"only {done} of {count} profiles refreshed in time")
        await asyncio.sleep(POLL * 10)
    await asyncio.sleep(SETTLE)
    done = responder.counters().refreshes - before.refreshes
    return (daemon.usage().cpu - usage_before.cpu) / done * 1000


def ceiling(count: int) -> Ceiling:
    """What a bare loop in Python does with the same two round trips."""
    with Responder(expires=EXPIRES, core=OTHER_CORE) as responder:
        cpu = _child("benchmarks.ceiling", str(responder.port), str(count), str(CORE))
        counters = responder.stop()
    return Ceiling(count, counters.accepted_per_second, cpu / count * 1000)


def instance_cost(count: int) -> float:
    """Bytes of the client library for one profile instance."""
    with TemporaryDirectory(prefix="sipprofile-bench") as name:
        daemon = Daemon(Path(name), CORE)
        fill(daemon.state, count, "sip:127.0.0.1", "on-demand")
        with daemon:
            cost = _child("benchmarks.instances", str(daemon.socket))
            daemon.stop()
    return cost


def _child(module: str, *arguments: str) -> float:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)
