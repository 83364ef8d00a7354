"""Addresses and routes change: what is registered follows, once and with the new contact first."""

from __future__ import annotations

from typing import Any

import pytest
from changing_network import HERE, SETTLED, SIX, THERE, connected, contacts, driver
from machine_driver import TCP, UDP, Driver, ok, server, silence

from sipprofile.registration import turns
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.registration import WAITING
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.locating import Question
from sipprofile.sip.message import Request

__all__ = ["connected", "driver"]


@pytest.mark.pain(11)
class TestAnotherAddress:
    """UDP: the socket stays, the address that datagrams leave from is another."""

    def test_it_registers_once_with_the_new_contact(self, driver: Driver) -> None:
        driver.move(THERE)
        driver.run(SETTLED)
        request = driver.sent_register()
        assert f"@{THERE}:5060>" in contacts(request)[0]
        assert (request.header("via") or "").startswith(f"SIP/2.0/UDP {THERE}:5060")
        driver.assert_status("registered")
        driver.run(600)
        driver.assert_quiet()

    def test_what_is_too_large_for_udp_does_not_go_over_a_connection_that_is_lost_with_the_address(self) -> None:
        driver = Driver()
        driver.registered(headers=["X-Large: " + "x" * 1400])
        assert driver.sends[-1][1] == TCP
        driver.sends.clear()
        driver.gone = {HERE}
        driver.move(THERE)
        driver.run(SETTLED)
        ((_, key, request),) = driver.sends
        assert key == TCP
        assert f"@{THERE}:5060>" in contacts(request)[0]
        driver.assert_status("registered")

    @pytest.mark.parametrize("meanwhile", [True, False])
    def test_a_keepalive_that_went_out_while_the_address_was_gone_is_sent_again(
        self, driver: Driver, meanwhile: bool
    ) -> None:
        driver.run(60)
        keepalive = driver.registrations.keepalives[UDP]
        driver.run(keepalive.next_at - driver.now - 0.1 if meanwhile else 1.0)
        driver.keepalives.clear()
        driver.change_network()
        driver.run(0.2)
        driver.change_network(HERE)
        driver.run(SETTLED)
        driver.assert_quiet()
        assert len(driver.keepalives) == (2 if meanwhile else 0)

    def test_it_is_the_same_binding_to_the_registrar(self, driver: Driver) -> None:
        before = driver.sends[-1][2]
        driver.move(THERE)
        driver.run(SETTLED)
        request = driver.sent_register()
        assert request.header("call-id") == before.header("call-id")
        assert request.cseq()[0] == before.cseq()[0] + 1

    def test_the_old_contact_is_removed_if_the_registrar_still_lists_it(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.always = ok(3600, f"<{old}>;expires=3000")
        driver.move(THERE)
        driver.run(SETTLED)
        first, then = driver.sent()
        assert THERE in contacts(first)[0]
        assert contacts(then) == [f"<{old}>;expires=0"]
        driver.assert_status("registered")

    def test_it_waits_for_the_changes_to_end(self, driver: Driver) -> None:
        driver.move(THERE)
        driver.run(0.9)
        driver.assert_quiet()
        driver.move("198.51.100.3")
        driver.run(0.9)
        driver.assert_quiet()
        driver.run(SETTLED)
        assert "198.51.100.3" in contacts(driver.sent_register())[0]

    def test_but_not_for_ever(self, driver: Driver) -> None:
        driver.local["udp"] = (THERE, 5060)
        began = driver.now
        while not driver.sent():
            driver.change_network(THERE)
            driver.run(0.2)
            assert driver.now - began < 6

    def test_nothing_is_sent_when_the_address_is_back_before(self, driver: Driver) -> None:
        driver.move(THERE)
        driver.run(0.5)
        driver.move(HERE)
        driver.run(100)
        driver.assert_quiet()

    def test_a_storm_of_changes_that_are_not_ours_sends_nothing(self) -> None:
        driver = Driver(settings=RegistrationSettings(canary_interval=1000, backoff_base=1000))
        driver.registered()
        driver.always = silence
        driver.add(2, registrar=server("sip:192.0.2.9"))
        driver.run(40)
        driver.assert_status("unregistered", "timeout", number=2)
        driver.sent()
        for _ in range(1000):
            driver.change_network(HERE, "172.17.0.1")
            driver.run(0.01)
        driver.run(SETTLED)
        driver.assert_quiet()
        assert driver.forgotten == 1
        assert len(driver.probes) < 12

    def test_everybody_there_moves_through_the_bucket(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=10, burst=10))
        for number in range(1, 41):
            driver.registered(number)
            driver.run(1)
        driver.sent()
        driver.move(THERE)
        driver.run(SETTLED)
        assert 10 <= len(driver.sent()) <= 30
        driver.run(5)
        for number in driver.profiles:
            assert THERE in (driver.state(number).registered_contact or "")
        assert len(driver.sends) == 80

    def test_ten_thousand_flows_are_not_dealt_with_in_one_go(self, driver: Driver, monkeypatch: Any) -> None:
        monkeypatch.setattr(turns, "AT_ONCE", 3)
        for number in range(2, 12):
            driver.registered(number)
        driver.sent()
        driver.move(THERE)
        while not (sent := driver.sent()):
            driver.run(turns.PAUSE / 2)
        assert len(sent) <= 3
        driver.run(SETTLED)
        assert len(driver.sent()) == 11 - len(sent)

    def test_a_request_on_the_wire_is_waited_for(self, driver: Driver) -> None:
        driver.always = silence
        driver.run_to_register()
        driver.sent()
        driver.move(THERE)
        driver.run(2.2)
        driver.assert_quiet()
        driver.always = ok()
        request = driver.sends[-1][2]
        driver.registrations.received(ok()(request, UDP) or b"", (UDP.host, 5060), UDP, driver.now)
        driver.settle()
        driver.run(1)
        assert THERE in contacts(driver.sent_register())[0]
        assert driver.rows[1].local_host == THERE

    def test_after_a_crash_in_between_the_row_says_what_the_contact_shows(self, driver: Driver) -> None:
        driver.always = silence
        driver.run_to_register()
        driver.move(THERE)
        driver.run(2.2)
        request = driver.sends[-1][2]
        driver.registrations.received(ok()(request, UDP) or b"", (UDP.host, 5060), UDP, driver.now)
        driver.settle()
        assert driver.rows[1].local_host == HERE
        assert driver.rows[1].lease_ends > driver.now
        driver.always = ok()
        driver.crash()
        driver.run(1)
        assert THERE in (driver.state().registered_contact or "")

    def test_users_learn_the_new_contact_and_flow(self, driver: Driver) -> None:
        driver.events()
        driver.move(THERE)
        driver.run(SETTLED)
        state = driver.changes[-1].state
        assert f"@{THERE}:5060" in (state.registered_contact or "")
        assert state.flow == f"{THERE}:5060>udp:192.0.2.1:5060"
        assert state.status == "registered"
        assert "deregistered" not in driver.events()

    def test_the_registered_contact_is_the_old_one_until_then(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.always = silence
        driver.move(THERE)
        driver.run(SETTLED)
        driver.sent_register()
        state = driver.assert_status("registered")
        assert state.registered_contact == old
        assert (state.flow or "").startswith(HERE)

    def test_a_crash_before_the_answer_forgets_no_contact(self, driver: Driver) -> None:
        old = driver.state().registered_contact
        driver.always = silence
        driver.move(THERE)
        driver.run(SETTLED)
        driver.registrations.clock_jumped(driver.registrations.wall_offset, driver.now)  # all rows are written
        driver.settle()
        driver.always = ok(3600, f"<{old}>;expires=3000")
        driver.crash()
        driver.want()
        driver.run(1)
        assert contacts(driver.sends[-1][2]) == [f"<{old}>;expires=0"]

    def test_what_a_nat_made_of_the_old_address_is_forgotten(self, driver: Driver) -> None:
        def behind_a_nat(request: Request, key: TransportKey) -> bytes | None:
            response = ok()(request, key)
            return response and response.replace(b";rport;", b";rport=4000;received=203.0.113.9;", 1)

        driver.always = behind_a_nat
        driver.run_to_register()
        driver.run(1)
        assert "@203.0.113.9:4000" in (driver.state().registered_contact or "")
        driver.sent()
        driver.always = ok()
        driver.move(THERE)
        driver.run(SETTLED)
        assert f"@{THERE}:5060" in contacts(driver.sent_register())[0]

    def test_the_new_path_has_its_own_mtu(self, driver: Driver) -> None:
        driver.mtu = 1492
        driver.move(THERE)
        driver.run(SETTLED)
        assert driver.registrations.transports[UDP].limit == 1292

    def test_what_nobody_uses_is_asked_for_when_it_is_used(self, driver: Driver) -> None:
        driver.disable()
        driver.run(1)
        driver.sent()
        driver.move(THERE)
        driver.run(SETTLED)
        driver.assert_quiet()
        driver.want()
        driver.run(1)
        assert THERE in contacts(driver.sent_register())[0]

    def test_an_ended_service_begins_nothing(self, driver: Driver) -> None:
        driver.stop(deregister=False)
        driver.move(THERE)
        driver.run(100)
        driver.assert_quiet()

    def test_paused_profiles_stay_paused(self, driver: Driver) -> None:
        driver.hold("paused")
        driver.run(1)
        driver.sent()
        driver.move(THERE)
        driver.run(100)
        driver.assert_quiet()


@pytest.mark.pain(11)
class TestNames:
    def test_they_are_looked_up_again(self) -> None:
        driver = Driver()
        driver.names["reg.test"] = ("192.0.2.1",)
        driver.registered(registrar=server("sip:reg.test:5060"))
        driver.names["reg.test"] = ("192.0.2.77",)
        driver.move(THERE)
        driver.run(SETTLED)
        assert driver.forgotten == 1
        assert driver.state().target == "udp:192.0.2.77:5060"

    def test_the_old_address_serves_while_no_name_server_answers(self) -> None:
        driver = Driver()
        driver.names["reg.test"] = ("192.0.2.1",)
        driver.registered(registrar=server("sip:reg.test:5060"))
        driver.unanswered_names = {"reg.test"}
        driver.move(THERE)
        driver.run(SETTLED + 2)
        assert driver.state().target == "udp:192.0.2.1:5060"
        assert THERE in (driver.state().registered_contact or "")

    def test_a_question_under_way_is_asked_again(self) -> None:
        driver = Driver()
        driver.unanswered_names = {"reg.test"}
        driver.add(registrar=server("sip:reg.test:5060"))
        driver.run(1)
        assert driver.asked == [Question("reg.test", "ADDRESS")]
        driver.unanswered_names = set()
        driver.names["reg.test"] = ("192.0.2.1",)
        driver.move(THERE)
        driver.run(SETTLED)
        driver.assert_status("registered")

    def test_who_waits_for_want_of_a_name_tries_at_once(self) -> None:
        driver = Driver()
        driver.add(registrar=server("sip:reg.test:5060"))
        driver.run(1)
        driver.assert_status("unregistered", "resolve_not_found")
        driver.names["reg.test"] = ("192.0.2.1",)
        driver.move(THERE)
        driver.run(SETTLED)
        driver.assert_status("registered")

    def test_so_does_who_failed_to_refresh_for_want_of_one(self) -> None:
        driver = Driver()
        driver.names["reg.test"] = ("192.0.2.1",)
        driver.registered(registrar=server("sip:reg.test:5060"))
        driver.update(registrar=server("sip:other.test:5060"))
        driver.run(1)
        assert driver.flow().phase == WAITING
        driver.names["other.test"] = ("192.0.2.1",)
        driver.change_network(HERE, THERE)
        driver.run(SETTLED)
        assert driver.flow().phase != WAITING

    def test_without_another_address_they_are_kept(self) -> None:
        driver = Driver()
        driver.registered()
        driver.change_network(HERE)
        driver.run(SETTLED)
        before = driver.forgotten
        driver.change_network(HERE)
        driver.run(SETTLED)
        assert driver.forgotten == before


@pytest.mark.pain(11)
class TestNoNetwork:
    """There is no way at all: the lease lives, the failure shows, and the network's return ends the waiting."""

    @pytest.fixture
    def cut_off(self, driver: Driver) -> Driver:
        driver.cut_off = True
        driver.change_network()
        driver.run(SETTLED)
        return driver

    def test_the_lease_holds_with_the_failure_and_a_next_try(self, cut_off: Driver) -> None:
        state = cut_off.assert_status("registered", error="transport_unreachable")
        assert state.next_try is not None
        cut_off.assert_quiet()

    def test_its_end_ends_the_registration(self, cut_off: Driver) -> None:
        cut_off.run(3600)
        cut_off.assert_status("unregistered")
        cut_off.assert_quiet()
        assert cut_off.next_try() > 0

    @pytest.mark.parametrize("later", [3.0, 600.0, 5000.0])
    def test_its_return_is_used_at_once(self, cut_off: Driver, later: float) -> None:
        cut_off.run(later)
        cut_off.cut_off = False
        cut_off.change_network(HERE)
        cut_off.run(SETTLED)
        cut_off.sent_register()
        cut_off.assert_status("registered")
        assert cut_off.state().last_error is None

    def test_everybody_returns_in_random_order(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=20, burst=1))
        for number in range(1, 21):
            driver.registered(number)
        driver.cut_off = True
        driver.change_network()
        driver.run(4000)
        driver.sent()
        driver.cut_off = False
        driver.change_network(HERE)
        driver.run(4)
        order = [request.header("to") for request in driver.sent()]
        assert len(order) == 20
        assert order != sorted(order, key=str)

    def test_the_other_family_is_used_when_one_is_gone(self) -> None:
        driver = Driver()
        driver.names["reg.test"] = (SIX, "192.0.2.1")
        driver.registered(registrar=server("sip:reg.test:5060"))
        assert driver.state().target == f"udp:[{SIX}]:5060"
        driver.out_of_reach = {SIX}
        driver.change_network(HERE)
        driver.run(SETTLED)
        assert driver.state().target == "udp:192.0.2.1:5060"
        driver.assert_status("registered")

    def test_who_has_just_begun_waits_for_it(self) -> None:
        driver = Driver()
        driver.cut_off = True
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "transport_unreachable")
        driver.cut_off = False
        driver.change_network(HERE)
        driver.run(SETTLED)
        driver.assert_status("registered")

    def test_a_server_that_is_down_stays_so_while_the_way_to_it_is_the_same(self, driver: Driver) -> None:
        driver.change_network(HERE)
        driver.run(SETTLED)
        driver.always = silence
        driver.run_to_register()
        driver.run(40)
        assert driver.flow().phase == WAITING
        driver.sent()
        driver.change_network(HERE, "172.17.0.1")
        driver.run(SETTLED)
        driver.assert_quiet()

    def test_and_is_tried_when_it_is_another(self, driver: Driver) -> None:
        driver.change_network(HERE)
        driver.run(SETTLED)
        driver.always = silence
        driver.run_to_register()
        driver.run(40)
        driver.sent()
        driver.always = ok()
        driver.move(THERE)
        driver.run(SETTLED)
        driver.sent_register()
        driver.assert_status("registered")
