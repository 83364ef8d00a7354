"""An update changes only what it must: nothing, one refresh, a replaced contact, or a new binding for the old one."""

from __future__ import annotations

from typing import Any

import pytest
from machine_driver import LATENCY, Answer, Driver, answer, digest, ok, server, silence

from sipprofile.sip.locating import Question
from sipprofile.sip.message import Request

OLD = "sip:alice1@192.0.2.1"
NEW = "sip:moved@192.0.2.1"


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.registered(contact_user="alice")
    return driver


def summary(driver: Driver) -> list[tuple[str, str]]:
    """(address-of-record, "+" or "-") of each REGISTER since the last question."""
    return [(str(r.header("to"))[1:-1], "-" if r.header("expires") == "0" else "+") for r in driver.sent()]


class TestNothingOnTheWire:
    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "other"},
            {"register": "always"},
            {"linger": 60},
            {"labels": {"a": "b"}},
            {"extensions": {"x": 1}},
            {"allowed_identities": ["sip:*@example.test"]},
            {"registrar": server(password="new")},
            {"registrar": server(username="new", realm="r")},
        ],
    )
    def test_what_no_registrar_sees(self, driver: Driver, changes: dict[str, Any]) -> None:
        driver.update(**changes)
        driver.run(60)
        driver.assert_quiet()
        driver.assert_status("registered")
        assert not driver.events()

    def test_a_profile_that_is_not_wanted(self) -> None:
        driver = Driver()
        driver.add(wanted=False)
        driver.update(aor=NEW, contact_user="other", expires=60)
        driver.assert_quiet()
        driver.want()
        assert summary(driver) == [(NEW, "+")]


class TestOneRefresh:
    @pytest.mark.parametrize(
        ("changes", "header", "value"),
        [
            ({"contact_params": ["q=0.1"]}, "contact", ";q=0.1"),
            ({"expires": 600}, "expires", "600"),
            ({"headers": ["X-A: b"]}, "x-a", "b"),
        ],
    )
    def test_parameters_of_the_same_contact(
        self, driver: Driver, changes: dict[str, Any], header: str, value: str
    ) -> None:
        driver.update(**changes)
        assert value in (driver.sent_register().header(header) or "")
        driver.run(1)
        driver.assert_status("registered")
        assert driver.events() == ["status"]

    def test_while_a_request_is_on_the_wire_it_follows_that_one(self, driver: Driver) -> None:
        driver.retry_now()
        driver.sent()
        driver.update(expires=600)
        driver.update(expires=700)
        driver.assert_quiet()
        driver.run(1)
        assert [request.header("expires") for request in driver.sent()] == ["700"]

    def test_even_if_that_one_fails(self, driver: Driver) -> None:
        driver.answers.append(answer(500))
        driver.retry_now()
        driver.update(expires=700)
        driver.run(1)
        driver.assert_status("registered")
        assert driver.state().expires_granted == 700

    def test_fewer_proxies_while_a_request_is_on_the_wire(self) -> None:
        driver = Driver()
        driver.hosts = {"192.0.2.7": answer(503), "192.0.2.8": digest()}
        driver.add(proxies=[server("sip:192.0.2.7"), server("sip:192.0.2.8")])
        driver.run(LATENCY)
        driver.update(proxies=[server("sip:192.0.2.8")])
        driver.run(1)
        driver.assert_status("registered")

    def test_another_first_hop_while_a_request_gets_no_answer(self) -> None:
        driver = Driver()
        driver.names = {"new.test": ("192.0.2.7",)}
        driver.always = silence
        driver.add()
        driver.update(proxies=[server("sip:new.test")])
        driver.always = ok()
        driver.run(100)
        driver.assert_status("registered")
        assert driver.sends[-1][1].host == "192.0.2.7"

    def test_a_change_ends_a_back_off(self) -> None:
        driver = Driver()
        driver.answers.append(answer(500))
        driver.add()
        driver.run(1)
        driver.update(expires=600)
        driver.run(1)
        driver.assert_status("registered")


