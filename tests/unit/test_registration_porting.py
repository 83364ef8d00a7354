"""What the registrations of the original did: a test for each row of docs/porting.md that speaks of them."""

from __future__ import annotations

import itertools

import pytest
from registration_world import AOR, REGISTRAR, World, server

from sipprofile.registration.settings import RegistrationSettings

SECOND = "192.0.2.2"
THIRD = "192.0.2.3"


@pytest.fixture
def world() -> World:
    return World()


def registered(world: World) -> World:
    world.add()
    world.run(1)
    assert world.status == "registered"
    return world


class TestRegistering:
    def test_enable_registers_with_one_challenge(self, world: World) -> None:
        registered(world)
        assert world.answers() == [401, 200]
        assert len(world.bindings()) == 1
        assert world.names_of_events()[-1] == "registered"

    def test_the_request_has_the_registrar_and_the_aor_in_their_places(self, world: World) -> None:
        world.add(contact_params=["q=0.5"], headers=["X-Site: berlin"])
        world.run(1)
        request = world.requests()[-1]
        assert request.uri == f"sip:{REGISTRAR}"
        assert AOR in (request.header("to") or "")
        assert AOR in (request.header("from") or "")
        contact = request.header("contact") or ""
        assert "@192.0.2.10:5060" in contact
        assert ";q=0.5" in contact
        assert request.header("x-site") == "berlin"

    def test_what_was_registered_is_shown(self, world: World) -> None:
        registered(world)
        assert world.state().registered_aors == [AOR]
        assert (world.state().registered_contact or "none") in world.bindings()[0].contact

    def test_the_outbound_proxy_is_the_route(self, world: World) -> None:
        proxy = world.add_registrar(SECOND)
        world.add(proxies=[server(SECOND)])
        world.run(1)
        assert world.status == "registered"
        assert len(world.bindings(proxy)) == 1
        request = world.requests()[-1]
        assert request.uri == f"sip:{REGISTRAR}"
        assert request.header("route") == f"<sip:{SECOND};lr>"

    def test_the_strongest_algorithm_is_used(self, world: World) -> None:
        world.registrar.faults.algorithms = ("MD5", "SHA-256")
        registered(world)
        assert "algorithm=SHA-256" in (world.requests()[-1].header("authorization") or "")

    def test_timers_of_rfc_3261_retransmit_and_give_up(self, world: World) -> None:
        world.registrar.faults.silent = True
        world.add()
        world.run(31.9)
        begin = world.sent[0][0]
        times = [round(at - begin, 1) for at, _, _ in world.sent]
        assert times[:5] == [0, 0.5, 1.5, 3.5, 7.5]
        assert world.status == "registering"
        world.run(1)
        reason = world.state().last_error or world.state().reason
        assert reason.code == "timeout"


class TestStatus:
    def test_the_four_values(self, world: World) -> None:
        world.add(wanted=False)
        assert world.status == "unregistered"
        world.want(True)
        assert world.status == "registering"
        world.run(1)
        assert world.status == "registered"
        world.want(False)
        assert world.status == "unregistering"
        world.run(1)
        assert world.status == "unregistered"
        assert world.names_of_events()[-1] == "deregistered"

    def test_a_refresh_is_no_second_registered_event(self, world: World) -> None:
        registered(world)
        world.run(3700)
        assert world.names_of_events().count("registered") == 1
        assert world.names_of_events()[-1] == "status"


class TestEnableAndDisable:
    def test_the_last_disable_removes_the_binding(self, world: World) -> None:
        registered(world)
        world.want(False)
        world.run(1)
        assert world.bindings() == []
        assert "expires=0" in (world.requests()[-1].header("contact") or "")

    def test_disable_while_register_is_on_the_wire_tears_the_binding_down(self, world: World) -> None:
        world.add()
        world.run(0.031)  # the REGISTER with credentials is on its way
        world.want(False)
        world.run(2)
        assert world.answers()[:2] == [401, 200]
        assert world.bindings() == []
        assert world.status == "unregistered"

    def test_disable_while_nothing_is_on_the_wire_sends_nothing(self, world: World) -> None:
        world.registrar.faults.status = 500
        world.add()
        world.run(1)
        sent = len(world.sent)
        world.want(False)
        world.run(100)
        assert len(world.sent) == sent
        assert world.status == "unregistered"

    def test_enable_while_unregistering_registers_again(self, world: World) -> None:
        registered(world)
        world.want(False)
        world.want(True)
        world.run(2)
        assert world.status == "registered"
        assert len(world.bindings()) == 1

    def test_force_disable_sends_nothing(self, world: World) -> None:
        registered(world)
        sent = len(world.sent)
        world.registrations.hold(1, "forcibly_disabled", world.now)
        world.settle()
        world.run(10)
        assert len(world.sent) == sent
        assert len(world.bindings()) == 1, "the registrar was not told"
        assert world.status == "unregistered"
        assert world.state().reason.code == "forcibly_disabled"
        assert world.names_of_events()[-1] == "forcibly_disabled"

    def test_retry_now_does_not_wait_for_the_back_off(self, world: World) -> None:
        world.registrar.faults.status = 500
        world.add()
        world.run(1)
        assert world.state().next_try is not None
        world.registrar.faults.status = None
        world.registrations.retry_now(1, world.now)
        world.settle()
        world.run(1)
        assert world.status == "registered"


