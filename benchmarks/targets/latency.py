"""What others notice while 10,000 profiles register: the loop's stalls, and how long an enable takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.cold import POLL
from benchmarks.targets.probes import ENABLES_EVERY, Enables, Pings
from benchmarks.targets.row import Row, at_most, percentile
from benchmarks.targets.stores import EXPIRES, Stores, daemon

ROUNDS = 3  # one is over after some hundred questions
LIMIT = 60.0  # seconds


def rows(stores: Stores, count: int) -> Iterator[Row]:
    """Stalls and enables while `count` profiles register."""
    pings: list[float] = []
    enables: list[float] = []
    for _ in range(ROUNDS):
        more_pings, more_enables = _round(stores, count)
        pings += more_pings
        enables += more_enables
    pings.sort()
    enables.sort()
    p50, p999 = percentile(pings, 0.5), percentile(pings, 0.999)
    text = f"p50 {p50:.1f} ms, p99.9 {p999:.1f} ms, worst {pings[-1]:.1f} ms, of {len(pings):,}"
    yield at_most(f"loop stall while {count:,} register, p99.9", 20, "ms", p999, p50, pings[-1], text=text)
    p50, p99 = percentile(enables, 0.5), percentile(enables, 0.99)
    yield at_most(f"enable while {count:,} register, p50", 1, "ms", p50, text=f"{p50:.2f} ms, of {len(enables):,}")
    yield at_most(f"enable while {count:,} register, p99", 10, "ms", p99, enables[-1])


def _round(stores: Stores, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each question that was asked while registrations were under way."""
    with daemon() as service, stores.registrar(EXPIRES) as responder:
        stores.put(count, "always", service)
        with service, Pings(service.socket) as pings:
            while not responder.counters().accepted:
                time.sleep(0.001)
            enables = Enables(service.socket, 1)  # the first to register
            end = time.monotonic() + LIMIT
            while responder.counters().distinct < count and time.monotonic() < end:
                enables.run(time.monotonic() + POLL)
            counters = responder.counters()
            enables.close()
    last = counters.last_accepted
    return tuple(  # type: ignore[return-value]
        [wait * 1e3 for begin, wait in waited if begin >= counters.first_request and begin < last - ENABLES_EVERY]
        for waited in (pings.waited, enables.waited)
    )
