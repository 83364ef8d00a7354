"""Users, and how long a registration outlives the last of them."""

from __future__ import annotations

import pytest
from service_world import EVERYTHING, USER, World, record

from sipprofile.service.operations import Control, Get, Patch
from sipprofile.service.usage import LEAVE_AT_ONCE


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def wanted(world: World, profile: int = 1) -> bool:
    return bool(world.registrations.wants[profile])


def users(world: World, profile: int = 1) -> int:
    return int(world.ask(Get(profile))["registration"]["users"])


def wants(world: World) -> list[bool]:
    return [call[2] for call in world.registrations.calls if call[0] == "want"]


class TestEnableAndDisable:
    def test_users_are_sessions(self, world: World) -> None:
        world.create()
        one, two = world.session(), world.session()
        one.ask("enable", profile=1)
        two.ask("enable", profile=1)
        assert (users(world), wanted(world)) == (2, True)
        one.ask("disable", profile=1)
        assert (users(world), wanted(world)) == (1, True)
        two.ask("disable", profile=1)
        assert (users(world), wanted(world)) == (0, False)

    def test_always_stays_wanted(self, world: World) -> None:
        world.create(register="always")
        client = world.session()
        client.ask("enable", profile=1)
        client.ask("disable", profile=1)
        assert wanted(world)

    def test_holders_see_the_number_of_users_change(self, world: World) -> None:
        world.create()
        watcher, user = world.session(), world.session()
        watcher.ask("hold", profile=1)
        user.ask("enable", profile=1)
        world.registrations.become(1, "registered", "registered")
        world.perform()
        watcher.read()
        other = world.session()
        other.ask("enable", profile=1)
        (event,) = watcher.read()
        assert (event["event"], event["state"]["users"]) == ("status", 2)


class TestLinger:
    def test_the_registration_outlives_the_last_disable(self, world: World) -> None:
        world.create(linger=30)
        client = world.session()
        client.ask("enable", profile=1)
        client.ask("disable", profile=1)
        world.pass_time(29.9)
        assert wanted(world)
        world.pass_time(0.2)
        assert not wanted(world)

    def test_enabling_again_ends_it(self, world: World) -> None:
        world.create(linger=30)
        client = world.session()
        for _ in range(3):
            client.ask("enable", profile=1)
            client.ask("disable", profile=1)
            world.pass_time(20)
        assert wanted(world)
        world.pass_time(10.1)
        assert not wanted(world)
        assert wants(world).count(False) == 1

    def test_flapping_leaves_one_timer(self, world: World) -> None:
        world.create(linger=3600)
        client = world.session()
        for _ in range(50):
            client.ask("enable", profile=1)
            client.ask("disable", profile=1)
        assert len(world.service._timers._heap) == 1

    def test_a_profile_that_becomes_always_stays(self, world: World) -> None:
        world.create(linger=30)
        client = world.session()
        client.ask("enable", profile=1)
        client.ask("disable", profile=1)
        world.ask(Patch(1, {"register": "always"}))
        world.pass_time(60)
        assert wanted(world)