class TestFailures:
    def test_no_failure_is_the_last(self, world: World) -> None:
        world.registrar.faults.status = 603
        world.add()
        for _ in range(12):
            world.run(1800)
            state = world.state()
            assert state.next_try is not None or state.status == "registering"
        world.registrar.faults.status = None
        world.run(1801)
        assert world.status == "registered"

    def test_error_events_say_why_and_what_comes_next(self, world: World) -> None:
        world.registrar.faults.status = 603
        world.add()
        world.run(1)
        error = [event for event in world.events if event.event == "error"][-1]
        reason = error.state.last_error or error.state.reason
        assert (reason.code, reason.status_code) == ("response", 603)
        assert error.state.next_try is not None

    def test_back_off_doubles_with_half_of_it_random(self, world: World) -> None:
        world.registrar.faults.status = 500
        world.add()
        world.run(20_000)
        times = [at for at, _, _ in world.sent]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        for number, wait in enumerate(waits[:8], 1):
            longest = min(1800.0, 30 * 2.0**number)
            assert longest * 0.5 - 1 <= wait <= longest + 1
        assert max(waits) <= 1801

    def test_no_password(self, world: World) -> None:
        world.add(registrar=server(password=None))
        world.run(1)
        reason = world.state().last_error or world.state().reason
        assert reason.code == "no_credentials"

    def test_a_wrong_password_is_tried_twice_and_then_once_an_hour(self, world: World) -> None:
        world.add(registrar=server(password="wrong"))
        world.run(1800)
        tried = sum("authorization" in data.decode().lower() for _, _, data in world.sent)
        assert tried == 2
        assert world.state().reason.code in ("credentials_needed", "rejected_credentials")
        world.run(2 * 3600)
        tried = sum("authorization" in data.decode().lower() for _, _, data in world.sent)
        assert 3 <= tried <= 4
        world.update(registrar=server())
        world.run(1)
        assert world.status == "registered"

    def test_403_is_an_answer_to_the_credentials(self, world: World) -> None:
        world.registrar.faults.reject_users = {"alice"}
        world.add()
        world.run(1)
        state = world.state()
        assert state.status != "registered"
        assert (state.last_error or state.reason).status_code == 403

    def test_423_is_followed_at_once(self, world: World) -> None:
        world.registrar.faults.min_expires = 600
        world.add(expires=60)
        world.run(1)
        assert 423 in world.answers()
        assert world.status == "registered"
        assert world.state().expires_granted == 600

    def test_retry_after_is_honoured(self, world: World) -> None:
        world.registrar.faults.status = 500
        world.registrar.faults.retry_after = 400
        world.add()
        world.run(1)
        next_try = world.state().next_try
        assert next_try is not None
        assert next_try - utc(world) >= 399

    def test_a_redirect_is_followed_inside_the_domain_only(self, world: World) -> None:
        world.registrar.faults.redirect = "<sip:203.0.113.1>"
        world.add()
        world.run(1)
        assert {key.host for _, key, _ in world.sent} == {REGISTRAR}
        assert (world.state().last_error or world.state().reason).code == "redirected"

    @pytest.mark.parametrize("status", [503, 408, 500])
    def test_the_next_target_comes_before_back_off(self, world: World, status: int) -> None:
        first, second = world.add_registrar(SECOND), world.add_registrar(THIRD)
        first.faults.status = status
        world.names["pbx.example.test"] = (SECOND, THIRD)
        world.add(registrar=server("pbx.example.test"))
        world.run(1)
        assert world.status == "registered"
        assert len(world.bindings(second)) == 1
        assert world.state().target is not None
        assert THIRD in str(world.state().target)

    def test_a_name_that_does_not_exist(self, world: World) -> None:
        world.add(registrar=server("nowhere.example.test"))
        world.run(1)
        state = world.state()
        assert (state.last_error or state.reason).code == "resolve_not_found"
        assert state.next_try is not None

    def test_a_closed_port(self, world: World) -> None:
        world.refused.add(REGISTRAR)
        world.add()
        world.run(1)
        assert (world.state().last_error or world.state().reason).code == "transport_refused"

    def test_a_failed_refresh_keeps_registered_until_the_lease_ends(self, world: World) -> None:
        registered(world)
        lease_ends = world.state().lease_ends
        assert lease_ends is not None
        world.registrar.faults.status = 500
        world.run(lease_ends - utc(world) - 1)
        assert world.status == "registered"
        assert world.state().last_error is not None
        world.run(2)
        assert world.status != "registered"
        assert "deregistered" in world.names_of_events()


