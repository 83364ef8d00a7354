"""The subscription to our own registration and what its NOTIFYs do (RFC 3680, RFC 6665 §4.1)."""

from __future__ import annotations

import pytest
from machine_driver import TCP, Driver, answer, challenge, digest, server, silence, subscribed
from notifier import DAY, Notifier, contact, document

from sipprofile.events import Reason
from sipprofile.registration import removal
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def notifier(driver: Driver) -> Notifier:
    """A profile that is registered and subscribed, and whose first document has come."""
    driver.registered(reg_event=True)
    notifier = Notifier(driver)
    assert notifier.tell(notifier.ours()) == 200
    assert driver.state().reg_event_state == "active"
    driver.events()
    return notifier


def subscribes(driver: Driver) -> list[Request]:
    return [request for request in driver.requests if request.method == "SUBSCRIBE"]


class TestSubscribe:
    def test_it_follows_the_first_grant_and_only_where_it_is_wanted(self, driver: Driver) -> None:
        driver.registered()
        driver.registered(2, reg_event=True)
        (request,) = subscribes(driver)
        assert request.uri == "sip:alice2@192.0.2.1"
        assert request.header("to") == "<sip:alice2@192.0.2.1>"
        assert (request.header("event"), request.header("accept")) == ("reg", "application/reginfo+xml")
        assert request.header("expires") == "3600"
        assert request.header("contact") == f"<{driver.flow(2).contact}>"
        assert tag_of(request.header("from"))

    def test_it_is_refreshed_in_its_dialog(self, driver: Driver, notifier: Notifier) -> None:
        driver.run(3600)
        first, second = subscribes(driver)
        assert second.header("call-id") == first.header("call-id")
        assert tag_of(second.header("to")) == "notifier"
        assert second.uri == "sip:notifier@192.0.2.1"
        assert second.cseq()[0] == first.cseq()[0] + 1

    def test_a_dialog_that_is_gone_is_begun_anew_at_once(self, driver: Driver, notifier: Notifier) -> None:
        gone = answer(481)
        driver.others = lambda request, key: (gone if ";tag=" in (request.header("to") or "") else subscribed())(
            request, key
        )
        driver.run(3600)
        first, refresh, again = subscribes(driver)[:3]
        assert refresh.header("call-id") == first.header("call-id") != again.header("call-id")
        assert ";tag=" not in (again.header("to") or "")

    def test_retry_after_is_honoured(self, driver: Driver) -> None:
        driver.others = answer(503, "Retry-After: 500")
        driver.registered(reg_event=True)
        driver.run(490)
        assert len(subscribes(driver)) == 1
        driver.run(20)
        assert len(subscribes(driver)) == 2

    def test_the_back_off_without_it(self, driver: Driver) -> None:
        driver.others = silence
        driver.registered(reg_event=True)
        driver.run(3000)
        assert 4 <= len(subscribes(driver)) <= 8
        assert driver.state().reg_event_state == "pending"
        driver.assert_status("registered")

    @pytest.mark.parametrize("status", [403, 404, 405, 489, 501])
    def test_a_registrar_that_does_not_do_it_is_left_alone_for_a_day(self, driver: Driver, status: int) -> None:
        driver.others = answer(status)
        driver.registered(reg_event=True)
        assert driver.state().reg_event_state == "unsupported"
        assert driver.events().count("status") <= 1
        driver.run(DAY - 10)
        assert len(subscribes(driver)) == 1
        driver.run(DAY / 5)
        assert len(subscribes(driver)) == 2
        driver.assert_status("registered")

    def test_or_until_the_next_registration(self, driver: Driver) -> None:
        driver.others = answer(489)
        driver.registered(reg_event=True)
        driver.disable()
        driver.run(1)
        driver.want()
        driver.run(1)
        assert len(subscribes(driver)) == 2

    def test_too_brief(self, driver: Driver) -> None:
        driver.others = lambda request, key: (
            answer(423, "Min-Expires: 7200")(request, key)
            if request.header("expires") == "3600"
            else subscribed()(request, key)
        )
        driver.registered(reg_event=True)
        assert [request.header("expires") for request in subscribes(driver)] == ["3600", "7200"]

    def test_without_a_notify_it_is_none(self, driver: Driver) -> None:
        """RFC 6665 §4.1.2.4, timer N."""
        driver.registered(reg_event=True)
        driver.run(31)
        assert driver.state().reg_event_state == "pending"
        driver.run(120)
        first, second = subscribes(driver)[:2]
        assert first.header("call-id") != second.header("call-id")

    def test_it_ends_before_the_binding_does(self, driver: Driver, notifier: Notifier) -> None:
        driver.disable()
        _, last = subscribes(driver)
        assert last.header("expires") == "0"
        assert driver.sent_register().header("expires") == "0"
        assert notifier.notify(state="terminated;reason=timeout") == 200
        driver.run(2 * DAY)
        assert len(subscribes(driver)) == 2

    def test_removing_the_profile_ends_it(self, driver: Driver, notifier: Notifier) -> None:
        contact = notifier.contact
        driver.remove()
        assert subscribes(driver)[-1].header("expires") == "0"
        driver.run(60)
        assert not driver.registrations.reg_events.calls
        assert contact

    def test_switched_on_and_off(self, driver: Driver) -> None:
        driver.registered()
        driver.update(reg_event=True)
        driver.run(1)
        assert [request.header("expires") for request in subscribes(driver)] == ["3600"]
        driver.update(reg_event=False)
        driver.run(DAY)
        assert [request.header("expires") for request in subscribes(driver)] == ["3600", "0"]
        assert driver.state().reg_event_state is None

    def test_after_a_restart_a_new_one_is_made(self, driver: Driver, notifier: Notifier) -> None:
        driver.crash()
        driver.want()
        assert notifier.notify(document(2)) is None  # nobody's: the dispatcher answers 481
        driver.run(15)
        first, second = subscribes(driver)
        assert first.header("call-id") != second.header("call-id")
        assert driver.sent() == []


