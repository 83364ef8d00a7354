"""Operations that wait: their turns, what they wait for, and the service's timers."""

from __future__ import annotations

from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.records import Query, SetDefault
from sipprofile.service.effects import Commit, ReadHistory, ReadProfiles
from sipprofile.service.steps import Past, Read, Runner, Steps, Turn, Until, Write
from sipprofile.service.timers import Timers


class Bench:
    def __init__(self) -> None:
        self.effects: list[Any] = []
        self.results: dict[str, Any] = {}
        self.timers = Timers()
        self.runner = Runner(self.effects.append, self.timers)

    def run(self, name: str, steps: Steps) -> None:
        self.runner.run(steps, lambda result, now: self.results.update({name: (result, now)}), 0.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def writes(*keys: int) -> Steps:
    for key in keys:
        yield Turn(key)
    _, now = yield Write((SetDefault(keys[0]),))
    return now


def test_each_kind_of_waiting_has_its_effect(bench: Bench) -> None:
    def steps() -> Steps:
        first, _ = yield Read(Query(limit=1))
        second, _ = yield Past(5)
        third, now = yield Write((SetDefault(1),))
        return first, second, third, now

    bench.run("a", steps())
    assert isinstance(bench.effects[0], ReadProfiles)
    bench.runner.answered(bench.effects[0].token, "records", 1.0)
    assert isinstance(bench.effects[1], ReadHistory)
    bench.runner.answered(bench.effects[1].token, "past", 2.0)
    assert isinstance(bench.effects[2], Commit)
    assert bench.runner.outstanding == 1
    bench.runner.answered(bench.effects[2].token, None, 3.0)
    assert bench.results == {"a": (("records", "past", None, 3.0), 3.0)}
    assert bench.runner.outstanding == 0


def test_an_error_is_raised_where_it_was_waited_for(bench: Bench) -> None:
    def steps() -> Steps:
        try:
            yield Read(Query())
        except SipProfileError as error:
            return f"caught {error.code}"

    bench.run("caught", steps())
    bench.run("passed on", writes(1))
    for effect in list(bench.effects):
        bench.runner.answered(effect.token, SipProfileError("store_failed"), 1.0)
    assert bench.results["caught"] == ("caught store_failed", 1.0)
    assert bench.results["passed on"][0].code == "store_failed"
    assert not bench.runner.busy(1)


def test_a_mistake_of_ours_is_answered_and_frees_the_turn(bench: Bench) -> None:
    def steps() -> Steps:
        yield Turn(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.run("a", steps())
    assert bench.results["a"][0].code == "internal"
    bench.run("b", writes(1))
    assert len(bench.effects) == 1


def test_an_answer_to_nothing_is_ignored(bench: Bench) -> None:
    bench.runner.answered(99, None, 0.0)


class TestTurns:
    def test_one_after_the_other_in_order(self, bench: Bench) -> None:
        for name in "abc":
            bench.run(name, writes(1))
        for _ in "abc":
            assert len(bench.effects) == 1
            bench.runner.answered(bench.effects.pop().token, None, 1.0)
        assert list(bench.results) == ["a", "b", "c"]
        assert not bench.runner.busy(1)

    def test_others_do_not_wait(self, bench: Bench) -> None:
        bench.run("a", writes(1))
        bench.run("b", writes(2))
        assert len(bench.effects) == 2

    def test_a_second_turn_is_waited_for_with_the_first_in_hand(self, bench: Bench) -> None:
        bench.run("a", writes(1, 0))
        bench.run("b", writes(2, 0))
        bench.run("c", writes(2))
        assert len(bench.effects) == 1
        bench.runner.answered(bench.effects.pop().token, None, 1.0)
        bench.runner.answered(bench.effects.pop().token, None, 2.0)
        bench.runner.answered(bench.effects.pop().token, None, 3.0)
        assert list(bench.results) == ["a", "b", "c"]

    def test_a_long_queue_does_not_nest(self, bench: Bench) -> None:
        def at_once() -> Steps:
            yield Turn(1)
            return None

        bench.run("first", writes(1))
        for number in range(5000):
            bench.run(str(number), at_once())
        bench.runner.answered(bench.effects[0].token, None, 1.0)
        assert len(bench.results) == 5001


class TestUntil:
    def steps(self) -> Steps:
        what, now = yield Until(("changed", 1), 10.0)
        return what, now

    def test_it_happens(self, bench: Bench) -> None:
        bench.run("a", self.steps())
        bench.run("b", self.steps())
        assert bench.runner.awaited(("changed", 1))
        bench.runner.happened(("changed", 2), "other", 1.0)
        bench.runner.happened(("changed", 1), "news", 2.0)
        assert bench.results == {"a": (("news", 2.0), 2.0), "b": (("news", 2.0), 2.0)}
        bench.timers.run(11.0)
        assert not bench.runner.awaited(("changed", 1))

    def test_the_deadline_comes_first(self, bench: Bench) -> None:
        bench.run("a", self.steps())
        assert bench.timers.next() == 10.0
        bench.timers.run(10.0)
        assert bench.results["a"] == ((None, 10.0), 10.0)
        assert bench.runner.outstanding == 0

    def test_it_is_given_up(self, bench: Bench) -> None:
        bench.run("a", self.steps())
        bench.run("b", writes(1))
        bench.runner.give_up(SipProfileError("shutting_down"), 1.0)
        assert bench.results["a"][0].code == "shutting_down"
        assert bench.runner.outstanding == 1


def test_timers_call_in_order_and_what_they_add_in_time() -> None:
    timers = Timers()
    calls: list[tuple[str, float]] = []
    timers.at(2.0, lambda name, now: calls.append((name, now)), "two")
    timers.at(1.0, lambda now: timers.at(1.5, lambda now: calls.append(("later", now))))
    timers.at(9.0, lambda now: calls.append(("never", now)))
    timers.run(3.0)
    assert calls == [("later", 3.0), ("two", 3.0)]
    assert timers.next() == 9.0
    timers.clear()
    assert timers.next() is None
