"""Subscriptions that the service keeps alive through all the dialogs they live in (RFC 6665 §4.1)."""

from __future__ import annotations

import pytest
from subscription_world import World, answered

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request
from sipprofile.useragent import ending


@pytest.fixture
def world() -> World:
    return World()


class TestSubscribe:
    def test_what_is_sent(self, world: World) -> None:
        world.subscribe(refresh=600)
        (sent,) = world.sent
        assert (sent.header("event"), sent.header("expires")) == ("presence", "600")
        assert "token@" in (sent.header("contact") or "")

    def test_expires_of_the_owner_counts(self, world: World) -> None:
        world.subscribe("presence", ("Expires", "77"), refresh=600)
        assert world.sent[0].headers("expires") == ["77"]

    def test_without_a_time_it_asks_for_an_hour(self, world: World) -> None:
        world.subscribe(refresh=0)
        assert world.sent[0].header("expires") == "3600"

    def test_it_needs_an_event(self, world: World) -> None:
        with pytest.raises(SipProfileError) as raised:
            world.send("SUBSCRIBE", refresh=60)
        assert raised.value.code == "missing_field"
        with pytest.raises(SipProfileError) as raised:
            world.subscribe("not a token")
        assert raised.value.code == "invalid_value"
        assert not world.sent

    def test_the_answer_makes_a_leg(self, world: World) -> None:
        number = world.subscribe()
        world.answer(200, "Expires: 3600")
        assert world.app.news() == [("responded", number, 200)]
        (leg,) = world.agent.legs.values()
        assert (leg.state, leg.usages, leg.method, leg.owner) == ("confirmed", ("presence",), "SUBSCRIBE", world.app)

    def test_a_refusal_is_the_owners(self, world: World) -> None:
        number = world.subscribe()
        world.answer(489)
        assert world.app.news() == [("responded", number, 489)]
        world.assert_nothing_left()

    def test_no_answer_is_the_owners(self, world: World) -> None:
        number = world.subscribe()
        world.run(40)
        assert world.app.news() == [("failed", number, "timeout")]
        world.assert_nothing_left()

    def test_there_is_a_limit(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.useragent.subscription.MAXIMUM_OF_OWNER", 3)
        for _ in range(3):
            world.subscribe()
        with pytest.raises(SipProfileError) as raised:
            world.subscribe()
        assert raised.value.code == "quota_exceeded"
        world.run(40)
        world.subscribe()


class TestTheFirstNotify:
    def test_it_goes_to_the_owner(self, world: World) -> None:
        world.subscribe()
        world.answer(200, "Expires: 3600")
        assert world.notify() == 200
        assert world.app.codes() == [200, "NOTIFY"]

    def test_before_the_answer_it_makes_the_leg(self, world: World) -> None:
        """RFC 6665 §4.1.2.4."""
        world.subscribe()
        assert world.notify() == 200
        (leg,) = world.agent.legs.values()
        assert (leg.state, leg.usages) == ("confirmed", ("presence",))
        world.answer(200, "Expires: 3600")
        assert list(world.agent.legs.values()) == [leg]
        assert world.app.news()[0][:2] == ("requested", leg.number)
        assert world.app.legs == [leg]

    @pytest.mark.parametrize("event", ["dialog", "presence;id=7", "presence.winfo"])
    def test_of_something_else_it_makes_none(self, world: World, event: str) -> None:
        world.subscribe()
        assert world.notify(event=event) == 481
        assert (event == "presence;id=7") == (len(world.agent.legs) == 1)

    def test_with_another_tag_it_makes_none(self, world: World) -> None:
        world.subscribe()
        sent = world.sent[0]
        data = world.within(sent, "NOTIFY", "Event: presence", "Subscription-State: active")
        tag = tag_of(sent.header("from"))
        assert world.receive(data.replace(f"tag={tag}".encode(), b"tag=guess")) == 481

    def test_when_none_comes_there_is_no_subscription(self, world: World) -> None:
        world.subscribe()
        world.answer(200, "Expires: 3600")
        leg = world.app.legs[-1]
        world.app.news()
        world.run(33)
        assert world.app.news() == [("leg_changed", leg.number, "resubscribing")]
        world.run(60)
        again = world.sent[-1]
        assert (again.method, tag_of(again.header("to"))) == ("SUBSCRIBE", "")
        assert again.header("call-id") != world.sent[0].header("call-id")

    def test_of_what_is_not_refreshed_it_is_over(self, world: World) -> None:
        world.subscribe("presence", ("Expires", "600"), refresh=0)
        world.answer(200, "Expires: 600")
        world.run(33)
        assert world.app.codes() == [200, "subscription_lost"]
        world.assert_nothing_left()
        assert len(world.sent) == 1

    @pytest.mark.parametrize(
        ("state", "event", "status"), [(None, "presence", 400), ("active", "", 489), ("active", "dialog", 481)]
    )
    def test_one_that_makes_no_sense(self, world: World, state: str | None, event: str, status: int) -> None:
        world.subscribed()
        assert world.notify(state, event) == status
        assert world.app.news() == []


class TestForkedSubscribe:
    """RFC 6665 §4.5.2: every notifier has a dialog of its own."""

    def test_each_is_a_leg_and_refreshed(self, world: World) -> None:
        world.subscribe(refresh=600)
        world.notify("active;expires=600", tag="one")
        world.notify("active;expires=600", tag="two")
        world.answer(200, "Expires: 600", tag="one")
        assert [leg.usages for leg in world.agent.legs.values()] == [("presence",), ("presence",)]
        world.fresh()
        world.peer = lambda request: answered(request, 200, "Expires: 600")
        world.run(560)
        assert {tag_of(each.header("to")) for each in world.fresh()} == {"one", "two"}

    def test_there_is_a_limit(self, world: World) -> None:
        world.subscribe()
        statuses = [world.notify(tag=f"t{n}") for n in range(20)]
        assert statuses == [200] * 9 + [481] * 11

    def test_after_64_t1_no_more_come(self, world: World) -> None:
        world.subscribed()
        assert world.notify(tag="late") == 200
        world.run(33)
        assert world.notify(tag="later") == 481

    def test_a_fork_that_is_lost_does_not_begin_again(self, world: World) -> None:
        world.subscribed()
        world.notify(tag="two")
        world.app.news()
        world.fresh()
        world.notify("terminated;reason=deactivated", tag="two")
        world.run(5)
        assert world.app.codes() == ["NOTIFY", "subscription_lost"]
        assert world.methods() == []


class TestTerminated:
    """RFC 6665 §4.1.3."""

    @pytest.mark.parametrize("reason", ["deactivated", "timeout"])
    def test_at_once(self, world: World, reason: str) -> None:
        leg = world.subscribed()
        assert world.notify(f"terminated;reason={reason}") == 200
        world.run(2)
        assert world.app.codes() == ["NOTIFY", "resubscribing"]
        assert leg.text == f"terminated;reason={reason}"
        assert len(world.sent) == 2
        assert tag_of(world.sent[-1].header("to")) == ""

    def test_at_once_is_bounded(self, world: World) -> None:
        def peer(request: Request) -> bytes:
            tag = f"t{len(world.sent)}"
            world.room.call_at(
                world.now + 0.05,
                lambda now: world.notify("terminated;reason=deactivated", of=request, tag=tag) and None,
            )
            return answered(request, 200, "Expires: 3600", tag=tag)

        world.subscribed()
        world.peer = peer
        world.notify("terminated;reason=deactivated")
        world.run(3600)
        assert 4 <= len(world.sent) <= 14
        assert len(world.agent.legs) == 1

    @pytest.mark.parametrize("reason", ["probation", "giveup"])
    def test_later(self, world: World, reason: str) -> None:
        world.subscribed()
        world.notify(f"terminated;reason={reason};retry-after=300")
        world.run(299)
        assert len(world.sent) == 1
        world.run(3)
        assert len(world.sent) == 2

    @pytest.mark.parametrize("reason", ["rejected", "noresource", "invariant"])
    def test_no_more(self, world: World, reason: str) -> None:
        leg = world.subscribed()
        world.notify(f"terminated;reason={reason}")
        world.run(0)
        assert world.app.codes() == ["NOTIFY", "subscription_lost"]
        assert (leg.state, leg.text) == ("terminated", f"terminated;reason={reason}")
        world.assert_nothing_left()
        assert len(world.sent) == 1

    def test_of_what_is_not_refreshed(self, world: World) -> None:
        world.subscribed(refresh=0)
        world.notify("terminated;reason=deactivated")
        world.run(0)
        assert world.app.codes() == ["NOTIFY", "subscription_lost"]
        world.assert_nothing_left()

    def test_what_is_not_refreshed_ends_with_its_time(self, world: World) -> None:
        world.subscribe("presence", ("Expires", "600"), refresh=0)
        world.answer(200, "Expires: 600")
        world.notify("active;expires=600")
        world.run(599)
        assert len(world.agent.legs) == 1
        world.run(3)
        assert world.app.codes()[-1] == "subscription_lost"
        world.assert_nothing_left()


class TestUnsubscribe:
    """RFC 6665 §4.1.2.3."""

    def test_by_the_owner(self, world: World) -> None:
        leg = world.subscribed()
        number = world.subscribe("presence", ("Expires", "0"), refresh=0, leg=leg)
        world.answer(200, "Expires: 0")
        assert world.app.news() == [("responded", number, 200)]
        assert world.notify("terminated;reason=timeout") == 200
        world.run(0)
        assert world.app.codes() == ["NOTIFY", "dialog_ended"]
        world.assert_nothing_left()
        assert len(world.sent) == 2

    def test_the_last_notify_is_not_waited_for_longer_than_64_t1(self, world: World) -> None:
        leg = world.subscribed()
        world.subscribe("presence", ("Expires", "0"), refresh=0, leg=leg)
        world.answer(200, "Expires: 0")
        world.run(33)
        assert world.app.codes() == [200, "dialog_ended"]
        world.assert_nothing_left()

    def test_an_answer_that_comes_after_the_end_brings_no_dialog_back(self, world: World) -> None:
        """A NOTIFY made the dialog, and its owner ended the subscription before the SUBSCRIBE was answered."""
        world.subscribe()
        (first,) = world.sent
        world.notify("active;expires=600", of=first)
        ending.owners_gone(world.agent, [world.app], world.now)
        world.settle()
        assert world.sent[-1].header("expires") == "0"
        world.answer(200, "Expires: 0")
        assert world.notify("terminated;reason=timeout", of=first) == 200
        world.run(0)
        world.answer(200, "Expires: 600", to=first)
        world.run(40)
        world.assert_nothing_left()

    def test_one_look(self, world: World) -> None:
        """RFC 6665 §4.4.3."""
        world.subscribe("presence", ("Expires", "0"), refresh=0)
        world.answer(200, "Expires: 0")
        world.notify("terminated;reason=timeout")
        world.run(0)
        assert world.app.codes() == [200, "NOTIFY", "dialog_ended"]
        world.assert_nothing_left()

    def test_a_change_by_the_owner_is_kept(self, world: World) -> None:
        leg = world.subscribed(seconds=600)
        world.subscribe("presence", ("Accept", "text/plain"), refresh=1200, leg=leg)
        world.answer(200, "Expires: 1200")
        world.until_sent()
        assert (world.sent[-1].header("expires"), world.sent[-1].header("accept")) == ("1200", "text/plain")
        assert len(world.sent) == 3

    def test_a_change_that_is_refused_leaves_what_was(self, world: World) -> None:
        leg = world.subscribed(seconds=600)
        number = world.subscribe(refresh=1200, leg=leg)
        world.answer(503)
        assert ("responded", number, 503) in world.app.news()
        assert leg.state == "confirmed"


class TestTheLine:
    def test_a_contact_that_has_changed_is_told_to_the_notifier(self, world: World) -> None:
        leg = world.subscribed()
        flow = world.room.by_profile[1].flows[0]
        flow.contact = "sip:token@192.0.2.99:5060"
        ending.line_changed(world.agent, 1, world.now)
        world.run(3)
        again = world.sent[-1]
        assert (again.method, tag_of(again.header("to"))) == ("SUBSCRIBE", "peer")
        assert "192.0.2.99" in (again.header("contact") or "")
        assert list(world.agent.legs.values()) == [leg]

    def test_nothing_is_sent_when_it_is_the_same(self, world: World) -> None:
        world.subscribed()
        ending.line_changed(world.agent, 1, world.now)
        world.run(5)
        assert len(world.sent) == 1

    def test_while_there_is_no_registration_it_waits_and_then_goes_on(self, world: World) -> None:
        leg = world.subscribed(seconds=600)
        world.registrations.want(False)
        world.run(541)
        assert len(world.sent) == 1
        world.registrations.want(True)
        world.run(1)
        ending.line_changed(world.agent, 1, world.now)
        world.run(3)
        assert len(world.sent) == 2
        assert tag_of(world.sent[-1].header("to")) == "peer"
        assert list(world.agent.legs.values()) == [leg]

    def test_beyond_its_time_it_begins_anew_when_the_line_is_back(self, world: World) -> None:
        world.subscribed(seconds=600)
        world.registrations.want(False)
        world.run(3000)
        assert world.app.codes() == ["resubscribing"]
        world.registrations.want(True)
        world.run(1)
        ending.line_changed(world.agent, 1, world.now)
        world.run(3)
        assert tag_of(world.sent[-1].header("to")) == ""
        assert len(world.sent) == 2