class TestNotify:
    def test_before_the_answer_to_the_subscribe(self, driver: Driver) -> None:
        """RFC 6665 §4.1.2.4: the NOTIFY makes the dialog."""
        driver.others = silence
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        assert notifier.tell(notifier.ours(), tag="early") == 200
        assert driver.state().reg_event_state == "active"
        assert notifier.tell(notifier.ours(), tag="other") == 481  # a fork

    def test_the_first_may_be_empty(self, driver: Driver) -> None:
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        assert notifier.notify() == 200
        assert driver.state().reg_event_state == "active"
        driver.run(100)
        assert driver.sent() == []

    def test_of_another_package(self, driver: Driver, notifier: Notifier) -> None:
        assert notifier.notify(event="presence") == 489

    def test_of_another_dialog(self, driver: Driver, notifier: Notifier) -> None:
        assert notifier.notify(call_id="unknown") is None
        assert notifier.notify(tag="stranger") == 481

    def test_of_another_content_type(self, driver: Driver, notifier: Notifier) -> None:
        assert notifier.notify("<x/>", kind="application/pidf+xml") == 415

    def test_a_retransmission_has_no_second_effect(self, driver: Driver, notifier: Notifier) -> None:
        gone = notifier.ours("deactivated", "terminated")
        assert notifier.tell(gone) == 200
        driver.run(1)
        driver.sent()
        assert notifier.notify(document(3, gone), cseq=notifier.cseq) == 200
        driver.run(1)
        driver.assert_quiet()

    def test_an_old_one_is_refused(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours())
        assert notifier.notify(document(9, notifier.ours("rejected", "terminated")), cseq=1) == 500
        driver.assert_status("registered")

    def test_after_a_gap_the_full_state_is_asked_for(self, driver: Driver, notifier: Notifier) -> None:
        notifier.version += 5
        assert notifier.tell(notifier.ours("rejected", "terminated"), kind="partial") == 200
        driver.assert_status("registered")
        assert len(subscribes(driver)) == 2
        assert notifier.tell(notifier.ours("rejected", "terminated")) == 200
        driver.assert_status("unregistered", "deregistered_by_network")

    @pytest.mark.parametrize("body", ["<broken", "<?xml version='1.0'?><!DOCTYPE x []><x/>"])
    def test_a_notifier_that_makes_no_sense_is_given_up(self, driver: Driver, notifier: Notifier, body: str) -> None:
        for _ in range(5):
            notifier.notify(body)
            driver.run(40)
        assert driver.state().reg_event_state == "unsupported"
        assert len(subscribes(driver)) <= 5
        driver.assert_status("registered")

    @pytest.mark.parametrize(
        ("state", "within", "after"),
        [
            ("terminated;reason=deactivated", 61, 1),
            ("terminated;reason=probation;retry-after=300", 61, 301),
            ("terminated;reason=giveup", 61, 60),
            ("terminated", 61, 60),
            ("terminated;reason=deactivated", 1, 60),
        ],
    )
    def test_a_subscription_that_ends_is_made_again(
        self, driver: Driver, notifier: Notifier, state: str, within: float, after: float
    ) -> None:
        """RFC 6665 §4.1.3; one that lived a minute or less is not begun again at once."""
        driver.run(within)
        notifier.notify(state=state)
        assert driver.state().reg_event_state == "pending"
        driver.run(after * 0.4)
        assert len(subscribes(driver)) == (2 if after == 1 else 1)
        driver.run(after * 0.6 + 1)
        assert len(subscribes(driver)) == 2

    @pytest.mark.parametrize("reason", ["rejected", "noresource", "invariant"])
    def test_unless_the_registrar_wants_none(self, driver: Driver, notifier: Notifier, reason: str) -> None:
        notifier.notify(state=f"terminated;reason={reason}")
        driver.run(DAY / 2)
        assert len(subscribes(driver)) == 1
        assert driver.state().reg_event_state == "unsupported"

    def test_a_shorter_subscription_is_refreshed_earlier(self, driver: Driver, notifier: Notifier) -> None:
        notifier.notify(state="active;expires=60")
        driver.run(40)
        assert len(subscribes(driver)) == 2


