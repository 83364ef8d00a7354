"""Registrations over TCP (RFC 3261 §18.1): a connection is shared, watched, and closed when nobody uses it."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import TCP, Driver, answer, challenge, digest, ok, reply, server, silence

from sipprofile.registration.registration import SENT
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request

REGISTRAR = server("sip:192.0.2.1;transport=tcp")


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered(registrar=REGISTRAR)
    return driver


class TestConnection:
    def test_the_contact_says_tcp_and_shows_the_connection(self, driver: Driver) -> None:
        contact = driver.sends[-1][2].header("contact") or ""
        assert "@198.51.100.1:40001;transport=tcp>" in contact
        assert (driver.sends[-1][2].header("via") or "").startswith("SIP/2.0/TCP 198.51.100.1:40001")

    def test_there_are_no_retransmissions_but_timer_f(self) -> None:
        driver = Driver()
        driver.always = silence
        driver.add(registrar=REGISTRAR)
        driver.run(33)
        assert not driver.retransmissions
        driver.assert_status("unregistered", "timeout")

    def test_profiles_share_it_and_the_last_one_closes_it(self, driver: Driver) -> None:
        driver.registered(2, registrar=REGISTRAR)
        assert driver.open == {TCP}
        driver.disable(1)
        driver.run(1)
        assert driver.open == {TCP}
        driver.disable(2)
        driver.run(1)
        assert not driver.open

    @pytest.mark.parametrize("respond", [answer(500), answer(403), silence, challenge(), ok(0)])
    def test_it_is_closed_after_a_failure(self, respond: Any) -> None:
        driver = Driver()
        driver.always = respond
        driver.add(registrar=REGISTRAR)
        driver.run(40)
        assert not driver.open
        assert not driver.registrations.transports

    def test_it_is_closed_when_nobody_wanted_it_in_the_end(self) -> None:
        driver = Driver()
        driver.unopened = {"192.0.2.1"}
        driver.add(registrar=REGISTRAR)
        driver.disable()
        driver.registrations.transport_opened(TCP, ("198.51.100.1", 40001), driver.now)
        driver.settle()
        assert TCP in driver.closed
        assert not driver.registrations.transports

    def test_one_that_does_not_open_is_given_up(self) -> None:
        driver = Driver()
        driver.unopened = {"192.0.2.1"}
        driver.add(registrar=REGISTRAR)
        driver.run(12)
        driver.assert_status("unregistered", "transport_timeout")

    def test_a_refused_one_leads_to_the_next_target(self) -> None:
        driver = Driver()
        driver.refused = {"192.0.2.7"}
        driver.registered(proxies=[server("sip:192.0.2.7;transport=tcp"), server("sip:192.0.2.8")])
        assert driver.state().target == "udp:192.0.2.8:5060"
        assert ";transport=tcp" not in (driver.sends[-1][2].header("contact") or "")

    def test_moving_to_another_transport_closes_it(self, driver: Driver) -> None:
        driver.update(registrar=server("sip:192.0.2.1"))
        driver.run(1)
        driver.assert_status("registered")
        assert not driver.open


class TestLoss:
    """Losing the connection loses the registration: the registrar cannot reach us any more."""

    def test_it_is_told_and_repaired_at_once(self, driver: Driver) -> None:
        driver.run(60)
        driver.fail(TCP)
        driver.run(1)
        assert driver.events() == ["deregistered", "status", "registered"]
        driver.assert_status("registered")
        assert len(driver.sent()) == 1

    def test_the_old_contact_is_removed_if_the_registrar_still_lists_it(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.run(60)
        driver.always = ok(3600, f"<{old}>;expires=3000")
        driver.fail(TCP)
        driver.run(1)
        assert driver.sends[-1][2].header("contact") == f"<{old}>;expires=0"
        driver.assert_status("registered")

    def test_all_profiles_on_it_come_back(self, driver: Driver) -> None:
        for number in range(2, 20):
            driver.registered(number, registrar=REGISTRAR)
        driver.run(60)
        driver.fail(TCP)
        driver.run(5)
        for number in driver.profiles:
            driver.assert_status("registered", number=number)

    def test_during_a_refresh(self, driver: Driver) -> None:
        driver.always = silence
        driver.run_to_register()
        driver.sent()
        driver.fail(TCP)
        driver.assert_status("unregistered", "transport_closed")
        assert driver.events() == ["deregistered", "error"]
        driver.always = ok()
        driver.run(61)
        driver.assert_status("registered")

    def test_while_a_failed_refresh_waits_for_its_next_try(self, driver: Driver) -> None:
        driver.answers.append(answer(500))
        driver.run_to_register()
        driver.assert_status("registered", error="response")
        driver.fail(TCP)
        driver.assert_status("unregistered", "transport_closed")
        assert driver.events()[-1] == "deregistered"
        driver.run(70)
        driver.assert_status("registered")

    def test_during_a_deregistration(self, driver: Driver) -> None:
        driver.always = silence
        driver.disable()
        driver.fail(TCP)
        driver.assert_status("unregistered", "binding_may_remain")

    def test_of_what_nobody_wants_is_nobodys_business(self, driver: Driver) -> None:
        driver.stop(deregister=False)
        driver.fail(TCP)
        driver.run(100)
        driver.assert_quiet()

    def test_while_waiting_for_a_token_it_is_opened_again(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=1, burst=1))
        driver.always = silence
        driver.add(1, registrar=server("sip:192.0.2.1:5060"))
        driver.always = ok()
        driver.add(2, registrar=REGISTRAR)
        driver.fail(TCP)
        driver.run(10)
        driver.assert_status("registered", number=2)

    def test_who_waits_for_a_token_keeps_it_open(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=0.1, burst=1))
        driver.registered(1, registrar=REGISTRAR)
        driver.add(2, registrar=REGISTRAR)
        driver.disable(1)
        driver.run(2)
        assert not driver.closed
        driver.run(30)
        driver.assert_status("registered", number=2)


class TestUnfriendlyServers:
    """Servers that close the connection are not hammered."""

    def test_accepts_and_closes(self) -> None:
        driver = Driver()
        driver.always = silence
        driver.add(registrar=REGISTRAR)
        closed = 0
        for _ in range(3600):
            if TCP in driver.open:
                driver.fail(TCP)
                closed += 1
            driver.run(1)
        assert 1 < closed < 130
        assert len(driver.sends) < 130

    def test_registers_and_closes(self) -> None:
        driver = Driver()
        driver.add(registrar=REGISTRAR)
        for _ in range(3600):
            if driver.state().status == "registered":
                driver.fail(TCP)
            driver.run(1)
        assert len(driver.sends) < 130

    def test_closes_instead_of_removing_the_old_contact(self) -> None:
        driver = Driver()
        kept: list[str] = []

        def hoard(request: Request, key: Any) -> bytes | None:
            contact = request.header("contact") or ""
            if contact.endswith(";expires=0"):
                return None
            listed = [f"Contact: {entry};expires=3000" for entry in kept]
            kept.append(contact)
            return reply(request, 200, *listed, f"Contact: {contact};expires=3600")

        driver.always = hoard
        driver.add(registrar=REGISTRAR)
        driver.run(60)
        driver.fail(TCP)
        for _ in range(2000):
            last = driver.sends[-1][2].header("contact") or ""
            if last.endswith(";expires=0") and driver.flow().phase == SENT:
                driver.fail(TCP)
            driver.run(1)
        assert len(driver.sends) < 150

    def test_challenges_and_closes(self) -> None:
        driver = Driver()
        driver.always = lambda request, key: None if request.header("authorization") else digest()(request, key)
        driver.add(registrar=REGISTRAR)
        for _ in range(3600):
            if driver.sends[-1][2].header("authorization") and TCP in driver.open:
                driver.fail(TCP)
            driver.run(1)
        assert len(driver.sends) < 260


class TestRestart:
    def test_it_registers_at_once_and_removes_the_dead_contact(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.crash()
        driver.assert_status("unregistered")
        assert driver.registrations.has_binding(1)
        driver.always = ok(3600, f"<{old}>;expires=3000")
        driver.want()
        driver.run(1)
        driver.assert_status("registered")
        assert driver.sends[-1][2].header("contact") == f"<{old}>;expires=0"

    def test_without_a_user_it_is_given_back(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.crash()
        driver.disable()
        driver.run(1)
        assert f"<{old}>" in (driver.sent_register().header("contact") or "")
        driver.assert_status("unregistered", "disabled")
        assert not driver.open
