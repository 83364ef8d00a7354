"""Subscriptions are refreshed, and go on in another dialog when one ends (RFC 6665 §4.1.2.2, §4.1.3)."""

from __future__ import annotations

import pytest
from subscription_world import World, answered

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request


@pytest.fixture
def world() -> World:
    return World()


class TestRefresh:
    def test_in_its_dialog_before_it_ends(self, world: World) -> None:
        world.subscribed(seconds=600, body=b"filter", content_type="text/plain")
        first = world.sent[0]
        world.peer = lambda request: answered(request, 200, "Expires: 600")
        began = world.now
        world.run(3000)
        sent = world.sent[1:]
        assert 5 <= len(sent) <= 7
        assert all(each.method == "SUBSCRIBE" and tag_of(each.header("to")) == "peer" for each in sent)
        assert {each.header("call-id") for each in sent} == {first.header("call-id")}
        assert {each.uri for each in sent} == {"sip:notifier@192.0.2.7"}
        assert {each.header("expires") for each in sent} == {"600"}
        assert {each.body for each in sent} == {b""}
        assert 300 <= world.times[1] - began <= 545
        assert world.app.news() == []

    def test_the_contacts_parameters_stay(self, world: World) -> None:
        world.subscribed(seconds=600, contact_params=";video")
        world.run(560)
        assert ";video" in (world.sent[-1].header("contact") or "")

    def test_a_shorter_grant_counts(self, world: World) -> None:
        world.subscribe(refresh=3600)
        world.answer(200, "Expires: 60")
        world.notify("active;expires=60")
        world.run(37)
        assert len(world.sent) == 2

    def test_a_notify_that_shortens_it_counts(self, world: World) -> None:
        world.subscribed(seconds=3600)
        world.notify("active;expires=60")
        world.run(37)
        assert len(world.sent) == 2

    def test_interval_too_brief_at_the_beginning(self, world: World) -> None:
        number = world.subscribe(refresh=60)
        world.answer(423, "Min-Expires: 600")
        world.settle()
        assert world.app.news() == []
        assert [each.header("expires") for each in world.sent] == ["60", "600"]
        world.answer(200, "Expires: 600")
        assert world.app.news() == [("responded", number, 200)]
        (leg,) = world.agent.legs.values()
        assert (leg.owner, leg.usages) == (world.app, ("presence",))

    def test_interval_too_brief_again_and_again_is_the_owners(self, world: World) -> None:
        number = world.subscribe(refresh=60)
        for minimum in range(100, 1000, 100):
            if world.app.told:
                break
            world.answer(423, f"Min-Expires: {minimum}")
            world.settle()
        assert world.app.news() == [("responded", number, 423)]
        world.assert_nothing_left()
        assert len(world.sent) < 6

    def test_interval_too_brief_later(self, world: World) -> None:
        world.subscribed(seconds=600)
        world.until_sent()
        world.answer(423, "Min-Expires: 1800")
        world.settle()
        again = world.sent[-1]
        assert (again.header("expires"), tag_of(again.header("to"))) == ("1800", "peer")
        world.answer(200, "Expires: 1800")
        assert world.app.news() == []

    def test_a_failure_is_told_once_and_tried_while_it_lives(self, world: World) -> None:
        leg = world.subscribed(seconds=3600)
        world.peer = lambda request: answered(request, 503)
        world.run(3595)
        assert world.app.news() == [("leg_changed", leg.number, "not_refreshed")]
        assert leg.text.startswith("503")
        assert leg.state == "confirmed"
        tries = len(world.sent) - 1
        assert 2 <= tries <= 12
        world.peer = lambda request: answered(request, 200, "Expires: 3600")
        world.run(600)

    def test_its_recovery_is_told(self, world: World) -> None:
        leg = world.subscribed(seconds=3600)
        world.peer = lambda request: answered(request, 503)
        while not world.app.told:
            world.run(10)
        world.peer = lambda request: answered(request, 200, "Expires: 3600")
        world.run(120)
        assert world.app.codes() == ["not_refreshed", "refreshed"]
        assert world.agent.legs == {leg.number: leg}

    def test_no_answer_at_all_until_it_ends_begins_anew(self, world: World) -> None:
        leg = world.subscribed(seconds=600)
        world.run(1200)
        assert world.app.codes() == ["not_refreshed", "resubscribing"]
        assert leg.state == "early"
        world.peer = lambda request: answered(request, 200, "Expires: 600", tag="other")
        world.run(2000)
        told = world.app.news()
        assert [entry[2] for entry in told][:2] == ["resubscribed", "resubscribed"]

    def test_the_waits_grow(self, world: World) -> None:
        world.subscribed(seconds=600)
        world.run(36_000)
        assert len(world.sent) < 45


