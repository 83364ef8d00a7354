"""Access tokens in place of passwords (RFC 8898)."""

from __future__ import annotations

import pytest
from machine_driver import Driver, answer, challenge, ok, reply, server

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.message import Request

WANTED = 'WWW-Authenticate: Bearer realm="reg.test", authz_server="https://auth.test"'


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.names = {"reg.test": ("192.0.2.1",)}
    driver.local.update(tls=("198.51.100.1", 40000))
    driver.token = ("first", 600.0)
    driver.always = takes("first")
    return driver


def takes(*tokens: str) -> object:
    """A registrar that lets these tokens in."""

    def respond(request: Request, key: TransportKey) -> bytes | None:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        return ok()(request, key) if scheme == "Bearer" and token in tokens else reply(request, 401, WANTED)

    return respond


def add(driver: Driver, number: int = 1, uri: str = "sips:reg.test") -> None:
    driver.add(number, token_source="cloud", registrar=server(uri, password=None))
    driver.run(1)


def test_it_registers_in_one_round_trip(driver: Driver) -> None:
    add(driver)
    assert driver.sent_register().headers("authorization") == ["Bearer first"]
    driver.assert_status("registered")


def test_a_hundred_profiles_fetch_it_once(driver: Driver) -> None:
    for number in range(1, 101):
        add(driver, number)
    assert len(driver.fetches) == 1
    assert len(driver.sends) == 100


class TestRenewal:
    def test_it_is_fetched_anew_before_it_ends(self, driver: Driver) -> None:
        add(driver)
        driver.token = ("second", 600.0)
        driver.always = takes("second")
        driver.run(560)
        assert len(driver.fetches) == 2
        driver.sent()
        driver.run_to_register()
        assert driver.sent_register().header("authorization") == "Bearer second"
        driver.assert_status("registered")

    def test_one_without_an_end_is_fetched_when_it_is_needed(self, driver: Driver) -> None:
        driver.token = ("first", None)
        add(driver)
        driver.run(2000)
        assert len(driver.fetches) == 1
        driver.token = ("second", None)
        driver.always = takes("second")
        driver.run_to_register()
        assert len(driver.fetches) == 2
        assert driver.sends[-1][2].header("authorization") == "Bearer second"

    def test_a_source_that_fails_does_not_end_a_token_that_has_not_ended(self, driver: Driver) -> None:
        add(driver)
        driver.token = None
        driver.run(580)
        assert len(driver.fetches) == 2
        driver.assert_status("registered")

    def test_nobody_needs_it_any_more(self, driver: Driver) -> None:
        add(driver)
        driver.disable()
        driver.run(7200)
        assert len(driver.fetches) == 1

    def test_a_source_is_not_asked_again_and_again(self, driver: Driver) -> None:
        driver.token = ("first", 1.0)
        add(driver)
        driver.run(3600)
        assert len(driver.fetches) <= 361


class TestRefused:
    def test_a_token_that_was_revoked_is_fetched_anew(self, driver: Driver) -> None:
        add(driver)
        driver.sent()
        driver.run(20)
        driver.token = ("second", 6000.0)
        driver.always = takes("second")
        driver.registrations.retry_now(1, driver.now)
        driver.settle()
        driver.run(1)
        assert [request.header("authorization") for request in driver.sent()] == ["Bearer first", "Bearer second"]
        driver.assert_status("registered")

    def test_the_breaker_opens_and_another_token_closes_it(self, driver: Driver) -> None:
        driver.always = takes("other")
        add(driver)
        driver.run(3000)
        driver.assert_status("unregistered", "credentials_needed")
        assert len(driver.sends) <= 5
        count = len(driver.sends)
        driver.token = ("other", 600.0)
        driver.run(600)
        driver.assert_status("registered")
        assert len(driver.sends) <= count + 2

    def test_many_who_are_refused_do_not_storm_the_source(self, driver: Driver) -> None:
        for number in range(1, 51):
            add(driver, number)
        driver.run(300)
        driver.always = takes()
        before = len(driver.fetches)
        for number in range(1, 51):
            driver.registrations.retry_now(number, driver.now)
        driver.settle()
        driver.run(5)
        assert len(driver.fetches) == before + 1