class TestLostSession:
    """A session that ends without disabling stays a user for ``linger_lost``."""

    def test_it_counts_until_then(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        client.close()
        world.pass_time(9.9)
        assert (users(world), wanted(world)) == (1, True)
        world.pass_time(0.2)
        assert (users(world), wanted(world)) == (0, False)

    def test_each_profile_has_its_own_time(self, world: World) -> None:
        world.create("one", linger_lost=0)
        world.create("two", linger_lost=5)
        world.create("three", linger_lost=20)
        client = world.session()
        for profile in (1, 2, 3):
            client.ask("enable", profile=profile)
        client.close()
        assert [wanted(world, profile) for profile in (1, 2, 3)] == [False, True, True]
        world.pass_time(5)
        assert [wanted(world, profile) for profile in (1, 2, 3)] == [False, False, True]
        world.pass_time(15)
        assert not wanted(world, 3)

    def test_then_it_lingers_like_any_other_end(self, world: World) -> None:
        world.create(linger=30)
        client = world.session()
        client.ask("enable", profile=1)
        client.close()
        world.pass_time(39)
        assert (users(world), wanted(world)) == (0, True)
        world.pass_time(2)
        assert not wanted(world)

    def test_a_reconnect_takes_over_with_nothing_on_the_wire(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        client.close()
        world.pass_time(5)
        before = len(world.events)
        again = world.session(resume=client.hello["session"])
        again.ask("enable", profile=1)
        assert users(world) == 1
        assert False not in wants(world)
        assert world.events[before:] == []
        world.pass_time(60)
        assert (users(world), wanted(world)) == (1, True)
        again.ask("disable", profile=1)
        assert not wanted(world)

    def test_a_stranger_does_not_take_over(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        client.close()
        world.session(resume="made up").ask("enable", profile=1)
        assert users(world) == 2
        world.pass_time(11)
        assert users(world) == 1

    def test_not_by_another_user(self, world: World) -> None:
        client = world.session()
        thief = world.session(USER, resume=client.hello["session"])
        assert world.ended == {}
        assert client.ask("ping") == {}
        assert thief.ask("ping") == {}

    def test_what_is_not_enabled_again_ends_at_its_time(self, world: World) -> None:
        world.create("one")
        world.create("two")
        client = world.session()
        for profile in (1, 2):
            client.ask("enable", profile=profile)
        client.close()
        world.session(resume=client.hello["session"]).ask("enable", profile=2)
        world.pass_time(11)
        assert [wanted(world, profile) for profile in (1, 2)] == [False, True]

    def test_a_connection_that_only_the_application_knows_is_lost(self, world: World) -> None:
        world.create()
        client = world.session()
        client.ask("enable", profile=1)
        again = world.session(resume=client.hello["session"])
        assert world.ended[client.number].code == "closed"
        again.ask("enable", profile=1)
        assert users(world) == 1
        client.close()
        assert users(world) == 1


class TestForceDisable:
    def test_lost_uses_and_lingering_end_too(self, world: World) -> None:
        world.create("one")
        world.create("two", linger=100)
        client = world.session()
        client.ask("enable", profile=1)
        client.ask("enable", profile=2)
        client.ask("disable", profile=2)
        client.close()
        for profile in (1, 2):
            world.ask(Control(profile, "force-disable"), EVERYTHING)
            assert (users(world, profile), wanted(world, profile)) == (0, False)
        again = world.session(resume=client.hello["session"])
        again.ask("enable", profile=1)
        assert users(world) == 1
        world.pass_time(200)
        assert (users(world), wanted(world)) == (1, True)


class TestResumeGrace:
    """After a start users have 30 s to come back to a live lease."""

    @pytest.fixture
    def restarted(self, monkeypatch: pytest.MonkeyPatch) -> World:
        return World(
            monkeypatch,
            records=(
                record(1, "one", default=True, lease=True),
                record(2, "two", lease=True, register="always"),
                record(3, "three"),
                record(4, "four", lease=True, held="paused"),
            ),
        )

    def test_nobody_comes(self, restarted: World) -> None:
        assert wants(restarted) == [True]  # of the one that is always registered
        restarted.pass_time(29)
        assert wants(restarted) == [True]
        restarted.pass_time(2)
        calls = [call for call in restarted.registrations.calls if call[0] == "want"]
        assert calls == [("want", 2, True), ("want", 1, False)]

    def test_so_many_leave_little_by_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, records=tuple(record(number, f"p{number}", lease=True) for number in range(1, 251)))
        world.now += 30
        world.service.timer(world.now)
        assert len(wants(world)) == LEAVE_AT_ONCE
        world.session().ask("enable", profile=250)
        world.pass_time(1)
        gone = [call[1] for call in world.registrations.calls if call[0] == "want" and not call[2]]
        assert gone == list(range(1, 250))

    def test_somebody_comes(self, restarted: World) -> None:
        restarted.session().ask("enable", profile=1)
        restarted.pass_time(60)
        assert False not in wants(restarted)

    def test_a_change_meanwhile_does_not_end_it(self, restarted: World) -> None:
        restarted.ask(Patch(1, {"provider_name": "New"}))
        assert wants(restarted) == [True]
        restarted.pass_time(31)
        assert ("want", 1, False) in restarted.registrations.calls

    def test_always_begins_at_once(self, restarted: World) -> None:
        assert restarted.registrations.calls[:5] == [
            ("add", 1, False),
            ("add", 2, False),
            ("add", 3, False),
            ("add", 4, False),
            ("want", 2, True),
        ]
