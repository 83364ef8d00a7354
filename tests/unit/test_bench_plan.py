"""The order in which the benchmark measures, and that it names what there was no time for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.peers import phases, plan
from benchmarks.peers.plan import Plan
from benchmarks.peers.results import Idle, Refresh, Run
from benchmarks.process import Usage


class Holder:
    """A program that is not there: nothing is started."""

    keeps_leases = False

    def __init__(self, name: str, *, holds: bool = True, largest: int = 100_000) -> None:
        self.name, self.holds, self.largest = name, holds, largest

    def missing(self) -> str:
        return ""

    def settings(self) -> Sequence[str]:
        return ()

    def prepare(self, directory: Path, count: int, port: int) -> None:
        pass

    def start(self) -> None:
        pass

    def usage(self) -> Usage | None:
        return None

    def stop(self) -> float:
        return 0.0


FAST, SLOW, GENERATOR = Holder("fast"), Holder("slow", largest=10_000), Holder("generator", holds=False)
COUNTS = (1_000, 10_000, 50_000, 100_000)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What was measured: name, number, round (0: refreshes, restart, outage). `slow` never gets 10,000 registered."""
    found: list[tuple[str, int, int]] = []

    def measure(
        peer: Holder, directory: Path, count: int, number: int, port: int, base: Idle, *, limit: float, refreshes: int
    ) -> Run:
        found.append((peer.name, count, number))
        if peer.name == "slow" and count == 10_000:
            return Run(peer.name, count, number, 0.0, 3_000, failure="not all in 30 s")
        refresh = Refresh(0.1, 1.0, 60.0, 0, 0, True) if refreshes else None
        return Run(peer.name, count, number, 0.0, count, per_second=1.0, refresh=refresh)

    monkeypatch.setattr(phases, "measure", measure)
    monkeypatch.setattr(phases, "idle", lambda peer, directory, port: Idle(0.0, 0))
    monkeypatch.setattr(plan, "APART", 0.0)
    return found


def run(minutes: float = 60.0) -> Plan:
    made = Plan([FAST, SLOW, GENERATOR], COUNTS, 3, minutes, 2)
    made.run(False)
    return made


def test_what_tells_most_comes_first(measured: list[tuple[str, int, int]]) -> None:
    run()
    rounds = list(dict.fromkeys((number, count) for _, count, number in measured))
    assert rounds == [
        *((1, count) for count in COUNTS),
        (2, 10_000),
        (3, 10_000),
        *sorted({(0, 1_000), (0, 10_000)}, key=lambda one: rounds.index(one)),
        *((number, count) for number in (2, 3) for count in (1_000, 100_000, 50_000)),
    ]


def test_nobody_always_comes_first(measured: list[tuple[str, int, int]]) -> None:
    run()
    firsts = {next(name for name, count, number in measured if (count, number) == (10_000, one)) for one in (1, 2, 3)}
    assert len(firsts) > 1


def test_refreshes_are_looked_at_with_what_a_holder_gets_registered(measured: list[tuple[str, int, int]]) -> None:
    made = run()
    assert {(one.peer, one.count) for one in made.runs if one.refresh} == {("fast", 10_000), ("slow", 1_000)}
    assert all(one.together and not one.alone for one in made.runs if one.refresh)


def test_what_failed_is_not_tried_again(measured: list[tuple[str, int, int]]) -> None:
    run()
    assert measured.count(("slow", 10_000, 1)) == 1
    assert not [one for one in measured if one[:2] == ("slow", 10_000) and one[2] != 1]


def test_what_there_was_no_time_for_is_named(measured: list[tuple[str, int, int]]) -> None:
    made = run(minutes=0)
    assert measured == []
    assert {(one.peer, one.count) for one in made.skipped if "no time left for round 1" in one.reason} == {
        ("fast", 1_000),
        ("fast", 10_000),
        ("fast", 50_000),
        ("fast", 100_000),
        ("slow", 1_000),
        ("slow", 10_000),
        *(("generator", count) for count in COUNTS),
    }
    assert ("slow", 50_000, "not tried beyond 10,000") in [(one.peer, one.count, one.reason) for one in made.skipped]


def test_too_little_time_for_refreshes_leaves_it_to_the_rounds(measured: list[tuple[str, int, int]]) -> None:
    made = run(minutes=plan.HELD_SECONDS / 60 - 1)
    left_out = [(one.peer, one.count) for one in made.skipped if "refreshes, restart and outage" in one.reason]
    assert sorted(left_out) == [("fast", 10_000), ("slow", 1_000)]
    assert [one for one in measured if one[:2] == ("fast", 10_000)] == [
        ("fast", 10_000, number) for number in (1, 2, 3)
    ]
