"""What users of other systems suffer from and users of this one do not (docs/pains.md): what the machine can show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machine_driver import LATENCY, TCP, UDP, Driver, answer, challenge, digest, ok, server, silence

from sipprofile.registration.refresh import latest_delay
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request

A, B = "192.0.2.11", "192.0.2.12"

EVERY_FAILURE = [
    silence,
    answer(401, 'WWW-Authenticate: Digest realm="r", nonce="n"'),
    answer(403),
    answer(404),
    answer(423),
    answer(480),
    answer(500),
    answer(503),
    answer(503, "Retry-After: 600"),
    answer(600),
    answer(699),
    answer(302),
    ok(0),
]


@pytest.fixture
def driver() -> Driver:
    return Driver()


def stuck_on_the_name(driver: Driver) -> None:
    driver.unanswered_names = {"reg.test"}
    driver.add(registrar=server("sip:reg.test"))


def stuck_on_the_connection(driver: Driver) -> None:
    driver.unopened = {"192.0.2.1"}
    driver.add(registrar=server("sip:192.0.2.1;transport=tcp"))


def stuck_on_the_answer(driver: Driver) -> None:
    driver.always = silence
    driver.add()


def stuck_on_a_provisional_answer(driver: Driver) -> None:
    driver.always = answer(100)
    driver.add()


def stuck_in_challenges(driver: Driver) -> None:
    nonces = iter(range(10_000))
    driver.always = lambda request, key: challenge(f"n{next(nonces)}", more=', qop="auth", stale=true')(request, key)
    driver.add()


def stuck_on_a_lost_connection(driver: Driver) -> None:
    driver.always = silence
    driver.add(registrar=server("sip:192.0.2.1;transport=tcp"))
    driver.run(1)
    driver.fail(TCP)


STUCK: list[Callable[[Driver], None]] = [
    stuck_on_the_name,
    stuck_on_the_connection,
    stuck_on_the_answer,
    stuck_on_a_provisional_answer,
    stuck_in_challenges,
    stuck_on_a_lost_connection,
]


@pytest.mark.pain(1)
@pytest.mark.parametrize("failure", EVERY_FAILURE)
def test_no_failure_stops_it_for_good(driver: Driver, failure: Callable[..., bytes | None]) -> None:
    driver.always = failure
    driver.add()
    for _ in range(30):  # half a day of it
        driver.run(1800)
        state = driver.state()
        assert state.status == "registering" or driver.next_try() <= 3600 * 1.1
        assert state.reason.code != "none"
        assert state.reason.text
    driver.always = digest("secret")
    driver.run(3600 * 1.1 + 60)
    driver.assert_status("registered")


@pytest.mark.pain(2)
@pytest.mark.parametrize("stuck", STUCK)
def test_nothing_is_registering_for_ever(driver: Driver, stuck: Callable[[Driver], None]) -> None:
    stuck(driver)
    for _ in range(50):
        if driver.state().status != "registering":
            break
        driver.run(1)
    driver.assert_status("unregistered")
    assert driver.next_try() > 0


@pytest.mark.pain(3)
@pytest.mark.parametrize("failure", [silence, answer(500), answer(503), answer(480)])
def test_registered_is_never_said_beyond_the_lease(driver: Driver, failure: Callable[..., bytes | None]) -> None:
    driver.registered(expires=600)
    end = driver.flow().lease_end
    driver.always = failure
    driver.run(end - driver.now - 0.001)
    driver.assert_status("registered")
    assert driver.state().last_error is not None
    driver.run(0.002)
    assert driver.state().status != "registered"


@pytest.mark.pain(7)
@pytest.mark.parametrize("seconds", [300, 320, 600, 3600, 86_400])
def test_a_refresh_leaves_time_for_a_second_one(driver: Driver, seconds: int) -> None:
    """The first gets no answer in all of its 32 s; the second is answered before the lease ends."""
    driver.registered(expires=seconds)
    driver.answers.append(silence)
    end = driver.flow().lease_end
    while driver.flow().lease_end == end:
        driver.run(0.5)
        driver.assert_status("registered")
    assert driver.flow().lease_end > end


@pytest.mark.pain(7)
@pytest.mark.parametrize("seconds", [30, 60, 120])
def test_a_short_lease_survives_ten_seconds_without_a_network(driver: Driver, seconds: int) -> None:
    """It ends before the transaction would: the retransmissions are the second try."""
    driver.registered(expires=seconds)
    driver.answers.append(silence)
    end = driver.flow().lease_end
    driver.run_to_register()
    driver.run(10)
    driver.assert_status("registered")
    driver.answer_after_all(ok())
    driver.run(4)
    driver.assert_status("registered")
    assert driver.flow().lease_end > end


@pytest.mark.pain(7)
def test_a_queue_of_others_does_not_delay_it_to_the_edge() -> None:
    driver = Driver(settings=RegistrationSettings(rate=1.0, burst=1.0))
    driver.registered(1, expires=120)
    granted_at = driver.now
    for number in range(2, 400):
        driver.add(number)
    driver.run(granted_at + latest_delay(120) + LATENCY - driver.now)
    refreshes = [request for _, _, request in driver.sends if "alice1@" in (request.header("to") or "")]
    assert len(refreshes) == 2
    driver.assert_status("registered")


@pytest.mark.pain(17)
def test_saving_what_is_already_so_puts_nothing_on_the_wire(driver: Driver) -> None:
    for number in range(1, 21):
        driver.registered(number)
    before = {number: driver.flow(number).refresh_at for number in range(1, 21)}
    for number in range(1, 21):
        driver.update(number)
        driver.update(number, provider_name="Another name", labels={"room": "kitchen"})
    driver.assert_quiet()
    assert {number: driver.flow(number).refresh_at for number in range(1, 21)} == before
    driver.update(7, expires=1800)
    driver.run(1)
    assert driver.sent_register().header("to") == "<sip:alice7@192.0.2.1>"


@pytest.mark.pain(18)
def test_every_change_has_an_event_a_reason_and_a_place_in_the_history(driver: Driver) -> None:
    driver.answers.append(answer(503, "Retry-After: 90", phrase="Maintenance"))
    driver.add()
    driver.run(1)
    assert driver.events()[-1] == "error"
    state = driver.state()
    assert (state.reason.code, state.reason.status_code) == ("response", 503)
    assert state.reason.text == "The registrar answered 503 Maintenance."
    assert state.attempt == 1
    assert driver.next_try() == pytest.approx(89, abs=1)
    told = driver.history[-1]
    assert (told.status, told.code, told.status_code, told.attempt) == ("unregistered", "response", 503, 1)
    driver.run(91)
    assert "registered" in driver.events()
    assert driver.history[-1].status == "registered"
    assert [record.revision for record in driver.history] == sorted({record.revision for record in driver.history})


@pytest.mark.pain(19)
def test_call_id_and_instance_stay_and_cseq_rises_over_a_crash(driver: Driver) -> None:
    driver.registered()
    requests: list[Request] = [driver.sends[-1][2]]
    for _ in range(5):
        driver.crash()
        driver.want()
        driver.run_to_register()
        requests.append(driver.sends[-1][2])
    assert len({request.header("call-id") for request in requests}) == 1
    assert len({(request.header("contact") or "").partition("urn:uuid:")[2][:36] for request in requests}) == 1
    numbers = [request.cseq()[0] for request in requests]
    assert numbers == sorted(set(numbers))


@pytest.mark.pain(25)
def test_one_sick_registrar_disturbs_nobody_else(driver: Driver) -> None:
    driver.hosts = {A: silence}
    driver.unanswered_names = {"silent.test"}
    for number in range(1, 101):
        driver.add(number, registrar=server(f"sip:{A}" if number % 2 else "sip:silent.test"))
    for number in range(101, 201):
        driver.add(number, registrar=server(f"sip:{B}"))
    driver.run(3)
    assert all(driver.state(number).status == "registered" for number in range(101, 201))
    assert UDP not in driver.open
    driver.run(7200)
    assert all(driver.state(number).status == "registered" for number in range(101, 201))
