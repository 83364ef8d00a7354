"""Digest (RFC 3261 §22, RFC 7616, RFC 8760): challenges answered, nonces kept, the breaker for refused passwords."""

from __future__ import annotations

import re

import pytest
from machine_driver import LATENCY, Answer, Driver, answer, challenge, digest, ok, reply, server, silence

from sipprofile.records import NONCE_BLOCK
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request

STALE = ', qop="auth", stale=true'


@pytest.fixture
def driver() -> Driver:
    return Driver()


def nc(request: Request) -> str:
    found = re.search(r"nc=([0-9a-f]{8})", request.header("authorization") or "")
    return found[1] if found else ""


class TestAnswering:
    """RFC 3261 §22.2."""

    @pytest.mark.parametrize(
        "more",
        [
            "",
            ', qop="auth"',
            ', qop="auth-int"',
            ', qop="auth,auth-int"',
            ", algorithm=MD5",
            ', algorithm=SHA-256, qop="auth"',
            ', algorithm=SHA-512-256, qop="auth"',
            ', algorithm=MD5-sess, qop="auth"',
            ', algorithm=SHA-256-sess, qop="auth"',
            ', opaque="a\\"b", qop="auth"',
        ],
    )
    def test_every_form_of_digest(self, driver: Driver, more: str) -> None:
        driver.always = digest(more=more)
        driver.registered()
        assert len(driver.sends) == 2

    def test_without_qop_the_answer_has_the_form_of_rfc_2069(self, driver: Driver) -> None:
        driver.always = digest(more="")
        driver.registered()
        value = driver.sends[-1][2].header("authorization") or ""
        assert "qop" not in value
        assert "nc=" not in value
        assert "algorithm" not in value

    def test_the_uri_is_the_request_uri_byte_for_byte(self, driver: Driver) -> None:
        driver.always = digest()
        driver.add(registrar=server("sip:192.0.2.1:5060;x=Y"))
        driver.run(1)
        request = driver.sends[-1][2]
        assert f'uri="{request.uri}"' in (request.header("authorization") or "")

    def test_the_strongest_known_algorithm_wins(self, driver: Driver) -> None:
        """RFC 8760 §2.3 and our policy."""
        lines = [f'WWW-Authenticate: Digest realm="r", nonce="n", algorithm={name}' for name in ("MD5", "SHA-256", "X")]
        driver.answers.append(answer(401, *lines))
        driver.add()
        driver.run(1)
        assert "algorithm=SHA-256" in (driver.sends[1][2].header("authorization") or "")

    def test_proxy_and_registrar_may_both_ask(self, driver: Driver) -> None:
        driver.answers.extend([challenge("a", "proxy", status=407), challenge("b", "registrar")])
        driver.registered(
            proxies=[server("sip:192.0.2.7", "p", username="pu", realm="proxy")],
            registrar=server("sip:192.0.2.1", "r", username="ru", realm="registrar"),
        )
        request = driver.sends[-1][2]
        assert 'username="pu"' in (request.header("proxy-authorization") or "")
        assert 'username="ru"' in (request.header("authorization") or "")

    def test_a_realm_in_strange_bytes_goes_back_as_it_came(self, driver: Driver) -> None:
        driver.answers.append(challenge(realm="caf\udce9"))
        driver.registered()
        assert 'realm="caf\udce9"' in (driver.sends[-1][2].header("authorization") or "")

    def test_a_challenge_answer_does_not_wait_for_the_bucket(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=0.1, burst=1))
        driver.always = digest()
        driver.add()
        driver.run(1)
        driver.assert_status("registered")


