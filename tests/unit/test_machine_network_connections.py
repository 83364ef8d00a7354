"""Connections when addresses and routes change, and the machine's sleep."""

from __future__ import annotations

import pytest
from changing_network import HERE, OVER_TCP, SETTLED, THERE, connected, contacts, driver, second
from machine_driver import TCP, Driver, answer, ok, server, silence

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.registration import SENT
from sipprofile.registration.settings import RegistrationSettings

__all__ = ["connected", "driver"]


@pytest.mark.pain(11)
class TestConnections:
    def test_one_whose_address_is_gone_is_dead(self, connected: Driver) -> None:
        connected.gone = {HERE}
        connected.move(THERE)
        connected.run(SETTLED)
        request = connected.sent_register()
        assert THERE in contacts(request)[0]
        assert connected.closed == [TCP]
        connected.assert_status("registered")
        assert connected.events() == ["deregistered", "status", "registered"]
        assert "address_lost" in [row.code for row in connected.history]

    def test_however_young_it_is(self) -> None:
        driver = Driver()
        driver.registered(registrar=OVER_TCP)
        driver.gone = {HERE}
        driver.move(THERE)
        driver.run(SETTLED)
        driver.sent_register()
        driver.assert_status("registered")

    def test_one_that_still_works_is_left_for_another(self, connected: Driver) -> None:
        """New first: the old connection is there until the new binding stands."""
        connected.always = silence
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        assert connected.open == {TCP, second(TCP)}
        connected.assert_status("registered")
        request = connected.sent_register()
        assert THERE in contacts(request)[0]
        response = ok()(request, TCP)
        assert response is not None
        connected.registrations.received(response, (TCP.host, 5060), second(TCP), connected.now)
        connected.settle()
        connected.assert_status("registered")
        assert connected.open == {second(TCP)}
        assert set(connected.events()) == {"status"}
        connected.always = ok()
        connected.run_to_register()
        assert connected.sends[-1][1] == second(TCP)

    def test_the_old_contact_goes_over_the_new_connection(self, connected: Driver) -> None:
        old = connected.state().registered_contact
        connected.always = ok(3600, f"<{old}>;expires=3000")
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        first, then = connected.sent()
        assert THERE in contacts(first)[0]
        assert contacts(then) == [f"<{old}>;expires=0"]
        assert {key for _, key, _ in connected.sends[-2:]} == {second(TCP)}

    def test_all_on_it_move_before_it_closes(self, connected: Driver) -> None:
        for number in range(2, 10):
            connected.registered(number, registrar=OVER_TCP)
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        assert len(connected.sent()) == 9
        assert connected.open == {second(TCP)}

    def test_one_that_cannot_be_replaced_is_kept(self, connected: Driver) -> None:
        connected.refused = {TCP.host}
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        assert connected.open == {TCP}
        connected.assert_status("registered")
        connected.refused = set()
        connected.run(7200)
        assert connected.open == {TCP}
        connected.assert_status("registered")
        assert not [change for change in connected.changes if change.event == "deregistered"]

    def test_and_not_tried_again_at_every_change_elsewhere(self, connected: Driver) -> None:
        connected.refused = {TCP.host}
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        connected.sent()
        for _ in range(5):
            connected.change_network(THERE, HERE, "172.17.0.1")
            connected.run(SETTLED)
            assert connected.state().last_error is None
        connected.assert_quiet()

    def test_the_other_one_leads_to_the_same_target(self) -> None:
        driver = Driver()
        driver.names["reg.test"] = ("192.0.2.1", "192.0.2.7")
        driver.hosts["192.0.2.1"] = answer(503)
        driver.registered(registrar=server("sip:reg.test:5060;transport=tcp"))
        del driver.hosts["192.0.2.1"]
        driver.run(120)
        bound = TransportKey("tcp", "192.0.2.7", 5060)
        assert driver.open == {bound}
        driver.move(THERE, HERE)
        driver.run(SETTLED)
        assert driver.open == {second(bound)}

    def test_a_request_on_the_old_one_is_waited_for(self, connected: Driver) -> None:
        connected.always = silence
        connected.run_to_register()
        connected.move(THERE, HERE)
        connected.run(2.2)
        assert connected.flow().phase == SENT
        connected.sent()
        connected.always = ok()
        response = ok()(connected.sends[-1][2], TCP)
        assert response is not None
        connected.registrations.received(response, (TCP.host, 5060), TCP, connected.now)
        connected.settle()
        connected.run(1)
        assert THERE in contacts(connected.sent_register())[0]
        assert connected.open == {second(TCP)}

    def test_a_move_back_is_another_move(self, connected: Driver) -> None:
        connected.move(THERE, HERE)
        connected.run(SETTLED)
        connected.move(HERE, THERE)
        connected.run(SETTLED)
        assert len(connected.sent()) == 2
        assert connected.open == {TransportKey("tcp", TCP.host, TCP.port, generation=2)}

    def test_one_without_a_change_is_left_alone(self, connected: Driver) -> None:
        for _ in range(5):
            connected.change_network(HERE, "172.17.0.1")
            connected.run(SETTLED)
        connected.assert_quiet()
        assert connected.open == {TCP}

    def test_one_survives_a_moment_without_a_route(self, connected: Driver) -> None:
        connected.cut_off = True
        connected.change_network(HERE)
        connected.run(SETTLED)
        connected.assert_status("registered")
        connected.cut_off = False
        connected.change_network(HERE)
        connected.run(SETTLED)
        connected.assert_status("registered")
        assert connected.open == {TCP}
        connected.assert_quiet()

    def test_one_that_is_lost_without_a_network_returns_with_it(self, connected: Driver) -> None:
        connected.cut_off = True
        connected.gone = {HERE}
        connected.change_network()
        connected.run(SETTLED)
        connected.assert_status("unregistered")
        connected.run(30)
        connected.cut_off, connected.gone = False, set()
        connected.change_network(HERE)
        connected.run(SETTLED)
        connected.assert_status("registered")
        connected.sent_register()


