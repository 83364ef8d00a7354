"""Targets and their health, the canary, back-off (RFC 3263 §4.3, RFC 5626 §4.5)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from machine_driver import Driver, answer, digest, ok, server, silence

from sipprofile.registration.backoff import backoff
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.locating import Naptr, Question, Srv

A, B = "192.0.2.11", "192.0.2.12"


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.names = {"reg.test": (A, B)}
    return driver


def where(driver: Driver) -> list[str]:
    return [key.host for _, key, _ in driver.sends]


class TestResolution:
    def test_a_name_is_asked_for_once_however_many_wait(self, driver: Driver) -> None:
        for number in range(1, 6):
            driver.add(number, registrar=server("sip:reg.test"))
        assert driver.asked.count(Question("reg.test")) == 1

    def test_an_unknown_name_is_told_and_tried_again(self, driver: Driver) -> None:
        driver.add(registrar=server("sip:none.test"))
        driver.assert_status("unregistered", "resolve_not_found")
        assert driver.next_try() >= 30
        driver.names["none.test"] = (A,)
        driver.run(70)
        driver.assert_status("registered")

    def test_a_name_server_that_says_nothing(self, driver: Driver) -> None:
        driver.unanswered_names = {"reg.test"}
        driver.add(registrar=server("sip:reg.test"))
        driver.run(15)
        driver.assert_status("unregistered", "resolve_timeout")
        driver.unanswered_names = set()
        driver.run(70)
        driver.assert_status("registered")

    def test_one_silent_name_does_not_hide_the_others(self, driver: Driver) -> None:
        driver.unanswered_names = {"p.test"}
        driver.add(registrar=server("sip:x.test"), proxies=[server("sip:p.test"), server(f"sip:{B}")])
        driver.run(16)
        driver.assert_status("registered")
        assert where(driver) == [B]

    def test_names_that_expire_while_others_are_asked_for_do_not_go_on_for_ever(self, driver: Driver) -> None:
        driver.unanswered_names = {"p.test", "q.test"}
        driver.add(registrar=server("sip:x.test"), proxies=[server("sip:p.test"), server("sip:q.test")])
        for turn in range(40):
            driver.run(1.1)
            if driver.state().status != "registering":
                break
            driver.registrations.resolved(Question(("p.test", "q.test")[turn % 2]), (A,), 0, driver.now)
            driver.settle()
        assert driver.now < 1000 + 17

    def test_an_old_address_is_better_than_none(self, driver: Driver) -> None:
        driver.registered(registrar=server("sip:reg.test"))
        driver.names.clear()
        driver.run_to_register()
        driver.assert_status("registered")
        assert driver.state().last_error is None


class TestLocation:
    """RFC 3263 §4: what NAPTR and SRV records say is where REGISTER goes."""

    def located(self, driver: Driver, *records: Srv) -> None:
        driver.records = {
            Question("reg.test", "NAPTR"): (Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.reg.test"),),
            Question("_sip._udp.reg.test", "SRV"): records,
        }
        driver.names = {"a.test": (A,), "b.test": (B,)}

    def test_priorities_are_the_order_of_failover(self, driver: Driver) -> None:
        self.located(driver, Srv(20, 0, 5062, "b.test"), Srv(10, 0, 5061, "a.test"))
        driver.hosts[A] = answer(503)
        driver.registered(registrar=server("sip:reg.test"))
        assert [(key.host, key.port) for _, key, _ in driver.sends] == [(A, 5061), (B, 5062)]
        assert {request.uri for _, _, request in driver.sends} == {"sip:reg.test"}
        assert driver.state().target == f"udp:{B}:5062"

    def test_a_hundred_profiles_share_one_location_and_its_health(self, driver: Driver) -> None:
        self.located(driver, Srv(10, 0, 5061, "a.test"), Srv(20, 0, 5062, "b.test"))
        driver.hosts[A] = answer(503)
        for number in range(1, 101):
            driver.add(number, registrar=server("sip:reg.test"))
        driver.run(10)
        assert Counter(question.kind for question in driver.asked) == {"NAPTR": 1, "SRV": 1, "ADDRESS": 2}
        assert all(driver.state(number).status == "registered" for number in range(1, 101))

    def test_weights_share_the_load(self, driver: Driver) -> None:
        self.located(driver, Srv(10, 30, 5060, "a.test"), Srv(10, 10, 5060, "b.test"))
        for number in range(1, 201):
            driver.add(number, registrar=server("sip:reg.test"))
        driver.run(60)
        shares = Counter(where(driver))
        assert 120 < shares[A] < 180
        assert shares[A] + shares[B] == 200

    def test_the_transport_of_the_record_is_that_of_the_contact(self, driver: Driver) -> None:
        self.located(driver)
        driver.records[Question("reg.test", "NAPTR")] = (Naptr(1, 1, "s", "SIP+D2T", "_sip._tcp.reg.test"),)
        driver.records[Question("_sip._tcp.reg.test", "SRV")] = (Srv(1, 1, 5070, "a.test"),)
        driver.registered(registrar=server("sip:reg.test"))
        assert driver.state().target == f"tcp:{A}:5070"
        assert ";transport=tcp" in (driver.state().registered_contact or "")

    @pytest.mark.parametrize("uri", ["sip:192.0.2.1", "sip:192.0.2.1:5070", "sip:[2001:db8::1];transport=tcp"])
    def test_a_numeric_host_is_not_looked_up(self, driver: Driver, uri: str) -> None:
        driver.registered(registrar=server(uri))
        assert driver.asked == []

    def test_an_explicit_port_is_looked_up_as_an_address(self, driver: Driver) -> None:
        driver.registered(registrar=server("sip:reg.test:5070"))
        assert driver.asked == [Question("reg.test")]

    def test_a_binding_whose_server_is_no_longer_listed_moves_at_the_refresh(self, driver: Driver) -> None:
        self.located(driver, Srv(10, 0, 5061, "a.test"))
        driver.registered(registrar=server("sip:reg.test"))
        self.located(driver, Srv(10, 0, 5062, "b.test"))
        driver.run_to_register()
        assert driver.state().target == f"udp:{B}:5062"
        driver.assert_status("registered")

    def test_a_proxy_is_located_in_the_same_way(self, driver: Driver) -> None:
        self.located(driver, Srv(10, 0, 5061, "a.test"))
        driver.registered(registrar=server("sip:elsewhere.test"), proxies=[server("sip:reg.test")])
        assert driver.state().target == f"udp:{A}:5061"
        assert driver.sends[0][2].header("route") == "<sip:reg.test;lr>"

    def test_a_redirect_is_followed_through_srv_but_not_out_of_the_domain(self, driver: Driver) -> None:
        self.located(driver)
        driver.names["reg.test"] = (A,)
        driver.records = {Question("_sip._udp.two.reg.test", "SRV"): (Srv(1, 1, 5070, "b.test"),)}
        driver.hosts[A] = answer(302, "Contact: <sip:two.reg.test;maddr=192.0.2.66>", "Contact: <sip:two.reg.test>")
        driver.registered(registrar=server("sip:reg.test:5060"))
        assert [(key.host, key.port) for _, key, _ in driver.sends] == [(A, 5060), (B, 5070)]

    def test_a_refresh_does_not_wait_long_for_a_name_server_that_says_nothing(self, driver: Driver) -> None:
        """RFC 8767 §5: old records after 1.8 s, while the question is still open."""
        self.located(driver, Srv(10, 0, 5061, "a.test"))
        driver.always = ok(60)
        driver.ttl = 1.0
        driver.registered(registrar=server("sip:reg.test"))
        driver.unanswered_names = {"reg.test", "_sip._udp.reg.test", "a.test"}
        for _ in range(5):
            assert driver.run_to_register() < 60 * 0.6 + 2
            driver.assert_status("registered")
        driver.unanswered_names = set()
        self.located(driver, Srv(10, 0, 5062, "b.test"))
        driver.run(120)
        assert driver.state().target == f"udp:{B}:5062"


class TestNextTarget:
    """What is one server's own trouble: the next target before backing off."""

    @pytest.mark.parametrize("status", [503, 408, 430, 500, 502, 504])
    def test_an_answer_that_means_elsewhere(self, driver: Driver, status: int) -> None:
        driver.hosts[A] = answer(status)
        driver.registered(registrar=server("sip:reg.test"))
        assert where(driver) == [A, B]
        cseqs = [request.cseq()[0] for _, _, request in driver.sends]
        assert cseqs == [1, 2]  # every new target takes a new CSeq
        assert driver.state().target == f"udp:{B}:5060"

    def test_silence_and_a_closed_port(self, driver: Driver) -> None:
        driver.hosts[A] = silence
        driver.add(1, registrar=server("sip:reg.test"))
        driver.run(33)
        driver.assert_status("registered")
        driver.refused = {B}
        driver.hosts.clear()
        driver.add(2, registrar=server(f"sip:{B}"), proxies=[server(f"sip:{B}"), server("sip:192.0.2.13")])
        driver.run(1)
        driver.assert_status("registered", number=2)
        assert where(driver) == [A, B, B, "192.0.2.13"]

    @pytest.mark.parametrize("status", [400, 403, 404, 480, 600])
    def test_any_other_refusal_holds_for_all_targets(self, driver: Driver, status: int) -> None:
        driver.always = answer(status)
        driver.add(registrar=server("sip:reg.test"))
        driver.run(10)
        assert where(driver) == [A]
        driver.assert_status("unregistered", "response")

    def test_a_refresh_stays_where_the_binding_is(self, driver: Driver) -> None:
        driver.hosts[A] = answer(503)
        driver.registered(registrar=server("sip:reg.test"))
        driver.hosts.clear()
        driver.run_to_register()
        assert where(driver)[-1] == B

    def test_when_all_failed_the_reason_and_the_next_try_are_told(self, driver: Driver) -> None:
        driver.hosts = {A: answer(503), B: answer(503)}
        driver.add(registrar=server("sip:reg.test"))
        driver.run(1)
        driver.assert_status("unregistered", "response")
        assert driver.state().reason.status_code == 503
        assert driver.events() == ["status", "error"]
        assert 30 <= driver.next_try() <= 60
        assert where(driver) == [A, B]


