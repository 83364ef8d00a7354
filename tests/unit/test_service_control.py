"""An operator's words: force-disable, pause, resume, retry-now."""

from __future__ import annotations

import pytest
from service_world import USER, World

from sipprofile.errors import SipProfileError
from sipprofile.service.operations import Control, Get, Remove
from sipprofile.service.policy import Actor


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch)
    world.create()
    return world


class TestForceDisable:
    def test_it_is_stored_first(self, world: World) -> None:
        client = world.session()
        client.ask("enable", profile=1)
        world.hold_commits = True
        token = world.begin(Control(1, "force-disable"))
        assert client.events() == []
        world.commit()
        world.perform()
        assert world.answer(token)["registration"]["held"] == "forcibly_disabled"
        assert world.records[1].held == "forcibly_disabled"

    def test_every_user_is_detached_and_everybody_told_once(self, world: World) -> None:
        users = [world.session(USER) for _ in range(2)]
        stranger = world.session(USER)
        for user in users:
            user.ask("enable", profile=1)
            user.read()
        for user in users:
            user.read()
        world.ask(Control(1, "force-disable"))
        for session in (*users, stranger):
            (event,) = session.read()
            assert event["event"] == "forcibly_disabled"
            assert event["state"]["held"] == "forcibly_disabled"
            assert event["state"].get("users", 0) == 0
        with pytest.raises(SipProfileError) as caught:
            users[0].ask("disable", profile=1)
        assert caught.value.code == "not_enabled"
        world.ask(Remove(1))  # nobody uses it any more

    def test_users_still_hold_it(self, world: World) -> None:
        client = world.session()
        client.ask("enable", profile=1)
        world.ask(Control(1, "force-disable"))
        client.read()
        world.session().ask("enable", profile=1)
        assert ("status", 1) in client.events()

    def test_again_is_no_change(self, world: World) -> None:
        world.ask(Control(1, "force-disable"))
        before = len(world.events)
        world.ask(Control(1, "force-disable"))
        assert len(world.events) == before

    def test_retry_now_says_why_not(self, world: World) -> None:
        world.ask(Control(1, "force-disable"))
        with pytest.raises(SipProfileError) as caught:
            world.ask(Control(1, "retry-now"))
        assert caught.value.code == "forcibly_disabled"

    def test_resume_ends_it_without_users(self, world: World) -> None:
        world.ask(Control(1, "force-disable"))
        world.ask(Control(1, "resume"))
        assert (world.records[1].held, world.registrations.wants[1]) == ("", False)

    def test_a_profile_that_is_always_registered_comes_back_at_resume(self, world: World) -> None:
        profile = world.create("always", register="always")
        world.ask(Control(profile, "force-disable"))
        assert world.registrations.wants[profile] is True  # held down, not unwanted
        world.ask(Control(profile, "resume"))
        assert ("hold", profile, "") in world.registrations.calls

    def test_a_failed_commit_changes_nothing(self, world: World) -> None:
        client = world.session()
        client.ask("enable", profile=1)
        world.fail_commits = True
        with pytest.raises(SipProfileError, match="store"):
            world.ask(Control(1, "force-disable"))
        assert world.ask(Get(1))["registration"]["users"] == 1

    def test_in_a_session(self, world: World) -> None:
        client = world.session()
        state = client.ask("force-disable", profile=1)["registration"]
        assert state["held"] == "forcibly_disabled"


class TestPause:
    def test_users_stay(self, world: World) -> None:
        client = world.session()
        client.ask("enable", profile=1)
        answer = world.ask(Control(1, "pause"))
        assert (answer["registration"]["held"], answer["registration"]["users"]) == ("paused", 1)
        assert world.ask(Control(1, "resume"))["registration"].get("held", "") == ""
        client.ask("disable", profile=1)

    def test_resuming_what_is_not_held_writes_nothing(self, world: World) -> None:
        before = len(world.events)
        world.ask(Control(1, "resume"))
        assert len(world.events) == before


class TestCapabilities:
    @pytest.mark.parametrize(
        ("verb", "capability"),
        [
            ("force-disable", "control"),
            ("pause", "control"),
            ("resume", "control"),
            ("retry-now", "control"),
            ("default", "write"),
        ],
    )
    def test_each_verb_needs_one(self, world: World, verb: str, capability: str) -> None:
        others = frozenset(("read", "write", "use", "control")) - {capability}
        with pytest.raises(SipProfileError) as caught:
            world.ask(Control(1, verb), Actor("somebody", others))  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.members["capability"]) == ("permission_denied", capability)
        world.ask(Control(1, verb), Actor("somebody", frozenset((capability,))))  # type: ignore[arg-type]