@pytest.mark.pain(11)
class TestSleep:
    def test_a_long_one_registers_once(self, driver: Driver) -> None:
        driver.resume(31)
        driver.run(SETTLED)
        driver.sent_register()
        driver.run(100)
        driver.assert_quiet()

    def test_a_short_one_changes_nothing(self, driver: Driver) -> None:
        driver.resume(5)
        driver.run(SETTLED)
        driver.assert_quiet()

    def test_the_address_changes_that_follow_are_awaited(self, driver: Driver) -> None:
        driver.resume(100)
        driver.run(0.9)
        driver.move(THERE)
        driver.run(SETTLED)
        assert THERE in contacts(driver.sent_register())[0]

    def test_connections_are_taken_for_dead_but_kept_until_another_stands(self, connected: Driver) -> None:
        connected.always = silence
        connected.resume(100)
        connected.run(SETTLED)
        assert connected.open == {TCP, second(TCP)}
        connected.assert_status("registered")
        assert connected.sends[-1][1] == second(TCP)

    def test_a_lease_that_ended_meanwhile_is_made_anew_once(self, driver: Driver) -> None:
        driver.resume(5000)
        driver.run(SETTLED)
        assert 1 <= len(driver.sent()) <= 2
        driver.assert_status("registered")
        driver.run(100)
        driver.assert_quiet()

    def test_who_waits_is_due(self, driver: Driver) -> None:
        driver.always = answer(503)
        driver.run_to_register()
        driver.sent()
        driver.always = ok()
        driver.change_network(HERE)
        driver.run(SETTLED)
        driver.sent()
        driver.resume(31)
        driver.run(SETTLED)
        driver.assert_status("registered")

    def test_many_are_paced(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=10, burst=5))
        for number in range(1, 31):
            driver.registered(number)
        driver.run(10)
        driver.sent()
        driver.resume(60)
        driver.run(SETTLED)
        assert len(driver.sent()) <= 30
        driver.run(5)
        assert len(driver.sends) == 60
