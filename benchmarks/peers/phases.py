"""One run: everything registered from nothing; then refreshes, a restart and an outage of the registrar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from benchmarks.peers.peer import EXPIRES, HOLDER_CORE, OTHER_CORE, Peer
from benchmarks.peers.results import Idle, Outage, Refresh, Restart, Run
from benchmarks.responder import Counters, Responder

POLL = 0.1  # seconds
SETTLE = 1.5  # seconds after which everything that a registration brings with it has been done
REFRESH_LIMIT = EXPIRES + 15.0  # seconds in which everything must have been refreshed
RESTART_LIMIT = 60.0
OUTAGE = 30.0
WATCH = 31.0  # seconds after an outage in which what was granted before it can still lapse
RECOVERY_LIMIT = 90.0


def idle(peer: Peer, directory: Path, port: int) -> Idle:
    """What it uses with one registration."""
    peer.prepare(directory, 1, port)
    with Responder(port=port, expires=EXPIRES, core=OTHER_CORE) as responder:
        peer.start()
        try:
            _wait(lambda: responder.counters().phase.renewed == 1, 15.0)
            time.sleep(SETTLE)
            found = peer.usage()
        finally:
            cpu = peer.stop()
    return Idle(found.cpu if found else cpu, found.proportional if found else 0)


def measure(
    peer: Peer, directory: Path, count: int, number: int, port: int, base: Idle, *, limit: float, refreshes: int
) -> Run:
    """`limit`: seconds for the registrations; `refreshes`: of each of them, 0 ends after the first phase."""
    load = os.getloadavg()[0]
    peer.prepare(directory, count, port)
    with Responder(port=port, expires=EXPIRES, core=OTHER_CORE) as responder:
        try:
            run = _cold(peer, responder, count, number, base, limit, load)
            if peer.holds and refreshes and run.complete:
                run = _held(peer, responder, run, refreshes)
        except (RuntimeError, OSError) as error:
            registered = responder.counters().distinct
            run = Run(peer.name, count, number, load, registered, failure=str(error).strip().splitlines()[0])
        finally:
            peer.stop()
    return run


def _cold(peer: Peer, responder: Responder, count: int, number: int, base: Idle, limit: float, load: float) -> Run:
    started, busy = time.monotonic(), _busy(HOLDER_CORE)
    peer.start()
    _wait(
        lambda: responder.counters().phase.renewed >= count or (peer.holds and peer.usage() is None),
        started + limit - time.monotonic(),
    )
    reached = responder.counters()
    phase = reached.phase
    now, took, busy = peer.usage(), time.monotonic() - started, _busy(HOLDER_CORE) - busy
    ended = peer.holds and now is None
    if phase.renewed == count:
        time.sleep(SETTLE)
    after = peer.usage() if peer.holds else None
    cpu = after.cpu if after else peer.stop()
    own = now.cpu if now else cpu
    others = max(0.0, (busy - own) / took)
    if phase.renewed < count:
        missed = "it ended" if ended else f"not all in {limit:.0f} s"
        failure = f"{missed}: {phase.renewed:,} registered, {reached.lapsed:,} lapsed"
        return Run(
            peer.name,
            count,
            number,
            load,
            phase.renewed,
            others=others,
            retransmitted=reached.retransmissions,
            lapsed=reached.lapsed,
            failure=failure,
        )
    span = phase.last_renewed - phase.first_request
    return Run(
        peer.name,
        count,
        number,
        load,
        count,
        seconds=phase.last_renewed - started,
        per_second=count / span if span > 0 else None,
        cpu=max(0.0, cpu - base.cpu) / count * 1000,
        memory=(after.proportional - base.proportional) / count if after else None,
        total=after.proportional if after else None,
        others=others,
        silence=phase.longest_silence,
        retransmitted=reached.retransmissions,
        lapsed=reached.lapsed,
    )


def _held(peer: Peer, responder: Responder, run: Run, refreshes: int) -> Run:
    try:
        run = replace(run, refresh=_refreshed(peer, responder, run.count, refreshes))
        restart = _restarted(peer, responder, run.count)
        run = replace(run, restart=restart)
        if restart.seconds is None:
            return run
        return replace(run, outage=_out(responder, run.count))
    except (RuntimeError, OSError) as error:
        return replace(run, held_failure=str(error).strip().splitlines()[0])


def _refreshed(peer: Peer, responder: Responder, count: int, refreshes: int) -> Refresh:
    before, used = responder.counters(), peer.usage()
    complete = True
    for _ in range(refreshes):
        responder.begin_phase()
        complete &= _wait(lambda: responder.counters().phase.renewed >= count, REFRESH_LIMIT)
    time.sleep(SETTLE)
    after, now = responder.counters(), peer.usage()
    if used is None or now is None:
        raise RuntimeError("it ended while it should have refreshed")
    accepted = max(1, after.accepted - before.accepted)
    return Refresh(
        cpu=(now.cpu - used.cpu) / accepted * 1000,
        requests=(after.requests - before.requests) / accepted,
        seconds=after.now - before.now,
        lapsed=after.lapsed - before.lapsed,
        retransmitted=after.retransmissions - before.retransmissions,
        complete=complete,
    )


def _restarted(peer: Peer, responder: Responder, count: int) -> Restart:
    peer.stop()
    time.sleep(0.2)
    before = responder.counters()
    responder.begin_phase()
    started = time.monotonic()
    peer.start()
    if peer.keeps_leases:
        seconds: float | None = time.monotonic() - started
        time.sleep(SETTLE)
    elif _wait(lambda: responder.counters().phase.renewed >= count, RESTART_LIMIT):
        seconds = responder.counters().phase.last_renewed - started
    else:
        seconds = None
    after = responder.counters()
    return Restart(seconds, (after.requests - before.requests) / count, after.lapsed - before.lapsed)


def _out(responder: Responder, count: int) -> Outage:
    """It begins when the first refresh comes, the worst moment for everybody."""
    time.sleep(SETTLE)
    first = responder.counters().requests
    _wait(lambda: responder.counters().requests > first, REFRESH_LIMIT)
    before = responder.counters()
    responder.set_outage(True)
    time.sleep(OUTAGE)
    silent = responder.counters()
    responder.set_outage(False)
    over = time.monotonic()
    lapsed_at: float | None = None
    counters: Counters = silent
    while (waited := time.monotonic() - over) < RECOVERY_LIMIT:
        counters = responder.counters()
        if counters.active < count:
            lapsed_at = time.monotonic() - over
        elif waited > WATCH:
            break
        time.sleep(POLL)
    recovered = (lapsed_at or 0.0) if counters.active >= count else None
    return Outage(
        requests=(silent.unanswered - before.unanswered) / count,
        lapsed=counters.lapsed - before.lapsed,
        recovered=recovered,
        retransmitted=counters.retransmissions - before.retransmissions,
    )


def _busy(core: int) -> float:
    """Seconds that the core has not been idle; time that the host took from it counts (proc_stat)."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = next([int(one) for one in line.split()[1:9]] for line in file if line.startswith(f"cpu{core} "))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _wait(done: Callable[[], bool], limit: float) -> bool:
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True
