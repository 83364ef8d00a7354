"""Several flows together with everything else that a registration does: what one flow learns is not another's."""

from __future__ import annotations

import pytest
from machine_driver import Driver, answer, challenge, reply, server
from notifier import Notifier, contact
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

from sipprofile.events import Reason
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request

__all__ = ["driver", "registrar", "two"]

THREE = [*EDGES, server(f"sip:{C};transport=tcp", None)]


class TestNumbers:
    def test_of_a_flow_that_took_anothers_place_go_on_after_a_crash(self, registrar: OutboundRegistrar) -> None:
        """The row of the flow before it is written while it waits for its turn (RFC 3261 §10.3 step 7)."""
        driver = Driver(settings=RegistrationSettings(rate=1.0, burst=1.0))
        driver.always = registrar
        answer_keepalives(driver)
        registrar.plain = {B}
        driver.add(proxies=[server(f"sip:192.0.2.{number}", None) for number in range(11, 16)])
        driver.run(20)
        assert [flow.target for flow in driver.state().flows][1] == "udp:192.0.2.15:5060"
        driver.disable()
        driver.run(10)
        registrar.plain = set()
        driver.crash()
        driver.want()
        driver.run(20)  # the driver sees that CSeq rises
        assert len(driver.state().flows) == 4


class TestRestart:
    def test_a_lease_that_ends_while_its_transport_is_opened(self, driver: Driver) -> None:
        """The clock ends it, not the patience with the transport."""
        driver.registered(expires=60, proxies=UDP_EDGES[:1])
        driver.unopened = {A}
        driver.crash(driver.flow().lease_end - driver.now - 2)
        driver.assert_status("registered")
        driver.run(2.5)
        assert driver.flow().lease_end == 0
        assert driver.state().status != "registered"