class TestBackOff:
    @pytest.mark.parametrize(("failures", "longest"), [(1, 60), (2, 120), (5, 960), (6, 1800), (10_000, 1800)])
    def test_the_formula(self, failures: int, longest: float) -> None:
        """RFC 5626 §4.5: min(max-time, base-time · 2ⁿ), of which at least half."""
        assert backoff(failures, 30, 1800, 0.0) == longest / 2
        assert backoff(failures, 30, 1800, 1.0) == longest

    def test_waits_grow_to_half_an_hour(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(24 * 3600)
        times = [at for at, _, _ in driver.sends]
        waits = [b - a for a, b in pairwise(times)]
        assert 30 <= waits[0] <= 61
        assert all(900 <= wait <= 1801 for wait in waits[6:])

    def test_there_is_always_a_next_try_and_it_is_kept(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(1)
        told = driver.next_try()
        assert driver.run_to_register() == pytest.approx(told)

    def test_success_starts_it_afresh(self, driver: Driver) -> None:
        driver.always = answer(500)
        driver.add()
        driver.run(3600)
        driver.always = ok(60)
        driver.run_to_register()
        driver.assert_status("registered")
        assert driver.state().attempt == 0


class TestHealth:
    """A target that is down is everybody's business."""

    def many(self, driver: Driver, count: int) -> None:
        driver.always = answer(503)
        for number in range(1, count + 1):
            driver.add(number)
        driver.run(1)

    def canary(self, driver: Driver) -> int:
        """Run until a profile tries the target on behalf of all."""
        for _ in range(20):
            driver.run_to_register()
            for number in driver.profiles:
                if driver.state(number).status == "registering":
                    return number
        raise AssertionError("no canary goes")

    def test_the_others_do_not_try_what_is_known_to_be_down(self, driver: Driver) -> None:
        driver.always = answer(503)
        driver.add(1)
        driver.run(1)
        driver.add(2)
        driver.assert_status("unregistered", "target_down", number=2)
        assert driver.next_try(2) > 0
        assert len(driver.sends) == 1

    def test_a_canary_tries_it_at_least_every_minute_another_profile_each_time(self, driver: Driver) -> None:
        self.many(driver, 20)
        driver.sent()
        driver.run(3600)
        requests = driver.sent()
        assert 60 <= len(requests) <= 121
        assert len({request.header("to") for request in requests}) > 10

    def test_when_it_answers_everybody_is_due_through_the_bucket(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=10, burst=5))
        self.many(driver, 50)
        driver.always = ok()
        driver.sent()
        driver.run(62)
        order = [int(str(request.header("to")).partition("alice")[2].partition("@")[0]) for request in driver.sent()]
        assert sorted(order) == list(range(1, 51))
        after_the_canary = order[1:]
        assert after_the_canary != sorted(after_the_canary)
        seconds = Counter(int(at) for at, _, _ in driver.sends[-50:])
        assert max(seconds.values()) <= 16

    def test_waiting_profiles_do_not_flood_their_users_with_errors(self, driver: Driver) -> None:
        self.many(driver, 10)
        driver.run(3600)
        driver.events()
        driver.run(86_400)
        tries = sum("alice3@" in str(request.header("to")) for request in driver.sent())
        assert driver.events(3).count("error") < 2 * tries + 150

    def test_a_failure_of_one_profile_while_another_is_answered_is_its_own(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(1)
        driver.run(10)
        driver.always = ok()
        driver.add(2)
        driver.run(25)
        driver.assert_status("unregistered", "timeout", number=1)
        driver.add(3)
        driver.run(1)
        driver.assert_status("registered", number=3)

    def test_each_of_several_dead_targets_gets_its_canary(self, driver: Driver) -> None:
        driver.hosts = {A: silence, B: silence}
        driver.add(1, registrar=server("sip:reg.test"))
        driver.add(2, registrar=server("sip:reg.test"))
        driver.run(100)
        driver.hosts[B] = ok()  # the second comes back, the first does not
        driver.run(150)
        driver.assert_status("registered", number=1)
        driver.assert_status("registered", number=2)

    def test_a_canary_that_is_disabled_lets_another_go(self, driver: Driver) -> None:
        driver.always = silence
        driver.add(1)
        driver.run(33)
        driver.add(2)
        driver.add(3)
        for _ in range(3):
            trying = self.canary(driver)
            driver.disable(trying)
            driver.want(trying)
        driver.always = ok()
        driver.run(120)
        for number in (1, 2, 3):
            driver.assert_status("registered", number=number)

    def test_a_canary_that_is_removed_or_moved_lets_another_go(self, driver: Driver) -> None:
        driver.always = silence
        for number in (1, 2, 3, 4):
            driver.add(number)
        driver.run(33)
        driver.update(self.canary(driver), aor="sip:moved@192.0.2.1")
        driver.remove(self.canary(driver))
        driver.always = ok()
        driver.run(240)
        for number in driver.profiles:
            driver.assert_status("registered", number=number)

    def test_who_went_elsewhere_is_no_canary(self, driver: Driver) -> None:
        self.many(driver, 2)
        driver.hosts[B] = ok()
        driver.update(1, proxies=[server(f"sip:{B}")])
        driver.run(1)
        driver.assert_status("registered", number=1)
        driver.sent()
        driver.run(1200)
        assert all("alice2@" in str(request.header("to")) for request in driver.sent())

    def test_a_target_that_nobody_waits_for_is_forgotten(self, driver: Driver) -> None:
        driver.always = silence
        driver.add()
        driver.run(33)
        driver.disable()
        driver.run(200)
        assert not driver.registrations.health
        assert driver.registrations.next_timer() is None
        driver.always = ok()
        driver.want()
        driver.run(1)
        driver.assert_status("registered")

    def test_retry_now_tries_what_is_down(self, driver: Driver) -> None:
        driver.hosts = {A: answer(503), B: answer(503)}
        driver.add(registrar=server("sip:reg.test"))
        driver.run(1)
        driver.hosts[B] = ok()
        driver.retry_now()
        driver.run(1)
        assert where(driver)[-2:] == [A, B]
        driver.assert_status("registered")

    def test_retry_now_insists_once(self, driver: Driver) -> None:
        self.many(driver, 2)
        driver.retry_now(1)
        driver.run(1)
        assert len(driver.sent()) == 3
        assert not driver.flow(1).forced
        driver.run(600)
        assert len(driver.sent()) <= 21  # the canaries

    def test_retry_now_is_not_lost_in_a_long_queue(self) -> None:
        driver = Driver(settings=RegistrationSettings(rate=1, burst=1))
        self.many(driver, 5)
        driver.run(10)
        driver.always = silence
        driver.sent()
        for number in (2, 3, 4):
            driver.retry_now(number)
        driver.run(10)
        tried = {request.header("to") for request in driver.sent()}
        assert tried >= {f"<sip:alice{number}@192.0.2.1>" for number in (2, 3, 4)}

    def test_one_absurd_retry_after_does_not_stop_the_others_for_a_day(self, driver: Driver) -> None:
        driver.always = answer(503, "Retry-After: 86400")
        driver.add(1)
        driver.run(1)
        driver.always = ok()
        driver.add(2)
        driver.run(3700)
        driver.assert_status("registered", number=2)

    def test_a_registrar_that_only_challenges_and_then_fails_is_not_hammered(self, driver: Driver) -> None:
        password = digest()
        driver.always = lambda request, key: (answer(503) if request.header("authorization") else password)(
            request, key
        )
        for number in range(1, 21):
            driver.add(number)
        driver.run(3600)
        assert len(driver.sends) < 20 * 2 * 60
