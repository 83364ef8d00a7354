"""423, Retry-After, redirects, an agent's own judgement, answers that make no sense (RFC 3261 §8.1.3.4, §10.2.8)."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest
from machine_driver import Answer, Driver, answer, challenge, ok, reply, server

from sipprofile.agents.base import Plan, Verdict
from sipprofile.agents.ietf import IetfAgent
from sipprofile.profile import ProfileType
from sipprofile.sip.message import Request, Response


@pytest.fixture
def driver() -> Driver:
    return Driver()


class TestIntervalTooBrief:
    """RFC 3261 §10.2.8."""

    def test_what_it_demands_is_asked_for_at_once_and_from_then_on(self, driver: Driver) -> None:
        driver.answers.append(answer(423, "Min-Expires: 7200"))
        driver.registered()
        assert driver.sends[1][2].header("expires") == "7200"
        assert driver.state().expires_granted == 7200
        driver.run_to_register()
        assert driver.sent_register().header("expires") == "7200"

    @pytest.mark.parametrize("value", ["", "3600", "60", "-1", "x", "٧٢٠٠", "9" * 500, "4294967296"])
    def test_a_demand_that_makes_no_sense_backs_off(self, driver: Driver, value: str) -> None:
        driver.always = answer(423, f"Min-Expires: {value}")
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "interval_too_brief")
        assert driver.next_try() >= 29

    def test_an_auction_ends(self, driver: Driver) -> None:
        def more(request: Request, _: object) -> bytes:
            return reply(request, 423, f"Min-Expires: {int(request.header('expires') or 0) + 1}")

        driver.always = more
        driver.add()
        driver.run(10)
        assert len(driver.sends) == 5
        driver.assert_status("unregistered", "interval_too_brief")

    def test_challenges_and_423_together_end_too(self, driver: Driver) -> None:
        def both(request: Request, key: object) -> bytes | None:
            if request.cseq()[0] % 2:
                nonce = challenge(nonce=f"n{request.cseq()[0]}", more=', qop="auth", stale=true')
                return nonce(request, key)  # type: ignore[arg-type]
            return reply(request, 423, f"Min-Expires: {int(request.header('expires') or 0) + 1}")

        driver.always = both
        driver.add()
        driver.run(10)
        assert len(driver.sends) <= 6


class TestRetryAfter:
    """RFC 3261 §20.33."""

    @pytest.mark.parametrize(("value", "seconds"), [("120", 120), ("120 (lunch);duration=60", 120), ("1", 5)])
    def test_it_is_honoured(self, driver: Driver, value: str, seconds: int) -> None:
        driver.answers.append(answer(500, f"Retry-After: {value}"))
        driver.add()
        assert driver.run_to_register() == pytest.approx(seconds, abs=0.1)
        driver.assert_status("registered")

    @pytest.mark.parametrize("value", ["0", "", "x", "-5", "١٢"])
    def test_nonsense_is_not(self, driver: Driver, value: str) -> None:
        driver.always = answer(500, f"Retry-After: {value}")
        driver.add()
        driver.run(1)
        assert 29 <= driver.next_try() <= 60

    def test_a_lifetime_is_cut_to_a_day(self, driver: Driver) -> None:
        driver.always = answer(500, "Retry-After: " + "9" * 400)
        driver.add()
        driver.run(1)
        assert driver.next_try() <= 86_400

    def test_a_503_is_left_alone_for_that_long(self, driver: Driver) -> None:
        driver.answers.append(answer(503, "Retry-After: 300"))
        driver.add()
        assert 299 <= driver.run_to_register() <= 600
        driver.assert_status("registered")


class TestRedirect:
    """RFC 3261 §8.1.3.4: one hop, inside the registrar's domain, never to less security."""

    @pytest.fixture
    def driver(self) -> Driver:
        driver = Driver()
        driver.names = {"example.test": ("192.0.2.20",), "two.example.test": ("192.0.2.21",)}
        return driver

    def test_it_is_followed(self, driver: Driver) -> None:
        driver.hosts["192.0.2.20"] = answer(302, "Contact: <sip:u:p@two.example.test:5070;lr;method=X?a=b>")
        driver.add(registrar=server("sip:example.test"))
        driver.run(1)
        driver.assert_status("registered")
        _, key, request = driver.sends[-1]
        assert (key.host, key.port, request.uri) == ("192.0.2.21", 5070, "sip:two.example.test:5070")
        assert request.header("to") == "<sip:alice1@192.0.2.1>"
        driver.disable()
        assert driver.sends[-1][1:2] == (key,)
        assert driver.sends[-1][2].uri == request.uri

    def test_through_a_proxy_it_changes_the_request_uri_only(self, driver: Driver) -> None:
        driver.answers.append(answer(301, "Contact: <sip:two.example.test>"))
        driver.registered(registrar=server("sip:example.test"), proxies=[server("sip:192.0.2.7")])
        _, key, request = driver.sends[-1]
        assert (key.host, request.uri) == ("192.0.2.7", "sip:two.example.test")
        assert request.header("route") == "<sip:192.0.2.7;lr>"

    @pytest.mark.parametrize(
        "contact",
        [
            "<sip:elsewhere.test>",
            "<sip:notexample.test>",
            "<sip:example.test.evil>",
            "<sips:two.example.test>",
            "<sip:two.example.test;transport=tls>",
            "<mailto:a@example.test>",
            "garbage",
            "*",
        ],
    )
    def test_what_leads_elsewhere_is_refused(self, driver: Driver, contact: str) -> None:
        driver.always = answer(302, f"Contact: {contact}")
        driver.add(registrar=server("sip:example.test"))
        driver.run(1)
        assert len(driver.sends) == 1
        driver.assert_status("unregistered", "redirected")

    def test_a_circle_is_left_after_one_hop(self, driver: Driver) -> None:
        driver.hosts["192.0.2.20"] = answer(302, "Contact: <sip:two.example.test>")
        driver.hosts["192.0.2.21"] = answer(302, "Contact: <sip:example.test>")
        driver.add(registrar=server("sip:example.test"))
        driver.run(20)
        assert len(driver.sends) == 2
        driver.assert_status("unregistered", "redirected")

    def test_the_next_attempt_starts_at_the_registrar_again(self, driver: Driver) -> None:
        driver.hosts["192.0.2.20"] = answer(302, "Contact: <sip:two.example.test>")
        driver.add(registrar=server("sip:example.test"))
        driver.run(1)
        driver.hosts.clear()
        driver.run_to_register()
        assert driver.sends[-1][1].host == "192.0.2.20"

    def test_without_a_contact_it_is_an_ordinary_failure(self, driver: Driver) -> None:
        driver.always = answer(302)
        driver.add(registrar=server("sip:example.test"))
        driver.run(1)
        driver.assert_status("unregistered", "response")


