"""Several flows (RFC 5626) when their profile is used, changed, restarted, or has a large request."""

from __future__ import annotations

import pytest
from machine_driver import LATENCY, WALL, Driver, server, silence
from outbound_registrar import (
    EDGES,
    KEY_B,
    UDP_EDGES,
    A,
    B,
    C,
    OutboundRegistrar,
    driver,
    reg_id,
    registrar,
    two,
)

__all__ = ["driver", "registrar", "two"]


class TestWanted:
    def test_disable_removes_every_binding(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.disable()
        two.assert_status("unregistering")
        two.run(1)
        two.assert_status("unregistered", "disabled")
        assert registrar.bindings == {}
        assert two.events().count("deregistered") == 1
        assert [flow.number for flow in two.state().flows] == [1]

    def test_and_enable_begins_anew_with_one(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.disable()
        two.run(1)
        two.sent()
        two.want()
        assert reg_id(two.sent_register()) == "1"
        two.run(1)
        assert registrar.flows() == ["1", "2"]

    def test_enable_while_it_goes(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.disable()
        two.want()
        two.run(60)
        two.assert_status("registered", "none")
        assert registrar.flows() == ["1", "2"]

    def test_a_removal_without_an_answer_is_told(self, two: Driver) -> None:
        two.hosts[A] = silence
        two.disable()
        two.run(40)
        two.assert_status("unregistered", "binding_may_remain")

    def test_disable_while_one_waits(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.refused = {B}
        two.fail(KEY_B)
        two.run(5)
        two.refused = set()
        two.disable()
        two.run(5)
        two.assert_status("unregistered", "disabled")
        assert registrar.bindings == {}

    def test_pause_and_resume(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.hold("paused")
        two.run(1)
        two.assert_status("unregistered", "paused")
        assert registrar.bindings == {}
        two.hold("")
        two.run(1)
        two.assert_status("registered", "none")
        assert registrar.flows() == ["1", "2"]

    def test_force_disable_is_without_sip_and_told_once(self, two: Driver) -> None:
        two.hold("forcibly_disabled")
        two.assert_status("unregistered", "forcibly_disabled")
        assert two.events() == ["forcibly_disabled"]
        two.run(1)
        two.assert_quiet()
        assert len(two.closed) == 2

    def test_remove(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.remove()
        two.run(1)
        assert registrar.bindings == {}
        assert not two.registrations.flows
        assert not two.registrations.ghosts

    def test_stop_gives_all_back(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.stop(deregister=True)
        two.run(1)
        assert two.registrations.stopped
        assert registrar.bindings == {}

    def test_retry_now(self, two: Driver) -> None:
        two.retry_now()
        two.run(1)
        assert sorted(reg_id(request) or "" for request in two.sent()) == ["1", "2"]

    def test_clock_jump_rewrites_both(self, two: Driver) -> None:
        two.registrations.clock_jumped(WALL + 500, two.now)
        two.settle()
        assert two.rows[1].wall_offset == two.further_rows[1, 2].wall_offset == WALL + 500


class TestUpdate:
    def test_a_name_costs_nothing(self, two: Driver) -> None:
        two.update(provider_name="Another")
        two.run(1)
        two.assert_quiet()

    def test_parameters_refresh_both(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(contact_params=["audio"])
        two.run(1)
        assert sorted(reg_id(request) or "" for request in two.sent()) == ["1", "2"]
        assert all(contact.endswith(";audio") for contact in registrar.bindings.values())

    def test_a_contact_user_replaces_both(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(contact_user="alice")
        two.run(1)
        assert len(two.sent()) == 2
        assert registrar.flows() == ["1", "2"]
        assert all(contact.startswith("<sip:alice@") for contact in registrar.bindings.values())

    def test_another_order_of_the_hops_keeps_the_flows_where_they_are(
        self, two: Driver, registrar: OutboundRegistrar
    ) -> None:
        two.update(proxies=EDGES[::-1])
        two.run(1)
        assert [(flow.number, flow.target) for flow in two.state().flows] == [
            (1, f"tcp:{A}:5060"),
            (2, f"tcp:{B}:5060"),
        ]
        assert registrar.flows() == ["1", "2"]

    def test_one_hop_less(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(proxies=EDGES[:1])
        two.run(1)
        assert [flow.target for flow in two.state().flows] == [f"tcp:{A}:5060"]
        assert registrar.flows() == ["1"]

    def test_the_first_hop_is_gone(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(proxies=EDGES[1:])
        two.run(1)
        two.assert_status("registered", "none")
        assert [(flow.number, flow.target) for flow in two.state().flows] == [(1, f"tcp:{B}:5060")]
        assert registrar.flows() == ["1"]

    def test_another_hop_in_the_place_of_one(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(proxies=[EDGES[0], server(f"sip:{C};transport=tcp", None)])
        two.run(1)
        assert [(flow.number, flow.target) for flow in two.state().flows] == [
            (1, f"tcp:{A}:5060"),
            (2, f"tcp:{C}:5060"),
        ]
        assert registrar.flows() == ["1", "2"]

    def test_one_hop_more(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(proxies=[*EDGES, server(f"sip:{C};transport=tcp", None)])
        two.run(1)
        assert [flow.number for flow in two.state().flows] == [1, 2, 3]
        assert registrar.flows() == ["1", "2", "3"]

    def test_no_hop_at_all(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(proxies=[])
        two.run(1)
        assert [flow.target for flow in two.state().flows] == ["udp:192.0.2.1:5060"]
        assert registrar.flows() == ["1"]

    def test_another_address_of_record_is_new_first_then_both_old_go(
        self, two: Driver, registrar: OutboundRegistrar
    ) -> None:
        two.update(aor="sip:bob@192.0.2.1")
        two.run(5)
        assert sorted(registrar.bindings) == [("<sip:bob@192.0.2.1>", "1"), ("<sip:bob@192.0.2.1>", "2")]
        sent = two.sent()
        assert "bob" in (sent[0].header("to") or "")
        assert not two.registrations.ghosts
        two.assert_status("registered", "none")

    @pytest.mark.parametrize("used", [223, 224, 225, 256])
    def test_another_address_of_record_whatever_numbers_are_reserved(
        self, two: Driver, registrar: OutboundRegistrar, used: int
    ) -> None:
        first = two.registrations.by_profile[1].first
        while first.cseq < used:
            two.update(contact_params=[f"x{first.cseq}"])
            two.run(0.1)
        assert (first.cseq, first.outbound) == (used, True)
        two.update(aor="sip:bob@192.0.2.1")
        two.run(2)
        two.assert_status("registered", "none")
        assert ("<sip:bob@192.0.2.1>", "1") in registrar.bindings

    def test_without_outbound(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(outbound=False)
        two.run(10)
        assert not {"1", "2"} & set(registrar.flows())
        assert len(registrar.bindings) == 1
        assert not two.registrations.ghosts
        state = two.assert_status("registered", "none")
        assert [(flow.number, flow.outbound) for flow in state.flows] == [(1, False)]

    def test_with_outbound_again(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(outbound=False)
        two.run(10)
        two.update(outbound=True)
        two.run(10)
        assert {"1", "2"} <= set(registrar.flows())
        assert [flow.number for flow in two.state().flows] == [1, 2]

    def test_while_a_request_is_on_the_wire(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(contact_params=["audio"])
        two.update(proxies=EDGES[1:])
        two.run(5)
        two.assert_status("registered", "none")
        assert registrar.flows() == ["1"]

    def test_disable_right_after_it(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.update(aor="sip:bob@192.0.2.1")
        two.disable()
        two.run(10)
        assert registrar.bindings == {}
        two.assert_status("unregistered")


class TestRestart:
    """A crash loses neither flow, and neither is made twice."""

    def test_connections_register_at_once_with_their_reg_ids(self, two: Driver, registrar: OutboundRegistrar) -> None:
        calls = {number: two.flow(1, number).call_id for number in (1, 2)}
        last = {reg_id(request): request.cseq()[0] for _, _, request in two.sends}
        two.crash()
        two.want()
        two.run(1)
        sent = two.sent()
        assert {reg_id(request): request.header("call-id") for request in sent} == {"1": calls[1], "2": calls[2]}
        assert all(request.cseq()[0] > last[reg_id(request)] for request in sent)
        assert {reg_id(request): key.host for _, key, request in two.sends[-2:]} == {"1": A, "2": B}
        assert registrar.flows() == ["1", "2"]
        two.assert_status("registered", "none")

    def test_udp_stays_registered_and_registers_at_once(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        driver.registered(proxies=UDP_EDGES)
        driver.crash()
        state = driver.assert_status("registered")
        assert [(flow.status, flow.outbound) for flow in state.flows] == [("registered", True)] * 2
        driver.want()
        driver.run(1)
        assert sorted(reg_id(request) or "" for request in driver.sent()) == ["1", "2"]
        assert registrar.flows() == ["1", "2"]

    @pytest.mark.parametrize("edges", [EDGES, UDP_EDGES], ids=["tcp", "udp"])
    def test_nobody_comes_back(self, driver: Driver, registrar: OutboundRegistrar, edges: list[object]) -> None:
        driver.registered(proxies=edges)
        driver.crash()
        driver.want(wanted=False)
        driver.run(5)
        assert registrar.bindings == {}
        driver.assert_status("unregistered")
        assert [flow.number for flow in driver.state().flows] == [1]

    def test_a_flow_that_was_lost_before(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.refused = {B}
        two.fail(KEY_B)
        two.run(5)
        two.crash()
        two.refused = set()
        two.want()
        two.run(300)
        assert registrar.flows() == ["1", "2"]

    def test_a_flow_that_was_going(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.hosts[B] = silence
        two.update(proxies=EDGES[:1])
        two.run(0.1)
        two.crash()
        two.hosts.clear()
        two.update(proxies=EDGES)
        two.crash()
        two.want()
        two.run(60)
        two.update(proxies=EDGES[:1])
        two.run(60)
        assert registrar.flows() == ["1"]
        two.crash()
        two.sent()
        two.want()
        two.run(5)
        assert [reg_id(request) for request in two.sent()] == ["1"]

    def test_forcibly_disabled(self, two: Driver) -> None:
        two.hold("forcibly_disabled")
        two.crash(held="forcibly_disabled")
        assert [flow.number for flow in two.state().flows] == [1]
        two.run(100)
        two.assert_quiet()

    def test_paused_before_the_end_removes_both(self, two: Driver, registrar: OutboundRegistrar) -> None:
        two.crash(held="paused")
        two.run(5)
        assert registrar.bindings == {}

    def test_before_the_second_answer(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        driver.add(proxies=EDGES)
        driver.run(LATENCY * 1.5)
        assert [flow.status for flow in driver.state().flows] == ["registered", "registering"]
        driver.crash()
        driver.want()
        driver.run(5)
        assert registrar.flows() == ["1", "2"]
        driver.assert_status("registered", "none")


class TestALargeRequest:
    """RFC 5626 §5.1: the first hop keeps the connection that a REGISTER came by in mind; it has to last."""

    def test_what_came_by_a_short_connection_is_registered_again_by_udp(self) -> None:
        driver = Driver()
        driver.always = OutboundRegistrar()
        driver.add(headers=[f"X-Large-{number}: {'x' * 180}" for number in range(8)])
        driver.run(2)
        assert [key.protocol for _, key, _ in driver.sends] == ["tcp", "udp"]
        driver.assert_status("registered")
        driver.run_to_register()
        assert driver.sends[-1][1].protocol == "udp"
