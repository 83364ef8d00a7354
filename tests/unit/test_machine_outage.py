"""A registrar that says nothing for a while and comes back: leases that live then do not end for want of asking."""

from __future__ import annotations

from collections import Counter

from machine_driver import Driver, ok, silence

from sipprofile.registration.settings import RegistrationSettings

LEASE = 60
MANY = 50
UNPACED = RegistrationSettings(rate=1000, burst=1000)


def registered(settings: RegistrationSettings = UNPACED, apart: float = 0.05) -> Driver:
    """Many that registered one after the other, and the first refresh of which will not be answered."""
    driver = Driver(settings=settings)
    driver.always = ok(LEASE)
    for number in range(1, MANY + 1):
        driver.add(number)
        driver.run(apart)
    first = min(driver.flow(number).refresh_at for number in range(1, MANY + 1))
    driver.always = silence
    driver.run(first - driver.now + 0.001)
    driver.sent()
    driver.events()
    return driver


def lost(driver: Driver) -> set[int]:
    """Those whose registration ended since the last question."""
    new = driver.changes[driver._seen_changes :]
    return {change.profile for change in new if change.event == "deregistered"}


class TestLeasesThatLive:
    def test_a_registrar_that_comes_back_before_their_end_loses_none(self) -> None:
        """Timer E is at its 4 seconds then: most would ask after the end of their lease."""
        driver = registered()
        end = min(driver.flow(number).lease_end for number in range(1, MANY + 1))
        driver.run(end - driver.now - 0.5)
        driver.come_back(ok(LEASE))
        driver.run(40)
        assert lost(driver) == set()
        assert {driver.state(number).status for number in range(1, MANY + 1)} == {"registered"}

    def test_those_that_ended_are_back_before_their_next_retransmission_would_come(self) -> None:
        driver = registered()
        driver.run(30.5)  # since the first refresh, so that the first leases have ended
        assert lost(driver)
        driver.come_back(ok(LEASE))
        driver.run(1)  # timer E: 4 s
        assert {driver.state(number).status for number in range(1, MANY + 1)} == {"registered"}

    def test_nothing_more_is_sent_while_it_says_nothing(self) -> None:
        driver = registered()
        driver.run(120)
        asked = Counter(request.branch() for _, request in driver.retransmissions)
        assert max(asked.values()) == 10  # timer E in the 32 s of timer F
        assert len(driver.sends) <= 2 * MANY + MANY // 5  # registered, refreshed, and canaries

    def test_the_earliest_end_comes_first_and_no_more_than_the_rate(self) -> None:
        rate = 20
        driver = registered(RegistrationSettings(rate=rate, burst=1000), apart=0.2)
        end = min(driver.flow(number).lease_end for number in range(1, MANY + 1))
        driver.run(end - driver.now - 0.5)
        before = len(driver.retransmissions)
        usual = Counter(int(at * 2) for at, _ in driver.retransmissions)
        driver.come_back(ok(LEASE))
        driver.run(1)
        hurried = driver.retransmissions[before:]
        assert len(hurried) <= max(usual.values()) * 2 + rate + 1
        assert lost(driver) == set()

    def test_a_registrar_that_answers_all_the_time_hears_nothing_twice(self) -> None:
        driver = Driver(settings=UNPACED)
        driver.always = ok(LEASE)
        for number in range(1, MANY + 1):
            driver.add(number)
        driver.run(600)
        assert driver.retransmissions == []


class TestTimeOutOfARequest:
    def timed_out(self) -> Driver:
        """The registrar comes back just before two time out; there is a turn for the first before that."""
        driver = Driver(settings=RegistrationSettings(rate=1, burst=1000))
        driver.always = silence
        driver.add(1)
        driver.add(2)
        driver.run(31.7)
        driver.always = ok()
        driver.add(3)
        driver.run(0.5)
        driver.assert_status("registered", number=3)
        driver.assert_status("unregistered", "timeout", number=1)
        driver.assert_status("unregistered", "timeout", number=2)
        return driver

    def test_who_was_not_asked_again_since_the_registrar_came_back_asks_soon(self) -> None:
        driver = self.timed_out()
        assert driver.next_try(1) > 25
        assert driver.next_try(2) < 5
        driver.run(5)
        driver.assert_status("registered", number=2)

    def test_that_is_believed_once(self) -> None:
        driver = self.timed_out()
        driver.always = silence
        driver.run(driver.next_try(2))
        driver.retry_now(1)  # takes the turn again
        driver.run(31.7)
        driver.always = ok()
        driver.add(4)
        driver.run(0.6)
        driver.assert_status("unregistered", "timeout", number=2)
        assert driver.next_try(2) > 25

    def test_a_profile_that_alone_is_not_answered_waits_as_ever(self) -> None:
        driver = Driver(settings=UNPACED)
        driver.always = silence
        driver.add(1)
        driver.run(20)
        driver.always = ok()
        driver.add(2)
        driver.run(12.5)
        driver.assert_status("unregistered", "timeout", number=1)
        assert driver.next_try(1) > 25
