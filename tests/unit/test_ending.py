"""The right end of everything an owner or a profile has (RFC 3261 §15, RFC 5057, RFC 6665)."""

from __future__ import annotations

from collections import Counter

import pytest
from server_world import request
from subscription_world import Application, World, answered

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request
from sipprofile.useragent import ending, server
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.leg import Leg

SDP = {"body": b"v=0\r\n", "content_type": "application/sdp"}


@pytest.fixture
def world() -> World:
    return World()


def calling(world: World, tag: str = "", *, app: Application | None = None) -> int:
    """A call that rings; the number of its INVITE."""
    number = world.send("INVITE", app=app, **SDP).number  # type: ignore[arg-type]
    world.answer(180, tag=tag or "peer")
    return number


def call(world: World, *, app: Application | None = None) -> Leg:
    """A call that was answered."""
    world.send("INVITE", app=app, **SDP)  # type: ignore[arg-type]
    world.answer(200)
    (app or world.app).news()
    return list(world.agent.legs.values())[-1]


def called(world: World, call_id: str = "in1", status: int = 0) -> Leg | None:
    """An INVITE comes in, and is answered so far."""
    world.receive(request("INVITE", branch=f"z9hG4bK{call_id}", call_id=call_id))
    if not status:
        return None
    return server.respond(world.agent, world.app.incoming[-1], Answer(status), world.now)


def acknowledge(world: World, leg: Leg) -> None:
    """The caller's ACK."""
    to = f"<sip:alice@example.test>;tag={leg.dialog.local_tag}"
    world.receive(request("ACK", branch="z9hG4bKack", call_id=leg.dialog.call_id, to=to))


def end(world: World, leg: Leg) -> None:
    ending.end_leg(world.agent, leg, world.now, "dialog_ended")


class TestEndOfALeg:
    def test_a_call_ends_with_bye(self, world: World) -> None:
        leg = call(world)
        end(world, leg)
        bye = world.sent[-1]
        assert (bye.method, tag_of(bye.header("to"))) == ("BYE", "peer")
        assert world.app.news() == [("leg_changed", leg.number, "dialog_ended")]
        world.answer(200)
        world.assert_nothing_left()

    def test_a_call_that_rings_is_cancelled(self, world: World) -> None:
        number = calling(world)
        (leg,) = world.agent.legs.values()
        world.app.news()
        end(world, leg)
        assert world.sent[-1].method == "CANCEL"
        world.answer(200)
        invite = world.sent[0]
        world.answer(487, to=invite)
        assert ("responded", number, 487) in world.app.told
        assert ("leg_changed", leg.number, "dialog_ended") in world.app.told
        world.assert_nothing_left()

    def test_a_call_that_has_come_in_is_refused(self, world: World) -> None:
        leg = called(world, status=180)
        assert leg is not None
        world.app.news()
        end(world, leg)
        assert world.answered[-1].status == 480
        assert world.app.news() == [("leg_changed", leg.number, "dialog_ended")]
        world.assert_nothing_left()

    def test_the_bye_of_a_call_that_was_answered_waits_for_the_ack(self, world: World) -> None:
        """RFC 3261 §15."""
        leg = called(world, status=200)
        assert leg is not None
        world.app.news()
        end(world, leg)
        assert world.methods() == []
        acknowledge(world, leg)
        assert world.methods() == ["BYE"]
        assert world.app.codes() == ["dialog_ended"]
        world.answer(200)
        world.assert_nothing_left()

    def test_without_an_ack_it_waits_no_longer_than_64_t1(self, world: World) -> None:
        leg = called(world, status=200)
        assert leg is not None
        end(world, leg)
        world.run(33)
        assert world.methods() == ["BYE"]
        assert leg.state == "terminated"
        world.assert_nothing_left()

    def test_the_bye_goes_out_though_the_registration_has_ended_before_the_ack_comes(self, world: World) -> None:
        leg = called(world, status=200)
        assert leg is not None
        ending.owners_gone(world.agent, [world.app], world.now)
        world.agent.room.hold(1, "forcibly_disabled", world.now)
        acknowledge(world, leg)
        assert world.methods() == ["BYE"]

    def test_an_answer_that_crosses_the_cancel_is_ended_though_the_registration_is_too(self, world: World) -> None:
        calling(world)
        ending.profile_gone(world.agent, 1, "forcibly_disabled", world.now)
        world.agent.room.hold(1, "forcibly_disabled", world.now)
        assert world.methods() == ["INVITE", "CANCEL"]
        world.answer(200, to=world.sent[0])
        assert world.methods() == ["ACK", "BYE"]

    def test_an_answer_that_its_owner_has_not_acknowledged_is_acknowledged_first(self, world: World) -> None:
        world.send("INVITE", manual=True, **SDP)  # type: ignore[arg-type]
        world.answer(200)
        (leg,) = world.agent.legs.values()
        end(world, leg)
        assert world.methods() == ["INVITE", "ACK", "BYE"]

    def test_a_request_in_it_that_waits_is_answered_487(self, world: World) -> None:
        leg = call(world)
        world.receive(world.within(world.sent[0], "INFO"))
        world.app.news()
        end(world, leg)
        assert world.answered[-1].status == 487
        assert world.app.codes() == ["dialog_ended", "dialog_ended"]

    def test_a_subscription_ends_with_expires_0(self, world: World) -> None:
        leg = world.subscribed()
        end(world, leg)
        last = world.sent[-1]
        assert (last.method, last.header("expires"), last.header("event")) == ("SUBSCRIBE", "0", "presence")
        world.answer(200, "Expires: 0")
        assert world.app.news() == []
        world.notify("terminated;reason=timeout")
        world.run(0)
        assert world.app.codes() == ["NOTIFY", "dialog_ended"]
        world.assert_nothing_left()

    def test_one_that_has_no_dialog_just_now_is_dropped(self, world: World) -> None:
        leg = world.subscribed()
        world.notify("terminated;reason=giveup;retry-after=600")
        world.run(1)
        world.app.news()
        end(world, leg)
        assert world.app.codes() == ["dialog_ended"]
        world.run(700)
        assert len(world.sent) == 1
        world.assert_nothing_left()

    def test_while_another_dialog_is_being_asked_for_it_ends_with_that(self, world: World) -> None:
        leg = world.subscribed()
        world.notify("terminated;reason=deactivated")
        world.run(2)
        world.app.news()
        end(world, leg)
        assert leg.state == "terminated"
        world.answer(200, "Expires: 3600", tag="second")
        world.settle()
        assert world.sent[-1].header("expires") == "0"
        assert tag_of(world.sent[-1].header("to")) == "second"
        world.answer(200, tag="second")
        assert world.app.codes() == ["dialog_ended"]
        world.assert_nothing_left()
        assert world.app.news() == []

    def test_a_notifier_says_noresource(self, world: World) -> None:
        world.receive(request("SUBSCRIBE", "Event: presence", "Expires: 600"))
        leg = server.respond(world.agent, world.app.incoming[-1], Answer(200), world.now)
        assert leg is not None
        world.app.news()
        end(world, leg)
        assert world.sent[-1].header("subscription-state") == "terminated;reason=noresource"
        assert world.app.codes() == ["dialog_ended"]
        world.assert_nothing_left()

    def test_it_cannot_end_twice(self, world: World) -> None:
        leg = call(world)
        end(world, leg)
        with pytest.raises(SipProfileError) as raised:
            end(world, leg)
        assert raised.value.code == "invalid_state"

    def test_all_usages_of_a_call_end(self, world: World) -> None:
        leg = call(world)
        invite = world.sent[0]
        world.send("REFER", ("Refer-To", "<sip:carol@example.test>"), leg=leg)
        world.answer(202)
        world.subscribe("dialog", leg=leg)
        world.answer(200, "Expires: 3600")
        world.notify("active;expires=3600", "dialog", of=invite)
        assert leg.usages == ("refer;id=2", "dialog")
        world.fresh()
        end(world, leg)
        assert sorted(world.methods()) == ["BYE", "SUBSCRIBE"]
        world.run(40)
        assert leg.state == "terminated"
        world.assert_nothing_left()


