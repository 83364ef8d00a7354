"""What a run found, and what several runs found together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

import msgspec


class Idle(msgspec.Struct, frozen=True):
    """A holder with one registration, started and left alone: what is subtracted."""

    cpu: float
    proportional: int


class Refresh(msgspec.Struct, frozen=True):
    cpu: float
    """Seconds per 1,000 refreshes, everything else that it did meanwhile included."""
    requests: float
    """REGISTER requests per refresh."""
    seconds: float
    lapsed: int
    retransmitted: int
    complete: bool
    """Everything was refreshed."""


class Restart(msgspec.Struct, frozen=True):
    seconds: float | None
    """From starting it again until it holds everything; None when it did not in time."""
    requests: float
    """REGISTER requests per registration until then."""
    lapsed: int


class Outage(msgspec.Struct, frozen=True):
    requests: float
    """Datagrams per registration while nothing was answered."""
    lapsed: int
    """Bindings that ended, in the outage or within 30 seconds after it."""
    recovered: float | None
    """Seconds from the end of the outage until nothing was lapsed any more; None when that took too long."""
    retransmitted: int


class Run(msgspec.Struct, frozen=True):
    """One peer with one number of registrations, once. CPU in seconds per 1,000, memory in bytes per registration."""

    peer: str
    count: int
    round: int
    load: float
    """Of the machine, over the minute before."""
    registered: int
    """How many it got registered in the time it had."""
    seconds: float | None = None
    """From its start to the last of them."""
    per_second: float | None = None
    """From the first REGISTER that the registrar received to the last binding."""
    cpu: float | None = None
    memory: float | None = None
    total: int | None = None
    """All of its memory."""
    others: float | None = None
    """The part of the core's time that other programs took meanwhile."""
    silence: float | None = None
    """The longest time without a datagram meanwhile."""
    retransmitted: int = 0
    lapsed: int = 0
    refresh: Refresh | None = None
    restart: Restart | None = None
    outage: Outage | None = None
    failure: str = ""
    held_failure: str = ""
    """Everything was registered, but then this happened."""
    together: bool = False
    """Other holders had work on the same core: only what it did after it had registered everything counts."""

    @property
    def complete(self) -> bool:
        return self.registered == self.count and not self.failure

    @property
    def alone(self) -> bool:
        """Complete, and with the core for itself: what it took to register everything is comparable."""
        return self.complete and not self.together


class Skipped(msgspec.Struct, frozen=True):
    peer: str
    count: int
    reason: str


class Report(msgspec.Struct, frozen=True):
    machine: str
    load_before: float
    load_after: float
    seconds: float
    settings: dict[str, list[str]]
    idle: dict[str, Idle]
    runs: list[Run]
    skipped: list[Skipped]
    missing: dict[str, str]


def of(runs: Iterable[Run], peer: str, count: int) -> list[Run]:
    return [one for one in runs if one.peer == peer and one.count == count]


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that there are."""
    known = [one for one in values if one is not None]
    return median(known) if known else None


def ratio(
    runs: Iterable[Run],
    peer: str,
    other: str,
    count: int,
    value: Callable[[Run], float | None] = lambda run: run.per_second,
) -> float | None:
    """How many times the value (registrations/s) of `other` that of `peer` is: round by round, then the median."""
    found = [one for one in runs if one.alone]
    theirs = {one.round: value(one) for one in of(found, other, count)}
    pairs = [mine / base for one in of(found, peer, count) if (mine := value(one)) and (base := theirs.get(one.round))]
    return median(pairs) if pairs else None
