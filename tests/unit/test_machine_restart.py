"""What survives a restart, a reboot, a set clock and another address; nothing is sent that need not be."""

from __future__ import annotations

import pytest
from machine_driver import UDP, WALL, Driver, answer, digest, ok, server, silence

from sipprofile.records import HISTORY_LENGTH, RESERVED_BLOCK


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.always = digest()
    driver.registered()
    return driver


class TestSameBoot:
    """On UDP with the same address a lease is resumed without REGISTER; a keepalive goes out."""

    def test_a_keepalive_is_all_that_is_sent(self, driver: Driver) -> None:
        before = driver.state()
        driver.crash(5)
        driver.assert_quiet()
        assert [key for _, key in driver.keepalives] == [UDP]
        after = driver.assert_status("registered")
        assert (after.lease_ends, after.refresh_at, after.registered_contact) == (
            before.lease_ends,
            before.refresh_at,
            before.registered_contact,
        )
        assert after.since == pytest.approx(before.since)
        assert after.registered_aors == before.registered_aors
        assert not driver.events()

    def test_it_is_counted_as_registered(self, driver: Driver) -> None:
        before = dict(driver.registrations.counts())
        driver.crash(5)
        assert dict(driver.registrations.counts()) == before
        assert [status for status, _, _ in before] == ["registered"]

    def test_the_stored_refresh_time_is_obeyed(self, driver: Driver) -> None:
        due = driver.state().refresh_at
        assert due is not None
        driver.crash(100)
        driver.want()
        left = due - WALL - driver.now
        assert driver.run_to_register() == pytest.approx(left)
        driver.assert_status("registered")
        assert len(driver.sent()) == 1  # the nonce is still good

    def test_one_that_is_overdue_is_done_at_once(self, driver: Driver) -> None:
        driver.crash(3400)
        driver.want()
        driver.run(1)
        assert len(driver.sent()) == 1
        driver.assert_status("registered")

    def test_one_that_is_over_is_forgotten(self, driver: Driver) -> None:
        driver.crash(4000)
        driver.assert_status("unregistered")
        driver.run(100)
        driver.assert_quiet()
        assert not driver.registrations.has_binding(1)

    def test_users_have_time_to_return(self, driver: Driver) -> None:
        driver.crash()
        driver.run(20)
        driver.want()
        driver.run(100)
        driver.assert_quiet()
        driver.assert_status("registered")

    def test_if_nobody_returns_it_is_given_back(self, driver: Driver) -> None:
        driver.crash()
        driver.disable()
        assert driver.sent_register().header("expires") == "0"
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    def test_it_is_refreshed_while_it_is_kept(self, driver: Driver) -> None:
        driver.crash(3400)
        driver.run(1)
        assert driver.sent_register().header("expires") == "3600"

    def test_revisions_go_on_above_those_that_may_have_been_written(self, driver: Driver) -> None:
        before = driver.state().revision
        driver.crash()
        assert driver.state().revision >= before + HISTORY_LENGTH

    def test_a_way_that_does_not_open_is_a_failed_refresh(self, driver: Driver) -> None:
        driver.unopened = {"192.0.2.1"}
        driver.crash()
        driver.want()
        driver.run(12)
        driver.assert_status("registered", error="transport_timeout")
        driver.unopened = set()
        driver.run(100)
        assert driver.assert_status("registered").last_error is None

    def test_an_unanswered_name_after_a_restart_does_not_matter_before_the_refresh(self) -> None:
        driver = Driver()
        driver.names = {"reg.test": ("192.0.2.1",)}
        driver.registered(registrar=server("sip:reg.test"))
        driver.unanswered_names = {"reg.test"}
        driver.crash()
        driver.want()
        driver.assert_status("registered")
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")