class TestTheNextDialog:
    def lost(self, world: World) -> tuple[int, Request]:
        """The notifier does not know the dialog any more; the number of its leg and the next SUBSCRIBE."""
        leg = world.subscribed(seconds=600)
        world.until_sent()
        world.answer(481)
        world.settle()
        return leg.number, world.sent[-1]

    def test_481_begins_one_at_once(self, world: World) -> None:
        number, again = self.lost(world)
        assert world.app.news() == [("leg_changed", number, "resubscribing")]
        assert (again.uri, tag_of(again.header("to"))) == ("sip:bob@example.test", "")
        assert again.header("call-id") != world.sent[0].header("call-id")
        assert again.header("event") == "presence"

    def test_the_new_leg_says_which_it_replaces(self, world: World) -> None:
        number, _ = self.lost(world)
        world.app.news()
        world.answer(200, "Expires: 600", tag="second")
        (leg,) = world.agent.legs.values()
        assert (leg.replaces, leg.owner, leg.usages, leg.state) == (number, world.app, ("presence",), "confirmed")
        assert world.app.news() == [
            ("leg_changed", leg.number, "resubscribed"),
            ("leg_changed", number, "resubscribed"),
        ]
        assert world.app.legs[-1].state == "terminated"
        assert world.notify(tag="second") == 200

    def test_a_notify_before_its_answer_comes_after_the_new_leg(self, world: World) -> None:
        number, _ = self.lost(world)
        world.app.news()
        assert world.notify(tag="second") == 200
        assert world.app.codes() == ["resubscribed", "resubscribed", "NOTIFY"]
        world.answer(200, "Expires: 600", tag="second")
        (leg,) = world.agent.legs.values()
        assert leg.replaces == number
        assert world.app.news() == []

    def test_a_notify_of_the_old_dialog_belongs_to_none(self, world: World) -> None:
        self.lost(world)
        assert world.notify(of=world.sent[0]) == 481

    def test_a_late_notifier_of_the_old_one_belongs_to_none(self, world: World) -> None:
        world.subscribed()
        world.notify("terminated;reason=giveup;retry-after=600")
        world.run(1)
        assert world.notify(of=world.sent[0], tag="late") == 481

    def test_the_owners_call_id_was_for_the_first(self, world: World) -> None:
        world.subscribed(seconds=600, call_id="mine")
        assert world.sent[0].header("call-id") == "mine"
        world.until_sent()
        world.answer(481)
        world.settle()
        assert world.sent[-1].header("call-id") != "mine"

    def test_the_filter_is_sent_again(self, world: World) -> None:
        world.subscribed(seconds=600, body=b"filter", content_type="text/plain")
        world.until_sent()
        world.answer(481)
        world.settle()
        assert (world.sent[-1].body, world.sent[-1].header("content-type")) == (b"filter", "text/plain")

    def test_481_to_that_as_well_waits(self, world: World) -> None:
        self.lost(world)
        count = len(world.sent)
        world.answer(481)
        world.run(14)
        assert len(world.sent) == count
        world.until_sent(within=60)
        world.answer(481)
        world.until_sent(within=121)

    @pytest.mark.parametrize("status", [403, 404, 489, 603])
    def test_a_refusal_is_the_end(self, world: World, status: int) -> None:
        number, _ = self.lost(world)
        world.app.news()
        world.answer(status)
        assert world.app.news() == [("leg_changed", number, "subscription_lost")]
        assert world.app.legs[-1].text.startswith(str(status))
        world.assert_nothing_left()

    def test_nothing_is_sent_in_a_leg_that_rests(self, world: World) -> None:
        number, _ = self.lost(world)
        with pytest.raises(SipProfileError) as raised:
            world.send("MESSAGE", leg=world.agent.legs[number])
        assert raised.value.code == "invalid_state"
