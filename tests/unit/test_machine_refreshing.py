"""Keeping a lease (RFC 3261 §10.2.4): when it is renewed, and what a failed refresh does to it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from machine_driver import Driver, answer, challenge, digest, ok, silence


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered()
    return driver


class TestWhen:
    def test_a_long_lease_is_renewed_with_a_tenth_left_or_up_to_a_tenth_earlier(self, driver: Driver) -> None:
        assert 2879 <= driver.run_to_register() <= 3240

    def test_the_time_is_told_and_kept(self, driver: Driver) -> None:
        told = driver.state().refresh_at
        assert told is not None
        due = told - driver.registrations.wall_offset - driver.now
        assert driver.run_to_register() == pytest.approx(due)

    def test_a_short_lease_is_renewed_at_half_of_it(self) -> None:
        driver = Driver()
        driver.always = ok(60)
        driver.registered()
        assert 29 <= driver.run_to_register() <= 36

    def test_a_refresh_is_silent(self, driver: Driver) -> None:
        driver.run(4000)
        assert driver.events() == ["status"]
        assert [row.status for row in driver.history] == ["registering", "registered"]
        assert not driver.changes[-1].transition

    def test_a_refresh_takes_a_new_cseq_and_the_same_call_id(self, driver: Driver) -> None:
        driver.run(10_000)
        requests = [request for _, _, request in driver.sends]
        assert len({request.header("call-id") for request in requests}) == 1
        assert [request.cseq()[0] for request in requests] == list(range(1, len(requests) + 1))


class TestFailure:
    """A failed refresh keeps ``registered`` with its error until the lease ends; the clock ends a lease, never hope."""

    @pytest.mark.parametrize(("respond", "code"), [(answer(500), "response"), (silence, "timeout")])
    def test_the_lease_holds(self, driver: Driver, respond: object, code: str) -> None:
        driver.always = respond  # type: ignore[assignment]
        driver.run_to_register()
        driver.run(32)
        driver.assert_status("registered", "none", error=code)
        assert set(driver.events()) == {"error"}
        assert driver.state().next_try is not None

    def test_success_clears_the_error_without_another_registered_event(self, driver: Driver) -> None:
        driver.answers.append(answer(500))
        driver.run(3500)
        state = driver.assert_status("registered")
        assert state.last_error is None
        assert driver.events() == ["error", "status"]

    def test_the_lease_ends_on_time_with_one_deregistered_event(self, driver: Driver) -> None:
        driver.always = silence
        driver.run(3598)
        assert driver.assert_status("registered").last_error is not None
        driver.run(2)
        state = driver.state()
        assert state.status != "registered"
        assert state.reason.code in ("timeout", "target_down")
        assert driver.events().count("deregistered") == 1
        driver.always = ok()
        driver.run(100)
        driver.assert_status("registered")
        assert driver.events().count("registered") == 1

    def test_tries_become_more_frequent_as_the_lease_runs_out_but_not_wild(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.run(3600)
        times = [at for at, _, _ in driver.sends[1:] if at < 1000 + 3600]
        assert len(times) >= 4
        assert min(b - a for a, b in pairwise(times)) >= 5

    def test_a_suspended_host_notices_at_once_that_the_lease_is_over(self, driver: Driver) -> None:
        driver.now += 50_000
        driver.registrations.timer(driver.now)
        driver.settle()
        driver.assert_status("registering", "lease_expired")
        assert driver.events() == ["deregistered", "status"]

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_refusal_ends_it_at_once(self, driver: Driver, status: int) -> None:
        driver.answers.append(answer(status))
        driver.run_to_register()
        driver.assert_status("unregistered", "response")
        assert driver.state().reason.status_code == status
        assert driver.events() == ["deregistered"]
        assert driver.state().next_try is not None

    def test_so_does_a_401_to_our_credentials(self) -> None:
        driver = Driver()
        driver.always = digest()
        driver.registered()
        driver.always = challenge(nonce="n2")
        driver.run_to_register()
        driver.assert_status("unregistered", "rejected_credentials")
        assert driver.events() == ["deregistered"]

    def test_a_200_without_our_contact_ends_it_too(self, driver: Driver) -> None:
        driver.answers.append(answer(200, "Contact: <sip:other@203.0.113.9>;expires=3600"))
        driver.run_to_register()
        driver.assert_status("unregistered", "contact_missing")
