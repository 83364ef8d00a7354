"""Keepalives (RFC 5626 §3.5, §4.4, RFC 6223): one per transport; a flow fails only where answers are known to come."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keepalive_answers import REGISTRAR, accepting, mapped, over
from machine_driver import TCP, UDP, Answer, Driver, a_profile, server, silence

from sipprofile.registration import keepalive
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.settings import RegistrationSettings


def stun_error(transaction: bytes) -> bytes:
    return bytes.fromhex("011100082112a442") + transaction + bytes.fromhex("0009000400000500")


PROMISES = [
    pytest.param(accepting("Flow-Timer: 120"), id="Flow-Timer"),
    pytest.param(accepting(keep="120"), id="keep"),
    pytest.param(accepting(keep="0"), id="keep=0"),
    pytest.param(accepting("Require: outbound"), id="outbound"),
    pytest.param(accepting("Require: path, Outbound"), id="among others"),
]
NO_PROMISES = [
    pytest.param(accepting(), id="keep is only repeated"),
    pytest.param(accepting(keep="soon"), id="keep is no number"),
    pytest.param(accepting("Flow-Timer: -1"), id="Flow-Timer is no number"),
    pytest.param(accepting("Supported: outbound", "Require: path"), id="outbound only supported"),
]


def pauses(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@pytest.mark.pain(12)
class TestUdp:
    """RFC 5626 §4.4.2: CRLF, every 24 to 29 s, as long as a binding lives there."""

    def test_one_goes_out_every_24_to_29_seconds(self) -> None:
        driver = over("udp")
        driver.run(1000)
        assert {key for _, key in driver.keepalives} == {UDP}
        waits = pauses([at for at, _ in driver.keepalives])
        assert len(waits) > 30
        assert all(24 <= wait <= 29 for wait in waits)
        assert max(waits) - min(waits) > 3
        driver.assert_quiet()

    def test_one_serves_all_profiles_of_a_target(self) -> None:
        driver = over("udp")
        for number in range(2, 30):
            driver.registered(number, expires=86_400)
        driver.run(290)
        assert 9 <= len(driver.keepalives) <= 13
        assert driver.registrations.keepalives_sent == len(driver.keepalives)

    def test_another_target_has_its_own(self) -> None:
        driver = over("udp")
        driver.registered(2, registrar=server("sip:192.0.2.2"))
        driver.run(60)
        assert {key.host for _, key in driver.keepalives} == {"192.0.2.1", "192.0.2.2"}

    def test_none_without_a_binding(self) -> None:
        driver = Driver()
        driver.always = silence
        driver.add()
        driver.run(600)
        assert not driver.keepalives

    def test_none_once_the_last_binding_is_removed(self) -> None:
        driver = over("udp")
        driver.registered(2)
        driver.disable(1)
        driver.run(60)
        assert driver.keepalives
        driver.disable(2)
        driver.run(1)
        driver.keepalives.clear()
        driver.run(600)
        assert not driver.keepalives
        assert not driver.registrations.keepalives

    def test_no_answer_means_nothing(self) -> None:
        driver = over("udp")
        driver.run(5000)
        driver.assert_status("registered", "none")
        assert not driver.events()

    def test_they_go_on_after_a_restart_and_begin_with_one(self) -> None:
        driver = over("udp")
        driver.registered(2, expires=86_400)
        driver.keepalives.clear()
        driver.crash(5)
        assert [key for _, key in driver.keepalives] == [UDP]
        driver.run(100)
        assert 4 <= len(driver.keepalives) <= 6
        driver.assert_quiet()

    def test_an_icmp_error_does_not_end_them(self) -> None:
        driver = over("udp")
        driver.fail(UDP, "transport_refused")
        driver.run(60)
        assert len(driver.keepalives) >= 2

    @pytest.mark.parametrize("protocol", ["udp", "tcp"])
    def test_none_while_stopping(self, protocol: str) -> None:
        driver = over(protocol)
        driver.stop(deregister=False)
        driver.run(600)
        assert not driver.keepalives

    @pytest.mark.parametrize("protocol", ["udp", "tcp"])
    def test_none_for_a_contact_that_is_not_ours(self, protocol: str) -> None:
        driver = Driver()
        registrar = REGISTRAR if protocol == "tcp" else server()
        driver.registered(registrar=registrar, contact_uri="sip:sbc.example.com")
        assert ";keep" not in (driver.sends[-1][2].header("via") or "")
        driver.run(600)
        assert not driver.keepalives
        driver.update(contact_uri=None)
        driver.run(150)
        assert driver.keepalives
        driver.update(contact_uri="sip:sbc.example.com")
        driver.run(1)
        driver.keepalives.clear()
        driver.run(600)
        assert not driver.keepalives

    def test_a_moved_profile_leaves_none_behind(self) -> None:
        driver = over("udp")
        driver.update(registrar=server("sip:192.0.2.2"))
        driver.run(1)
        driver.keepalives.clear()
        driver.run(60)
        assert {key.host for _, key in driver.keepalives} == {"192.0.2.2"}

    def test_the_interval_is_a_setting_and_0_is_none(self) -> None:
        driver = over("udp", settings=RegistrationSettings(udp_keepalive=58.0))
        driver.run(1000)
        assert all(48 <= wait <= 58 for wait in pauses([at for at, _ in driver.keepalives]))
        driver = over("udp", settings=RegistrationSettings(udp_keepalive=0.0))
        driver.run(1000)
        driver.crash()
        driver.run(1000)
        assert not driver.keepalives


@pytest.mark.pain(12)
class TestStun:
    """RFC 5626 §4.4.2: with evidence STUN keeps the NAT's state, and tells when the NAT has lost it."""

    @pytest.mark.parametrize("promise", PROMISES)
    def test_it_takes_the_place_of_crlf(self, promise: Answer) -> None:
        driver = over("udp", promise)
        driver.stun = mapped()
        driver.run(1000)
        assert not driver.keepalives
        assert all(24 <= wait <= 29 for wait in pauses([at for at, _ in driver.stun_requests]))
        assert len({transaction for _, transaction in driver.stun_requests}) == len(driver.stun_requests) > 30
        driver.assert_quiet()
        driver.assert_status("registered", "none")

    @pytest.mark.parametrize("promise", NO_PROMISES)
    def test_not_without_evidence(self, promise: Answer) -> None:
        driver = over("udp", promise)
        driver.run(100)
        assert driver.keepalives
        assert not driver.stun_requests

    def test_no_answer_at_all_fails_the_flow(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.stun = lambda transaction: None
        known = len(driver.stun_requests)
        driver.run(70)
        requests = driver.stun_requests[known : known + 7]
        assert len({transaction for _, transaction in requests}) == 1
        assert pauses([at for at, _ in requests]) == pytest.approx([0.5, 1, 2, 4, 8, 16])
        assert driver.sends[-1][0] == pytest.approx(requests[-1][0] + 8)  # RFC 5626 §4.4.2: 16 RTO
        assert "keepalive_lost" in [change.state.reason.code for change in driver.changes]
        assert driver.registrations.keepalive_failures == 1
        driver.assert_status("registered", "none")

    def test_another_mapped_address_fails_the_flow_at_once(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.sent()
        driver.events()
        driver.stun = mapped(port=40001)
        driver.run(26)
        assert len(driver.sent()) == 1
        assert driver.events() == ["deregistered", "status", "registered"]
        assert "nat_binding_changed" in [change.state.reason.code for change in driver.changes]
        driver.run(600)  # which is the address from now on
        driver.assert_quiet()

    def test_all_flows_of_the_target_recover(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        for number in range(2, 501):
            driver.add(number, expires=86_400)
        driver.registered(999, registrar=server("sip:192.0.2.2"), expires=86_400)
        driver.stun = mapped()
        driver.run(60)
        driver.sent()
        driver.stun = mapped(port=40001)
        driver.run(60)
        assert {request.header("to") for request in driver.sent()} >= {
            f"<sip:alice{number}@192.0.2.1>" for number in range(1, 501)
        }
        assert all(driver.state(number).status == "registered" for number in range(1, 501))
        driver.run(60)
        driver.assert_quiet()

    def test_while_our_own_address_changes_the_nat_is_not_blamed(self) -> None:
        """The keepalive leaves from the new address before the change has settled."""
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.sent()
        driver.events()
        known = len(driver.stun_requests)
        driver.run(driver.registrations.keepalives[UDP].next_at - driver.now - 0.5)
        driver.stun = mapped("203.0.113.9")
        driver.move("198.51.100.9")
        driver.run(0.7)
        assert len(driver.stun_requests) == known + 1
        driver.assert_quiet()
        driver.run(5)
        assert len(driver.sent()) == 1
        assert "deregistered" not in driver.events()

    def test_our_own_new_address_is_no_change_of_the_nat(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.fail(UDP, "transport_unreachable")
        driver.local["udp"] = ("198.51.100.9", 5060)
        driver.stun = mapped("203.0.113.9")
        driver.retry_now()
        driver.run(60)
        assert "nat_binding_changed" not in [change.state.reason.code for change in driver.changes]

    @pytest.mark.parametrize("respond", [stun_error, lambda transaction: None])
    def test_a_promise_that_is_never_kept_fails_one_flow_only(self, respond: Callable[[bytes], bytes | None]) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = respond
        driver.run(5000)
        assert driver.registrations.keepalive_failures == 1
        assert len(driver.sends) == 2
        driver.assert_status("registered", "none")
        driver.stun = mapped()  # it learns it
        driver.run(120)
        driver.stun = lambda transaction: None
        driver.run(5000)
        assert driver.registrations.keepalive_failures == 3  # an answer was seen; the promise is tried once more

    def test_an_answered_register_shows_life_as_well(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.stun = lambda transaction: None
        driver.run(30)
        driver.retry_now()
        driver.run(25)
        assert driver.registrations.keepalive_failures == 0

    def test_a_request_on_the_wire_is_left_to_its_own_outcome(self) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.stun = mapped()
        driver.run(60)
        driver.stun = lambda transaction: None
        while driver.registrations.keepalives[UDP].requests < 7:
            driver.run(1)
        driver.always = silence
        driver.retry_now()
        driver.run(9)
        assert driver.registrations.keepalive_failures == 1
        driver.assert_status("registered")
        assert len(driver.sends) == 2

    @given(st.binary(max_size=80))
    def test_whatever_comes_instead(self, data: bytes) -> None:
        driver = over("udp", accepting("Flow-Timer: 25"))
        driver.run(25.5)
        _, transaction = driver.stun_requests[0]
        for answer in (data, b"\1\1" + data, bytes.fromhex("010100002112a442") + transaction + data):
            assert driver.registrations.received(answer, (UDP.host, UDP.port), UDP, driver.now) is None or data
        driver.settle()

    def test_a_request_from_outside_is_not_answered(self) -> None:
        driver = over("udp")
        request = bytes.fromhex("000100002112a442") + bytes(12)
        driver.registrations.received(request, ("192.0.2.66", 1), TransportKey("udp", "192.0.2.66", 1), driver.now)
        driver.settle()
        assert not driver.stun_requests


class TestConnection:
    """RFC 5626 §4.4.1: CRLF pings every 95 to 120 s, or 80 to 100 % of what is asked for."""

    def test_one_goes_out_every_95_to_120_seconds(self) -> None:
        driver = over("tcp")
        driver.pongs = True
        driver.run(3000)
        waits = pauses([at for at, _ in driver.keepalives])
        assert len(waits) > 23
        assert all(95 <= wait <= 120 for wait in waits)

    @pytest.mark.parametrize(
        ("promise", "interval"),
        [
            (accepting("Flow-Timer: 40"), 40),
            (accepting("flow-timer:40"), 40),
            (accepting(keep="40"), 40),
            (accepting("Flow-Timer: 40", keep="90"), 40),
            (accepting("Flow-Timer: 90", keep="40"), 40),
            (accepting("Flow-Timer: 90", keep="0"), 90),
            (accepting("Flow-Timer: 600"), 600),
            (accepting("Flow-Timer: 4"), 4),
        ],
    )
    def test_the_registrar_may_ask_for_another_interval(self, promise: Answer, interval: float) -> None:
        driver = over("tcp", promise)
        driver.pongs = True
        driver.run(interval * 20)
        waits = pauses([at for at, _ in driver.keepalives])
        assert len(waits) > 17
        assert all(0.8 * interval <= wait <= interval + 0.001 for wait in waits)
        driver.assert_status("registered", "none")

    def test_the_smallest_that_was_asked_for_is_in_force(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 40"))
        driver.pongs = True
        driver.always = accepting("Flow-Timer: 20")
        driver.registered(2, registrar=REGISTRAR)
        driver.always = accepting("Flow-Timer: 80")
        driver.registered(3, registrar=REGISTRAR)
        driver.run(600)
        assert all(16 <= wait <= 20 for wait in pauses([at for at, _ in driver.keepalives]))

    def test_none_of_our_own_still_gives_what_is_asked_for(self) -> None:
        settings = RegistrationSettings(stream_keepalive=0.0, udp_keepalive=0.0)
        for protocol in ("tcp", "udp"):
            driver = over(protocol, settings=settings)
            driver.run(600)
            assert not driver.keepalives
            driver.always = accepting("Flow-Timer: 40")
            driver.stun = mapped()
            driver.retry_now()
            driver.run(600)
            assert len(driver.keepalives) + len(driver.stun_requests) > 10

    def test_a_ping_of_the_other_side_is_answered(self) -> None:
        driver = over("tcp")
        driver.registrations.received(b"\r\n\r\n", (TCP.host, TCP.port), TCP, driver.now)
        driver.settle()
        assert [key for _, key in driver.keepalives] == [TCP]

    def test_a_ping_by_udp_is_not(self) -> None:
        driver = over("udp")
        driver.registrations.received(b"\r\n\r\n", (UDP.host, UDP.port), UDP, driver.now)
        driver.settle()
        assert not driver.keepalives

    def test_a_request_after_crlf_is_read(self) -> None:
        """RFC 3261 §7.5."""
        driver = over("udp")
        data = b"\r\nOPTIONS sip:a SIP/2.0\r\n\r\n"
        assert driver.registrations.received(data, (UDP.host, UDP.port), UDP, driver.now) is not None


@pytest.mark.pain(10)
class TestMissingPong:
    """RFC 5626 §4.4.1: 10 s, then the flow has failed, if a pong can be expected at all."""

    def lost(self, driver: Driver, within: float) -> float:
        """When the connection was given up after its last ping."""
        driver.keepalives.clear()
        driver.closed.clear()
        driver.sent()
        driver.events()
        driver.run(within)
        assert driver.closed == [TCP]
        assert "keepalive_lost" in [change.state.reason.code for change in driver.changes]
        (request,) = driver.sent()
        assert ":40002" in (request.header("via") or "")
        assert driver.events() == ["deregistered", "status", "registered"]
        driver.assert_status("registered", "none")
        return driver.sends[-1][0] - driver.keepalives[0][0]

    def test_a_pong_was_seen_before(self) -> None:
        driver = over("tcp")
        driver.pongs = True
        driver.run(200)
        driver.pongs = False
        assert self.lost(driver, 131) == pytest.approx(10)

    @pytest.mark.parametrize("promise", PROMISES)
    def test_answers_were_promised(self, promise: Answer) -> None:
        driver = over("tcp", promise)
        assert self.lost(driver, 131) == pytest.approx(10)

    @pytest.mark.parametrize("promise", NO_PROMISES)
    def test_otherwise_it_means_nothing(self, promise: Answer) -> None:
        driver = over("tcp", promise)
        driver.run(3000)
        assert len(driver.keepalives) > 20
        driver.assert_status("registered", "none")
        assert not driver.closed
        driver.assert_quiet()

    def test_all_profiles_of_the_connection_recover(self) -> None:
        driver = over("tcp")
        for number in range(2, 60):
            driver.registered(number, registrar=REGISTRAR, expires=86_400)
        driver.pongs = True
        driver.run(130)
        driver.pongs = False
        driver.run(131)
        assert len(driver.sent()) == 59
        assert {driver.state(number).status for number in range(1, 60)} == {"registered"}
        assert driver.registrations.keepalive_failures == 1

    def test_a_short_life_is_no_reason_to_wait(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 4"))
        assert self.lost(driver, 14.5) == pytest.approx(10)

    def test_a_promise_that_is_never_kept_fails_one_connection_only(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 60"))
        driver.run(5000)
        assert len(driver.closed) == 1
        assert len(driver.sends) == 2
        driver.pongs = True  # it learns it
        driver.run(120)
        driver.pongs = False
        driver.run(5000)
        assert len(driver.closed) == 3  # a pong was seen; the promise is tried once more

    def test_an_answer_to_register_shows_life_as_well(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 60"))
        driver.run(64)
        assert driver.keepalives
        driver.retry_now()
        driver.run(5)
        assert not driver.closed

    def test_what_is_lost_with_the_registrar_comes_back_by_the_usual_way(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 60"))
        driver.unopened = {"192.0.2.1"}
        driver.run(120)
        driver.assert_status("unregistered", "transport_timeout")
        assert driver.next_try() <= 120
        assert not driver.registrations.keepalives


class TestOffer:
    def test_every_register_offers_keep(self) -> None:
        """RFC 6223 §4.2.2."""
        driver = over("tcp")
        driver.registered(2)
        for _, _, request in driver.sends:
            assert ";keep;" in (request.header("via") or "")


def test_what_a_keepalive_costs_a_flow() -> None:
    """Nothing but one field: what is known belongs to the transport."""
    driver = over("udp")
    for number in range(2, 200):
        driver.add(number)
    driver.run(5)
    assert len(driver.registrations.keepalives) == 1
    assert driver.registrations.keepalives[UDP].bindings == 199
    assert len(driver.registrations._calls) <= 2
    assert a_profile().contact_uri is None
    assert keepalive.PING == b"\r\n\r\n"