class TestReplacedContact:
    """The same binding with another contact: REGISTER replaces; the old contact goes only if it is still listed."""

    LISTED = "<sip:alice@198.51.100.1:5060>;expires=3000"

    def test_the_old_one_is_removed_when_the_2xx_lists_it(self, driver: Driver) -> None:
        driver.always = ok(3600, self.LISTED)
        driver.update(contact_user="bob")
        driver.run(1)
        first, second = driver.sent()
        assert "sip:bob@" in (first.header("contact") or "")
        assert second.header("contact") == "<sip:alice@198.51.100.1:5060>;expires=0"
        assert second.header("expires") is None
        driver.assert_status("registered")
        assert driver.events() == ["status"]
        assert driver.registrations.profile_of_contact("alice") is None
        assert driver.registrations.profile_of_contact("bob") == 1

    def test_and_left_alone_when_it_does_not(self, driver: Driver) -> None:
        driver.update(contact_user="bob")
        driver.run(1)
        assert len(driver.sent()) == 1

    @pytest.mark.parametrize("respond", [answer(500), answer(503), answer(404), silence, answer(401)])
    def test_ours_stands_whatever_is_answered_to_the_removal(self, driver: Driver, respond: Answer) -> None:
        driver.answers.extend([ok(3600, self.LISTED), respond])
        driver.update(contact_user="bob")
        driver.run(60)
        assert len(driver.sent()) == 2
        driver.assert_status("registered")
        driver.disable()
        assert "<sip:bob@" in (driver.sent_register().header("contact") or "")

    def test_disable_before_the_new_contact_is_accepted_removes_both(self, driver: Driver) -> None:
        driver.answers.append(answer(500))
        driver.update(contact_user="bob")
        driver.run(1)
        driver.sent()
        driver.disable()
        contacts = driver.sent_register().headers("contact")
        assert ["alice@" in contact for contact in contacts] == [False, True]
        assert all(contact.endswith(";expires=0") for contact in contacts)

    def test_disable_while_the_old_one_is_removed(self, driver: Driver) -> None:
        driver.answers.append(ok(3600, self.LISTED))
        driver.update(contact_user="bob")
        driver.run(1.5 * LATENCY)
        driver.disable()
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    def test_the_lease_ends_while_the_old_one_is_removed(self) -> None:
        driver = Driver()
        driver.always = ok(20)
        driver.registered(contact_user="alice")
        driver.answers.extend([ok(20, self.LISTED), silence])
        driver.update(contact_user="bob")
        driver.run(40)
        driver.assert_status("registered")

    def test_another_proxy_is_used_at_once_and_the_contact_stays(self, driver: Driver) -> None:
        driver.update(proxies=[server("sip:192.0.2.7")])
        driver.run(1)
        assert driver.sends[-1][1].host == "192.0.2.7"
        assert len(driver.sent()) == 1
        driver.assert_status("registered")

    def test_another_dscp_goes_another_way(self, driver: Driver) -> None:
        driver.update(dscp=46)
        driver.run(1)
        assert driver.sends[-1][1].dscp == 46
        assert len(driver.sent()) == 1

    def test_two_profiles_with_one_fixed_user_do_not_take_it_from_each_other(self, driver: Driver) -> None:
        driver.registered(2, contact_user="alice")
        driver.update(1, contact_user="bob")
        assert driver.registrations.profile_of_contact("alice") == 2


