"""Whether requests to the address-of-record arrive: an OPTIONS to ourselves."""

from __future__ import annotations

import pytest
from machine_driver import Driver, answer, reply, silence

from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile
from sipprofile.sip.message import Request

pytestmark = pytest.mark.pain(3)


class Proxy:
    """A registrar that passes an OPTIONS on to the contact; ``status`` is its final answer, None: none comes."""

    def __init__(self, driver: Driver, status: int | None = 200, contact: str | None = None) -> None:
        self.driver = driver
        self.status = status
        self.contact = contact

    def __call__(self, request: Request, _: object) -> bytes | None:
        assert request.method == "OPTIONS"
        contact = self.contact or self.driver.flow().contact
        lines = [f"OPTIONS {contact} SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKp"]
        lines += [f"{name}: {value}" for name, value in request.items()]
        registrations = self.driver.registrations
        arriving = registrations.received(
            ("\r\n".join(lines) + "\r\n\r\n").encode(),
            ("192.0.2.1", 5060),
            object(),
            self.driver.now,  # type: ignore[arg-type]
        )
        assert arriving is not None
        assert registrations.requested(arriving, self.driver.now) is None
        return None if self.status is None else reply(request, self.status)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def probe(driver: Driver) -> None:
    driver.registrations.probe(1, driver.now)
    driver.settle()


def passing(driver: Driver) -> None:
    driver.others = Proxy(driver)


class TestOnDemand:
    @pytest.mark.parametrize("status", [200, 404, None])
    def test_what_arrives_is_yes_whatever_is_answered(self, driver: Driver, status: int | None) -> None:
        driver.registered()
        driver.others = Proxy(driver, status)
        probe(driver)
        state = driver.state()
        assert (state.reachable, state.reachable_at) == (True, driver.now + driver.registrations.wall_offset)
        assert driver.events() == ["status"]
        (request,) = driver.requests
        assert request.uri == "sip:alice1@192.0.2.1"
        driver.run(60)
        assert driver.state().reachable is True

    @pytest.mark.parametrize("status", [404, 408, 410, 430, 480, 604])
    def test_no(self, driver: Driver, status: int) -> None:
        driver.registered()
        driver.others = answer(status)
        probe(driver)
        driver.run(3)
        state = driver.assert_status("registered")
        assert (state.reachable, str(status) in state.reachable_reason) == (False, True)

    def test_nothing_at_all_is_no(self, driver: Driver) -> None:
        driver.registered()
        driver.others = silence
        probe(driver)
        driver.run(31)
        assert driver.state().reachable is None
        driver.run(2)
        assert driver.state().reachable is False

    @pytest.mark.parametrize("status", [403, 405, 420, 500, 501])
    def test_a_registrar_that_does_not_do_it(self, driver: Driver, status: int) -> None:
        driver.registered()
        driver.others = answer(status)
        probe(driver)
        driver.run(3)
        state = driver.state()
        assert (state.reachable, str(status) in state.reachable_reason) == (None, True)

    def test_an_answer_of_the_registrar_itself_proves_nothing(self, driver: Driver) -> None:
        driver.registered()
        driver.others = answer(200)
        probe(driver)
        driver.run(3)
        assert driver.state().reachable is None
        assert "itself" in driver.state().reachable_reason

    def test_another_contact_may_answer_first(self, driver: Driver) -> None:
        driver.registered()
        driver.others = answer(200)
        probe(driver)
        driver.run(1)
        Proxy(driver)(driver.requests[0], None)
        assert driver.state().reachable is True

    def test_the_contact_of_another_profile_is_not_this_one(self, driver: Driver) -> None:
        driver.registered()
        driver.registered(2, aor="sip:alice1@192.0.2.1")
        driver.others = Proxy(driver, 200, driver.flow(2).contact)
        probe(driver)
        driver.run(3)
        assert driver.state().reachable is None

    def test_a_forged_one_does_not_count(self, driver: Driver) -> None:
        driver.registered()
        driver.others = silence
        probe(driver)
        (request,) = driver.requests
        forged = Request(
            b"OPTIONS " + driver.flow().contact.encode() + b" SIP/2.0",
            {"call-id": (request.header("call-id") or "").encode(), "from": b"<sip:x@y>;tag=guess"},
            b"",
        )
        assert driver.registrations.requested(forged, driver.now) is None
        assert driver.state().reachable is None

    def test_where_the_contact_points_elsewhere_nothing_is_sent(self, driver: Driver) -> None:
        driver.registered(contact_uri="sip:sbc.test")
        probe(driver)
        assert driver.requests == []
        assert "elsewhere" in driver.state().reachable_reason

    def test_what_was_true_of_the_last_registration_is_forgotten(self, driver: Driver) -> None:
        driver.registered()
        passing(driver)
        probe(driver)
        driver.disable()
        driver.run(1)
        assert driver.state().reachable is None
        driver.want()
        driver.run(1)
        assert driver.state().reachable is None

    def test_nothing_is_kept_of_a_removed_profile(self, driver: Driver) -> None:
        driver.registered()
        driver.others = silence
        probe(driver)
        driver.remove()
        driver.run(60)
        assert driver.registrations.reachabilities.calls == {}
        assert driver.registrations.reachabilities.by_profile == {}


