"""What a broken or hostile registrar can make us send: no more than the back-off allows, and never nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from keepalive_answers import accepting, mapped, over
from machine_driver import TCP, Driver, answer, challenge, ok, reply, silence, subscribed
from notifier import DAY, Notifier

from sipprofile.registration.actions import Send, TransportKey
from sipprofile.sip.message import Request

HOUR = 3600.0
SETTLED = 8
"""REGISTERs an hour that the back-off of RFC 5626 §4.5 comes down to, with room for a challenge or a canary."""


def registers(driver: Driver, since: float) -> int:
    return sum(at > since for at, _, _ in driver.sends)


def subscribes(driver: Driver) -> int:
    return sum(request.method == "SUBSCRIBE" for request in driver.requests)


def in_the_last_of(driver: Driver, hours: int, each_second: Callable[[], None]) -> int:
    """REGISTERs in the last of some hours in which the registrar has its way every second."""
    for _ in range(int(hours * HOUR)):
        each_second()
        driver.run(1)
    return registers(driver, driver.now - HOUR)


class TestWhatIsTakenBack:
    """NOTIFYs that end what was granted, after each REGISTER (RFC 3680 §5.1)."""

    def takes_back(self, driver: Driver, tell: Callable[[Notifier], object]) -> Callable[[], None]:
        """Tell it once for each grant and each subscription."""
        told = []

        def each_second() -> None:
            if driver.state().status == "registered":
                notifier, latest = notifiers[-1], Notifier(driver)
                if latest.subscribe.header("call-id") != notifier.subscribe.header("call-id"):
                    notifiers.append(notifier := latest)
                key = (len(driver.sends), len(notifiers))
                if key not in told[-1:]:
                    told.append(key)
                    tell(notifier)

        driver.registered(reg_event=True)
        notifiers = [Notifier(driver)]
        return each_second

    @pytest.mark.parametrize(
        "tell",
        [
            lambda it: it.tell(it.ours("deactivated", "terminated")),
            lambda it: it.tell(it.ours("rejected", "terminated")),
            lambda it: it.tell(it.ours("probation", "terminated", retry_after=0)),
            lambda it: it.tell(it.ours("probation", "terminated", retry_after=1)),
            lambda it: it.tell(),
        ],
        ids=["deactivated", "rejected", "probation 0", "probation 1", "a full state without us"],
    )
    def test_each_grant_is_ended(self, driver: Driver, tell: Callable[[Notifier], object]) -> None:
        def tell_twice(notifier: Notifier) -> None:
            notifier.tell(notifier.ours())
            tell(notifier)

        assert 1 <= in_the_last_of(driver, 3, self.takes_back(driver, tell_twice)) <= SETTLED
        driver.assert_status("unregistered", "deregistered_by_network")
        assert driver.next_try() <= 1800

    @pytest.mark.parametrize("attributes", [{"expires": 1}, {"expires": 0}, {}])
    def test_each_grant_is_cut_to_next_to_nothing(self, driver: Driver, attributes: dict[str, int]) -> None:
        tell = self.takes_back(driver, lambda it: it.tell(it.ours("shortened", **attributes)))
        assert 1 <= in_the_last_of(driver, 3, tell) <= SETTLED

    def test_each_subscription_knows_nothing_of_us(self, driver: Driver) -> None:
        tell = self.takes_back(driver, lambda it: it.tell(state="terminated;reason=probation;retry-after=0"))
        assert in_the_last_of(driver, 3, tell) <= SETTLED
        driver.assert_status("registered")
        assert subscribes(driver) < 25

    def test_while_each_register_is_on_its_way(self, driver: Driver) -> None:
        def ends_it_at_once(request: Request, key: TransportKey) -> bytes | None:
            if driver.sends[1:]:
                pending.append(len(driver.sends))
            return ok()(request, key)

        pending: list[int] = []
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        driver.always = ends_it_at_once
        driver.retry_now()
        for _ in range(3000):
            if pending:
                pending.clear()
                notifier.tell(notifier.ours())
                notifier.tell(notifier.ours("deactivated", "terminated"))
            driver.run(0.005)
        assert len(driver.sends) < 6

    def test_after_a_calm_time_it_is_the_first_again(self, driver: Driver) -> None:
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        for _ in range(3):
            notifier.tell(notifier.ours())
            notifier.tell(notifier.ours("deactivated", "terminated"))
            driver.run(1)
            driver.assert_status("registered")
            driver.run(400)

    def test_nobody_is_sent_away_for_ever(self, driver: Driver) -> None:
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        notifier.tell(notifier.ours())
        notifier.tell(notifier.ours("probation", "terminated", retry_after=4_294_967_295))
        assert driver.next_try() == pytest.approx(DAY)

    def test_what_others_registered_is_bounded(self, driver: Driver) -> None:
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        notifier.tell(
            notifier.ours(), f'<contact id="2" state="active" event="registered"><uri>{"x" * 50_000}</uri></contact>'
        )
        (known,) = driver.registrations.reg_events.by_profile.values()
        assert sum(len(contact.uri) for contact in known.bindings.contacts.values()) < 4096
        assert len(driver.state().other_contacts) == 1


class TestSubscriptions:
    def test_an_auction_of_423_ends(self, driver: Driver) -> None:
        minimum = count(3601)
        driver.others = lambda request, key: answer(423, f"Min-Expires: {next(minimum)}")(request, key)
        driver.registered(reg_event=True)
        driver.run(HOUR)
        assert subscribes(driver) < 12

    @pytest.mark.parametrize("seconds", [1, 5, 30])
    def test_granted_for_next_to_nothing(self, driver: Driver, seconds: int) -> None:
        driver.others = subscribed(seconds)
        driver.registered(reg_event=True)
        driver.run(HOUR)
        assert subscribes(driver) <= 121

    def test_retry_after_is_not_believed_for_ever(self, driver: Driver) -> None:
        driver.others = answer(503, "Retry-After: 1")
        driver.registered(reg_event=True)
        driver.run(3 * HOUR)
        assert subscribes(driver) < 20

    def test_each_refresh_finds_the_dialog_gone(self, driver: Driver) -> None:
        turn = count()
        gone = answer(481)
        driver.others = lambda request, key: (subscribed(5) if next(turn) % 2 == 0 else gone)(request, key)
        driver.registered(reg_event=True)
        driver.run(3 * HOUR)
        assert subscribes(driver) < 60


class TestWays:
    """Connections and NAT bindings that do not hold (RFC 5626 §4.4)."""

    def test_a_mapped_address_that_changes_with_every_answer_settles(self) -> None:
        driver = over("udp", accepting(keep="20"))
        ports = count(1024)
        driver.stun = lambda transaction: mapped(port=next(ports))(transaction)
        driver.run(HOUR)
        assert len(driver.sends) <= 5
        driver.sent()
        driver.run(HOUR / 2)
        driver.assert_status("registered", "none")
        driver.assert_quiet()

    def test_after_a_calm_time_a_change_counts_again(self) -> None:
        driver = over("udp", accepting(keep="20"))
        for port in range(1024, 1034):
            driver.stun = mapped(port=port)
            driver.run(200)
        assert driver.registrations.keepalive_failures == 9

    @pytest.mark.parametrize("after", [0.1, 5, 29])
    def test_a_connection_that_is_closed_after_each_answer(self, after: float) -> None:
        driver = over("tcp")

        def close() -> None:
            if TCP in driver.open and driver.now - driver.sends[-1][0] >= after:
                driver.open.discard(TCP)
                driver.fail(TCP, "transport_closed")

        assert 1 <= in_the_last_of(driver, 3, close) <= SETTLED

    def test_one_pong_for_each_connection(self) -> None:
        driver = over("tcp", accepting("Flow-Timer: 5"))

        def pong_once() -> None:
            driver.pongs = not any(at > driver.sends[-1][0] for at, _ in driver.keepalives)

        assert 1 <= in_the_last_of(driver, 3, pong_once) <= SETTLED

    def test_a_lost_connection_now_and_then_is_registered_again_at_once(self) -> None:
        driver = over("tcp")
        for _ in range(20):
            driver.run(300)
            driver.open.discard(TCP)
            driver.fail(TCP, "transport_closed")
            driver.run(1)
            driver.assert_status("registered", "none")


class TestAnswers:
    """Whatever is answered for ever: the worst hour of REGISTERs after the first."""

    @pytest.mark.parametrize(
        ("respond", "most"),
        [
            (answer(302, "Contact: <sip:192.0.2.1>"), SETTLED),
            (answer(305, "Contact: <sip:192.0.2.1>"), SETTLED),
            (answer(439), SETTLED),
            (answer(491), SETTLED),
            (answer(480, "Retry-After: 99999999999"), SETTLED),
            (answer(480, "Retry-After: -1"), SETTLED),
            (ok(0), SETTLED),
            (answer(200), SETTLED),
            (answer(200, "Expires: -1"), SETTLED),
            (silence, 120),  # the canary's
            (answer(503, "Retry-After: 0"), 120),
        ],
    )
    def test_the_same_for_ever(self, driver: Driver, respond: Callable[..., bytes | None], most: int) -> None:
        driver.always = respond
        driver.add()
        driver.run(3 * HOUR)
        assert registers(driver, driver.now - HOUR) <= most
        driver.run_to_register(DAY + 1)  # no answer is the last

    @pytest.mark.parametrize("more", ["", ", stale=true"])
    def test_a_new_nonce_for_ever(self, driver: Driver, more: str) -> None:
        nonces = count()
        driver.always = lambda request, key: challenge(f"n{next(nonces)}", more=f', qop="auth"{more}')(request, key)
        driver.add()
        driver.run(3 * HOUR)
        assert registers(driver, driver.now - HOUR) <= 4 * SETTLED

    def test_option_tags_to_and_fro(self, driver: Driver) -> None:
        def respond(request: Request, key: TransportKey) -> bytes | None:
            offered = "path" in (request.header("supported") or "")
            return (answer(420, "Unsupported: path") if offered else answer(421, "Require: path"))(request, key)

        driver.always = respond
        driver.add()
        driver.run(3 * HOUR)
        assert registers(driver, driver.now - HOUR) <= 5 * SETTLED

    def test_the_address_in_via_is_always_another(self, driver: Driver) -> None:
        ports = count(1024)

        def respond(request: Request, key: TransportKey) -> bytes | None:
            data = ok()(request, key)
            return data and data.replace(b";rport", f";received=203.0.113.1;rport={next(ports)}".encode(), 1)

        driver.always = respond
        driver.add()
        driver.run(3 * HOUR)
        assert registers(driver, driver.now - HOUR) <= SETTLED
        driver.assert_status("registered", "none")

    def test_a_minimum_of_years_is_not_asked_for(self, driver: Driver) -> None:
        driver.always = answer(423, "Min-Expires: 2147483647")
        driver.add()
        driver.run(1)
        driver.assert_status("unregistered", "interval_too_brief")
        driver.sent_register()

    def test_a_route_as_long_as_a_message_is_not_kept(self, driver: Driver) -> None:
        driver.always = lambda request, _: ok(None)(request, _).replace(  # type: ignore[union-attr]
            b"Content-Length", b"Service-Route: " + b", ".join([b"<sip:a@b;lr>"] * 4000) + b"\r\nContent-Length"
        )
        driver.registered()
        assert driver.flow().service_route == ()


def test_identities_are_bounded_however_many_lines_there_are(driver: Driver) -> None:
    lines = [
        "P-Associated-URI: " + ", ".join(f"<sip:a{line}-{number}@b>" for number in range(40)) for line in range(20)
    ]

    def respond(request: Request, key: TransportKey) -> bytes:
        return ok()(request, key).replace(b"Content-Length", "\r\n".join([*lines, "Content-Length"]).encode())  # type: ignore[union-attr]

    driver.always = respond
    driver.registered()
    assert len(driver.flow().registered_aors) <= 65


def test_no_repr_has_a_secret(driver: Driver) -> None:
    driver.always = lambda request, _: reply(request, 401, 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    driver.add()
    flow, registration = driver.flow(), driver.registrations.by_profile[1]
    driver.always = silence
    driver.run(0.02)
    (nonce,) = flow.nonces
    response = (driver.sends[-1][2].header("authorization") or "").partition('response="')[2][:32]
    assert len(response) == 32
    shown = repr((flow, registration, nonce, Send(TCP, flow.outstanding)))
    for secret in (nonce.ha1, response, "secret", "outstanding="):
        assert secret not in shown


@pytest.fixture
def driver() -> Driver:
    return Driver()
