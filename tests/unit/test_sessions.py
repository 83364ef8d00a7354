"""The frames of a session (docs/session-protocol.md)."""

from __future__ import annotations

import json

import pytest
from service_world import EVERYTHING, USER, Client, World

from sipprofile import __version__
from sipprofile.errors import SipProfileError
from sipprofile.service.operations import Control, Get, Patch
from sipprofile.service.policy import Actor
from sipprofile.service.settings import ServiceSettings


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def refused(client: Client, code: str, op: str, **members: object) -> SipProfileError:
    with pytest.raises(SipProfileError) as caught:
        client.ask(op, **members)
    assert caught.value.code == code
    return caught.value


class TestHello:
    def test_it_announces_version_token_and_ping(self, world: World) -> None:
        hello = world.session().hello
        assert hello.pop("session")
        assert hello == {"version": 1, "service": f"sipprofile/{__version__}", "ping": 10}

    def test_tokens_differ(self, world: World) -> None:
        assert world.session().hello["session"] != world.session().hello["session"]

    def test_it_comes_first_and_once(self, world: World) -> None:
        client = Client(world)
        refused(client, "hello_expected", "ping")
        client.ask("hello", version=1)
        refused(client, "bad_request", "hello", version=1)
        assert client.ask("ping") == {}

    @pytest.mark.parametrize("version", [None, 0, 2])
    def test_another_version_is_refused(self, world: World, version: int | None) -> None:
        client = Client(world)
        assert refused(client, "protocol_version", "hello", version=version).members["supported"] == [1]
        refused(client, "hello_expected", "ping")

    def test_events_come_only_after_it(self, world: World) -> None:
        client = Client(world)
        world.create()
        assert client.read() == []


class TestFrames:
    def test_unknown_ops_are_refused_and_unknown_members_ignored(self, world: World) -> None:
        client = world.session()
        refused(client, "unknown_command", "dance")
        assert client.ask("ping", colour="blue") == {}

    @pytest.mark.parametrize(
        ("frame", "number"),
        [
            (b"", None),
            (b"{", None),
            (b"[]", None),
            (b"\xff\xfe", None),
            (b'{"id": 7, "op": 5}', 7),
            (b'{"id": 8, "op": "enable", "profile": "trunk"}', 8),
            (b'{"id": "x", "op": "ping"}', None),
            (b"[" * 5000, None),
        ],
    )
    def test_nonsense_is_answered(self, world: World, frame: bytes, number: int | None) -> None:
        client = world.session()
        world.service.frame(client.number, frame, world.now)
        (reply,) = client.read()
        assert (reply["id"], reply["error"]["code"]) == (number, "bad_request")
        assert client.ask("ping") == {}

    def test_a_frame_has_a_limit(self, world: World) -> None:
        client = world.session()
        world.service.frame(client.number, b'{"op":"' + b"x" * 1_048_576, world.now)
        world.perform()
        assert world.ended[client.number].code == "too_large"

    def test_frames_of_an_ended_session_are_dropped(self, world: World) -> None:
        client = world.session()
        client.close()
        world.service.frame(client.number, b'{"op":"ping"}', world.now)
        assert world.service.frames(client.number) == []

    def test_many_commands_at_once_are_answered_in_order(self, world: World) -> None:
        client = world.session()
        sent = [client.send("ping") for _ in range(1000)]
        assert world.service.congested(client.number)
        assert [reply["id"] for reply in client.read()] == sent
        assert not world.service.congested(client.number)

    def test_answers_nobody_reads_end_the_session(self, world: World) -> None:
        client = world.session()
        for _ in range(4097):
            client.send("ping")
        assert world.ended[client.number].code == "slow_consumer"

    def test_a_wake_comes_once_until_all_was_read(self, world: World) -> None:
        client = world.session()
        world.woken.clear()
        client.send("ping")
        client.send("ping")
        assert world.woken == [client.number]
        client.read()
        client.send("ping")
        assert world.woken == [client.number] * 2