class TestLease:
    def test_a_2xx_must_grant_our_contact_some_time(self, world: World) -> None:
        world.registrar.faults.zero_grant = True
        world.add()
        world.run(1)
        assert world.status != "registered"
        assert (world.state().last_error or world.state().reason).code == "zero_grant"

    def test_a_2xx_without_our_contact(self, world: World) -> None:
        world.registrar.faults.omit_contact = True
        world.add()
        world.run(1)
        assert world.status != "registered"
        assert (world.state().last_error or world.state().reason).code == "contact_missing"

    @pytest.mark.parametrize(
        ("grant", "earliest", "latest"), [(3600, 3600 * 0.8 - 1, 3600 * 0.9 + 1), (100, 49, 61), (20, 9, 13)]
    )
    def test_refreshes_come_in_time_and_in_one_round_trip(
        self, world: World, grant: int, earliest: float, latest: float
    ) -> None:
        world.registrar.faults.maximum_expires = grant
        world.registrar.faults.nonce_lifetime = 1e9
        registered(world)
        sent, begin = len(world.registers()), world.registers()[-1][0]
        world.run(latest)
        assert len(world.registers()) == sent + 1
        assert earliest <= world.registers()[-1][0] - begin <= latest
        assert world.answers()[-1] == 200


class TestUpdates:
    def test_what_the_registrar_does_not_see_sends_nothing(self, world: World) -> None:
        registered(world)
        sent = len(world.sent)
        world.update(provider_name="Example", labels={"site": "berlin"}, linger=5.0, register="always")
        world.update()
        world.update(registrar=server(password="another"))
        world.run(10)
        assert len(world.sent) == sent
        assert world.status == "registered"

    def test_contact_parameters_cause_one_refresh(self, world: World) -> None:
        registered(world)
        answered = len(world.answers())
        world.update(contact_params=["q=0.3"])
        world.run(1)
        assert world.answers()[answered:] == [200]
        assert len(world.bindings()) == 1
        assert dict(world.bindings()[0].params)["q"] == "0.3"
        assert world.names_of_events().count("registered") == 1

    def test_another_registrar_gets_the_new_binding_before_the_old_one_goes(self, world: World) -> None:
        registered(world)
        other = world.add_registrar(SECOND)
        world.update(registrar=server(SECOND))
        world.run(2)
        assert len(world.bindings(other)) == 1
        assert world.bindings() == []
        assert world.status == "registered"
        new = [at for at, key, _ in world.sent if key.host == SECOND]
        old = [at for at, key, _ in world.sent if key.host == REGISTRAR]
        assert new[0] < old[-1], "new first, then old"

    def test_while_a_request_is_on_the_wire_the_latest_wins(self, world: World) -> None:
        world.add()
        world.run(0.031)
        world.update(contact_params=["q=0.1"])
        world.update(contact_params=["q=0.2"])
        world.run(2)
        assert len(world.bindings()) == 1
        assert dict(world.bindings()[0].params)["q"] == "0.2"
        assert not any(b"q=0.1" in data for _, _, data in world.sent)


def test_registrations_at_one_registrar_are_paced() -> None:
    world = World(settings=RegistrationSettings(rate=10.0, burst=5.0))
    for number in range(1, 41):
        world.add(number, contact_user=f"contact{number}")
    world.run(1)
    fresh = [seen for seen in world.registrar.log if not seen.authorized and seen.status == 401]
    assert len(fresh) <= 5 + 10 * 1 + 1
    world.run(10)
    assert len(world.bindings()) == 40


def utc(world: World) -> float:
    """The world's time as UTC."""
    return world.now + world.registrations.wall_offset
