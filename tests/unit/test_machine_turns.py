"""What many registrations have to do at the same moment is done in turns: answers and applications come in between."""

from __future__ import annotations

import pytest
from machine_driver import UDP, Driver, ok, server, silence

from sipprofile.registration import turns
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.locating import Question

MANY = 10
TURN = 3
UNPACED = RegistrationSettings(rate=1000, burst=1000)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(turns, "AT_ONCE", TURN)
    return Driver(settings=UNPACED)


def in_turns(driver: Driver, within: float = 1.0) -> list[int]:
    """How many REGISTERs go out at each call of the timer, until all have."""
    counts: list[int] = []
    end = driver.now + within
    while (due := driver.registrations.next_timer()) is not None and due <= end and sum(counts) < MANY:
        driver.now = max(driver.now, due)
        driver.registrations.timer(driver.now)
        driver.settle()
        if sent := len(driver.sent()):
            counts.append(sent)
    return counts


def opened(driver: Driver) -> None:
    """All wait for one transport, which opens; the first turn is over."""
    driver.unopened.add("192.0.2.1")
    for number in range(1, MANY + 1):
        driver.add(number)
    driver.registrations.transport_opened(UDP, driver.local["udp"], driver.now)
    driver.settle()


class TestDueTogether:
    def test_refreshes(self, driver: Driver) -> None:
        for number in range(1, MANY + 1):
            driver.registered(number)
        driver.now = max(driver.flow(number).refresh_at for number in range(1, MANY + 1))
        counts = in_turns(driver, 0.0)
        assert sum(counts) == MANY
        assert max(counts) <= TURN

    def test_as_long_as_there_is_more_the_next_deadline_is_past(self, driver: Driver) -> None:
        for number in range(1, MANY + 1):
            driver.registered(number)
        driver.now = max(driver.flow(number).refresh_at for number in range(1, MANY + 1))
        for _ in range(3):
            driver.registrations.timer(driver.now)
            assert (driver.registrations.next_timer() or driver.now) < driver.now
        driver.registrations.timer(driver.now)
        assert (driver.registrations.next_timer() or driver.now) >= driver.now


class TestWaitingForTheSame:
    def test_name(self, driver: Driver) -> None:
        driver.unanswered_names.add("registrar.test")
        for number in range(1, MANY + 1):
            driver.add(number, registrar=server("sip:registrar.test:5060"))
        driver.registrations.resolved(Question("registrar.test"), ("192.0.2.1",), 300.0, driver.now)
        driver.settle()
        first = len(driver.sent())
        assert [first, *in_turns(driver)] == [3, 3, 3, 1]

    def test_name_in_vain(self, driver: Driver) -> None:
        driver.unanswered_names.add("registrar.test")
        for number in range(1, MANY + 1):
            driver.add(number, registrar=server("sip:registrar.test:5060"))
        driver.registrations.resolve_failed(Question("registrar.test"), "resolve_failed", 60.0, driver.now)
        driver.run(0.1)
        assert {driver.state(number).reason.code for number in range(1, MANY + 1)} == {"resolve_failed"}

    def test_transport(self, driver: Driver) -> None:
        opened(driver)
        first = len(driver.sent())
        assert [first, *in_turns(driver)] == [3, 3, 3, 1]

    def test_transport_that_is_lost_in_between(self, driver: Driver) -> None:
        opened(driver)
        driver.fail(UDP, "transport_unreachable")
        driver.unopened.clear()
        driver.run(120)
        assert {driver.state(number).status for number in range(1, MANY + 1)} == {"registered"}

    def test_transport_that_is_being_opened_again(self, driver: Driver) -> None:
        opened(driver)
        driver.fail(UDP, "transport_unreachable")
        for number in range(1, MANY + 1):
            driver.retry_now(number)
        driver.sent()
        assert in_turns(driver, 0.5) == []
        driver.registrations.transport_opened(UDP, driver.local["udp"], driver.now)
        driver.run(1)
        assert {driver.state(number).status for number in range(1, MANY + 1)} == {"registered"}

    def test_target_that_comes_back(self, driver: Driver) -> None:
        driver.always = silence
        for number in range(1, MANY + 1):
            driver.add(number)
        driver.run(40)
        driver.sent()
        driver.always = ok()
        while not (sent := driver.sent()):
            driver.run(0.5)
        driver.run(2)
        assert len(sent) + len(driver.sent()) == MANY
        assert {driver.state(number).status for number in range(1, MANY + 1)} == {"registered"}


class TestLeases:
    def test_all_are_written_again_when_the_wall_clock_was_set(self, driver: Driver) -> None:
        for number in range(1, MANY + 1):
            driver.registered(number)
        before = {number: row.wall_offset for number, row in driver.rows.items()}
        driver.registrations.clock_jumped(5000.0, driver.now)
        driver.settle()
        assert sum(row.wall_offset != before[number] for number, row in driver.rows.items()) == TURN
        driver.run(0.1)
        assert {row.wall_offset for row in driver.rows.values()} == {5000.0}