class TestHarvesting:
    """Digests are given only to realms that the profile was set up for."""

    def test_credentials_with_a_realm_answer_no_other(self, driver: Driver) -> None:
        driver.always = challenge(realm="evil")
        driver.add(registrar=server(realm="good"))
        driver.run(1)
        driver.assert_status("unregistered", "no_credentials")
        assert driver.sent_register().header("authorization") is None

    def test_without_a_password_there_is_no_answer(self, driver: Driver) -> None:
        driver.always = challenge()
        driver.add(registrar=server(password=None))
        driver.run(1)
        driver.assert_status("unregistered", "no_credentials")
        assert driver.state().reason.status_code == 401

    @pytest.mark.parametrize(
        "respond",
        [
            answer(401),
            challenge(more=", algorithm=unknown"),
            challenge(more=', qop="x"'),
            answer(401, "WWW-Authenticate: Basic"),
        ],
    )
    def test_what_cannot_be_answered_backs_off(self, driver: Driver, respond: Answer) -> None:
        driver.always = respond
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "challenge_unsupported")
        driver.run(36_000)
        assert len(driver.sends) < 50


class TestNonces:
    """RFC 7616 §3.3: a refresh is one round trip."""

    def test_they_are_kept_and_their_count_rises(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        for count in ("00000002", "00000003"):
            driver.run_to_register()
            assert nc(driver.sent_register()) == count

    def test_a_new_nonce_in_a_later_attempt_is_no_rejection(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.answers.append(challenge("n2"))
        driver.run_to_register()
        driver.assert_status("registered")
        assert [nc(request) for request in driver.sent()] == ["00000002", "00000001"]
        assert driver.flow().rejected == 0

    def test_stale_is_followed_three_times_and_no_more(self, driver: Driver) -> None:
        driver.always = challenge(more=STALE)
        driver.add()
        driver.run(5)
        assert len(driver.sends) == 1 + 1 + 3
        driver.assert_status("unregistered", "too_many_challenges")
        driver.run(86_400)
        assert len(driver.sends) < 5 * 100

    @pytest.mark.pain(4)
    def test_counts_are_reserved_on_disk_before_they_are_used(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        record = driver.rows[1].nonces[0]
        assert record.count_reserved == 1 + NONCE_BLOCK
        driver.crash()
        driver.run_to_register()
        assert int(nc(driver.sent()[0]), 16) == 1 + NONCE_BLOCK + 1
        driver.assert_status("registered")

    def test_a_nonce_whose_reserved_counts_are_used_up_is_dropped(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.saving = False
        nonce = driver.flow().nonces[0]
        nonce.count = nonce.limit
        driver.run_to_register()
        first, second = driver.sent()
        assert first.header("authorization") is None
        assert nc(second) == "00000001"

    def test_new_credentials_forget_them(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.update(registrar=server(password="other"))
        driver.assert_quiet()
        driver.always = digest("other")
        driver.run_to_register()
        assert [bool(nc(request)) for request in driver.sent()] == [False, True]
        driver.assert_status("registered")


class TestBreaker:
    """Two attempts with refused credentials, then no more until the secret changes or an operator says so."""

    @pytest.fixture
    def driver(self) -> Driver:
        driver = Driver()
        driver.always = digest("another")
        return driver

    @pytest.mark.pain(5)
    def test_it_opens_after_two_attempts(self, driver: Driver) -> None:
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "rejected_credentials")
        assert len(driver.sent()) == 2
        assert 15 <= driver.next_try() <= 60
        driver.run_to_register()
        driver.assert_status("unregistered", "credentials_needed")
        assert 3590 <= driver.next_try() <= 3960

    @pytest.mark.pain(5)
    def test_then_there_is_one_probe_an_hour(self, driver: Driver) -> None:
        driver.add()
        driver.run(24 * 3600)
        assert 4 + 2 * 21 <= len(driver.sends) <= 4 + 2 * 24

    def test_or_none_if_so_configured_and_the_status_says_so(self) -> None:
        driver = Driver(settings=RegistrationSettings(probe_interval=0))
        driver.always = digest("another")
        driver.add()
        driver.run(30 * 24 * 3600)
        assert len(driver.sends) == 4
        assert driver.assert_status("unregistered", "credentials_needed").next_try is None

    def test_a_403_to_credentials_counts(self, driver: Driver) -> None:
        driver.always = lambda request, key: (answer(403) if request.header("authorization") else challenge())(
            request, key
        )
        driver.add()
        driver.run(100)
        driver.assert_status("unregistered", "credentials_needed")
        assert driver.state().reason.status_code == 403

    def test_a_403_without_credentials_does_not(self, driver: Driver) -> None:
        driver.always = answer(403)
        driver.add()
        driver.run(500)
        driver.assert_status("unregistered", "response")
        assert driver.flow().rejected == 0

    def test_100_trying_does_not_hide_a_rejection(self, driver: Driver) -> None:
        driver.add()
        for _ in range(3):
            _, key, request = driver.sends[-1]
            driver.registrations.received(reply(request, 100), (key.host, key.port), key, driver.now)
            driver.run(1.5 * LATENCY)
        assert len(driver.sends) == 2
        driver.assert_status("unregistered", "rejected_credentials")

    def test_a_retransmission_is_given_one_more_chance_but_only_one(self, driver: Driver) -> None:
        """The registrar may have seen one nonce count twice; that says nothing about the password."""
        slow = digest("another")
        driver.always = silence
        driver.add()
        for expected in (2, 3):
            request, key = driver.sends[-1][2], driver.sends[-1][1]
            driver.run(0.6)
            driver.registrations.received(slow(request, key) or b"", ("192.0.2.1", 5060), key, driver.now)
            assert driver.flow().rejected == 0
            driver.settle()
            assert len(driver.sends) == expected
        driver.always = slow
        request, key = driver.sends[-1][2], driver.sends[-1][1]
        driver.registrations.received(slow(request, key) or b"", ("192.0.2.1", 5060), key, driver.now)
        driver.settle()
        driver.assert_status("unregistered", "rejected_credentials")

    def test_the_right_password_closes_it_at_once(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        driver.always = digest("right")
        driver.update(registrar=server(password="right"))
        driver.run(1)
        driver.assert_status("registered")
        assert driver.flow().rejected == 0

    def test_other_changes_leave_it_open(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        driver.sent()
        driver.update(expires=600)
        driver.assert_quiet()
        driver.assert_status("unregistered", "credentials_needed")

    def test_an_operator_may_insist(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        driver.always = digest()
        driver.retry_now()
        driver.run(1)
        driver.assert_status("registered")

    def test_disabling_and_enabling_again_is_no_way_round_it(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        probe = driver.next_try()
        driver.sent()
        driver.events()
        for _ in range(20):
            driver.disable()
            driver.want()
            driver.assert_status("unregistered", "credentials_needed")
        driver.assert_quiet()
        assert driver.events()[-1] == "error"
        assert driver.next_try() == pytest.approx(probe)

    @pytest.mark.pain(5)
    def test_neither_is_a_restart(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        driver.crash()
        driver.sent()
        driver.want()
        driver.run(3000)
        driver.assert_quiet()
        driver.assert_status("unregistered", "credentials_needed")
        driver.run(1000)
        assert len(driver.sent()) == 2

    def test_a_probe_that_fails_for_another_reason_is_not_the_last(self, driver: Driver) -> None:
        driver.add()
        driver.run(200)
        driver.always = answer(500)
        driver.run_to_register()
        driver.assert_status("unregistered", "response")
        driver.always = ok()
        driver.run_to_register()
        driver.assert_status("registered")

    def test_the_target_coming_back_does_not_close_it(self, driver: Driver) -> None:
        driver.add(1)
        driver.run(200)
        driver.hosts["192.0.2.1"] = answer(503)
        driver.add(2)
        driver.run(2)
        driver.hosts["192.0.2.1"] = digest("another")
        driver.sent()
        driver.run(200)
        assert all("alice1" not in (request.header("to") or "") for request in driver.sent())

    def test_no_password_at_all_opens_it_too(self, driver: Driver) -> None:
        driver.add(registrar=server(password=None))
        driver.run(3000)
        assert len(driver.sends) == 2
        driver.assert_status("unregistered", "no_credentials")
        driver.disable()
        driver.want()
        driver.assert_status("unregistered", "no_credentials")
