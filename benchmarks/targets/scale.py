"""What many profiles must not make slow: the start, the restart, doing nothing, lists, figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.cold import SETTLE
from benchmarks.daemon import Daemon
from benchmarks.targets import client
from benchmarks.targets.costs import registered
from benchmarks.targets.probes import Pings
from benchmarks.targets.requests import get
from benchmarks.targets.row import Row, at_most, percentile
from benchmarks.targets.stores import EXPIRES, Stores, daemon

IDLE = 20.0  # seconds in which nothing is due
TIMES = 7
STALL = 20.0  # ms; what is no stall


class Page(msgspec.Struct):
    """A page whose documents nobody reads: reading them would keep the pings, which are sent from the same process."""

    profiles: list[msgspec.Raw]
    cursor: str | None


_page = msgspec.json.Decoder(Page).decode


def rows(stores: Stores, count: int) -> Iterator[Row]:
    """Register `count` profiles, stop, and start with their leases, pacing on."""
    with daemon() as first, daemon(paced=True) as service, stores.registrar(EXPIRES) as responder:
        stores.put(count, "always", first)
        with first:
            registered(first, responder, count)
            first.stop()
        first.state.rename(service.state)
        before = responder.counters()
        with service:
            ready = service.usage()
            yield at_most(f"start with {count:,}: answers", 1, "s", service.answered)
            text = f"{service.ready:.2f} s, {ready.cpu:.2f} s of CPU time"
            yield at_most(f"start with {count:,}: all loaded", 3, "s", service.ready, ready.cpu, text=text)
            time.sleep(SETTLE)
            begin, usage = time.monotonic(), service.usage()
            time.sleep(IDLE)
            took, used = time.monotonic() - begin, service.usage().cpu - usage.cpu
            after = responder.counters()
            sent = after.requests - before.requests
            state = by_status(service.socket)
            intact = sent == 0 and state == {"registered": count} and after.active == count
            text = f"{sent:,} REGISTERs; " + ", ".join(f"{number:,} {status}" for status, number in state.items())
            what = f"restart with {count:,} leases"
            yield Row(what, "no REGISTER, all registered", text, intact, (float(sent),))
            yield at_most(f"idle CPU, {count:,} registered", 2, "%", used / took * 100)
            yield from lists(service, count)
            yield from figures(service, count)
            yield client.instances(service, count)
            service.stop()


def by_status(path: Path) -> dict[str, int]:
    """How many profiles have which status, those that nobody has left out."""
    report = msgspec.json.decode(get(path, "/v1/status")[1])
    return {status: number for status, number in report["by_status"].items() if number}


def lists(service: Daemon, count: int) -> Iterator[Row]:
    """The first page, all pages, and filters that match little, while the loop is asked whether it is there."""
    path = service.socket
    first = [get(path, "/v1/profiles")[0] for _ in range(TIMES)]
    yield at_most(f"list of {count:,}: first page (100)", 50, "ms", median(first) * 1e3, max(first) * 1e3)
    slowest, found = 0.0, 0
    cursor: str | None = "0"
    with Pings(path) as pings:
        begin = time.monotonic()
        while cursor is not None:
            took, content = get(path, f"/v1/profiles?limit=1000&cursor={cursor}")
            page = _page(content)
            slowest, cursor, found = max(slowest, took), page.cursor, found + len(page.profiles)
        whole = time.monotonic() - begin
        filters = [
            get(path, f"/v1/profiles?{query}")[0]
            for query in ("status=unregistered", f"aor=sip:user{count}@bench.example", "label=none", "type=none")
        ]
    waited = sorted(wait * 1e3 for _, wait in pings.waited)
    assert found == count
    text = f"{number_of_ms(slowest)}, all of them {whole:.1f} s"
    yield Row(f"list of {count:,}: slowest page of 1,000", "", text, None, (slowest * 1e3, whole))
    text = number_of_ms(max(filters))
    yield Row(f"list of {count:,}: slowest filter that matches little", "", text, None, tuple(filters))
    worst = percentile(waited, 0.999)
    text = f"p99.9 {worst:.1f} ms, worst {waited[-1]:.1f} ms"
    yield at_most(f"loop stall while {count:,} are listed", STALL, "ms", worst, waited[-1], text=text)


def figures(service: Daemon, count: int) -> Iterator[Row]:
    """What monitoring asks for every few seconds. The first scrape loads its library."""
    first = get(service.socket, "/metrics")[0]
    scrapes = [get(service.socket, "/metrics")[0] for _ in range(TIMES)]
    text = f"{median(scrapes) * 1e3:.1f} ms, the first {first * 1e3:.0f} ms"
    yield at_most(f"metrics scrape, {count:,}", 20, "ms", median(scrapes) * 1e3, first * 1e3, text=text)
    reports = [get(service.socket, "/v1/status")[0] for _ in range(TIMES)]
    yield at_most(f"status report, {count:,}", 20, "ms", median(reports) * 1e3)


def number_of_ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"