class TestHeld:
    def test_a_forcibly_disabled_profile_comes_back_without_its_lease_and_without_sip(self, driver: Driver) -> None:
        driver.crash(held="forcibly_disabled")
        driver.want()
        driver.run(4000)
        driver.assert_quiet()
        driver.assert_status("unregistered", "forcibly_disabled")

    def test_a_paused_one_gives_back_what_the_crash_left(self, driver: Driver) -> None:
        driver.crash(held="paused")
        assert driver.sent_register().header("expires") == "0"
        driver.run(1)
        driver.assert_status("unregistered", "paused")

    def test_a_paused_one_without_a_lease_says_why_it_is_down(self, driver: Driver) -> None:
        driver.hold("paused")
        driver.run(1)
        driver.sent()
        driver.crash(held="paused")
        driver.assert_quiet()
        driver.assert_status("unregistered", "paused")


class TestAnotherBoot:
    """Stored leases are UTC with the boot id."""

    def test_the_lease_is_taken_over_by_the_wall_clock(self, driver: Driver) -> None:
        before = driver.state()
        driver.now = 50.0  # CLOCK_BOOTTIME starts again
        driver.crash(0, boot_id="next", wall_offset=WALL + 1000 + 60)
        after = driver.assert_status("registered")
        assert after.lease_ends == pytest.approx(before.lease_ends)
        driver.assert_quiet()

    def test_a_clock_that_went_back_makes_it_unknown(self, driver: Driver) -> None:
        driver.crash(1, boot_id="next", wall_offset=WALL - 100_000)
        driver.assert_status("unregistered", "lease_unknown")
        assert driver.registrations.has_binding(1)
        driver.want()
        driver.run(1)
        driver.assert_status("registered")

    def test_an_unknown_lease_that_nobody_wants_is_given_back(self, driver: Driver) -> None:
        driver.crash(1, boot_id="next", wall_offset=WALL - 100_000)
        driver.disable()
        driver.run(1)
        assert [request.header("expires") for request in driver.sent()] == ["0", "0"]
        driver.assert_status("unregistered", "disabled")

    def test_a_jump_of_the_wall_clock_is_stored_so_the_next_boot_knows_the_lease(self, driver: Driver) -> None:
        lease_end = driver.flow().lease_end
        driver.registrations.clock_jumped(WALL + 86_400, driver.now)
        driver.settle()
        driver.assert_quiet()
        driver.assert_status("registered")
        driver.crash(1, boot_id="next", wall_offset=WALL + 86_400)
        driver.assert_status("registered")
        assert driver.flow().lease_end == pytest.approx(lease_end)

    def test_a_wall_clock_that_went_back_between_boots_makes_the_lease_unknown(self, driver: Driver) -> None:
        driver.crash(1, boot_id="next", wall_offset=WALL - 86_400)
        driver.assert_status("unregistered", "lease_unknown")

    def test_a_jump_moves_what_is_told_but_not_what_is_done(self, driver: Driver) -> None:
        before = driver.state()
        driver.registrations.clock_jumped(WALL + 1000, driver.now)
        after = driver.state()
        assert before.lease_ends is not None
        assert after.lease_ends == before.lease_ends + 1000
        assert driver.flow().lease_end == pytest.approx(before.lease_ends - WALL)

    def test_in_the_same_boot_a_jump_does_not_matter(self, driver: Driver) -> None:
        driver.registrations.clock_jumped(WALL + 86_400, driver.now)
        driver.settle()
        driver.crash(1, wall_offset=WALL + 86_400)
        driver.assert_status("registered")
        driver.assert_quiet()