class TestAddresses:
    def test_two_flows_that_come_to_one_address_are_one(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        """The first one's name leads to the second one's address by now (RFC 5626 §4.2)."""
        driver.names = {"one.test": (A,), "two.test": (B,)}
        driver.ttl = 10.0
        driver.registered(proxies=[server(f"sip:{name}.test;transport=tcp") for name in ("one", "two")])
        driver.run(60)
        driver.names["one.test"] = (B,)
        driver.fail(KEY_A)
        driver.run(1)
        state = driver.assert_status("registered", "none")
        assert [(flow.number, flow.target) for flow in state.flows] == [(1, f"tcp:{B}:5060")]
        assert registrar.flows() == ["1"]
        assert [flow.number for flow in driver.changes[-1].state.flows] == [1], "and it is told"

    def test_failover_stays_where_it_found_outbound(self, driver: Driver, registrar: OutboundRegistrar) -> None:
        """The third hop did not do outbound when it was asked first, and does when both others are dead."""
        registrar.plain = {C}
        driver.registered(proxies=THREE)
        driver.run(5)
        registrar.plain = set()
        driver.refused = {A, B}
        driver.fail(KEY_A)
        driver.fail(KEY_B)
        driver.run(300)
        assert driver.assert_status("registered").target == f"tcp:{C}:5060"
        driver.events()
        driver.run(4 * 3600)
        driver.assert_status("registered")
        assert "deregistered" not in driver.events()


class TestCredentials:
    @pytest.mark.pain(1)
    def test_two_edges_that_refuse_them_do_not_end_the_lease_over_the_third(self, driver: Driver) -> None:
        driver.hosts[B] = driver.hosts[C] = challenge("other", status=407)
        driver.registered(proxies=THREE)
        driver.run(4 * 3600)
        state = driver.assert_status("registered", "none")
        assert [flow.number for flow in state.flows] == [1]
        assert "deregistered" not in driver.events()

    def test_an_edge_whose_challenge_nobody_can_answer_counts_for_nothing(self, driver: Driver) -> None:
        driver.hosts[B] = challenge(more=", algorithm=unknown", status=407)
        driver.registered(proxies=EDGES)
        driver.run(60)
        assert driver.flow().rejected == 0

    def test_retry_now_tries_the_hops_that_were_given_up(self, two: Driver) -> None:
        two.hosts[B] = challenge("other", status=407)
        two.run(2 * 3600)
        assert [flow.number for flow in two.state().flows] == [1]
        two.hosts = {}
        two.retry_now()
        two.run(5)
        assert [flow.status for flow in two.state().flows] == ["registered", "registered"]


class TestStatus:
    def test_the_next_try_is_that_of_the_flow_that_is_tried_first(self, two: Driver) -> None:
        two.always = answer(500)
        two.hosts[A] = answer(500, "Retry-After: 3000")
        two.fail(KEY_A)
        two.fail(KEY_B)
        two.run(1)
        assert two.next_try() < 100

    def test_a_lease_that_ends_has_its_own_flows_reason(self, two: Driver) -> None:
        """The first flow's refresh fails as well, and later: that is not why the second one's lease ended."""
        two.hosts[B] = answer(500, "Retry-After: 9000")
        two.run(two.flow(1, 2).refresh_at - two.now + 1)
        two.hosts[A] = answer(606)
        two.flow(1, 1).lease_end += 600
        two.registrations.by_profile[1].last_error = Reason.of("response", 606)
        two.run(two.flow(1, 2).lease_end - two.now)
        assert two.flow(1, 2).lease_end == 0
        assert two.flow(1, 2).reason.status_code == 500


class TestRegEvent:
    """RFC 3680 with two flows."""

    @pytest.fixture
    def notifier(self, driver: Driver) -> Notifier:
        driver.registered(proxies=EDGES, reg_event=True)
        driver.run(5)
        return Notifier(driver)

    def ours(self, notifier: Notifier, number: int, event: str = "registered", state: str = "active") -> str:
        flow = notifier.driver.flow(1, number)
        text = contact(flow.contact, str(number), event, state)
        name = f'<unknown-param name="reg-id">"{number}"</unknown-param>'
        return text.replace("</contact>", f"{name}</contact>")

    def test_a_document_of_before_the_second_flow_does_not_end_it(self, notifier: Notifier) -> None:
        driver = notifier.driver
        driver.events()
        driver.sent()
        assert notifier.tell(self.ours(notifier, 1)) == 200
        driver.assert_status("registered", "none")
        assert "error" not in driver.events()
        driver.run(1)
        assert [reg_id(request) for request in driver.sent()] == ["2"], "one refresh finds out"

    def test_the_end_of_one_flow_is_not_that_of_the_registration(self, notifier: Notifier) -> None:
        driver = notifier.driver
        notifier.tell(self.ours(notifier, 1), self.ours(notifier, 2))
        driver.sent()
        notifier.tell(self.ours(notifier, 1), self.ours(notifier, 2, "deactivated", "terminated"))
        driver.assert_status("registered", "none", error="deregistered_by_network")
        driver.run(5)
        assert [reg_id(request) for request in driver.sent()] == ["2"]
        state = driver.assert_status("registered", "none")
        assert state.last_error is None

    def test_both_ended_at_once_come_back_at_once(self, notifier: Notifier, registrar: OutboundRegistrar) -> None:
        driver = notifier.driver
        notifier.tell(self.ours(notifier, 1), self.ours(notifier, 2))
        driver.sent()
        registrar.bindings.clear()
        ended = [self.ours(notifier, number, "deactivated", "terminated") for number in (1, 2)]
        notifier.tell(*ended, registration="terminated")
        driver.run(5)
        assert sorted(reg_id(request) or "" for request in driver.sent()) == ["1", "2"]
        driver.assert_status("registered", "none")


class TestTokens:
    def test_who_waits_for_a_source_goes_on_when_it_is_back(self) -> None:
        """A refresh of the token, not the back-off of each profile, ends the wait."""
        driver = Driver(settings=RegistrationSettings(backoff_base=1800.0))
        driver.names = {"reg.test": ("192.0.2.1",)}
        driver.local.update(tls=("198.51.100.1", 40000))
        driver.add(token_source="cloud", registrar=server("sips:reg.test", password=None))
        driver.run(1)
        driver.assert_status("unregistered", "token_unavailable")
        assert driver.next_try() > 600
        driver.token = ("first", 600.0)
        driver.run(65)
        driver.assert_status("registered")


class TestNat:
    def test_a_refused_pair_of_contacts_is_not_sent_again_for_nobody(self) -> None:
        """The user has gone while the REGISTER that also removes the old contact was on the wire."""
        driver = Driver()

        def nat(request: Request, key: TransportKey) -> bytes:
            contacts = request.headers("contact")
            data = (
                reply(request, 400) if len(contacts) > 1 else reply(request, 200, f"Contact: {contacts[0]};expires=60")
            )
            return data.replace(b";rport;", b";rport=4000;received=203.0.113.9;")

        driver.always = nat
        driver.add()
        driver.run(0.015)
        assert len(driver.sends[-1][2].headers("contact")) == 2
        sent = len(driver.sends)
        driver.disable()
        driver.run(1)
        assert {request.header("expires") for _, _, request in driver.sends[sent:]} == {"0"}
        driver.assert_status("unregistered")