class TestUnavailable:
    def test_it_is_told_and_tried_again(self, driver: Driver) -> None:
        driver.token = None
        add(driver)
        driver.assert_status("unregistered", "token_unavailable")
        driver.assert_quiet()
        assert driver.next_try() > 0
        driver.token = ("first", 600.0)
        driver.run(70)
        driver.assert_status("registered")

    def test_a_source_that_says_nothing_has_a_limit(self, driver: Driver) -> None:
        driver.silent_source = True
        add(driver)
        driver.assert_status("registering")
        driver.run(36)
        driver.assert_status("unregistered", "token_unavailable")

    def test_a_refresh_without_a_token_keeps_the_lease(self, driver: Driver) -> None:
        add(driver)
        driver.token = None
        driver.run(driver.flow().refresh_at - driver.now + 1)
        driver.assert_status("registered", error="token_unavailable")

    def test_disable_while_it_is_fetched(self, driver: Driver) -> None:
        driver.silent_source = True
        add(driver)
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        driver.registrations.token_fetched("cloud", "first", 600.0, driver.now)
        driver.settle()
        driver.assert_quiet()

    def test_the_connection_is_lost_while_it_is_fetched(self, driver: Driver) -> None:
        driver.silent_source = True
        add(driver)
        (key,) = driver.open
        driver.fail(key)
        driver.registrations.token_fetched("cloud", "first", 600.0, driver.now)
        driver.settle()
        driver.run(1)
        driver.assert_status("registered")

    def test_a_deregistration_without_a_token(self, driver: Driver) -> None:
        add(driver)
        driver.token = None
        driver.run(601)
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "binding_may_remain")


class TestSecrecy:
    @pytest.mark.parametrize("uri", ["sip:reg.test;transport=tcp", "sip:reg.test;transport=udp"])
    def test_it_is_refused_at_save_without_tls(self, driver: Driver, uri: str) -> None:
        with pytest.raises(SipProfileError, match="token_source"):
            add(driver, uri=uri)

    def test_where_dns_leads_elsewhere_it_is_not_sent(self, driver: Driver) -> None:
        add(driver, uri="sip:reg.test")
        assert all(request.header("authorization") is None for request in driver.sent())
        driver.assert_status("unregistered", "bearer_needs_tls")
        assert driver.fetches == []

    def test_it_is_in_no_row_and_no_repr(self, driver: Driver) -> None:
        driver.token = ("verysecret", 600.0)
        driver.always = takes("verysecret")
        add(driver)
        driver.assert_status("registered")
        assert "verysecret" not in repr(driver.rows) + repr(driver.history) + repr(driver.changes)
        assert "verysecret" not in repr(driver.flow()) + repr(driver.registrations.access_tokens)

    def test_without_a_source_the_challenge_is_not_understood(self, driver: Driver) -> None:
        driver.add(registrar=server("sips:reg.test"))
        driver.run(1)
        driver.assert_status("unregistered", "challenge_unsupported")


class TestWithDigest:
    def test_a_proxy_that_wants_a_digest(self, driver: Driver) -> None:
        driver.answers.append(challenge(realm="proxy", status=407))
        driver.add(
            token_source="cloud",
            registrar=server("sips:reg.test", password=None),
            proxies=[server("sips:reg.test", username="p")],
        )
        driver.run(1)
        last = driver.sends[-1][2]
        assert last.header("authorization") == "Bearer first"
        assert (last.header("proxy-authorization") or "").startswith('Digest username="p"')
        driver.assert_status("registered")

    def test_a_proxy_that_wants_it_too(self, driver: Driver) -> None:
        driver.answers.append(answer(407, WANTED.replace("WWW", "Proxy")))
        add(driver)
        assert driver.sends[-1][2].header("proxy-authorization") == "Bearer first"
        assert driver.sends[-1][2].header("authorization") == "Bearer first"

    def test_another_source_is_used_from_the_next_request_on(self, driver: Driver) -> None:
        add(driver)
        driver.sent()
        driver.update(token_source=None, registrar=server("sips:reg.test"))
        driver.assert_quiet()
        driver.always = challenge()
        driver.answers.append(challenge())
        driver.answers.append(ok())
        driver.run_to_register()
        assert "Bearer" not in (driver.sends[-1][2].header("authorization") or "")
        driver.assert_status("registered")
