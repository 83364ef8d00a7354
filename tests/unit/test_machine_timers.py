"""When flows are woken: in the order of their times, each as often as it was set, and in little memory."""

from __future__ import annotations

from random import Random

from sipprofile.registration.timers import Timers


def drained(timers: Timers, now: float) -> list[tuple[float, int]]:
    found = []
    while (due := timers.pop(now)) is not None:
        found.append(due)
    return found


class TestTimers:
    def test_they_come_up_in_the_order_of_their_times(self) -> None:
        random, timers = Random(1), Timers()
        wanted = [(float(random.randrange(20)), number) for number in range(200)]
        for at, number in wanted:
            timers.set(at, number)
        assert len(timers) == 200
        assert sorted(timers) == sorted(wanted)
        assert drained(timers, 20.0) == sorted(wanted)
        assert len(timers) == 0
        assert timers.next() is None

    def test_nothing_comes_up_before_its_time(self) -> None:
        timers = Timers()
        for number in (1, 2, 3):
            timers.set(5.0, number)
        assert timers.pop(4.9) is None
        assert timers.next() == 5.0
        assert timers.pop(5.0) == (5.0, 1)
        assert timers.next() == 5.0, "the others of that time are not forgotten"
        assert list(timers) == [(5.0, 3), (5.0, 2)]

    def test_what_is_set_meanwhile_for_the_same_time_comes_up_too(self) -> None:
        timers = Timers()
        for number in (1, 2):
            timers.set(5.0, number)
        assert timers.pop(6.0) == (5.0, 1)
        timers.set(5.0, 1)
        timers.set(5.0, 3)
        assert len(timers) == 3
        assert drained(timers, 6.0) == [(5.0, 2), (5.0, 1), (5.0, 3)]

    def test_those_of_one_time_are_one_entry(self) -> None:
        timers = Timers()
        for number in range(1000):
            timers.set(7.0, number)
        assert len(timers._at) == len(timers._due) == 1
