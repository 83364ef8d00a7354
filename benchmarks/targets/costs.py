"""Cold registrations and refreshes: how many a second, what they cost, what a registered profile keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from benchmarks.cold import POLL, SETTLE
from benchmarks.daemon import Daemon
from benchmarks.process import Usage
from benchmarks.responder import Counters, Responder
from benchmarks.targets.row import Row, at_least, at_most
from benchmarks.targets.stores import EXPIRES, Stores, daemon

SHORT = 30  # seconds; the first refreshes come after half of it
SAME = 0.2  # how far the rates of different numbers of profiles may be apart from the largest


class Cold(msgspec.Struct, frozen=True):
    """One start from nothing."""

    count: int
    counters: Counters
    ready: Usage
    """When everything was loaded."""
    after: Usage
    """When everything was registered, written and told."""

    @property
    def cpu(self) -> float:
        """Seconds for 1,000."""
        return (self.after.cpu - self.ready.cpu) / self.count * 1000


def registered(service: Daemon, responder: Responder, count: int) -> Cold:
    """Everything of a service that has just started. Raises RuntimeError when that takes too long."""
    ready = service.usage()
    until_registered(responder, count)
    counters = responder.counters()
    time.sleep(SETTLE)
    return Cold(count, counters, ready, service.usage())


def until_registered(responder: Responder, count: int) -> None:
    end = time.monotonic() + 10 + count / 1000
    while (counters := responder.counters()).distinct < count:
        if time.monotonic() > end:
            raise RuntimeError(f"only {counters.distinct:,} of {count:,} profiles were registered in time")
        time.sleep(POLL)


def base() -> Usage:
    """A daemon without profiles."""
    with daemon() as service, service:
        time.sleep(SETTLE)
        found = service.usage()
        service.stop()
    return found


def cold(stores: Stores, count: int, *, quick: bool = True) -> Cold:
    """`count` profiles that register when the daemon starts, by the quick path or in Python."""
    with daemon(quick=quick) as service, stores.registrar(EXPIRES) as responder:
        stores.put(count, "always", service)
        with service:
            return registered(service, responder, count)
    raise AssertionError


def rows(stores: Stores, counts: list[int]) -> Iterator[Row]:
    """What `counts` profiles cost, smallest first."""
    empty = base()
    runs = []
    for count in counts:
        run = cold(stores, count)
        runs.append(run)
        rate = run.counters.accepted_per_second
        sent_again = run.counters.retransmissions
        text = f"{rate:,.0f}" + (f", {sent_again:,} retransmitted" if sent_again else "")
        yield at_least(f"registrations a second, {count:,}", 20_000, "", rate, sent_again, text=text)
        yield at_most(f"CPU per 1,000 registrations, {count:,}", 0.05, "s", run.cpu)
    rates = [run.counters.accepted_per_second for run in runs]
    if len(rates) > 1:
        apart = 1 - min(rates) / max(rates)
        yield Row("the slowest of these rates", "≥ 80 % of the fastest", f"{100 - apart * 100:.0f} %", apart <= SAME)
    yield from worth(runs[0], cold(stores, counts[0], quick=False))
    last = runs[-1]
    each = (last.after.proportional - empty.proportional) / last.count / 1000
    yield at_most(f"memory of a registered profile, {last.count:,}", 2, "kB", each)
    yield at_most("memory of a daemon without profiles", 90, "MB", empty.proportional / 1e6)
    limit = 90 + 2 * last.count / 1000
    yield at_most(f"memory of a daemon with {last.count:,}", limit, "MB", last.after.proportional / 1e6)


def worth(quick: Cold, python: Cold) -> Iterator[Row]:
    """What the compiled quick path is worth from end to end."""
    rate, cpu = python.counters.accepted_per_second, python.cpu
    text = f"{rate:,.0f} a second, {cpu:.3f} s of CPU time per 1,000"
    yield Row(f"without the compiled quick path, {python.count:,}", "", text, None, (rate, cpu))
    times = quick.counters.accepted_per_second / rate
    yield at_least("times as many registrations a second with it", 1.3, "", times)


def refreshes(stores: Stores, count: int) -> Iterator[Row]:
    """CPU of refreshes, over the time in which each profile refreshes once."""
    with daemon() as service, stores.registrar(SHORT) as responder:
        stores.put(count, "always", service)
        with service:
            registered(service, responder, count)
            end = responder.counters().last_accepted + SHORT
            time.sleep(max(0.0, end - SHORT * 0.6 - time.monotonic()))  # what else follows a start is over then
            before, begun = responder.counters(), service.usage()
            while responder.counters().refreshes - before.refreshes < count and time.monotonic() < end:
                time.sleep(POLL * 10)
            time.sleep(SETTLE)
            after, usage = responder.counters(), service.usage()
            service.stop()
    done = after.refreshes - before.refreshes
    cost = (usage.cpu - begun.cpu) / done * 1000
    text = f"{cost:.3f} s" + (f", {after.lapsed:,} lapsed" if after.lapsed else "")
    yield at_most(f"CPU per 1,000 refreshes, {count:,}", 0.03, "s", cost, done, after.lapsed, text=text)