class TestAnotherAddress:
    LISTED = "<sip:alice@198.51.100.1:5060>;expires=3000"

    def test_after_a_restart_the_new_contact_is_registered_and_the_old_one_removed(self) -> None:
        driver = Driver()
        driver.registered(contact_user="alice")
        driver.local["udp"] = ("198.51.100.2", 5060)
        driver.always = ok(3600, self.LISTED)
        driver.crash()
        driver.run(1)
        first, second = driver.sent()
        assert "alice@198.51.100.2:5060" in (first.header("contact") or "")
        assert second.header("contact") == "<sip:alice@198.51.100.1:5060>;expires=0"
        assert not driver.keepalives
        driver.assert_status("registered")

    def test_a_lease_that_ends_while_a_name_is_looked_up_for_the_new_contact_is_not_shown_any_longer(self) -> None:
        driver = Driver()
        driver.names = {"reg.test": ("192.0.2.1",)}
        driver.always = ok(100)
        driver.registered(registrar=server("sip:reg.test"))
        driver.save_now()
        driver.unanswered_names = {"reg.test"}
        driver.local["udp"] = ("198.51.100.2", 5060)
        driver.crash(95.0)
        driver.run(1)
        driver.assert_status("registered")
        driver.run(6)
        driver.assert_status("registering", "lease_expired")

    def test_while_running_too(self) -> None:
        driver = Driver()
        driver.registered(contact_user="alice")
        driver.local["udp"] = ("198.51.100.2", 5060)
        driver.fail(UDP, "transport_unreachable")
        driver.assert_status("registered")
        driver.always = ok(3600, self.LISTED)
        driver.run_to_register()
        assert "alice@198.51.100.2:5060" in (driver.sent()[0].header("contact") or "")
        assert driver.state().registered_contact == "sip:alice@198.51.100.2:5060"
        assert driver.sends[-1][2].header("contact") == "<sip:alice@198.51.100.1:5060>;expires=0"


class TestReservations:
    """CSeq numbers are on disk in blocks before they are used: a crash never goes back."""

    def test_a_new_profile_needs_no_further_write(self) -> None:
        driver = Driver()
        driver.saving = False
        driver.add()
        assert driver.sent_register().cseq()[0] == 1

    def test_a_crash_at_any_moment_goes_on_above(self) -> None:
        driver = Driver()
        driver.always = digest()
        driver.add()
        for turn in range(40):
            driver.run((turn * 7 % 5) * 0.004)
            driver.crash(0.1)
            driver.want()
            driver.retry_now()
        driver.run(1)
        assert driver.sends[-1][2].cseq()[0] > 39 * RESERVED_BLOCK / 2  # the driver checks that it always rises

    def test_when_the_disk_is_slow_the_request_waits_for_it(self, driver: Driver) -> None:
        flow = driver.flow()
        flow.cseq = flow.cseq_reserved
        driver.saving = False
        driver.retry_now()
        driver.assert_quiet()
        driver.run(30)
        driver.assert_quiet()
        driver.saving = True
        driver.save_now()
        assert driver.sent_register().cseq()[0] == RESERVED_BLOCK + 1

    def test_the_next_block_is_asked_for_in_time(self, driver: Driver) -> None:
        for _ in range(3 * RESERVED_BLOCK):
            driver.retry_now()
            driver.run(0.05)
        numbers = [request.cseq()[0] for _, _, request in driver.sends]
        assert numbers == list(range(1, len(numbers) + 1))
        assert driver.rows[1].cseq_reserved >= numbers[-1]

    def test_a_transport_lost_while_the_disk_is_slow_is_opened_again(self, driver: Driver) -> None:
        flow = driver.flow()
        flow.cseq = flow.cseq_reserved
        driver.saving = False
        driver.retry_now()
        driver.fail(UDP)
        driver.saving = True
        driver.save_now()
        driver.run(1)
        driver.assert_status("registered")

    def test_the_call_id_and_the_contact_are_the_same_for_ever(self, driver: Driver) -> None:
        driver.crash(5000, boot_id="next")
        driver.want()
        driver.run(1)
        requests = [request for _, _, request in driver.sends]
        assert len({request.header("call-id") for request in requests}) == 1
        assert len({request.header("contact") for request in requests}) == 1

    @pytest.mark.parametrize("respond", [silence, answer(500)])
    def test_a_failure_after_the_restart_is_a_failed_refresh(self, driver: Driver, respond: object) -> None:
        driver.always = respond  # type: ignore[assignment]
        driver.crash(3400)
        driver.want()
        driver.run(40)
        driver.assert_status("registered")
        assert driver.state().last_error is not None
