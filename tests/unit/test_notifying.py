"""Subscriptions of others to something of an owner's (RFC 6665 §4.2)."""

from __future__ import annotations

from typing import Any

import pytest
from server_world import request
from subscription_world import World

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.useragent import server
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.leg import Leg


@pytest.fixture
def world() -> World:
    return World()


def asked(world: World, expires: int | None = 600, *, cseq: int = 1, to: str = "", event: str = "presence") -> int:
    """A SUBSCRIBE comes in; how it was answered at once."""
    headers = [f"Event: {event}"] if event else []
    headers += [f"Expires: {expires}"] if expires is not None else []
    values = {"to": to} if to else {}
    return world.receive(request("SUBSCRIBE", *headers, branch=f"z9hG4bKs{cseq}", cseq=cseq, **values))


def accepted(world: World, expires: int | None = 600, **answer: Any) -> Leg:
    """Somebody has subscribed, and the owner has accepted it."""
    asked(world, expires)
    leg = server.respond(world.agent, world.app.incoming[-1], Answer(answer.pop("status", 200), **answer), world.now)
    assert leg is not None
    world.app.news()
    return leg


def again(world: World, leg: Leg, expires: int, cseq: int) -> None:
    """The subscriber refreshes, and the owner accepts that."""
    to = f"<sip:alice@example.test>;tag={leg.dialog.local_tag}"
    asked(world, expires, cseq=cseq, to=to)
    server.respond(world.agent, world.app.incoming[-1], Answer(200), world.now)