class TestNewBinding:
    """Another AOR or registrar: new first, then old; if a second binding is refused, old first."""

    def test_new_first_then_old(self, driver: Driver) -> None:
        driver.update(aor=NEW)
        driver.run(1)
        assert summary(driver) == [(NEW, "+"), (OLD, "-")]
        driver.assert_status("registered")
        assert driver.events() == ["deregistered", "registered"]
        assert not driver.registrations.ghosts

    def test_the_digest_of_the_old_one_is_the_old_ones(self) -> None:
        driver = Driver()
        driver.always = digest()
        driver.registered()
        driver.always = lambda request, key: digest("new" if request.header("to") == f"<{NEW}>" else "secret")(
            request, key
        )
        driver.update(aor=NEW, registrar=server(password="new"))
        driver.run(1)
        assert summary(driver) == [(NEW, "+"), (NEW, "+"), (OLD, "-")]
        driver.assert_status("registered")
        assert not driver.registrations.ghosts

    def test_old_first_when_a_second_one_is_refused(self, driver: Driver) -> None:
        taken = {OLD}

        def one_only(request: Request, key: Any) -> bytes | None:
            aor = str(request.header("to"))[1:-1]
            if request.header("expires") == "0":
                taken.discard(aor)
            elif taken - {aor}:
                return answer(403)(request, key)
            return ok()(request, key)

        driver.always = one_only
        driver.update(aor=NEW)
        driver.run(1)
        assert summary(driver) == [(NEW, "+"), (OLD, "-"), (NEW, "+")]
        driver.assert_status("registered")

    @pytest.mark.parametrize("respond", [answer(500), answer(503), answer(401), silence])
    def test_an_old_one_that_cannot_be_removed_delays_nobody(self, driver: Driver, respond: Answer) -> None:
        driver.answers.extend([ok(), respond])
        driver.update(aor=NEW)
        driver.run(40)
        driver.assert_status("registered")
        assert not driver.registrations.ghosts
        assert len(driver.registrations.flows) == 1

    @pytest.mark.parametrize("respond", [answer(500), silence, answer(401), answer(404)])
    def test_a_new_one_that_cannot_be_had_does_not_keep_the_old_one(self, driver: Driver, respond: Answer) -> None:
        new = respond
        driver.always = lambda request, key: (new if request.header("to") == f"<{NEW}>" else ok())(request, key)
        driver.update(aor=NEW)
        driver.run(40)
        assert (OLD, "-") in summary(driver)
        assert not driver.registrations.ghosts
        assert driver.state().next_try is not None or driver.state().status == "registering"

    def test_the_same_contact_at_the_same_aor_is_replaced_and_never_removed(self, driver: Driver) -> None:
        """Another spelling of the registrar: removing the old binding would remove the new one."""
        driver.update(registrar=server("sip:192.0.2.1:5060"))
        driver.run(1)
        assert summary(driver) == [(OLD, "+")]
        assert not driver.registrations.ghosts

    def test_there_and_back_again_before_anything_is_answered(self, driver: Driver) -> None:
        driver.always = silence
        driver.update(aor=NEW)
        driver.update(aor=OLD)
        driver.always = ok()
        driver.run(200)
        driver.assert_status("registered")
        sent = summary(driver)
        assert (NEW, "-") in sent
        assert (OLD, "-") not in sent
        assert not driver.registrations.ghosts
        driver.disable()
        driver.run(1)
        assert not driver.registrations.has_binding(1)

    def test_there_and_back_again_in_vain(self, driver: Driver) -> None:
        """The first binding was never removed and may still be there when nobody wants it any more."""
        driver.answers.extend([silence, answer(500)])
        driver.update(aor=NEW)
        driver.update(aor=OLD)
        driver.run(1)
        driver.disable()
        driver.run(100)
        assert summary(driver)[-2:] == [(NEW, "-"), (OLD, "-")]
        assert not driver.registrations.has_binding(1)

    def test_many_moves_leave_one_binding(self, driver: Driver) -> None:
        driver.always = digest()
        aors = [f"sip:move{number}@192.0.2.1" for number in range(8)]
        for number, aor in enumerate(aors):
            driver.update(aor=aor)
            driver.run((number % 4) * LATENCY / 2)
        driver.run(100)
        driver.assert_status("registered")
        live = set()
        for request in driver.sent():
            if request.header("authorization"):
                aor = str(request.header("to"))[1:-1]
                live.discard(aor) if request.header("expires") == "0" else live.add(aor)
        assert live == {aors[-1]}
        assert not driver.registrations.ghosts

    def test_disabled_before_the_new_one_stands(self, driver: Driver) -> None:
        driver.always = silence
        driver.update(aor=NEW)
        driver.always = ok()
        driver.disable()
        driver.run(100)
        assert summary(driver) == [(NEW, "+"), (OLD, "-"), (NEW, "-")]
        driver.assert_status("unregistered", "disabled")

    def test_disabled_while_the_new_one_waits_for_its_next_try(self, driver: Driver) -> None:
        driver.unanswered_names = {"new.test"}
        driver.update(registrar=server("sip:new.test"))
        driver.disable()
        driver.run(1)
        assert summary(driver) == [(OLD, "-")]
        assert not driver.registrations.ghosts

    def test_moved_twice_before_anything_is_sent(self, driver: Driver) -> None:
        driver.unanswered_names = {"new.test"}
        driver.update(registrar=server("sip:new.test"))
        driver.update(aor=NEW, registrar=server())
        driver.run(1)
        assert summary(driver) == [(NEW, "+"), (OLD, "-")]

    def test_moved_while_registering(self) -> None:
        driver = Driver()
        driver.add()
        driver.update(aor=NEW)
        driver.run(1)
        driver.assert_status("registered")
        assert (OLD, "-") in summary(driver)
        assert not driver.registrations.ghosts

    def test_moved_while_unregistering(self, driver: Driver) -> None:
        driver.disable()
        driver.events()
        driver.update(aor=NEW)
        driver.assert_status("unregistered")
        assert driver.events() == ["deregistered"]
        driver.run(1)
        assert summary(driver) == [(OLD, "-")]
        assert not driver.registrations.ghosts

    def test_moved_while_waiting(self) -> None:
        driver = Driver()
        driver.always = answer(500)
        driver.add()
        driver.run(1)
        driver.always = ok()
        driver.update(aor=NEW)
        driver.run(1)
        assert summary(driver) == [(OLD, "+"), (NEW, "+")]
        assert len(driver.registrations.flows) == 1

    def test_the_lease_of_the_old_one_ends_before_the_new_one_stands(self) -> None:
        driver = Driver()
        driver.always = ok(30)
        driver.registered()
        driver.unanswered_names = {"new.test"}
        driver.names["new.test"] = ("192.0.2.2",)
        driver.unopened = {"192.0.2.2"}
        driver.update(registrar=server("sip:new.test"))
        driver.run(14)
        driver.registrations.resolved(Question("new.test"), ("192.0.2.2",), 600, driver.now)
        driver.run(60)
        assert not driver.registrations.ghosts

    def test_cseq_stays_apart_between_old_and_new(self, driver: Driver) -> None:
        before = driver.sends[-1][2]
        driver.update(aor=NEW)
        driver.run(1)
        new, old = driver.sent()
        assert new.header("call-id") == old.header("call-id") == before.header("call-id")
        assert before.cseq()[0] < old.cseq()[0] < new.cseq()[0]
