"""Every answer to REGISTER: whether, where and when it is retried, and what users are told (RFC 3261 §21)."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from machine_driver import LATENCY, Driver, answer, challenge, digest, ok, reply, server, silence

from sipprofile.events import REASONS
from sipprofile.registration import options
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.answers import TABLE, row_of
from sipprofile.sip.message import Request

A, B = "192.0.2.1", "192.0.2.2"
BACK_OFF = (30, 60)  # seconds: min(1800, 30·2¹) × 0.5…1 (RFC 5626 §4.5)


class Expected(NamedTuple):
    """What follows when a refresh is answered so, at every target."""

    where: tuple[str, ...] = (A,)
    wait: tuple[float, float] = BACK_OFF
    code: str = "response"
    kept: bool = True
    down: bool = False
    unknown: bool = False


EVERYWHERE = (A, B)
REFUSED = Expected(kept=False)

EXPECTED: dict[int, Expected] = {
    300: Expected(),  # without a Contact
    301: Expected(),
    302: Expected(),
    305: Expected(),
    333: Expected(),
    380: Expected(code="alternative_service"),
    400: Expected(),
    401: Expected(code="challenge_unsupported", kept=False),
    402: Expected(),
    403: REFUSED,
    404: REFUSED,
    405: Expected(code="no_registrar"),
    406: Expected(),
    407: Expected(code="challenge_unsupported", kept=False),
    408: Expected(EVERYWHERE, down=True, unknown=True),
    410: Expected(code="gone", kept=False),
    413: Expected(code="too_large"),
    416: Expected(code="uri_scheme_refused"),
    420: Expected((A, A), code="extension_refused"),
    421: Expected(code="extension_required"),
    423: Expected(code="interval_too_brief"),
    430: Expected(EVERYWHERE),
    439: Expected((A, A)),  # once more without outbound
    480: Expected(),
    481: Expected(),
    482: Expected(code="loop"),
    483: Expected(code="loop"),
    486: Expected(),
    491: Expected(wait=(2.1, 4)),
    494: Expected(code="security_agreement_required"),
    499: Expected(),
    500: Expected(EVERYWHERE),
    501: Expected(code="no_registrar"),
    502: Expected(EVERYWHERE),
    503: Expected(EVERYWHERE, down=True),
    504: Expected(EVERYWHERE, unknown=True),
    505: Expected(),
    513: Expected(code="too_large"),
    555: Expected(code="push_refused"),
    580: Expected(),
    599: Expected(EVERYWHERE),
    600: Expected(),
    603: REFUSED,
    604: REFUSED,
    606: Expected(),
    607: REFUSED,
    699: Expected(),
}


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.names = {"reg.test": (A, B), "edge.reg.test": ("192.0.2.9",)}
    return driver


def everywhere(driver: Driver, respond: Any) -> None:
    driver.hosts[A] = driver.hosts[B] = respond


def registered(driver: Driver, **changes: Any) -> None:
    driver.registered(registrar=server("sip:reg.test"), **changes)


def where(driver: Driver, since: int = 0) -> list[str]:
    return [key.host for _, key, _ in driver.sends[since:]]


def supported(request: Request) -> str | None:
    return request.header("supported")


class TestTheTable:
    def test_every_row_is_expected(self) -> None:
        assert set(TABLE) - {200} <= set(EXPECTED)
        assert {row.reason for row in TABLE.values()} <= set(REASONS)

    def test_what_is_unknown_is_as_its_class(self) -> None:
        """RFC 3261 §8.1.3.2."""
        for status in range(200, 700):
            assert row_of(status) is (TABLE.get(status) or TABLE[status // 100 * 100])

    @pytest.mark.parametrize("status", EXPECTED)
    def test_a_refresh(self, driver: Driver, status: int) -> None:
        expected = EXPECTED[status]
        registered(driver)
        flow = driver.flow()
        everywhere(driver, answer(status))
        driver.run_to_register()
        sent = len(driver.sends)
        assert tuple(where(driver, 1)) == expected.where
        state = driver.assert_status("registered" if expected.kept else "unregistered")
        told = state.last_error if expected.kept else state.reason
        assert told is not None
        assert (told.code, told.status_code) == (expected.code, status)
        assert told.text == (f"The registrar answered {status} Phrase." if expected.code == "response" else told.text)
        assert "{" not in told.text
        low, high = expected.wait
        assert low - 20 * LATENCY <= driver.next_try() <= high
        assert driver.events() == ["error" if expected.kept else "deregistered"]
        assert flow.rejected == 0
        health = driver.registrations.health_of(TransportKey("udp", A, 5060))
        assert health.down is expected.down
        assert (flow.unknown_until > driver.now) is expected.unknown
        everywhere(driver, ok())
        driver.run(62)
        driver.assert_status("registered", "none")
        assert driver.state().last_error is None
        assert len(driver.sends) == sent + 1

    @pytest.mark.parametrize("status", [status for status in EXPECTED if status not in (401, 407)])
    def test_retry_after_takes_the_place_of_the_back_off(self, driver: Driver, status: int) -> None:
        """RFC 3261 §20.33."""
        registered(driver)
        everywhere(driver, answer(status, "Retry-After: 77"))
        driver.run_to_register()
        assert 70 <= driver.next_try() <= 77

    @pytest.mark.parametrize("status", [b"099", b"700", b"999", b"20", b"2000", b"abc", b"\xd9\xa2\xd9\xa0\xd9\xa0"])
    def test_what_is_no_status_is_no_answer(self, driver: Driver, status: bytes) -> None:
        everywhere(driver, lambda request, _: reply(request, 200).replace(b" 200 ", b" " + status + b" ", 1))
        driver.add(registrar=server("sip:reg.test"))
        driver.run(10)
        driver.assert_status("registering")
        driver.run(55)
        driver.assert_status("unregistered", "timeout")

    def test_provisional_answers_do_not_hold_timer_f(self, driver: Driver) -> None:
        """RFC 3261 §17.1.2.2: 64·T1, whatever is said in between."""
        everywhere(driver, answer(100))
        driver.add(registrar=server("sip:reg.test"))
        start = driver.now
        for _ in range(31):
            driver.run(1)
            _, key, request = driver.sends[-1]
            driver.registrations.received(reply(request, 183), (key.host, key.port), key, driver.now)
        assert where(driver) == [A]
        driver.run(start + 33 - driver.now)
        assert tuple(where(driver)) == EVERYWHERE
        driver.run(33)
        driver.assert_status("unregistered", "timeout")


class TestExtensions:
    """420, 421, 439 (RFC 3261 §8.1.3.5, §21.4.16, RFC 5626 §11.6)."""

    @pytest.fixture(autouse=True)
    def tags(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(options, "SUPPORTED", ("path", "outbound"))

    @pytest.mark.parametrize(
        ("refusal", "left"),
        [
            (answer(420, "Unsupported: path"), "outbound"),
            (answer(420, "Unsupported: gruu, PATH"), "outbound"),
            (answer(420, "Unsupported: path", "Unsupported: outbound"), None),
            (answer(420), None),
            (answer(439), "path"),
        ],
    )
    def test_the_tag_is_left_out_at_once_and_from_then_on(self, driver: Driver, refusal: Any, left: str | None) -> None:
        driver.answers.append(refusal)
        driver.registered()
        first, second = driver.sends
        assert (supported(first[2]), supported(second[2])) == ("path, outbound", left)
        assert second[0] - first[0] == pytest.approx(LATENCY)
        for _ in range(2):
            driver.run_to_register()
            assert supported(driver.sent_register()) == left

    def test_once_for_each_tag(self, driver: Driver) -> None:
        driver.answers.extend([answer(420, "Unsupported: path"), answer(439), answer(420, "Unsupported: path")])
        driver.add()
        driver.run(1)
        assert [supported(request) for request in driver.sent()] == ["path, outbound", "outbound", None]
        driver.assert_status("unregistered", "extension_refused")
        assert driver.state().reason.text.endswith(": path.")
        assert driver.next_try() >= 29

    def test_a_tag_that_we_never_sent_is_named(self, driver: Driver) -> None:
        driver.always = answer(420, "Unsupported: x-mine, \x1b[2J, b")
        driver.add(headers=["Require: x-mine"])
        driver.run(1)
        assert len(driver.sends) == 1
        text = driver.assert_status("unregistered", "extension_refused").reason.text
        assert text.endswith(": x-mine, b.")

    @pytest.mark.parametrize(
        ("headers", "named"),
        [(["Require: sec-agree, pref"], "sec-agree, pref"), ([], "it does not say which"), (["Require: path"], "path")],
    )
    def test_what_is_demanded_and_not_supported_is_named(self, driver: Driver, headers: list[str], named: str) -> None:
        driver.always = answer(421, *headers)
        driver.add()
        driver.run(1)
        assert len(driver.sends) == 1
        text = driver.assert_status("unregistered", "extension_required").reason.text
        assert text.endswith(f": {named}.")

    def test_a_tag_that_was_left_out_is_offered_again(self, driver: Driver) -> None:
        driver.answers.append(answer(420, "Unsupported: path, outbound"))
        driver.registered()
        driver.answers.append(answer(421, "Require: path"))
        driver.run_to_register()
        assert [supported(request) for request in driver.sent()] == [None, "path"]
        driver.assert_status("registered")

    def test_a_server_that_changes_its_mind_is_left_alone(self, driver: Driver) -> None:
        def fickle(request: Request, key: TransportKey) -> bytes | None:
            offered = "path" in (supported(request) or "")
            return (answer(420, "Unsupported: path") if offered else answer(421, "Require: path"))(request, key)

        driver.always = fickle
        driver.add()
        driver.run(20)
        assert len(driver.sends) == 5
        assert driver.next_try() >= 10

    @pytest.mark.parametrize("changes", [{"registrar": server("sip:reg.test")}, {"proxies": [server("sip:192.0.2.7")]}])
    def test_another_registrar_or_proxy_is_offered_everything(self, driver: Driver, changes: dict[str, Any]) -> None:
        driver.answers.append(answer(439))
        driver.registered()
        driver.update(**changes)
        assert supported(driver.sent()[0]) == "path, outbound"

    @pytest.mark.parametrize("purpose", ["deregister", "remove_old"])
    def test_a_removal_does_the_same(self, driver: Driver, purpose: str) -> None:
        driver.registered()
        if purpose == "deregister":
            driver.answers.append(answer(439))
            driver.disable()
        else:
            old = driver.flow().contact
            driver.answers.extend([ok(None, f"<{old}>;expires=99"), answer(439)])
            driver.update(contact_user="other")
        driver.run(1)
        assert [supported(request) for request in driver.sent()][-2:] == ["path, outbound", "path"]
        if purpose == "deregister":
            driver.assert_status("unregistered", "disabled")
        else:
            driver.assert_status("registered")
            assert driver.flow().old_contact == ""


class TestPending:
    """491: a moment, once (RFC 3261 §14.1); then as any failure."""

    def test_the_second_time_it_backs_off(self, driver: Driver) -> None:
        driver.always = answer(491)
        driver.add()
        assert 2.1 <= driver.run_to_register() <= 4
        assert 59 <= driver.next_try() <= 120

    def test_the_moment_is_random(self) -> None:
        waits = set()
        for seed in range(5):
            driver = Driver(seed=seed)
            driver.always = answer(491)
            driver.add()
            driver.run(1)
            waits.add(driver.next_try())
        assert len(waits) == 5


class TestUseProxy:
    """305: one hop, with a Route, inside the domain and its security (RFC 3261 §21.3.4, §8.1.3.4)."""

    def test_the_request_goes_through_it(self, driver: Driver) -> None:
        everywhere(driver, answer(305, "Contact: <sip:edge.reg.test:5070;x=y>"))
        driver.hosts["192.0.2.9"] = ok()
        registered(driver)
        _, key, request = driver.sends[-1]
        assert (key.host, key.port, request.uri) == ("192.0.2.9", 5070, "sip:reg.test")
        assert request.header("route") == "<sip:edge.reg.test:5070;x=y;lr>"
        driver.disable()
        _, removed_at, removal = driver.sends[-1]
        assert (removed_at, removal.uri, removal.header("route")) == (key, request.uri, request.header("route"))

    def test_the_next_attempt_asks_the_registrar_again(self, driver: Driver) -> None:
        everywhere(driver, answer(305, "Contact: <sip:edge.reg.test>"))
        driver.hosts["192.0.2.9"] = ok()
        registered(driver)
        driver.hosts.clear()
        driver.run_to_register()
        request = driver.sent_register()
        assert request.header("route") is None
        assert driver.sends[-1][1].host == A

    def test_after_our_own_proxy(self, driver: Driver) -> None:
        driver.answers.append(answer(305, "Contact: <sip:edge.reg.test>"))
        registered(driver, proxies=[server("sip:192.0.2.7")])
        _, key, request = driver.sends[-1]
        assert (key.host, request.header("route")) == ("192.0.2.7", "<sip:192.0.2.7;lr>, <sip:edge.reg.test;lr>")

    @pytest.mark.parametrize(
        "contact",
        ["<sip:elsewhere.test>", "<sips:edge.reg.test>", "<sip:edge.reg.test;transport=tls>", "<sip:reg.test.evil>"],
    )
    def test_not_elsewhere(self, driver: Driver, contact: str) -> None:
        everywhere(driver, answer(305, f"Contact: {contact}"))
        driver.add(registrar=server("sip:reg.test"))
        driver.run(1)
        assert len(driver.sends) == 1
        driver.assert_status("unregistered", "redirected")

    def test_one_hop(self, driver: Driver) -> None:
        everywhere(driver, answer(305, "Contact: <sip:edge.reg.test>"))
        driver.hosts["192.0.2.9"] = answer(305, "Contact: <sip:reg.test>")
        driver.add(registrar=server("sip:reg.test"))
        driver.run(10)
        assert where(driver) == [A, "192.0.2.9"]
        driver.assert_status("unregistered", "redirected")


class TestMultipleChoices:
    """300: the first contact that may be used, the most wanted first (RFC 3261 §21.3.1, §20.10)."""

    @pytest.mark.parametrize("status", [300, 301, 302, 399])
    def test_the_first_usable_one(self, driver: Driver, status: int) -> None:
        contacts = "<sip:x.test>;q=0.9, <sip:reg.test:5090>;q=0.2, <sip:edge.reg.test>;q=0.5, <mailto:a@reg.test>"
        everywhere(driver, answer(status, f"Contact: {contacts}"))
        driver.hosts["192.0.2.9"] = ok()
        registered(driver)
        assert where(driver) == [A, "192.0.2.9"]


class TestRedirectedInVain:
    @pytest.mark.parametrize("status", [302, 305])
    def test_the_binding_is_removed_where_it_was_made(self, driver: Driver, status: int) -> None:
        registered(driver)
        everywhere(driver, answer(status, "Contact: <sip:edge.reg.test>"))
        driver.hosts["192.0.2.9"] = answer(500)
        driver.run_to_register()
        driver.run(1)
        assert where(driver, 1) == [A, "192.0.2.9"]
        driver.sent()
        driver.disable()
        request = driver.sent_register()
        assert (driver.sends[-1][1].host, request.uri, request.header("route")) == (A, "sip:reg.test", None)

    def test_the_next_attempt_is_the_first_ones_equal(self, driver: Driver) -> None:
        everywhere(driver, answer(305, "Contact: <sip:edge.reg.test>"))
        driver.hosts["192.0.2.9"] = answer(500)
        driver.add(registrar=server("sip:reg.test"))
        driver.run(1)
        driver.sent()
        everywhere(driver, ok())
        driver.run_to_register()
        request = driver.sent_register()
        assert (driver.sends[-1][1].host, request.uri, request.header("route")) == (A, "sip:reg.test", None)


class TestRemoval:
    """Answers to a de-registration (RFC 3261 §10.2.2): what is told is what is known."""

    GONE = ("unregistered", "disabled")
    PERHAPS = ("unregistered", "binding_may_remain")

    @pytest.mark.parametrize(
        ("respond", "expected", "requests"),
        [
            (answer(200), GONE, 1),
            (answer(299), GONE, 1),
            (answer(404), GONE, 1),
            (answer(410), GONE, 1),
            (answer(481), GONE, 1),
            (answer(604), GONE, 1),
            (answer(302, "Contact: <sip:reg.test>"), PERHAPS, 1),
            (answer(403), PERHAPS, 1),
            (answer(423, "Min-Expires: 60"), PERHAPS, 1),
            (answer(491), PERHAPS, 1),
            (answer(500), PERHAPS, 1),
            (answer(503, "Retry-After: 9"), PERHAPS, 1),
            (answer(603), PERHAPS, 1),
            (challenge("new"), PERHAPS, 2),
            (challenge("new", more=', qop="auth", stale=true'), PERHAPS, 5),
            (silence, PERHAPS, 2),  # the other server knows the binding too
            (digest(), GONE, 1),
        ],
    )
    def test_it_ends_with_the_truth(
        self, driver: Driver, respond: Any, expected: tuple[str, str], requests: int
    ) -> None:
        everywhere(driver, digest())
        registered(driver)
        everywhere(driver, respond)
        driver.disable()
        driver.run(80)
        driver.assert_status(*expected)
        assert len(driver.sent()) == requests
        driver.run(7200)
        driver.assert_quiet()

    def test_a_new_nonce_is_answered(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.answers.append(challenge("n2"))
        driver.disable()
        driver.run(1)
        assert [request.header("expires") for request in driver.sent()] == ["0", "0"]
        driver.assert_status("unregistered", "disabled")

    def test_a_2xx_that_still_lists_our_contact_is_no_proof(self, driver: Driver) -> None:
        driver.registered()
        contact = driver.flow().contact
        driver.always = answer(200, f"Contact: <sip:other@x.test>, <{contact}>;expires=3000")
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "binding_may_remain")

    @pytest.mark.parametrize("respond", [answer(status) for status in (200, 401, 403, 404, 423, 481, 500, 503)])
    def test_that_of_an_old_contact_harms_ours_never(self, driver: Driver, respond: Any) -> None:
        driver.registered()
        old = driver.flow().contact
        driver.answers.extend([ok(None, f"<{old}>;expires=99"), respond])
        driver.update(contact_user="other")
        driver.run(1)
        assert len(driver.sent()) == 2
        driver.assert_status("registered", "none")
        assert driver.state().last_error is None
        assert driver.flow().old_contact == ""
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    @pytest.mark.parametrize("respond", [answer(408), answer(504), answer(200, "Contact: <sip:x@y.test>"), answer(200)])
    def test_a_binding_that_may_have_been_made_is_removed(self, driver: Driver, respond: Any) -> None:
        """Who answers for the registrar cannot know what it did, and a 2xx that does not list us says too little."""
        everywhere(driver, respond)
        driver.add(registrar=server("sip:reg.test"))
        driver.run(1)
        driver.sent()
        driver.disable()
        assert driver.sent_register().header("expires") == "0"
