"""One bucket per registrar: who waits, who draws first, who never waits."""

from __future__ import annotations

from collections import Counter

import pytest
from machine_driver import Driver, answer, digest, ok, server, silence

from sipprofile.registration.queueing import IN_FLIGHT, SILENT
from sipprofile.registration.settings import RegistrationSettings


@pytest.fixture
def driver() -> Driver:
    return Driver(settings=RegistrationSettings(rate=1, burst=2))


def order(driver: Driver) -> list[int]:
    """The profiles whose REGISTERs were sent since the last question."""
    return [int(str(request.header("to")).partition("alice")[2].partition("@")[0]) for request in driver.sent()]


class TestBucket:
    def test_a_start_of_many_keeps_the_rate(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=50, burst=50))
        driver.always = digest()
        for number in range(1, 301):
            driver.add(number)
        driver.run(30)
        firsts = Counter(int(at) for at, _, request in driver.sends if request.header("authorization") is None)
        assert sum(firsts.values()) == 300
        assert max(firsts.values()) <= 102
        total = Counter(int(at) for at, _, _ in driver.sends)
        assert sum(total[second] for second in sorted(total)[2:-1]) <= 51 * len(total)

    def test_each_registrar_has_its_own(self, driver: Driver) -> None:
        for number in (1, 2, 3):
            driver.add(number)
        driver.add(4, registrar=server("sip:192.0.2.2"))
        driver.run(0.1)
        assert order(driver) == [1, 2, 4]

    def test_the_queue_is_published(self, driver: Driver) -> None:
        for number in range(1, 8):
            driver.add(number)
        (status,) = driver.registrations.queues()
        assert (status.registrar, status.waiting, status.rate) == ("192.0.2.1:5060", 5, 1)
        assert status.seconds_to_empty == pytest.approx(5, abs=0.5)
        driver.assert_status("registering", number=7)
        driver.run(10)
        assert driver.registrations.queues()[0].waiting == 0

    def test_who_leaves_the_queue_costs_no_token(self, driver: Driver) -> None:
        for number in range(1, 8):
            driver.add(number)
        for number in range(3, 7):
            driver.disable(number)
        driver.run(1.1)
        assert order(driver) == [1, 2, 7]


class TestOrder:
    def test_what_somebody_waits_for_comes_before_automatic_starts(self, driver: Driver) -> None:
        for number in (1, 2):
            driver.add(number)
        for number in (3, 4):
            driver.add(number, wanted=False)
            driver.want(number, waiting=False)
        driver.add(5)
        driver.run(10)
        assert order(driver) == [1, 2, 5, 3, 4]

    def test_an_automatic_start_moves_up_when_somebody_waits(self, driver: Driver) -> None:
        for number in (1, 2):
            driver.add(number)
        for number in (3, 4, 5):
            driver.add(number, wanted=False)
            driver.want(number, waiting=False)
        driver.want(5, waiting=True)
        driver.run(10)
        assert order(driver) == [1, 2, 5, 3, 4]

    def test_also_when_it_was_still_on_its_way_to_the_queue(self, driver: Driver) -> None:
        driver.unopened = {"192.0.2.1"}
        for number in (1, 2, 3):
            driver.add(number, wanted=False)
            driver.want(number, waiting=False)
        driver.want(3, waiting=True)
        driver.registrations.transport_opened(driver.flow(1).key, ("198.51.100.1", 5060), driver.now)  # type: ignore[arg-type]
        driver.settle()
        driver.run(10)
        assert order(driver) == [1, 2, 3]
        assert driver.flow(3).queue_class < driver.flow(2).queue_class

    def test_refreshes_come_first_the_earliest_lease_end_first(self, driver: Driver) -> None:
        for number in (1, 2, 3):
            driver.always = ok(1000 - 100 * number)
            driver.registered(number)
            driver.run(2)
        driver.always = ok()
        driver.run(400)
        for number in range(4, 10):
            driver.add(number)
        driver.sent()
        for number in (1, 2, 3):
            driver.retry_now(number)
        driver.run(10)
        assert order(driver)[:3] == [3, 2, 1]


class TestNeverWaiting:
    def test_a_refresh_exceeds_the_bucket_rather_than_wait_past_its_margin(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=0.01, burst=20))
        driver.always = ok(600)
        for number in range(1, 21):
            driver.add(number)
        driver.run(1)
        driver.run(600)
        for number in range(1, 21):
            driver.assert_status("registered", number=number)
        pacer = driver.registrations.pacers["192.0.2.1:5060"]
        assert pacer.overdrawn > 5
        late = [at - 1000 for at, _, _ in driver.sends[20:40]]
        assert max(late) <= 600 - 32 + 1

    def test_a_deregistration_does_not_wait_but_is_debited(self, driver: Driver) -> None:
        driver.registered(1)
        driver.run(10)
        driver.add(2)
        driver.add(3)
        driver.add(4)
        driver.sent()
        driver.disable(1)
        assert order(driver) == [1]
        driver.run(1.05)
        assert order(driver) == []
        driver.run(1)
        assert order(driver) == [4]

    def test_retransmissions_do_not_wait(self, driver: Driver) -> None:
        driver.always = silence
        for number in (1, 2, 3):
            driver.add(number)
        driver.run(0.6)
        assert len(driver.retransmissions) == 2

    def test_removal_of_an_old_contact_does_not_wait(self, driver: Driver) -> None:
        driver.registered(contact_user="one")
        driver.run(10)
        driver.always = ok(3600, "<sip:one@198.51.100.1:5060>;expires=3000")
        driver.update(contact_user="two")
        driver.run(0.1)
        assert len(driver.sent()) == 2


class TestQueueAndTargets:
    def test_a_target_that_goes_down_empties_the_queue_without_sending(self, driver: Driver) -> None:
        driver.always = answer(503)
        for number in range(1, 20):
            driver.add(number)
        driver.run(25)
        assert len(driver.sends) <= 2
        assert all(driver.state(number).status == "unregistered" for number in driver.profiles)

    def test_a_lease_that_ends_in_the_queue_is_told(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=0.001, burst=2))
        driver.always = ok(60)
        driver.registered(1)
        driver.always = silence
        driver.add(2)
        driver.run(61)
        assert driver.state(1).status != "registered"


class TestWindow:
    """However high the rate: a target that answers is not given more than it answers."""

    @staticmethod
    def begun(many: int) -> Driver:
        driver = Driver(settings=RegistrationSettings(rate=1_000_000, burst=10_000))
        driver.add(1)
        driver.run(0.1)
        driver.sent()
        driver.always = silence
        for number in range(2, many + 2):
            driver.add(number, wanted=False)
            driver.registrations.want(number, True, driver.now)
        driver.settle()
        return driver

    def test_no_more_than_so_many_are_on_the_way(self) -> None:
        driver = self.begun(IN_FLIGHT + 100)
        assert len(driver.sent()) == IN_FLIGHT
        driver.come_back(ok(600))
        driver.run(2)
        assert {driver.state(number).status for number in driver.profiles} == {"registered"}

    def test_a_target_that_says_nothing_is_not_waited_for(self) -> None:
        driver = self.begun(IN_FLIGHT + 100)
        driver.run(SILENT + 0.1)
        assert len(driver.sent()) == IN_FLIGHT + 100