class TestHold:
    def test_the_present_state_comes_first(self, world: World) -> None:
        world.create("one", register="always")
        world.registrations.become(1, "registered", "registered")
        for members in ({"profile": 1}, {"name": "one"}, {"default": True}, {"ids": [1, 1]}):
            (document,) = world.session().ask("hold", **members)["profiles"]
            assert (document["name"], document["registration"]["status"]) == ("one", "registered")

    def test_only_holders_get_the_profiles_events(self, world: World) -> None:
        world.create("one", register="always")
        world.create("two", register="always")
        client = world.session()
        client.ask("hold", profile=1)
        for profile in (1, 2):
            world.registrations.become(profile, "registered", "registered")
        world.perform()
        assert client.events() == [("registered", 1)]

    def test_holding_twice_gives_every_event_once(self, world: World) -> None:
        world.create(register="always")
        client = world.session()
        client.ask("hold", profile=1)
        client.ask("hold", profile=1)
        world.registrations.become(1, "registered", "registered")
        assert client.events() == [("registered", 1)]
        client.ask("release", profile=1)
        world.registrations.become(1, "registered", "status")
        assert client.events() == []

    def test_what_does_not_exist(self, world: World) -> None:
        client = world.session()
        refused(client, "not_found", "hold", profile=9)
        refused(client, "not_found", "hold", name="nobody")
        refused(client, "not_found", "hold", default=True)
        refused(client, "missing_field", "hold")
        assert client.ask("hold", ids=[]) == {"profiles": []}

    def test_limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, settings=ServiceSettings(holds=2, holds_at_once=2))
        for name in ("one", "two", "three"):
            world.create(name)
        client = world.session()
        refused(client, "too_large", "hold", ids=[1, 2, 3])
        client.ask("hold", ids=[1, 2])
        refused(client, "too_large", "hold", profile=3)
        refused(client, "too_large", "enable", profile=3)
        client.ask("hold", ids=[1, 2])

    def test_an_answer_too_large_holds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, settings=ServiceSettings(frame=1000))
        world.create("one", provider_name="x" * 90, register="always", labels={"a": "b" * 200, "c": "d" * 200})
        world.create("two", provider_name="x" * 90, labels={"a": "b" * 200, "c": "d" * 200})
        client = world.session()
        refused(client, "too_large", "hold", ids=[1, 2])
        world.registrations.become(1, "registered", "registered")
        assert client.events() == []

    def test_a_document_that_changed_while_it_was_read_is_read_again(self, world: World) -> None:
        world.create()
        client = world.session()
        world.hold_reads = True
        client.send("hold", profile=1)
        stale = list(world._matching(world.reads[0].query))
        world.hold_reads = False
        read, world.reads = world.reads, []
        world.ask(Patch(1, {"expires": 600}))
        world.service.read_done(read[0].token, stale, world.now)
        world.perform()
        (reply,) = client.read()
        assert reply["ok"]["profiles"][0]["expires"] == 600

    def test_a_session_that_ends_meanwhile_holds_nothing(self, world: World) -> None:
        world.create()
        client = world.session()
        world.hold_reads = True
        client.send("hold", profile=1)
        client.close()
        world.read()
        assert world.service._hub.holders(1) == ()

    def test_releasing_what_is_not_held(self, world: World) -> None:
        world.create()
        refused(world.session(), "not_held", "release", profile=1)

    def test_releasing_disables(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        client.ask("release", profile=1)
        assert world.registrations.wants[1] is False
        refused(client, "not_enabled", "disable", profile=1)


class TestEnable:
    def test_it_returns_the_state_and_implies_hold(self, world: World) -> None:
        world.create()
        client = world.session()
        state = client.ask("enable", profile=1)["registration"]
        assert (state["status"], state["users"]) == ("registering", 1)
        world.registrations.become(1, "registered", "registered")
        assert client.events() == [("registered", 1)]

    def test_twice_is_an_error(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        refused(client, "already_enabled", "enable", profile=1)
        assert world.ask(Get(1))["registration"]["users"] == 1

    def test_disable_needs_enable(self, world: World) -> None:
        world.create()
        refused(world.session(), "not_enabled", "disable", profile=1)

    def test_after_a_force_disable_it_works_and_ends_it(self, world: World) -> None:
        world.create()
        world.ask(Control(1, "force-disable"))
        client = world.session()
        world.hold_commits = True
        client.send("enable", profile=1)
        assert client.read() == []  # not before it is stored
        world.commit()
        world.perform()
        (reply,) = [frame for frame in client.read() if "ok" in frame]
        assert reply["ok"]["registration"].get("held", "") == ""
        assert world.records[1].held == ""
        assert world.registrations.wants[1] is True

    def test_a_paused_profile_gets_users_and_stays_down(self, world: World) -> None:
        world.create()
        world.ask(Control(1, "pause"))
        client = world.session()
        assert client.ask("enable", profile=1)["registration"]["held"] == "paused"
        assert world.records[1].held == "paused"


class TestRetryNow:
    def test_users_may(self, world: World) -> None:
        world.create()
        client = world.session(USER)
        refused(client, "not_enabled", "retry-now", profile=1)
        client.ask("enable", profile=1)
        client.ask("retry-now", profile=1)
        assert ("retry_now", 1) in world.registrations.calls

    def test_operators_may(self, world: World) -> None:
        world.create()
        world.session(EVERYTHING).ask("retry-now", profile=1)
        assert ("retry_now", 1) in world.registrations.calls


class TestWatch:
    def test_all_events_of_all_profiles(self, world: World) -> None:
        world.create(register="always")
        client = world.session()
        client.ask("watch", all=True)
        world.registrations.become(1, "registered", "registered")
        assert client.events() == [("registered", 1)]
        client.ask("hold", profile=1)
        world.registrations.become(1, "unregistered", "deregistered")
        assert client.events() == [("deregistered", 1)]
        client.ask("release", profile=1)
        client.ask("watch", all=False)
        world.registrations.become(1, "registered", "registered")
        assert client.events() == []
        refused(client, "missing_field", "watch")


class TestCapabilities:
    def actor(self, *capabilities: str) -> Actor:
        return Actor("somebody", frozenset(capabilities))

    def test_who_may_nothing_has_no_session(self, world: World) -> None:
        with pytest.raises(SipProfileError, match="somebody lacks"):
            world.service.open_session(self.actor(), world.now)

    @pytest.mark.parametrize(
        ("op", "capability"),
        [("enable", "use"), ("force-disable", "control"), ("watch", "control")],
    )
    def test_each_command_needs_its_own(self, world: World, op: str, capability: str) -> None:
        world.create()
        others = {"read", "write", "use", "control"} - {capability}
        client = world.session(self.actor(*others))
        error = refused(client, "permission_denied", op, profile=1, all=True)
        assert error.members["capability"] == capability

    def test_new_profiles_are_told_to_readers(self, world: World) -> None:
        user, reader = world.session(self.actor("use")), world.session(self.actor("read"))
        world.create()
        assert (user.events(), reader.events()) == ([], [("created", 1)])
        assert user.ask("hold", profile=1)["profiles"]


class TestLimits:
    def test_sessions_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, settings=ServiceSettings(sessions=2))
        first = world.session()
        world.session()
        with pytest.raises(SipProfileError) as caught:
            world.session()
        assert caught.value.code == "too_many_sessions"
        first.close()
        world.session()

    def test_ten_thousand_profiles_held_by_one_session_cost_little(self, world: World) -> None:
        client = world.session()
        session = world.service._sessions.get(client.number)
        assert session is not None
        for profile in range(10_000):
            world.service._sessions.hold(session, profile)
        shared = {id(world.service._hub.holders(profile)) for profile in range(10_000)}
        assert len(shared) == 1
        client.close()
        assert world.service._hub.holders(5) == ()


def test_replies_are_json_objects_with_id_first(world: World) -> None:
    client = world.session()
    client.send("ping")
    (frame,) = world.service.frames(client.number)
    assert json.loads(frame) == {"id": 2, "ok": {}}