@pytest.mark.pain(3)
class TestRemoval:
    """RFC 3680 §5.1: what the registrar does to our binding is seen at once."""

    @pytest.mark.parametrize("event", ["deactivated", "expired", "unregistered"])
    def test_we_are_registered_again_at_once(self, driver: Driver, notifier: Notifier, event: str) -> None:
        notifier.tell(notifier.ours(event, "terminated"))
        assert driver.events()[:1] == ["deregistered"]
        driver.run(1)
        driver.assert_status("registered")
        assert driver.sent_register().header("expires") == "3600"
        assert f"({event})" in next(row.text for row in driver.history if row.code == "deregistered_by_network")

    def test_a_registrar_that_keeps_removing_us_is_asked_by_the_back_off(
        self, driver: Driver, notifier: Notifier
    ) -> None:
        for _ in range(2):
            notifier.tell(notifier.ours("deactivated", "terminated"))
            driver.run(1)
            if driver.state().status == "registered":
                notifier.tell(notifier.ours())
        driver.assert_status("unregistered", "deregistered_by_network")
        assert 25 < driver.next_try() <= 60
        driver.run(61)
        driver.assert_status("registered")

    def test_rejected(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours("rejected", "terminated"))
        driver.assert_status("unregistered", "deregistered_by_network")
        assert 25 < driver.next_try() <= 60
        driver.assert_quiet()

    def test_probation(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours("probation", "terminated", retry_after=400))
        driver.assert_status("unregistered", "deregistered_by_network")
        assert driver.next_try() == pytest.approx(400)

    def test_the_registration_ended_while_the_subscription_is_active(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(registration="terminated")
        assert driver.events()[:1] == ["deregistered"]
        driver.run(1)
        driver.assert_status("registered")

    def test_and_when_both_end(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(
            notifier.ours("rejected", "terminated"), registration="terminated", state="terminated;reason=noresource"
        )
        driver.assert_status("unregistered", "deregistered_by_network")

    def test_a_full_state_without_us(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell()
        assert driver.events()[:1] == ["deregistered"]

    def test_one_that_never_knew_us_costs_one_refresh(self, driver: Driver) -> None:
        driver.registered(reg_event=True)
        notifier = Notifier(driver)
        for _ in range(3):
            notifier.tell()
            driver.run(1)
        driver.assert_status("registered")
        driver.sent_register()

    def test_news_of_an_earlier_register(self, driver: Driver, notifier: Notifier) -> None:
        flow = driver.flow()
        notifier.tell(notifier.ours("expired", "terminated", callid=flow.call_id, cseq=flow.cseq - 1))
        driver.assert_status("registered")
        driver.assert_quiet()

    def test_while_a_refresh_is_on_its_way(self, driver: Driver, notifier: Notifier) -> None:
        driver.run_to_register()
        driver.sent()
        driver.always = silence
        driver.retry_now()
        notifier.tell(notifier.ours("deactivated", "terminated"))
        driver.assert_status("registering", "deregistered_by_network")

    def test_our_own_de_registration(self, driver: Driver, notifier: Notifier) -> None:
        driver.always = silence
        driver.disable()
        driver.events()
        notifier.tell(notifier.ours("unregistered", "terminated"), state="terminated;reason=timeout")
        assert driver.events() == []

    def test_a_grant_that_is_older_than_the_news_is_not_trusted(self, driver: Driver, notifier: Notifier) -> None:
        driver.retry_now()
        notifier.tell(notifier.ours("deactivated", "terminated"))  # crosses the answer to the REGISTER
        driver.run(1)
        assert len(driver.sent()) == 2
        driver.assert_status("registered")

    def test_while_we_de_register_it_is_no_news(self, driver: Driver) -> None:
        driver.registered()
        driver.disable()
        driver.events()
        registration = driver.registrations.by_profile[1]
        reason = Reason.of("deregistered_by_network")
        removal.ended(driver.registrations, registration, driver.flow(), driver.now, reason, at_once=True)
        driver.settle()
        driver.assert_status("unregistering")
        assert driver.events() == []
        driver.run(1)
        driver.assert_status("unregistered", "disabled")

    def test_over_tcp_the_answer_comes_before_the_connection_is_left(self, driver: Driver) -> None:
        driver.registered(reg_event=True, registrar=server("sip:192.0.2.1;transport=tcp"))
        notifier = Notifier(driver)
        notifier.tell(notifier.ours())
        notifier.tell(notifier.ours("deactivated", "terminated"))
        driver.run(1)
        driver.assert_status("registered")
        assert (driver.open, driver.closed) == ({TCP}, [])

    def test_a_connection_without_a_binding_is_closed(self, driver: Driver) -> None:
        driver.registered(reg_event=True, registrar=server("sip:192.0.2.1;transport=tcp"))
        notifier = Notifier(driver)
        notifier.tell(notifier.ours())
        driver.always = silence
        notifier.tell(notifier.ours("deactivated", "terminated"))
        driver.run(33)
        assert driver.closed == [TCP]

    def test_another_contact_gets_a_subscription_of_its_own(self, driver: Driver) -> None:
        driver.registered(reg_event=True, registrar=server("sip:192.0.2.1;transport=tcp"))
        notifier = Notifier(driver)
        notifier.tell(notifier.ours())
        driver.run(60)
        driver.fail(TCP)
        driver.run(1)
        first, second = subscribes(driver)
        assert first.header("contact") != second.header("contact")
        assert first.header("call-id") != second.header("call-id")


class TestShortened:
    def test_the_lease_is_renewed_before_its_new_end(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours("shortened", expires=60))
        state = driver.assert_status("registered")
        assert state.lease_ends is not None
        assert state.lease_ends - driver.registrations.wall_offset - driver.now == pytest.approx(60)
        assert 29 < driver.run_to_register() < 37
        driver.assert_status("registered")

    def test_a_longer_time_is_no_news(self, driver: Driver, notifier: Notifier) -> None:
        before = driver.state().lease_ends
        notifier.tell(notifier.ours("shortened", expires=100_000))
        assert driver.state().lease_ends == before

    def test_without_a_time(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours("shortened"))
        driver.sent_register()


class TestOtherContacts:
    def test_they_are_shown(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours(), contact("sip:phone@192.0.2.77"))
        assert [other.uri for other in driver.state().other_contacts] == ["sip:phone@192.0.2.77"]
        assert driver.events() == ["status"]
        notifier.tell(contact("sip:phone@192.0.2.77", event="unregistered", state="terminated"), kind="partial")
        assert driver.state().other_contacts == []

    def test_no_more_than_sixteen_and_none_too_long(self, driver: Driver, notifier: Notifier) -> None:
        notifier.tell(notifier.ours(), *(contact(f"sip:{'x' * 500}@h{n}", f"o{n}") for n in range(50)))
        others = driver.state().other_contacts
        assert len(others) == 16
        assert max(len(other.uri) for other in others) <= 256


class TestAuthentication:
    """RFC 7616 §3.4: one nonce, one count."""

    def test_the_nonce_of_the_registration_is_used_with_the_next_count(self, driver: Driver) -> None:
        driver.always = digest()
        driver.registered(reg_event=True)
        (request,) = subscribes(driver)
        value = request.header("authorization") or ""
        assert "nc=00000002" in value
        assert 'uri="sip:alice1@192.0.2.1"' in value

    def test_a_challenge_is_answered_with_the_next_cseq(self, driver: Driver) -> None:
        driver.always = digest()
        driver.others = lambda request, key: (
            subscribed() if "n2" in (request.header("authorization") or "") else challenge("n2")
        )(request, key)
        driver.registered(reg_event=True)
        first, second = subscribes(driver)
        assert second.cseq()[0] == first.cseq()[0] + 1
        assert second.header("call-id") == first.header("call-id")

    def test_refused_credentials_are_not_sent_again_and_again(self, driver: Driver) -> None:
        driver.always = digest()
        driver.others = challenge("n2")
        driver.registered(reg_event=True)
        assert len(subscribes(driver)) == 2
        driver.assert_status("registered")

    def test_a_realm_that_is_not_ours_gets_nothing(self, driver: Driver) -> None:
        driver.others = challenge("evil", realm="attacker.test")
        driver.registered(reg_event=True)
        (request,) = subscribes(driver)
        assert request.header("authorization") is None