class TestADeadOwner:
    def test_everything_at_once(self, world: World) -> None:
        """Its requests get a sensible answer, its calls, subscriptions and publications end, it hears nothing."""
        app = world.app
        world.send("PUBLISH", ("Event", "presence"), refresh=600, body=b"x", content_type="text/plain")
        world.answer(200, "SIP-ETag: tag1", "Expires: 600")
        world.subscribed()
        call(world)
        calling(world, "ringing")
        ringing = world.sent[-1]
        world.send("INVITE", **SDP)  # type: ignore[arg-type]
        unanswered = world.sent[-1]
        world.send("MESSAGE", body=b"hi", content_type="text/plain")
        world.subscribe("dialog")
        subscribing = world.sent[-1]
        world.receive(request("SUBSCRIBE", "Event: presence", "Expires: 600", branch="z9hG4bKn", call_id="n"))
        server.respond(world.agent, app.incoming[-1], Answer(200), world.now)
        world.receive(request("REFER", "Refer-To: <sip:c@example.test>", branch="z9hG4bKr", call_id="r"))
        server.respond(world.agent, app.incoming[-1], Answer(202), world.now)
        called(world, "in1")
        called(world, "in2", 180)
        accepted = called(world, "in3", 200)
        assert accepted is not None
        acknowledge(world, accepted)
        unacknowledged = called(world, "in4", 200)
        assert unacknowledged is not None
        world.receive(request("MESSAGE", branch="z9hG4bKm", call_id="m"))
        world.fresh()
        app.news()
        before = len(world.answered)

        ending.owners_gone(world.agent, [app], world.now)

        statuses = [each.status for each in world.answered[before:]]
        assert statuses == [480, 480, 480]
        sent = world.fresh()
        assert Counter(each.method for each in sent) == {
            "PUBLISH": 1,
            "SUBSCRIBE": 1,
            "BYE": 2,
            "CANCEL": 1,
            "NOTIFY": 2,
        }
        by_method = {each.method: each for each in sent}
        assert by_method["PUBLISH"].header("expires") == "0"
        assert by_method["PUBLISH"].header("sip-if-match") == "tag1"
        assert by_method["SUBSCRIBE"].header("expires") == "0"
        assert all(
            each.header("subscription-state") == "terminated;reason=noresource"
            for each in sent
            if each.method == "NOTIFY"
        )

        def silent_otherwise(request: Request) -> bytes | None:
            return answered(request, 200) if request.method in ("BYE", "CANCEL", "NOTIFY", "PUBLISH") else None

        world.peer = silent_otherwise
        # The 2xx that crosses is acknowledged and ended, one that comes late too.
        world.answer(487, to=ringing, tag="ringing")
        world.answer(200, to=unanswered, tag="late")
        assert world.methods() == ["ACK", "ACK", "BYE"]
        # The subscription that was being asked for ends as soon as it exists.
        world.answer(200, "Expires: 600", to=subscribing)
        acknowledge(world, unacknowledged)
        world.run(1)
        late = world.fresh()
        assert [each.header("expires") for each in late if each.method == "SUBSCRIBE"] == ["0"]
        assert "BYE" in [each.method for each in late]
        assert app.news() == []
        world.assert_nothing_left()
        assert app.news() == []

    def test_others_notice_nothing(self, world: World) -> None:
        other = Application(world, "other")
        call(world)
        kept = call(world, app=other)
        world.subscribe(app=other)
        world.answer(200, "Expires: 600")
        world.notify("active;expires=600")
        other.news()
        world.fresh()
        ending.owners_gone(world.agent, [world.app], world.now)
        assert world.methods() == ["BYE"]
        assert other.news() == []
        assert kept in world.agent.legs.values()
        assert len(world.agent.legs) == 2

    def test_what_comes_in_a_dialog_that_is_being_ended_is_answered_at_once(self, world: World) -> None:
        """Nobody is left who could; the last NOTIFY is still waited for."""
        leg = world.subscribed()
        ending.owners_gone(world.agent, [world.app], world.now)
        *_, last = world.fresh("SUBSCRIBE")
        assert world.receive(world.within(last, "INFO", cseq=900)) == 481
        assert leg.state != "terminated"

    def test_an_owner_of_nothing(self, world: World) -> None:
        ending.owners_gone(world.agent, [world.app], world.now)
        assert world.sent == []