class TestTheAnswer:
    @pytest.mark.parametrize(
        ("asked_for", "given", "granted"), [(600, None, "600"), (600, "60", "60"), (600, "9999", "600")]
    )
    def test_it_says_how_long(self, world: World, asked_for: int, given: str | None, granted: str) -> None:
        accepted(world, asked_for, headers=(("Expires", given),) if given else ())
        assert world.answered[-1].headers("expires") == [granted]

    def test_without_expires_it_is_an_hour(self, world: World) -> None:
        accepted(world, None)
        assert world.answered[-1].header("expires") == "3600"

    def test_it_makes_a_leg(self, world: World) -> None:
        leg = accepted(world)
        assert (leg.usages, leg.initiator, leg.state, leg.owner) == (("presence",), False, "confirmed", world.app)

    def test_a_refusal_makes_none(self, world: World) -> None:
        asked(world)
        server.respond(world.agent, world.app.incoming[-1], Answer(403), world.now)
        world.assert_nothing_left()

    def test_there_is_a_limit(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.useragent.notifying.MAXIMUM_NOTIFIERS", 0)
        asked(world)
        with pytest.raises(SipProfileError) as raised:
            server.respond(world.agent, world.app.incoming[-1], Answer(200), world.now)
        assert raised.value.code == "quota_exceeded"


class TestNotify:
    def test_the_service_writes_what_is_missing(self, world: World) -> None:
        leg = accepted(world)
        world.run(100)
        world.send("NOTIFY", leg=leg, body=b"x", content_type="text/plain")
        sent = world.sent[-1]
        assert (sent.header("event"), sent.header("subscription-state")) == ("presence", "active;expires=500")
        assert tag_of(sent.header("to")) == "f"
        assert sent.uri == "sip:bob@192.0.2.7"

    @pytest.mark.parametrize(
        ("given", "written"),
        [
            ("pending", "pending;expires=600"),
            ("active;expires=10", "active;expires=10"),
            ("active", "active;expires=600"),
        ],
    )
    def test_what_the_owner_says_stays(self, world: World, given: str, written: str) -> None:
        leg = accepted(world)
        world.send("NOTIFY", ("Event", "presence"), ("Subscription-State", given), leg=leg)
        assert world.sent[-1].headers("subscription-state") == [written]

    def test_the_last_word_is_remembered(self, world: World) -> None:
        leg = accepted(world)
        world.send("NOTIFY", ("Subscription-State", "pending"), leg=leg)
        world.answer(200)
        world.send("NOTIFY", leg=leg)
        assert (world.sent[-1].header("subscription-state") or "").startswith("pending;")

    def test_accepted_but_not_decided_is_pending(self, world: World) -> None:
        leg = accepted(world, status=202)
        world.send("NOTIFY", leg=leg)
        assert (world.sent[-1].header("subscription-state") or "").startswith("pending;")

    def test_of_something_else_it_is_refused(self, world: World) -> None:
        leg = accepted(world)
        with pytest.raises(SipProfileError) as raised:
            world.send("NOTIFY", ("Event", "dialog"), leg=leg)
        assert raised.value.code == "invalid_state"

    def test_outside_of_dialogs_it_is_the_owners(self, world: World) -> None:
        world.send("NOTIFY", ("Event", "message-summary"), ("Subscription-State", "active"))
        assert world.sent[-1].header("subscription-state") == "active"

    def test_the_last_one_ends_the_dialog_when_it_is_answered(self, world: World) -> None:
        leg = accepted(world)
        number = world.send("NOTIFY", ("Subscription-State", "terminated;reason=noresource"), leg=leg).number
        with pytest.raises(SipProfileError):
            world.send("NOTIFY", leg=leg)
        world.answer(200)
        world.run(0)
        assert world.app.news() == [("responded", number, 200), ("leg_changed", leg.number, "dialog_ended")]
        world.assert_nothing_left()
        assert len(world.sent) == 1

    @pytest.mark.parametrize("status", [481, 404, 489])
    def test_a_subscriber_that_does_not_know_it(self, world: World, status: int) -> None:
        leg = accepted(world)
        world.send("NOTIFY", leg=leg)
        world.answer(status)
        world.run(0)
        assert world.app.codes() == [status, "subscriber_gone"]
        world.assert_nothing_left()

    @pytest.mark.parametrize("headers", [("Retry-After: 5",), ()])
    def test_a_failure_that_passes(self, world: World, headers: tuple[str, ...]) -> None:
        leg = accepted(world)
        world.send("NOTIFY", leg=leg)
        world.answer(480 if headers else 500, *headers)
        world.run(0)
        assert leg.state == "confirmed"

    def test_a_subscriber_that_is_silent(self, world: World) -> None:
        leg = accepted(world)
        number = world.send("NOTIFY", leg=leg).number
        world.run(33)
        assert world.app.news() == [("failed", number, "timeout"), ("leg_changed", leg.number, "subscriber_gone")]
        world.assert_nothing_left()


class TestTheEnd:
    def test_when_it_is_not_refreshed_the_service_says_so(self, world: World) -> None:
        leg = accepted(world)
        world.run(601)
        (notify,) = world.fresh()
        assert notify.header("subscription-state") == "terminated;reason=timeout"
        assert notify.header("event") == "presence"
        assert world.app.news() == [("leg_changed", leg.number, "subscriber_gone")]
        assert leg.state == "terminated"
        world.assert_nothing_left()

    def test_a_refresh_prolongs_it(self, world: World) -> None:
        leg = accepted(world)
        world.run(500)
        again(world, leg, 600, 2)
        world.run(500)
        assert leg.state == "confirmed"
        world.run(101)
        assert leg.state == "terminated"

    def test_a_shorter_one_shortens_it(self, world: World) -> None:
        leg = accepted(world)
        again(world, leg, 60, 2)
        world.run(61)
        assert leg.state == "terminated"

    def test_after_an_unsubscription_the_owner_may_say_the_last_word(self, world: World) -> None:
        leg = accepted(world)
        again(world, leg, 0, 2)
        world.app.news()
        world.run(4)
        world.send("NOTIFY", leg=leg, body=b"bye", content_type="text/plain")
        assert world.sent[-1].header("subscription-state") == "terminated;reason=timeout"
        world.answer(200)
        world.run(10)
        assert world.app.codes() == [200, "dialog_ended"]
        assert len(world.sent) == 1
        world.assert_nothing_left()

    def test_else_the_service_does(self, world: World) -> None:
        leg = accepted(world)
        again(world, leg, 0, 2)
        world.app.news()
        world.run(6)
        assert [each.header("subscription-state") for each in world.fresh()] == ["terminated;reason=timeout"]
        assert world.app.news() == [("leg_changed", leg.number, "dialog_ended")]
        world.assert_nothing_left()

    def test_one_look(self, world: World) -> None:
        """RFC 6665 §4.4.3."""
        leg = accepted(world, 0)
        world.send("NOTIFY", leg=leg, body=b"state", content_type="text/plain")
        assert (world.sent[-1].header("subscription-state") or "").startswith("terminated")
        world.answer(200)
        world.assert_nothing_left()
