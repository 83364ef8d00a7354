"""One registration from nothing to a lease (RFC 3261 §10.2, §10.3 step 8, §17.1.2)."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import LATENCY, UDP, WALL, Driver, answer, ok, reply, server, silence

from sipprofile.sip.message import Request


@pytest.fixture
def driver() -> Driver:
    return Driver()


class TestRequest:
    """RFC 3261 §10.2: how a REGISTER looks."""

    def test_the_request_uri_is_the_registrar_without_user_headers_and_lr(self, driver: Driver) -> None:
        driver.add(registrar=server("sip:reg@192.0.2.1:5060;lr;x=y"))
        assert driver.sent_register().uri == "sip:192.0.2.1:5060;x=y"

    def test_without_a_registrar_it_is_the_domain_of_the_aor(self, driver: Driver) -> None:
        driver.add(registrar=None, aor="sip:bob@192.0.2.1")
        request = driver.sent_register()
        assert request.uri == "sip:192.0.2.1"
        assert request.header("to") == "<sip:bob@192.0.2.1>"
        assert (request.header("from") or "").startswith("<sip:bob@192.0.2.1>;tag=")

    def test_the_contact_shows_the_socket_that_is_used_and_our_instance(self, driver: Driver) -> None:
        driver.add(contact_user="alice", contact_params=["q=0.5", "audio"])
        assert driver.sent_register().header("contact") == (
            '<sip:alice@198.51.100.1:5060>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-000000000001>"'
            ";reg-id=1;q=0.5;audio"
        )

    def test_a_contact_that_points_elsewhere_is_sent_as_it_is(self, driver: Driver) -> None:
        driver.add(contact_uri="sip:sbc@203.0.113.5:5080")
        assert (driver.sent_register().header("contact") or "").startswith("<sip:sbc@203.0.113.5:5080>")

    def test_without_a_contact_user_the_user_part_is_random_and_finds_the_profile(self, driver: Driver) -> None:
        driver.add(1)
        driver.add(2)
        users = [(request.header("contact") or "")[5:].partition("@")[0] for request in driver.sent()]
        assert len(set(users)) == 2
        assert [driver.registrations.profile_of_contact(user) for user in users] == [1, 2]

    def test_headers_of_the_profile_are_added_and_a_user_agent_of_its_own_wins(self, driver: Driver) -> None:
        driver.add(headers=["X-Line: 1", "User-Agent: phone"])
        request = driver.sent_register()
        assert request.header("x-line") == "1"
        assert request.headers("user-agent") == ["phone"]

    def test_the_lease_asked_for_is_the_profiles(self, driver: Driver) -> None:
        driver.add(expires=600)
        assert driver.sent_register().header("expires") == "600"

    def test_service_route_is_never_put_on_a_register(self, driver: Driver) -> None:
        """RFC 3608 §6.1."""

        def with_route(request: Request, _: Any) -> bytes:
            contact = request.header("contact")
            return reply(request, 200, f"Contact: {contact}", "Expires: 60", "Service-Route: <sip:p;lr>, <sip:q;lr>")

        driver.always = with_route
        driver.registered()
        assert driver.state().service_route == ["<sip:p;lr>", "<sip:q;lr>"]
        driver.run(40)
        assert driver.sent_register().header("route") is None
        driver.always = ok(60)
        driver.run(40)
        assert driver.state().service_route == []  # RFC 3608 §5.1: each 2xx replaces it


class TestProxies:
    """RFC 3261 §8.1.2, §12.2.1.1: the outbound proxy is the first hop and a Route."""

    def test_a_loose_router(self, driver: Driver) -> None:
        driver.add(proxies=[server("sip:192.0.2.7")], registrar=server("sip:reg.test"))
        request = driver.sent_register()
        assert driver.sends[-1][1].host == "192.0.2.7"
        assert (request.uri, request.header("route")) == ("sip:reg.test", "<sip:192.0.2.7;lr>")

    def test_a_strict_router(self, driver: Driver) -> None:
        driver.add(proxies=[server("sip:192.0.2.7", loose_routing=False)], registrar=server("sip:reg.test"))
        request = driver.sent_register()
        assert (request.uri, request.header("route")) == ("sip:192.0.2.7", "<sip:reg.test>")

    def test_each_proxy_gets_its_own_route(self, driver: Driver) -> None:
        driver.hosts["192.0.2.7"] = answer(503)
        driver.add(proxies=[server("sip:192.0.2.7"), server("sip:192.0.2.8")], registrar=server("sip:reg.test"))
        driver.run(1)
        assert [request.header("route") for request in driver.sent()] == ["<sip:192.0.2.7;lr>", "<sip:192.0.2.8;lr>"]

    def test_a_binding_is_removed_where_it_was_made(self, driver: Driver) -> None:
        driver.hosts["192.0.2.7"] = answer(503)
        driver.registered(proxies=[server("sip:192.0.2.7"), server("sip:192.0.2.8")], registrar=server("sip:reg.test"))
        driver.hosts["192.0.2.7"] = answer(500)
        driver.hosts["192.0.2.8"] = answer(503)
        driver.run_to_register()
        driver.assert_status("registered", error="response")
        assert [key.host for _, key, _ in driver.sends[-2:]] == ["192.0.2.8", "192.0.2.7"]
        driver.sent()
        driver.disable()
        assert driver.sends[-1][1].host == "192.0.2.8"
        assert driver.sent_register().header("route") == "<sip:192.0.2.8;lr>"


class TestTransaction:
    """RFC 3261 §17.1.2: timers E and F."""

    def test_udp_retransmits_at_t1_doubling_to_t2_until_64_t1(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        driver.run(40)
        times = [round(at - 1000, 3) for at, _ in driver.retransmissions]
        assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert len(driver.sends) == 1
        driver.assert_status("unregistered", "timeout")

    def test_a_provisional_answer_slows_it_down_to_t2_and_does_not_prolong_it(self, driver: Driver) -> None:
        driver.always = answer(100)
        driver.add()
        driver.run(40)
        times = [at - 1000 for at, _ in driver.retransmissions]
        assert times[:2] == pytest.approx([4 + LATENCY, 8 + 2 * LATENCY])
        driver.assert_status("unregistered", "timeout")

    def test_an_answer_ends_it(self, driver: Driver) -> None:
        driver.registered()
        driver.run(60)
        assert not driver.retransmissions

    def test_late_forged_and_foreign_answers_are_ignored(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        request = driver.sent_register()
        good = reply(request, 200, f"Contact: {request.header('contact')};expires=60")
        branch = (request.branch() or "").encode()
        forged = [
            good.replace(branch, branch[:-1] + b"x"),
            good.replace(branch, b"z9hG4bK" + "٣".encode()),
            good.replace(branch, b"z9hG4bK" + b"f" * 5000),
            good.replace(b"CSeq: 1 ", b"CSeq: 2 "),
            good.replace(b"CSeq: 1 REGISTER", b"CSeq: 1 OPTIONS"),
            good.replace(b"CSeq: 1 REGISTER\r\n", b""),
            good.replace(b"Via:", b"X-Via:"),
            b"\x00\xff",
            b"",
            b"\r\n",
        ]
        for data in forged:
            assert driver.registrations.received(data, ("192.0.2.1", 5060), UDP, driver.now) is None
        driver.assert_status("registering")
        driver.registrations.received(good, ("192.0.2.1", 5060), UDP, driver.now)
        driver.assert_status("registered")

    def test_a_request_is_handed_to_whom_it_concerns(self, driver: Driver) -> None:
        request = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\r\n"
        handed = driver.registrations.received(request, ("192.0.2.1", 5060), UDP, driver.now)
        assert handed is not None
        assert handed.method == "OPTIONS"


class TestGrant:
    """RFC 3261 §10.2.4, §10.3 step 8: the grant is that of our contact among many."""

    OTHER = "<sip:other@203.0.113.9>;expires=20"

    @pytest.mark.pain(6)
    def test_it_is_our_contacts_not_another_ones(self, driver: Driver) -> None:
        driver.always = ok(600, self.OTHER)
        driver.registered()
        state = driver.state()
        assert state.expires_granted == 600
        assert state.lease_ends == pytest.approx(WALL + 1000 + 600)
        assert state.registered_aors == ["sip:alice1@192.0.2.1"]

    def test_a_uri_written_differently_is_still_ours(self, driver: Driver) -> None:
        driver.always = lambda request, _: reply(
            request, 200, "Contact: <sip:%61lice@198.51.100.1:5060;x=y>;expires=77", "Expires: 3600"
        )
        driver.registered(contact_user="alice")
        assert driver.state().expires_granted == 77

    @pytest.mark.pain(6)
    @pytest.mark.parametrize("instance", [True, False])
    def test_a_router_may_have_changed_the_host(self, driver: Driver, instance: bool) -> None:
        def rewritten(request: Request, _: Any) -> bytes:
            contact = (request.header("contact") or "").replace("198.51.100.1:5060", "203.0.113.77:9999")
            return reply(
                request, 200, f"Contact: {contact if instance else contact.partition('>')[0] + '>'};expires=99"
            )

        driver.always = rewritten
        driver.registered()
        assert driver.state().expires_granted == 99

    def test_a_short_fixed_user_is_not_enough_to_be_ours(self, driver: Driver) -> None:
        driver.always = answer(200, "Contact: <sip:alice@203.0.113.77>;expires=99")
        driver.add(contact_user="alice", instance_id="")
        driver.run(1)
        driver.assert_status("unregistered", "contact_missing")

    def test_the_expires_header_stands_in_for_the_parameter_and_never_grants_more_than_asked(
        self, driver: Driver
    ) -> None:
        driver.always = lambda request, _: reply(request, 200, f"Contact: {request.header('contact')}", "Expires: 600")
        driver.registered(1)
        driver.always = ok(10**15)
        driver.registered(2)
        assert driver.state(1).expires_granted == 600
        assert driver.state(2).expires_granted == 3600

    def test_an_answer_that_lists_nobody_needs_an_expires(self, driver: Driver) -> None:
        driver.always = answer(200, "Expires: 120")
        driver.registered(1)
        assert driver.state().expires_granted == 120
        driver.always = answer(200)
        driver.add(2)
        driver.run(1)
        driver.assert_status("unregistered", "contact_missing", number=2)

    @pytest.mark.parametrize(
        ("respond", "code"),
        [(ok(0), "zero_grant"), (answer(200, f"Contact: {OTHER}"), "contact_missing")],
    )
    def test_a_200_that_grants_nothing_is_a_failure_that_backs_off(self, respond: Any, code: str) -> None:
        driver = Driver()
        driver.always = respond
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", code)
        assert 29 <= driver.next_try() <= 60
        driver.run(86_400)
        assert len(driver.sends) < 100

    def test_a_grant_that_is_over_when_it_arrives_is_a_failure_too(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        request = driver.sent_register()
        driver.run(5)
        late = reply(request, 200, f"Contact: {request.header('contact')};expires=2")
        driver.registrations.received(late, ("192.0.2.1", 5060), UDP, driver.now)
        driver.assert_status("unregistered", "lease_expired")
        assert driver.next_try() >= 30


class TestEvents:
    def test_exactly_one_registered_event(self, driver: Driver) -> None:
        driver.add()
        driver.run(10)
        assert driver.events() == ["status", "registered"]
        assert [row.status for row in driver.history] == ["registering", "registered"]

    def test_a_revision_that_rises_with_every_event(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(3000)
        revisions = [change.state.revision for change in driver.changes]
        assert revisions == sorted(set(revisions))

    def test_counts_follow_the_status(self, driver: Driver) -> None:
        driver.registered(1)
        driver.add(2, wanted=False)
        assert sorted(driver.registrations.counts()) == [
            ("registered", "none", "192.0.2.1:5060"),
            ("unregistered", "none", "192.0.2.1:5060"),
        ]
        driver.remove(1)
        driver.remove(2)
        assert not driver.registrations.counts()
