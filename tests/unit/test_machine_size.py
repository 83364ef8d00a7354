"""Requests too large for UDP (RFC 3261 §18.1.1): by TCP to the same host and port, without it by UDP."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import LATENCY, TCP, UDP, Driver, answer, challenge, digest, ok, server, silence

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.registration import OPENING, SENT
from sipprofile.registration.size import limit_of, way_for
from sipprofile.sip.message import Request

HOUR = 3600
LARGE = [f"X-Large-{number}: {'x' * 180}" for number in range(6)]


def headers(driver: Driver, size: int) -> list[str]:
    """One that makes a REGISTER without credentials ``size`` bytes long."""
    other = Driver(agent=driver.agent)
    other.mtu = 65536
    other.registered(headers=["X-Large: x"])
    return ["X-Large: " + "x" * (size - length(other.sends[0][2]) + 1)]


def length(request: Request) -> int:
    """Of the request as it was on the wire."""
    text = f"{request.method} {request.uri} SIP/2.0\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in request.items()) + "\r\n"
    return len(text)


def ways(driver: Driver) -> list[str]:
    """The transport of every REGISTER so far."""
    return [key.protocol for _, key, _ in driver.sends]


@pytest.fixture
def driver() -> Driver:
    return Driver()


class TestTheLimit:
    """§18.1.1: within 200 bytes of the path MTU, or larger than 1300 bytes when that is unknown."""

    @pytest.mark.parametrize(("mtu", "limit"), [(0, 1300), (1500, 1300), (1280, 1080), (9000, 8800), (65536, 65336)])
    def test_of_a_path(self, mtu: int, limit: int) -> None:
        assert limit_of(mtu) == limit

    @pytest.mark.parametrize("mtu", [0, 1500, 1400, 4000])
    @pytest.mark.parametrize("more", [0, 1])
    def test_to_the_byte(self, driver: Driver, mtu: int, more: int) -> None:
        driver.mtu = mtu
        driver.registered(headers=headers(driver, limit_of(mtu) + more))
        assert ways(driver) == (["tcp"] if more else ["udp"])

    def test_the_refresh_is_what_counts_not_the_first_request(self, driver: Driver) -> None:
        """With the credentials it is too large, without them it was not."""
        driver.always = digest()
        driver.registered(headers=headers(driver, 1290))
        assert ways(driver) == ["udp", "tcp"]
        driver.run_to_register()
        assert ways(driver) == ["udp", "tcp", "tcp"]

    def test_a_path_that_turns_out_to_be_narrow(self, driver: Driver) -> None:
        driver.mtu = 1500
        driver.registered(headers=headers(driver, 1290))
        driver.registrations.transport_opened(UDP, driver.local["udp"], driver.now, 1400)
        driver.run_to_register()
        assert ways(driver) == ["udp", "tcp"]
        assert driver.state().registered_contact == (driver.sends[0][2].header("contact") or "")[1:].partition(">")[0]

    def test_a_connection_has_none(self, driver: Driver) -> None:
        driver.registered(headers=LARGE, registrar=server("sip:192.0.2.1;transport=tcp"))
        assert driver.state().target == "tcp:192.0.2.1:5060"

    def test_other_requests_ask_for_the_way(self, driver: Driver) -> None:
        room = driver.registrations
        assert way_for(room, UDP, 1300, driver.now) == UDP
        assert way_for(room, UDP, 1301, driver.now) == TCP
        marked = TransportKey("udp", "192.0.2.1", 5060, 26)
        assert way_for(room, marked, 1301, driver.now) == TransportKey("tcp", "192.0.2.1", 5060, 26)
        assert way_for(room, TCP, 10_000, driver.now) == TCP
        driver.mtu = 9000
        driver.registered()
        assert way_for(room, UDP, 8800, driver.now) == UDP


class TestByConnection:
    def test_via_names_the_connection_and_contact_the_socket(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        [(_, key, request)] = driver.sends
        assert key == TCP
        assert (request.header("via") or "").startswith("SIP/2.0/TCP 198.51.100.1:40001;rport;branch=z9hG4bK")
        assert "@198.51.100.1:5060>" in (request.header("contact") or "")
        state = driver.state()
        assert state.target == "udp:192.0.2.1:5060"
        assert state.flow == "198.51.100.1:5060>udp:192.0.2.1:5060"

    def test_the_port_of_a_nat_is_not_learned_from_it(self, driver: Driver) -> None:
        """RFC 3581: it is that of the connection, requests come to another one."""

        def seen(request: Request, key: TransportKey) -> bytes | None:
            plain = ok()(request, key) or b""
            return plain.replace(b";rport;", b";received=203.0.113.9;rport=33333;")

        driver.always = seen
        driver.registered(headers=LARGE)
        assert "@198.51.100.1:5060" in (driver.state().registered_contact or "")
        driver.update(headers=[])
        driver.run(1)
        assert "@203.0.113.9:33333" in (driver.state().registered_contact or "")

    def test_a_challenge_is_answered_on_the_same_connection(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered(headers=LARGE)
        assert ways(driver) == ["tcp", "tcp"]
        assert {(request.header("via") or "").partition(";")[0] for _, _, request in driver.sends} == {
            "SIP/2.0/TCP 198.51.100.1:40001"
        }

    def test_there_are_no_retransmissions(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.run(31)
        assert ways(driver) == ["tcp"]
        assert not driver.retransmissions

    def test_closing_it_afterwards_ends_nothing(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.fail(TCP)
        driver.run(60)
        driver.assert_status("registered")
        driver.assert_quiet()
        assert not driver.events()

    def test_it_is_closed_when_nobody_has_used_it_for_a_while(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.run(20)
        assert driver.open == {TCP}
        driver.run(20)
        assert not driver.open
        assert driver.closed == [TCP]
        driver.assert_status("registered")

    def test_one_for_all_profiles(self, driver: Driver) -> None:
        for number in range(1, 6):
            driver.registered(number, headers=LARGE)
            driver.run(10)
        assert set(ways(driver)) == {"tcp"}
        assert driver.open == {TCP}
        assert not driver.closed

    def test_beside_a_profile_that_lives_on_it(self, driver: Driver) -> None:
        driver.registered(1, registrar=server("sip:192.0.2.1;transport=tcp"))
        driver.registered(2, headers=LARGE)
        driver.disable(1)
        driver.run(1)
        driver.want(1)
        driver.run(60)
        assert driver.open == {TCP}
        driver.disable(1)
        driver.run(1)
        assert not driver.open

    def test_deregistration(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.run(60)
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert ways(driver) == ["tcp", "tcp"]
        contact = driver.sends[-1][2].header("contact") or ""
        assert "@198.51.100.1:5060>" in contact
        assert contact.endswith(";expires=0")

    def test_removal_of_the_contact_that_was_replaced(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        old = driver.state().registered_contact
        driver.always = ok(3600, f"<{old}>;expires=3000")
        driver.update(contact_user="fixed")
        driver.run(1)
        assert ways(driver) == ["tcp", "tcp", "tcp"]
        assert driver.sends[-1][2].header("contact") == f"<{old}>;expires=0"
        driver.assert_status("registered")

    def test_the_lease_outlives_a_restart(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.crash()
        driver.want()
        driver.run(60)
        driver.assert_status("registered")
        assert len(driver.sends) == 1

    def test_the_settings_change_while_it_opens(self, driver: Driver) -> None:
        driver.unopened = {TCP}
        driver.add(headers=LARGE)
        assert driver.flow().phase == OPENING
        driver.update(headers=[])
        driver.run(1)
        driver.assert_status("registered")
        assert ways(driver) == ["udp"]
        assert TCP in driver.closed

    def test_nobody_wants_it_any_more_while_it_opens(self, driver: Driver) -> None:
        driver.unopened = {TCP}
        driver.add(headers=LARGE)
        driver.disable()
        driver.assert_status("unregistered", "disabled")
        assert TCP in driver.closed
        driver.run(60)
        driver.assert_quiet()

    def test_the_target_is_unreachable_meanwhile(self, driver: Driver) -> None:
        driver.unopened = {TCP}
        driver.add(headers=LARGE, proxies=[server("sip:192.0.2.1"), server("sip:192.0.2.9")])
        driver.fail(UDP, "transport_unreachable")
        driver.run(1)
        driver.assert_status("registered")
        assert driver.state().target == "udp:192.0.2.9:5060"

    def test_the_target_is_unreachable_after_its_challenge(self, driver: Driver) -> None:
        driver.unopened = {TCP}
        driver.always = digest()
        driver.add(headers=headers(driver, 1200), proxies=[server("sip:192.0.2.1"), server("sip:192.0.2.9")])
        driver.run(0.1)
        assert driver.flow().phase == OPENING
        driver.fail(UDP, "transport_unreachable")
        driver.run(1)
        driver.assert_status("registered")
        assert driver.state().target == "udp:192.0.2.9:5060"


def refused(driver: Driver) -> None:
    driver.refused = {TCP}


def unopened(driver: Driver) -> None:
    driver.unopened = {TCP}


class TestWithoutTcp:
    @pytest.mark.parametrize(("what", "seconds"), [(refused, 0.0), (unopened, 4.0)])
    def test_it_goes_by_udp_then(self, driver: Driver, what: Any, seconds: float) -> None:
        what(driver)
        start = driver.now
        driver.add(headers=LARGE)
        driver.run(5)
        driver.assert_status("registered")
        [(at, key, request)] = driver.sends
        assert key == UDP
        assert at - start == pytest.approx(seconds)
        assert (request.header("via") or "").startswith("SIP/2.0/UDP 198.51.100.1:5060")
        assert request.cseq() == (1, "REGISTER")
        assert not driver.open

    @pytest.mark.parametrize("what", [refused, unopened])
    def test_that_is_remembered_for_an_hour(self, driver: Driver, what: Any) -> None:
        what(driver)
        driver.always = digest(grant=600)
        driver.add(headers=LARGE)
        driver.run(5)
        driver.registered(2, headers=LARGE)
        assert set(ways(driver)) == {"udp"}
        driver.refused, driver.unopened = set(), set()
        end = driver.now + HOUR - 10
        while driver.now < end:
            driver.run_to_register()
        hour = [key.protocol for at, key, _ in driver.sends if at < end]
        assert len(hour) > 12
        assert set(hour) == {"udp"}
        driver.run(HOUR)
        assert ways(driver)[-1] == "tcp"
        driver.assert_status("registered")
        driver.assert_status("registered", number=2)

    def test_of_another_target_nothing_is_known(self, driver: Driver) -> None:
        refused(driver)
        driver.registered(1, headers=LARGE)
        driver.registered(2, headers=LARGE, registrar=server("sip:192.0.2.2"))
        assert ways(driver) == ["udp", "tcp"]

    def test_it_is_retransmitted(self, driver: Driver) -> None:
        refused(driver)
        driver.always = silence
        driver.add(headers=LARGE)
        driver.run(4)
        assert len(driver.retransmissions) == 3

    def test_a_target_that_goes_down_may_come_back_with_tcp(self, driver: Driver) -> None:
        refused(driver)
        driver.registered(headers=LARGE)
        driver.refused = set()
        driver.always = silence
        driver.run_to_register()
        driver.run(33)
        driver.always = ok()
        driver.run(61)
        driver.assert_status("registered")
        assert ways(driver) == ["udp", "udp", "tcp"]

    def test_so_may_one_that_is_restarted(self, driver: Driver) -> None:
        refused(driver)
        driver.registered(headers=LARGE)
        driver.refused = set()
        driver.always = silence
        driver.run_to_register()
        driver.fail(UDP, "transport_refused")
        driver.always = ok()
        driver.run(61)
        driver.assert_status("registered")
        assert ways(driver) == ["udp", "udp", "tcp"]

    def test_what_is_unanswered_by_udp_is_tried_by_tcp_again(self, driver: Driver) -> None:
        """Fragments may be lost on the way while small requests of others get through."""
        refused(driver)
        driver.registered(2)
        driver.always = lambda request, key: None if length(request) > 1300 and key == UDP else ok()(request, key)
        driver.add(1, headers=LARGE)
        driver.refused = set()
        for _ in range(10):
            driver.run(3)
            driver.retry_now(2)
        driver.run(60)
        assert [key.protocol for _, key, request in driver.sends if length(request) > 1300] == ["udp", "tcp"]
        driver.assert_status("registered")

    def test_deregistration(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.run(60)
        unopened(driver)
        driver.disable()
        driver.assert_status("unregistering")
        driver.run(5)
        driver.assert_status("unregistered", "disabled")
        assert ways(driver) == ["tcp", "udp"]

    def test_deregistration_of_a_removed_profile(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.run(60)
        unopened(driver)
        driver.remove()
        driver.run(5)
        assert ways(driver) == ["tcp", "udp"]
        assert not driver.registrations.ghosts

    def test_a_profile_that_wants_tcp_has_its_own_time(self, driver: Driver) -> None:
        unopened(driver)
        driver.add(1, registrar=server("sip:192.0.2.1;transport=tcp"))
        driver.add(2, headers=LARGE)
        driver.run(5)
        driver.assert_status("registered", number=2)
        driver.registrations.transport_opened(TCP, ("198.51.100.1", 40000), driver.now)
        driver.settle()
        driver.run(1)
        driver.assert_status("registered", number=1)


class TestLostMidway:
    def test_it_goes_by_udp_at_once(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.always = ok()
        driver.fail(TCP)
        driver.run(1)
        driver.assert_status("registered")
        assert ways(driver) == ["tcp", "udp"]
        first, second = (request for _, _, request in driver.sends)
        assert first.branch() != second.branch()
        assert second.cseq()[0] == first.cseq()[0] + 1

    def test_the_next_request_tries_tcp_again(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.always = ok()
        driver.fail(TCP)
        driver.run(1)
        driver.run_to_register()
        assert ways(driver) == ["tcp", "udp", "tcp"]

    def test_a_late_answer_on_it_finds_nobody(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        late = driver.sends[0][2]
        driver.fail(TCP)
        driver.registrations.received(ok()(late, TCP) or b"", ("192.0.2.1", 5060), TCP, driver.now)
        driver.settle()
        driver.assert_status("registering")

    def test_during_a_refresh_the_lease_holds(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.always = silence
        driver.run_to_register()
        driver.always = ok()
        driver.fail(TCP)
        driver.run(1)
        driver.assert_status("registered")
        assert ways(driver) == ["tcp", "tcp", "udp"]
        assert "deregistered" not in driver.events()

    def test_during_a_deregistration(self, driver: Driver) -> None:
        driver.registered(headers=LARGE)
        driver.always = silence
        driver.disable()
        driver.always = ok()
        driver.fail(TCP)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert ways(driver) == ["tcp", "tcp", "udp"]

    def test_when_nobody_wants_it_any_more_it_is_removed(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.disable()
        assert driver.flow().phase == SENT
        driver.always = ok()
        driver.fail(TCP)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert ways(driver) == ["tcp", "udp"]
        assert (driver.sends[-1][2].header("contact") or "").endswith(";expires=0")

    def test_a_server_that_takes_the_connection_and_is_silent(self, driver: Driver) -> None:
        """Timer F: by UDP, and the next ones too."""
        driver.always = lambda request, key: None if key == TCP else ok()(request, key)
        driver.add(headers=LARGE)
        driver.run(33)
        driver.assert_status("registered")
        assert ways(driver) == ["tcp", "udp"]
        driver.run_to_register()
        assert ways(driver) == ["tcp", "udp", "udp"]

    def test_closed_each_time_it_is_not_hammered(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        for _ in range(HOUR):
            if TCP in driver.open:
                driver.fail(TCP)
            driver.run(1)
        assert len(driver.sends) < 2 * 130

    def test_the_target_fails_by_udp_too(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.fail(TCP)
        driver.fail(UDP, "transport_refused")
        driver.assert_status("unregistered", "transport_refused")
        driver.always = ok()
        driver.run(61)
        driver.assert_status("registered")

    def test_udp_is_refused_while_the_request_is_out(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(headers=LARGE)
        driver.fail(UDP, "transport_refused")
        driver.assert_status("unregistered", "transport_refused")
        driver.disable()
        driver.run(1)
        assert (driver.sends[-1][2].header("contact") or "").endswith(";expires=0"), "it may have arrived"


class TestAnswers:
    @pytest.mark.parametrize("respond", [answer(500), answer(403), answer(503), challenge(), ok(0)])
    def test_failures_leave_nothing_open(self, driver: Driver, respond: Any) -> None:
        driver.always = respond
        driver.add(headers=LARGE)
        driver.run(100 * LATENCY)
        driver.assert_status("unregistered")
        driver.disable()
        driver.run(40)
        assert not driver.open
        assert TCP not in driver.registrations.transports

    def test_423_is_answered_by_the_same_way(self, driver: Driver) -> None:
        driver.answers.append(answer(423, "Min-Expires: 7200"))
        driver.registered(headers=LARGE)
        assert ways(driver) == ["tcp", "tcp"]