class TestPeriodic:
    def test_it_is_asked_about_every_interval(self, driver: Driver) -> None:
        driver.registered(reachable_interval=100)
        passing(driver)
        driver.run(1050)
        assert 10 <= len(driver.requests) <= 12
        assert driver.state().reachable is True
        assert driver.events() == ["status"]

    def test_only_while_registered(self, driver: Driver) -> None:
        driver.registered(reachable_interval=100)
        passing(driver)
        driver.disable()
        driver.run(1000)
        assert driver.requests == []

    def test_a_lease_that_outlived_a_restart(self, driver: Driver) -> None:
        driver.registered(reachable_interval=100)
        passing(driver)
        driver.crash()
        driver.want()
        driver.run(101)
        assert driver.state().reachable is True

    def test_no_twice_in_a_row_is_an_error_and_one_refresh(self, driver: Driver) -> None:
        driver.registered(reachable_interval=100)
        driver.others = answer(480)
        driver.run(105)
        assert driver.state().reachable is False
        driver.assert_quiet()
        driver.run(105)
        driver.sent_register()
        assert "error" in driver.events()
        assert "unreachable" in [change.state.last_error.code for change in driver.changes if change.state.last_error]
        driver.run(1000)
        driver.assert_quiet()
        driver.assert_status("registered")
        assert driver.state().reachable is False

    def test_when_the_refresh_helps_it_is_seen_soon(self, driver: Driver) -> None:
        driver.registered(reachable_interval=3000, expires=86_400)
        driver.others = answer(480)
        driver.run_to_register()
        passing(driver)
        driver.run(10)
        assert driver.state().reachable is True
        driver.others = answer(480)
        driver.run_to_register()  # the next outage has a refresh of its own

    def test_switched_on_later(self, driver: Driver) -> None:
        driver.registered()
        passing(driver)
        driver.update(reachable_interval=60)
        driver.run(61)
        assert driver.state().reachable is True

    def test_the_number_under_way_is_bounded(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.registration.reachability.MAXIMUM_PROBES", 2)
        driver.others = silence
        for number in range(1, 6):
            driver.registered(number, reachable_interval=60)
        driver.run(65)
        assert len(driver.registrations.reachabilities.calls) == 2


@pytest.mark.parametrize(
    "settings",
    [{"reachable_interval": 59}, {"reachable_interval": -1}, {"contact_uri": "sip:sbc.test", "reachable_interval": 60},
     {"contact_uri": "sip:sbc.test", "reg_event": True}],
)  # fmt: skip
def test_settings_that_cannot_work(settings: dict[str, object]) -> None:
    profile = Profile(id=1, name="p", aor="sip:alice@example.test", **settings)  # type: ignore[arg-type]
    with pytest.raises(SipProfileError) as caught:
        IetfAgent().validate(profile)
    assert caught.value.code == "invalid_value"