class TestALineThatIsLost:
    def test_requests_fail_and_dialogs_stay(self, world: World) -> None:
        leg = call(world)
        number = world.send("MESSAGE", body=b"hi", content_type="text/plain").number
        invite = calling(world)
        world.app.news()
        ending.lines_lost(world.agent, {1: "lease_expired"}, world.now)
        told = world.app.news()
        assert ("failed", number, "lease_expired") in told
        assert ("failed", invite, "lease_expired") in told
        assert ("leg_changed", leg.number, "lease_expired") in told
        assert leg.state == "confirmed"
        world.run(1)
        assert world.sent[-1].method == "CANCEL"

    def test_a_refresh_under_way_is_tried_again(self, world: World) -> None:
        leg = world.subscribed(seconds=600)
        world.until_sent()
        ending.lines_lost(world.agent, {1: "lease_expired"}, world.now)
        assert ("leg_changed", leg.number, "not_refreshed") in world.app.news()
        count = len(world.sent)
        world.run(60)
        assert len(world.sent) > count

    def test_other_profiles_are_not_concerned(self, world: World) -> None:
        call(world)
        world.send("MESSAGE", body=b"hi", content_type="text/plain")
        ending.lines_lost(world.agent, {2: "lease_expired"}, world.now)
        assert world.app.news() == []


class TestAProfileThatIsGone:
    def test_everything_on_its_line_ends_and_is_told(self, world: World) -> None:
        leg = call(world)
        subscription = world.subscribed()
        world.send("PUBLISH", ("Event", "presence"), refresh=600, body=b"x", content_type="text/plain")
        world.answer(200, "SIP-ETag: tag1", "Expires: 600")
        called(world, "in1")
        message = world.send("MESSAGE", body=b"hi", content_type="text/plain").number
        world.fresh()
        world.app.news()
        ending.profile_gone(world.agent, 1, "removed", world.now)
        told = world.app.news()
        assert ("failed", message, "removed") in told
        assert ("leg_changed", leg.number, "removed") in told
        assert ("leg_changed", subscription.number, "removed") in told
        assert [entry[0] for entry in told].count("withdrawn") == 1
        assert all(each.state == "terminated" for each in world.app.legs[-2:])
        assert world.answered[-1].status == 480
        assert Counter(world.methods()) == {"BYE": 1, "SUBSCRIBE": 1, "PUBLISH": 1}
        world.assert_nothing_left()
        assert world.app.news() == []
