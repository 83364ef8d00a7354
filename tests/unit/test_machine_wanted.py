"""Enable and disable at any moment, outcomes that are not known, an operator's words, the end of the service."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import LATENCY, UDP, Answer, Driver, answer, challenge, digest, ok, server, silence

from sipprofile.registration import turns
from sipprofile.registration.registration import Registration
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.locating import Question


@pytest.fixture
def driver() -> Driver:
    return Driver()


def removes(driver: Driver) -> bool:
    """Whether the one REGISTER since the last question removes our binding."""
    request = driver.sent_register()
    return request.header("expires") == "0" and "expires=0" in (request.header("contact") or "")


class TestDisable:
    """RFC 3261 §10.2.2."""

    def test_it_removes_the_binding(self, driver: Driver) -> None:
        driver.registered()
        driver.disable()
        driver.assert_status("unregistering")
        assert removes(driver)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert driver.events() == ["status", "deregistered"]
        driver.run(10_000)
        driver.assert_quiet()

    def test_the_digest_is_ready_for_it(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered()
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert len(driver.sent()) == 1

    def test_without_a_binding_nothing_is_sent(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(5)
        driver.sent()
        driver.disable()
        driver.run(5000)
        driver.assert_quiet()
        driver.assert_status("unregistered", "disabled")

    @pytest.mark.parametrize("status", [404, 481])
    def test_what_the_registrar_does_not_know_is_gone(self, driver: Driver, status: int) -> None:
        driver.registered()
        driver.always = answer(status)
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    @pytest.mark.parametrize(
        "respond", [answer(500), answer(403), answer(302), silence, challenge(more=""), answer(401)]
    )
    def test_without_a_good_answer_the_binding_may_remain(self, driver: Driver, respond: Answer) -> None:
        driver.registered()
        driver.sent()
        driver.always = respond
        driver.disable()
        driver.run(40)
        driver.assert_status("unregistered", "binding_may_remain")
        assert driver.events() == ["status", "deregistered"]
        driver.run(10_000)
        assert len(driver.sent()) <= 2

    @pytest.mark.parametrize("respond", [challenge(more=', qop="auth", stale=true')])
    def test_endless_challenges_end(self, driver: Driver, respond: Answer) -> None:
        driver.registered()
        driver.always = respond
        driver.disable()
        driver.run(10)
        assert len(driver.sent()) == 5
        driver.assert_status("unregistered", "binding_may_remain")


class TestAtTheWrongMoment:
    def test_disable_while_registering_waits_for_the_outcome_and_removes_the_binding(self, driver: Driver) -> None:
        driver.add()
        driver.sent()
        driver.disable()
        driver.assert_quiet()
        driver.run(LATENCY)
        assert removes(driver)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert "registered" not in driver.events()

    def test_disable_while_a_challenge_is_on_its_way(self, driver: Driver) -> None:
        driver.always = digest()
        driver.add()
        driver.disable()
        driver.run(1)
        assert len(driver.sent()) == 1
        driver.assert_status("unregistered", "disabled")

    @pytest.mark.parametrize(
        "respond", [answer(500), answer(503), answer(403), answer(423, "Min-Expires: 7200"), ok(0)]
    )
    def test_disable_before_a_refusal_arrives(self, driver: Driver, respond: Answer) -> None:
        driver.always = respond
        driver.add()
        driver.disable()
        driver.run(100)
        assert len(driver.sent()) == 1
        driver.assert_status("unregistered", "disabled")

    def test_a_register_without_an_answer_is_followed_by_a_deregister(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        driver.disable()
        driver.sent()
        driver.run(32)
        driver.assert_status("unregistering")
        assert removes(driver)
        driver.run(33)
        driver.assert_status("unregistered", "binding_may_remain")

    def test_so_is_one_that_timed_out_before_the_disable(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        driver.run(33)
        driver.sent()
        driver.always = ok()
        driver.disable()
        assert removes(driver)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    def test_but_not_when_its_lease_would_be_over(self, driver: Driver) -> None:
        driver.answers.append(silence)
        driver.always = answer(503)
        driver.add(expires=60)
        driver.run(200)
        driver.sent()
        driver.disable()
        driver.assert_quiet()
        driver.assert_status("unregistered", "disabled")

    def test_disable_before_the_name_is_resolved_or_the_way_is_open_or_a_token_drawn(self, driver: Driver) -> None:
        driver.unanswered_names = {"reg.test"}
        driver.unopened = {"192.0.2.9"}
        driver.add(1, registrar=server("sip:reg.test"))
        driver.add(2, registrar=server("sip:192.0.2.9"))
        for number in (1, 2):
            driver.disable(number)
            driver.assert_status("unregistered", "disabled", number=number)
        driver.registrations.resolved(Question("reg.test"), ("192.0.2.1",), 60, driver.now)
        driver.registrations.transport_opened(UDP, ("198.51.100.1", 5060), driver.now)
        driver.run(100)
        driver.assert_quiet()

    def test_enable_while_unregistering_registers_again_afterwards(self, driver: Driver) -> None:
        driver.registered()
        driver.disable()
        driver.want()
        driver.assert_status("unregistering")
        driver.run(1)
        driver.assert_status("registered")
        assert driver.events() == ["status", "deregistered", "status", "registered"]

    def test_enable_again_while_registering_sends_nothing_more(self, driver: Driver) -> None:
        driver.add()
        driver.want()
        driver.want()
        driver.run(1)
        assert len(driver.sent()) == 1

    def test_disable_during_a_failing_refresh(self, driver: Driver) -> None:
        driver.registered()
        driver.always = answer(500)
        driver.run_to_register()
        driver.assert_status("registered", error="response")
        driver.sent()
        driver.always = ok()
        driver.disable()
        assert removes(driver)

    def test_the_lease_ends_while_unregistering(self, driver: Driver) -> None:
        driver.always = ok(60)
        driver.registered()
        driver.always = silence
        driver.run_to_register()
        driver.disable()
        driver.run(100)
        driver.assert_status("unregistered", "binding_may_remain")
        assert driver.events()[0] == "deregistered"  # by the clock, not by hope

    def test_any_rhythm_ends_well(self, driver: Driver) -> None:
        driver.always = digest()
        driver.add()
        for turn in range(60):
            driver.run((turn % 7) * LATENCY / 3)
            driver.want(1, turn % 2 == 0)
        driver.run(1)
        driver.assert_status("unregistered", "disabled")
        assert driver.sends[-1][2].header("expires") == "0"


class TestPause:
    """The graceful pair: pause gives the binding back, resume takes it again."""

    def test_pause_and_resume(self, driver: Driver) -> None:
        driver.registered()
        driver.hold("paused")
        assert removes(driver)
        driver.run(1)
        state = driver.assert_status("unregistered", "paused")
        assert state.held == "paused"
        driver.run(10_000)
        driver.assert_quiet()
        driver.hold("")
        driver.run(1)
        driver.assert_status("registered")

    def test_a_paused_profile_can_be_enabled_and_disabled_without_a_sound(self, driver: Driver) -> None:
        driver.add(wanted=False)
        driver.hold("paused")
        driver.assert_status("unregistered", "paused")
        driver.want()
        driver.disable()
        driver.want()
        driver.retry_now()
        driver.run(100)
        driver.assert_quiet()
        driver.hold("")
        driver.run(1)
        driver.assert_status("registered")

    def test_pause_while_waiting_gives_an_unknown_binding_back(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        driver.run(33)
        driver.sent()
        driver.always = ok()
        driver.hold("paused")
        assert removes(driver)
        driver.run(1)
        driver.assert_status("unregistered", "paused")

    def test_pause_while_waiting_for_the_next_try(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(1)
        driver.sent()
        driver.hold("paused")
        state = driver.assert_status("unregistered", "paused")
        assert state.next_try is None
        driver.run(4000)
        driver.assert_quiet()

    def test_resume_of_what_is_no_longer_wanted_while_it_is_being_given_back(self, driver: Driver) -> None:
        driver.registered()
        driver.unopened = {"192.0.2.1"}
        driver.fail(UDP)
        driver.hold("paused")
        driver.assert_status("unregistering")
        driver.disable()
        driver.hold("")
        driver.run(30)
        driver.assert_status("unregistered", "binding_may_remain")

    def test_resume_of_what_is_not_wanted_says_so(self, driver: Driver) -> None:
        driver.add(wanted=False)
        driver.hold("paused")
        driver.hold("")
        driver.assert_status("unregistered", "disabled")


class TestForceDisable:
    """At once, without SIP; whoever is there is told."""

    @pytest.mark.parametrize("moment", ["idle", "sent", "registered", "waiting", "unregistering", "queued"])
    def test_at_any_moment(self, moment: str) -> None:
        settings = RegistrationSettings(rate=0.01, burst=1) if moment == "queued" else None
        driver = Driver(settings=settings)
        if moment == "queued":
            driver.add(2)
        driver.always = answer(500) if moment == "waiting" else ok()
        driver.add(wanted=moment != "idle")
        if moment not in ("sent", "queued"):
            driver.run(1)
        if moment == "unregistering":
            driver.disable()
        driver.sent()
        driver.events()
        driver.hold("forcibly_disabled")
        driver.want(1, False)
        driver.assert_status("unregistered", "forcibly_disabled")
        assert driver.events() == ["forcibly_disabled"]
        driver.run(4000)
        assert not [request for request in driver.sent() if "alice1@" in (request.header("to") or "")]
        driver.assert_status("unregistered", "forcibly_disabled")
        driver.always = ok()
        driver.hold("")
        driver.want()
        driver.run(300)
        driver.assert_status("registered")

    def test_a_late_answer_changes_nothing(self, driver: Driver) -> None:
        driver.add()
        driver.hold("forcibly_disabled")
        driver.run(1)
        driver.assert_status("unregistered", "forcibly_disabled")

    def test_an_old_binding_of_a_moved_profile_is_dropped_without_sip_too(self, driver: Driver) -> None:
        driver.registered()
        driver.always = silence
        driver.update(aor="sip:moved@192.0.2.1")
        driver.sent()
        driver.hold("forcibly_disabled")
        driver.want(1, False)
        driver.run(4000)
        driver.assert_quiet()
        assert not driver.registrations.ghosts

    def test_the_store_knows_at_once(self, driver: Driver) -> None:
        driver.registered()
        assert driver.rows[1].lease_ends > 0
        driver.hold("forcibly_disabled")
        assert driver.rows[1].lease_ends == 0


class TestRetryNow:
    """``RefreshEnableL`` of the original."""

    def test_it_ends_a_back_off(self, driver: Driver) -> None:
        driver.answers.append(answer(500))
        driver.add()
        driver.run(1)
        driver.retry_now()
        driver.run(1)
        driver.assert_status("registered")

    def test_a_living_lease_is_refreshed(self, driver: Driver) -> None:
        driver.registered()
        driver.retry_now()
        assert driver.sent_register().header("expires") == "3600"
        driver.run(1)
        assert driver.events() == ["status"]

    def test_what_is_under_way_goes_on(self, driver: Driver) -> None:
        driver.add()
        driver.retry_now()
        driver.run(1)
        assert len(driver.sent()) == 1

    def test_what_nobody_wants_stays_down(self, driver: Driver) -> None:
        driver.add(wanted=False)
        driver.retry_now()
        driver.assert_quiet()


class CountingDict(dict[int, Registration]):
    """Counts how often something is looked up."""

    looks = 0

    def get(self, *arguments: Any) -> Any:
        self.looks += 1
        return super().get(*arguments)


class TestStop:
    def test_giving_everything_back(self, driver: Driver) -> None:
        driver.always = digest()
        for number in range(1, 6):
            driver.add(number)
        driver.run(1)
        driver.add(6)
        driver.stop(deregister=True)
        assert not driver.registrations.stopped
        driver.run(2)
        assert driver.registrations.stopped
        for number in range(1, 6):
            driver.assert_status("unregistered", "stopped", number=number)
        assert all(request.header("expires") == "0" for request in driver.sent()[-5:])

    def test_many_are_given_back_in_turns(self, driver: Driver) -> None:
        driver.registered(1)
        for number in range(2, 101):
            driver.add(number)
        driver.run(5)
        driver.sent()
        driver.stop(deregister=True)
        assert len(driver.sent()) == turns.AT_ONCE
        assert not driver.registrations.stopped
        driver.run(1)
        assert len(driver.sent()) == 100 - turns.AT_ONCE
        assert driver.registrations.stopped
        assert {registration.status for registration in driver.registrations.by_profile.values()} == {"unregistered"}

    def test_asking_whether_it_is_over_looks_at_one_profile(self, driver: Driver) -> None:
        driver.registered(1)
        for number in range(2, turns.AT_ONCE):
            driver.add(number)
        driver.run(5)
        driver.always = silence
        driver.stop(deregister=True)
        counted = driver.registrations.by_profile = CountingDict(driver.registrations.by_profile)
        assert not driver.registrations.stopped
        counted.looks = 0
        assert not driver.registrations.stopped
        assert counted.looks == 1
        driver.run(70)
        assert driver.registrations.stopped

    @pytest.mark.parametrize("respond", [silence, answer(500), answer(401), challenge(more=", stale=true")])
    def test_it_ends_whatever_the_registrar_does(self, driver: Driver, respond: Answer) -> None:
        driver.registered(1)
        driver.always = respond
        driver.add(2)
        driver.update(1, aor="sip:moved@192.0.2.1")
        driver.stop(deregister=True)
        driver.run(70)
        assert driver.registrations.stopped

    def test_ghosts_are_given_back_too(self, driver: Driver) -> None:
        driver.registered(1)
        driver.answers.append(answer(500))
        driver.hosts["192.0.2.2"] = silence
        driver.update(1, registrar=server("sip:192.0.2.2"))
        driver.sent()
        driver.stop(deregister=True)
        driver.run(70)
        assert driver.registrations.stopped
        assert "192.0.2.1" in {key.host for _, key, request in driver.sends if request.header("expires") == "0"}

    def test_keeping_leases_sends_nothing_and_the_clock_may_go_on(self, driver: Driver) -> None:
        driver.registered(1)
        driver.always = answer(500)
        driver.add(2)
        driver.run(1)
        driver.sent()
        driver.stop(deregister=False)
        driver.run(10_000)
        driver.assert_quiet()

    def test_nothing_new_begins(self, driver: Driver) -> None:
        driver.add(wanted=False)
        driver.stop(deregister=True)
        driver.want()
        driver.run(10)
        driver.assert_quiet()
        assert driver.registrations.stopped


class TestRemove:
    def test_the_binding_is_removed_in_the_background_and_nobody_is_told(self, driver: Driver) -> None:
        driver.registered()
        driver.remove()
        assert removes(driver)
        driver.run(1)
        assert not driver.events()
        assert not driver.registrations.flows
        assert not driver.registrations.ghosts

    @pytest.mark.parametrize("moment", [0.0, LATENCY / 2, LATENCY, 1.5 * LATENCY])
    def test_at_any_moment_of_registering(self, driver: Driver, moment: float) -> None:
        driver.always = digest()
        driver.add()
        driver.run(moment)
        driver.remove()
        driver.run(100)
        assert not driver.registrations.flows
        assert driver.registrations.profile_of_contact("alice") is None
        registered = [r for _, _, r in driver.sends if r.header("authorization") and r.header("expires") != "0"]
        removed = [r for _, _, r in driver.sends if r.header("expires") == "0"]
        assert bool(registered) == bool(removed)

    @pytest.mark.parametrize("respond", [silence, answer(500), answer(401)])
    def test_a_ghost_never_stays(self, driver: Driver, respond: Any) -> None:
        driver.registered()
        driver.always = respond
        driver.remove()
        driver.run(40)
        assert not driver.registrations.ghosts
        driver.run(10_000)
        assert len(driver.sent()) == 1

    def test_a_ghost_needs_no_reservation_on_disk(self, driver: Driver) -> None:
        driver.registered()
        flow = driver.flow()
        flow.cseq = flow.cseq_reserved
        driver.saving = False
        driver.remove()
        driver.run(1)
        assert not driver.registrations.ghosts
        assert len(driver.sent()) == 1

    def test_while_an_old_binding_still_waits_for_the_new_one(self, driver: Driver) -> None:
        driver.registered()
        driver.always = silence
        driver.update(aor="sip:moved@192.0.2.1")
        driver.always = ok()
        driver.remove()
        driver.run(100)
        assert not driver.registrations.ghosts
        removed = {r.header("to") for _, _, r in driver.sends if r.header("expires") == "0"}
        assert removed == {"<sip:alice1@192.0.2.1>", "<sip:moved@192.0.2.1>"}