class Strict(IetfAgent):
    """An agent with its own opinion of 480 and 481."""

    type: ClassVar[ProfileType] = ProfileType("strict")

    def judge(self, plan: Plan, response: Response) -> Verdict | None:
        if response.status == 480:
            return Verdict("retry", 90.0, "Come back.")
        return Verdict("refuse", text="Go away.") if response.status == 481 else None


class TestJudgement:
    """An agent may judge an answer before the table does."""

    def test_retry_keeps_a_lease(self) -> None:
        driver = Driver(agent=Strict())
        driver.registered()
        driver.answers.append(answer(480))
        driver.run_to_register()
        state = driver.assert_status("registered")
        assert state.last_error is not None
        assert (state.last_error.status_code, state.last_error.text) == (480, "Come back.")
        assert driver.next_try() == pytest.approx(90, abs=1)

    def test_refuse_leaves_at_once(self) -> None:
        driver = Driver(agent=Strict())
        driver.registered()
        driver.answers.append(answer(481))
        driver.run_to_register()
        driver.assert_status("unregistered")
        assert driver.state().reason.text == "Go away."
        assert driver.next_try() >= 29


class TestHostileAnswers:
    """Whatever comes back, the machine goes on and what it tells can be shown and stored."""

    @pytest.mark.parametrize("status", [*range(300, 420), 423, 439, 480, 494, 500, 503, 580, 600, 699])
    def test_every_status_leads_to_a_next_try(self, driver: Driver, status: int) -> None:
        driver.always = answer(status)
        driver.add()
        driver.run(60)
        assert driver.state().next_try is not None
        assert len(driver.sends) < 5

    def test_a_reason_phrase_is_made_fit_to_be_shown(self, driver: Driver) -> None:
        driver.always = answer(500, phrase="\x1b[2Jcaf\udce9" + "x" * 5000)
        driver.add()
        driver.run(1)
        text = driver.state().reason.text
        assert text.isprintable()
        assert len(text) < 150
        msgspec.json.encode([driver.state(), driver.history])

    @pytest.mark.parametrize(
        "respond",
        [
            answer(200, "Contact: *"),
            answer(200, "Contact: <sip:x>;expires=;expires=5", "Contact: ,,,", "Expires: ٣٦٠٠"),
            answer(200, 'Contact: "unclosed <sip:x>', "Service-Route: \x00, caf\udce9"),
            answer(200, *(["Contact: <sip:a@b>;expires=1"] * 200)),
            answer(401, "WWW-Authenticate: " + "Digest " * 2000),
            answer(401, 'WWW-Authenticate: Digest realm="' + "r" * 60_000 + '", nonce="n"'),
            answer(407, *([f'Proxy-Authenticate: Digest realm="{"r" * i}", nonce="n"' for i in range(1, 100)])),
            answer(503, "Retry-After: " + "9" * 60_000),
            answer(423, "Min-Expires: " + "9" * 60_000),
        ],
    )
    def test_no_exception_and_a_bounded_number_of_tries(self, driver: Driver, respond: Answer) -> None:
        driver.always = respond
        driver.add()
        driver.run(120)
        assert len(driver.sends) < 12
        driver.always = ok()
        driver.retry_now()
        driver.run(1)
        driver.assert_status("registered")

    def test_a_lease_of_a_second_is_kept_without_a_storm(self, driver: Driver) -> None:
        driver.always = ok(1)
        driver.registered()
        driver.run(60)
        assert len(driver.sends) <= 125
        assert not driver.events()[:-1].count("deregistered")
