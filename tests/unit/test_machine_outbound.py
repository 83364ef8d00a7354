"""RFC 5626 in the registration machine: several flows for one registration, and what becomes of each."""

from __future__ import annotations

import pytest
from machine_driver import Driver, answer, challenge, ok, reply, server, silence
from outbound_registrar import (
    EDGES,
    KEY_A,
    KEY_B,
    UDP_EDGES,
    A,
    B,
    C,
    OutboundRegistrar,
    answer_keepalives,
    driver,
    reg_id,
    registrar,
    two,
)

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request

__all__ = ["driver", "registrar", "two"]

INSTANCE = "+sip.instance"


class TestRegister:
    """RFC 5626 §4.2.1: what a REGISTER carries."""

    def test_offers_outbound(self, driver: Driver) -> None:
        driver.add()
        sent = driver.sent_register()
        assert reg_id(sent) == "1"
        assert INSTANCE in (sent.header("contact") or "")
        assert sent.header("supported") == "path, outbound"

    @pytest.mark.parametrize(
        "changes", [{"outbound": False}, {"contact_uri": "sip:sbc@192.0.2.9"}, {"instance_id": ""}]
    )
    def test_does_not_where_it_makes_no_sense(self, driver: Driver, changes: dict[str, object]) -> None:
        driver.add(**changes)
        sent = driver.sent_register()
        assert reg_id(sent) is None
        assert sent.header("supported") == "path"

    def test_a_removal_names_the_same_binding(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.disable()
        two.run(1)
        assert sorted(reg_id(request) or "" for request in two.sent()) == ["1", "2"]
        assert registrar.bindings == {}


class TestFirstHopLacksOutbound:
    """§11.6: 439."""

    def test_is_registered_without_it_at_once(self, driver: Driver) -> None:
        driver.answers.extend([answer(439), ok()])
        driver.add(proxies=EDGES)
        driver.run(1)
        first, second = driver.sent()
        assert (reg_id(first), reg_id(second)) == ("1", None)
        assert second.header("supported") == "path"
        assert second.cseq()[0] == first.cseq()[0] + 1
        driver.assert_status("registered", "none")

    def test_remembers(self, driver: Driver) -> None:
        driver.answers.extend([answer(439), ok()])
        driver.add()
        driver.run_to_register()
        driver.run_to_register()
        assert reg_id(driver.sent()[-1]) is None

    def test_until_the_settings_change(self, driver: Driver) -> None:
        driver.answers.extend([answer(439), ok()])
        driver.add()
        driver.run(1)
        driver.update(contact_user="alice")
        driver.run(1)
        assert reg_id(driver.sent()[-1]) == "1"

    def test_when_nobody_wants_it_any_more(self, driver: Driver) -> None:
        driver.answers.append(answer(439))
        driver.add()
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert len(driver.sent()) == 1

    def test_twice_is_a_failure(self, driver: Driver) -> None:
        driver.always = answer(439)
        driver.add()
        driver.run(1)
        assert len(driver.sent()) == 2
        assert driver.assert_status("unregistered", "response").reason.status_code == 439

    def test_of_the_second_hop_leaves_the_first_flow_alone(self, driver: Driver) -> None:
        driver.hosts[B] = answer(439)
        driver.registered(proxies=EDGES)
        assert [flow.number for flow in driver.state().flows] == [1]
        assert driver.assert_status("registered", error="response").flows[0].outbound
        driver.run_to_register()
        assert [reg_id(request) for request in driver.sent()] == ["1"]
        driver.update(expires=1800)
        driver.run(1)
        assert len(driver.sent()) == 2  # the refresh, and another try over the second hop


class TestFlows:
    """§4.2: when there are several, and which."""

    @pytest.mark.pain(8)
    def test_none_before_the_registrar_requires_outbound(self, driver: Driver) -> None:
        driver.always = ok()
        driver.registered(proxies=EDGES)
        driver.run(7200)
        assert [key.host for _, key, _ in driver.sends] == [A] * len(driver.sends)
        driver.hosts[A] = silence
        driver.run(3600)
        driver.assert_status("registered", "none")
        assert driver.sends[-1][1].host == B

    def test_one_for_each_hop_after_it(self, two: Driver, registrar: OutboundRegistrar) -> None:
        assert registrar.flows() == ["1", "2"]
        state = two.state()
        assert [(flow.number, flow.target, flow.outbound) for flow in state.flows] == [
            (1, f"tcp:{A}:5060", True),
            (2, f"tcp:{B}:5060", True),
        ]
        assert state.target == f"tcp:{A}:5060"
        one, other = (two.flow(1, number) for number in (1, 2))
        assert one.call_id != other.call_id
        assert len({flow.local for flow in state.flows}) == 2

    def test_one_hop_is_one_flow(self, driver: Driver) -> None:
        driver.registered()
        assert [(flow.number, flow.outbound) for flow in driver.state().flows] == [(1, True)]

    def test_four_at_most(self, driver: Driver) -> None:
        driver.registered(proxies=[server(f"sip:192.0.2.{n};transport=tcp") for n in range(20, 30)])
        assert [flow.number for flow in driver.state().flows] == [1, 2, 3, 4]

    def test_two_on_one_udp_socket(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        """Their Contacts are equal but for the reg-id: each finds its own grant."""
        driver.registered(proxies=UDP_EDGES)
        assert registrar.flows() == ["1", "2"]
        one, other = (contact.partition(">")[0] for contact in registrar.bindings.values())
        assert one == other
        driver.run(4 * 3600)
        driver.assert_status("registered", "none")
        assert registrar.flows() == ["1", "2"]

    def test_the_grant_is_that_of_the_own_reg_id(self, driver: Driver) -> None:
        def respond(request: Request, _: TransportKey) -> bytes:
            contact = request.header("contact")
            other = (contact or "").replace("reg-id=1", "reg-id=2")
            lines = [f"Contact: {other};expires=3000", f"Contact: {contact};expires=100"]
            return reply(request, 200, *lines, "Require: outbound")

        driver.always = respond
        driver.registered()
        assert driver.state().expires_granted == 100

    @pytest.mark.parametrize("grant", ["60", "3600"])
    def test_another_reg_id_alone_is_no_grant(self, driver: Driver, grant: str) -> None:
        def respond(request: Request, _: TransportKey) -> bytes:
            other = (request.header("contact") or "").replace("reg-id=1", "reg-id=2")
            return reply(request, 200, f"Contact: {other};expires={grant}")

        driver.always = respond
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "contact_missing")

    def test_a_registrar_that_drops_the_parameter_grants_all_the_same(self, driver: Driver) -> None:
        def respond(request: Request, _: TransportKey) -> bytes:
            plain = (request.header("contact") or "").replace(";reg-id=1", "")
            return reply(request, 200, f"Contact: {plain};expires=600")

        driver.always = respond
        driver.registered()
        assert driver.state().expires_granted == 600

    def test_two_hops_at_one_address_are_one_flow(self, driver: Driver) -> None:
        driver.names = {"one.test": (A,), "two.test": (A,)}
        driver.registered(proxies=[server(f"sip:{name}.test;transport=tcp") for name in ("one", "two")])
        assert [flow.number for flow in driver.state().flows] == [1]
        driver.run(7200)
        assert {reg_id(request) for request in driver.sent()} == {"1"}

    def test_two_hops_that_share_addresses_take_different_ones(self, driver: Driver) -> None:
        driver.names = {"one.test": (A, B), "two.test": (A, B)}
        driver.registered(proxies=[server(f"sip:{name}.test:5060;transport=tcp") for name in ("one", "two")])
        assert len({flow.target for flow in driver.state().flows}) == 2

    def test_a_flow_whose_addresses_become_the_first_ones_goes(
        self, driver: Driver, registrar: OutboundRegistrar
    ) -> None:
        driver.names = {"one.test": (A,), "two.test": (B,)}
        driver.ttl = 10.0
        driver.registered(proxies=[server(f"sip:{name}.test;transport=tcp") for name in ("one", "two")])
        assert registrar.flows() == ["1", "2"]
        driver.names["two.test"] = (A,)
        driver.run(3600)
        assert registrar.flows() == ["1"]
        assert [flow.number for flow in driver.state().flows] == [1]

    def test_cseq_rises_in_each(self, two: Driver) -> None:
        numbers: dict[str | None, list[int]] = {"1": [], "2": []}
        for _, _, request in two.sends:
            numbers[reg_id(request)].append(request.cseq()[0])
        two.run(4 * 3600)
        for request in two.sent():
            numbers[reg_id(request)].append(request.cseq()[0])
        assert len(numbers["1"]) == len(numbers["2"]) >= 4
        for found in numbers.values():
            assert found == list(range(1, len(found) + 1))

    def test_which_began_by_failover_keeps_the_hop_it_found(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        driver.refused = {A}
        driver.add(proxies=EDGES)
        driver.run(1)
        assert [(flow.number, flow.target) for flow in driver.state().flows if flow.status == "registered"] == [
            (1, f"tcp:{B}:5060")
        ]
        driver.refused = set()
        driver.run(300)
        assert [(flow.number, flow.target) for flow in driver.state().flows] == [
            (1, f"tcp:{B}:5060"),
            (2, f"tcp:{A}:5060"),
        ]
        assert registrar.flows() == ["1", "2"]

    def test_go_when_the_registrar_no_longer_requires_outbound(self, two: Driver, registrar: OutboundRegistrar) -> None:
        registrar.plain = {A}
        two.run(3600)
        state = two.assert_status("registered", "none")
        assert [(flow.number, flow.outbound) for flow in state.flows] == [(1, False)]
        assert "2" not in registrar.flows()
        two.refused = {A}
        two.fail(KEY_A)
        two.run(5)
        assert two.assert_status("registered").target == f"tcp:{B}:5060"

    def test_which_is_granted_without_it_goes(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        registrar.plain = {B}
        driver.registered(proxies=EDGES)
        driver.run(5)
        assert [flow.number for flow in driver.state().flows] == [1]
        assert registrar.flows() == ["1"]
        driver.sent()
        driver.run(3600)
        assert [reg_id(request) for request in driver.sent()] == ["1"], "the hop is left alone"


@pytest.mark.pain(8)
class TestRecovery:
    """§4.5."""

    def test_losing_one_keeps_registered(self, two: Driver) -> None:
        two.refused = {A}
        two.run(60)
        two.fail(KEY_A)
        state = two.assert_status("registered", "none", error="transport_refused")
        assert two.events() == ["error", "error"]
        assert state.target == f"tcp:{B}:5060"
        lost, other = state.flows
        assert (lost.number, lost.status, lost.reason.code) == (1, "unregistered", "transport_refused")
        assert other.status == "registered"
        assert two.history[-1].status == "registered"
        assert two.history[-1].code == "transport_refused"

    @pytest.mark.parametrize(("lost", "number"), [(KEY_A, 1), (KEY_B, 2)])
    def test_comes_back_with_the_same_reg_id_on_the_same_hop(
        self, two: Driver, registrar: OutboundRegistrar, lost: TransportKey, number: int
    ) -> None:
        before = registrar.bindings["<sip:alice1@192.0.2.1>", str(number)]
        call_id = two.flow(1, number).call_id
        two.refused = {lost.host}
        two.fail(lost)
        two.run(400)
        two.assert_status("registered")
        two.sent()
        two.refused = set()
        two.run(200)
        request = two.sent_register()
        assert reg_id(request) == str(number)
        assert request.header("call-id") == call_id
        assert registrar.bindings["<sip:alice1@192.0.2.1>", str(number)] != before
        assert registrar.flows() == ["1", "2"]
        state = two.assert_status("registered", "none")
        assert state.last_error is None
        assert state.flows[number - 1].target == f"tcp:{lost.host}:5060"
        assert two.history[-1].code == "none"

    def test_the_base_time_is_90_s_while_another_flow_lives(self, two: Driver) -> None:
        two.hosts[B] = answer(500)
        two.fail(KEY_B)
        two.run(1)
        flow = two.flow(1, 2)
        assert flow.failures == 1
        assert 90 <= flow.next_try - two.now <= 180  # 90·2¹ × 0.5…1

    def test_and_30_s_when_all_failed(self, two: Driver) -> None:
        two.always = answer(500)
        two.fail(KEY_A)
        two.fail(KEY_B)
        two.run(1)
        assert two.flow(1, 1).failures == 1
        assert two.flow(1, 2).failures == 1
        assert 29 <= two.flow(1, 2).next_try - two.now <= 60

    def test_losing_the_last_leaves_registered_at_once(self, two: Driver) -> None:
        two.refused = {A, B}
        two.run(60)
        two.fail(KEY_A)
        two.assert_status("registered")
        two.events()
        two.fail(KEY_B)
        two.assert_status("unregistered", "transport_refused")
        assert "deregistered" in two.events()

    def test_both_come_back(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.refused = {A, B}
        two.fail(KEY_A)
        two.fail(KEY_B)
        two.run(300)
        two.refused = set()
        two.run(300)
        two.assert_status("registered", "none")
        assert registrar.flows() == ["1", "2"]

    def test_a_refresh_that_fails_while_the_lease_lives(self, two: Driver) -> None:
        two.hosts[B] = answer(500)
        two.run(3600)
        state = two.assert_status("registered", "none", error="response")
        assert [flow.reason.code for flow in state.flows] == ["none", "response"]
        two.run(1800)
        state = two.assert_status("registered", "none", error="response")
        assert [flow.status for flow in state.flows] == ["registered", "unregistered"]

    def test_430_fails_the_flow(self, two: Driver) -> None:
        two.hosts[B] = answer(430)
        two.run_to_register()
        two.run(400)
        states = {flow.number: flow for flow in two.state().flows}
        assert (states[1].status, states[2].status) == ("registered", "unregistered")
        assert states[2].reason.status_code == 430
        two.hosts = {}
        two.run(1800)
        assert [flow.status for flow in two.state().flows] == ["registered", "registered"]

    def test_430_on_the_only_flow(self, driver: Driver) -> None:
        driver.registered()
        driver.answers.append(answer(430))
        driver.run_to_register()
        driver.assert_status("unregistered", "response")
        driver.run(120)
        driver.assert_status("registered")

    def test_a_single_flow_may_use_any_hop(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        """The second hop lacks outbound, so there is one flow; when its edge is gone the other hop is there."""
        driver.hosts[B] = lambda request, key: answer(439)(request, key) if reg_id(request) else registrar(request, key)
        driver.registered(proxies=EDGES)
        driver.run(60)
        driver.refused = {A}
        driver.fail(KEY_A)
        driver.run(5)
        assert driver.assert_status("registered").target == f"tcp:{B}:5060"

    def test_the_third_hop_serves_when_both_flows_are_dead(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        registrar.plain = {C}
        driver.registered(proxies=[*EDGES, server(f"sip:{C};transport=tcp")])
        driver.run(5)
        assert [flow.number for flow in driver.state().flows] == [1, 2]
        driver.refused = {A, B}
        driver.fail(KEY_A)
        driver.fail(KEY_B)
        driver.run(300)
        assert driver.assert_status("registered").target == f"tcp:{C}:5060"


class TestCredentials:
    def test_a_refused_password_counts_once_for_all_flows(self, two: Driver) -> None:
        """The breaker of a registration opens after two refused attempts, however many flows it has."""
        before = len(two.sends)
        two.always = challenge("other")
        two.run(3 * 3600)
        state = two.state()
        assert state.status == "unregistered"
        refused = [request for _, _, request in two.sends[before:] if request.header("authorization")]
        assert len(refused) <= 4  # two attempts, and a probe an hour

    def test_a_password_that_only_one_edge_refuses(self, two: Driver) -> None:
        two.hosts[B] = challenge("other", status=407)
        two.run(2 * 3600)
        state = two.assert_status("registered", "none")
        assert [flow.number for flow in state.flows] == [1]
        assert len([key for _, key, _ in two.sends[2:] if key.host == B]) == 2


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_both_flows_come_back(seed: int) -> None:
    """Faults in any order; afterwards each edge has its flow, and nothing else is bound."""
    from random import Random

    chance = Random(seed)
    registrar = OutboundRegistrar()
    driver = Driver(seed=seed)
    driver.always = registrar
    answer_keepalives(driver)
    edges = chance.choice([EDGES, UDP_EDGES])
    driver.registered(proxies=edges)
    for _ in range(60):
        event = chance.randrange(12)
        host = chance.choice([A, B])
        if event < 3:
            for key in list(driver.open):
                if key.host == host:
                    driver.fail(key)
        elif event == 3:
            driver.hosts[host] = chance.choice([silence, answer(503), answer(430), answer(500)])
        elif event == 4:
            driver.refused ^= {host}
        elif event == 5:
            driver.hosts.clear()
            driver.refused = set()
        elif event == 6:
            driver.want(wanted=False)
            driver.run(chance.choice([0, 0.005, 1]))
            driver.want()
        elif event == 7:
            driver.update(contact_params=[f"x={chance.random()}"])
        elif event == 8:
            driver.update(proxies=chance.choice([edges, edges[:1], edges[1:], edges[::-1]]))
        elif event == 9:
            driver.crash()
            driver.want()
        elif event == 10:
            driver.hold("paused")
            driver.run(chance.choice([0, 1]))
            driver.hold("")
        elif event == 11:
            registrar.plain ^= {host}
        driver.run(chance.choice([0, 0.005, 1, 60, 2000]))
    driver.hosts.clear()
    driver.refused = set()
    registrar.plain = set()
    driver.update(proxies=edges, contact_params=["end"])
    driver.run(2 * 3600)
    driver.update(expires=1800)
    driver.run(3600)
    driver.assert_status("registered", "none")
    assert [flow.status for flow in driver.state().flows] == ["registered", "registered"]
    driver.disable()
    driver.run(60)
    assert not {"1", "2"} & set(registrar.flows())
