"""A binding is given back at another server of the domain when the one that made it is silent (RFC 3263 §4.3)."""

from __future__ import annotations

import pytest
from machine_driver import Driver, server, silence

A, B = "192.0.2.11", "192.0.2.12"


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.names = {"reg.test": (A, B)}
    driver.registered(registrar=server("sip:reg.test"))
    driver.answers.append(silence)
    driver.answers.extend([silence] * 10)  # the retransmissions
    return driver


class TestAServerThatHasGone:
    def test_the_next_one_is_asked(self, driver: Driver) -> None:
        first = driver.sends[-1][1].host
        driver.disable()
        driver.run(31)
        driver.assert_status("unregistering")
        driver.answers.clear()
        driver.run(3)
        driver.assert_status("unregistered", "disabled")
        _, key, request = driver.sends[-1]
        assert {first, key.host} == {A, B}
        assert request.header("expires") == "0"
        assert request.header("contact") == driver.sends[-2][2].header("contact")

    def test_it_ends_when_nobody_answers(self, driver: Driver) -> None:
        driver.always = silence
        driver.disable()
        driver.run(31)
        driver.run(40)
        driver.assert_status("unregistered", "binding_may_remain")
        count = len(driver.sends)
        driver.run(100)
        assert len(driver.sends) == count

    def test_who_wants_it_again_does_not_wait_for_that(self, driver: Driver) -> None:
        driver.disable()
        driver.run(10)
        driver.want()
        driver.run(21)
        driver.answers.clear()
        driver.run(3)
        driver.assert_status("registered")
        assert driver.sends[-1][2].header("expires") != "0"

    def test_one_that_has_moved_is_looked_for(self, driver: Driver) -> None:
        """The lease is longer than the TTL of the addresses."""
        driver.names = {"reg.test": ("192.0.2.13",)}
        driver.run(driver.ttl + 1)
        driver.disable()
        driver.run(31)
        driver.answers.clear()
        driver.run(3)
        driver.assert_status("unregistered", "disabled")
        assert driver.sends[-1][1].host == "192.0.2.13"

    @pytest.mark.parametrize("silent", [True, False])
    def test_one_that_cannot_be_found(self, driver: Driver, silent: bool) -> None:
        driver.always = silence
        driver.names = {}
        driver.unanswered_names = {"reg.test"} if silent else set()
        driver.run(driver.ttl + 1)
        driver.disable()
        driver.run(31)
        driver.assert_status("unregistering")
        driver.run(64 + 16)
        driver.assert_status("unregistered", "binding_may_remain")

    def test_who_wants_it_again_while_it_is_looked_for(self, driver: Driver) -> None:
        driver.unanswered_names = {"reg.test"}
        driver.run(driver.ttl + 1)
        driver.disable()
        driver.run(33)
        driver.want()
        driver.answers.clear()
        driver.unanswered_names = set()
        driver.run(60)
        driver.assert_status("registered")
