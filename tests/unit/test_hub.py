"""Who is told what, in which order, and what happens to those who do not read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sipprofile.events import Event, EventName, RegistrationState, Status
from sipprofile.service.effects import Publish, Wake
from sipprofile.service.hub import Hub, Outbox


class Readers:
    """A hub with two readers, ``one`` and ``two``."""

    def __init__(self) -> None:
        self.effects: list[Any] = []
        self.overrun: list[int] = []
        self.hub = Hub(self.effects.append, self.overrun.append, 256)
        self.one = self.hub.open(1)
        self.two = self.hub.open(2)

    def publish(self, name: EventName, profile: int = 1, status: Status = "registered", revision: int = 0) -> None:
        document = {"revision": revision} if name in ("created", "updated") else None
        self.hub.publish(Event(name, profile, "p", RegistrationState(status, revision=revision), document))

    def read(self, outbox: Outbox) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        while batch := outbox.frames(64):
            frames.extend(json.loads(frame) for frame in batch)
        return frames

    def told(self, outbox: Outbox) -> list[tuple[str, int, int]]:
        """(event, revision, skipped) of what waits."""
        return [
            (frame["event"], frame["state"].get("revision", 0), frame.get("skipped", 0)) for frame in self.read(outbox)
        ]


@pytest.fixture
def readers() -> Readers:
    readers = Readers()
    readers.hub.hold(readers.one, 1)
    return readers


class TestWhoIsTold:
    def test_holders(self, readers: Readers) -> None:
        readers.publish("registered")
        assert readers.told(readers.one) == [("registered", 0, 0)]
        assert readers.told(readers.two) == []

    def test_several_holders_in_any_order_of_leaving(self, readers: Readers) -> None:
        hub = readers.hub
        three = hub.open(3)
        hub.hold(readers.two, 1)
        hub.hold(three, 1)
        hub.release(readers.one, 1)
        readers.publish("registered")
        assert [bool(readers.told(outbox)) for outbox in (readers.one, readers.two, three)] == [False, True, True]
        hub.release(three, 1)
        assert hub.holders(1) == (readers.two,)
        hub.close(readers.two, {1})
        assert hub.holders(1) == ()

    @pytest.mark.parametrize("name", ["created", "forcibly_disabled"])
    def test_everybody_who_listens(self, readers: Readers, name: EventName) -> None:
        readers.two.listens = True
        readers.publish(name)
        assert len(readers.told(readers.two)) == 1

    def test_a_holder_who_watches_is_told_once(self, readers: Readers) -> None:
        for outbox in (readers.one, readers.two):
            readers.hub.watchers[outbox.session] = outbox
        readers.publish("registered")
        assert (len(readers.told(readers.one)), len(readers.told(readers.two))) == (1, 1)

    def test_every_event_is_published_once(self, readers: Readers) -> None:
        readers.hub.hold(readers.two, 1)
        readers.publish("registered")
        readers.publish("registered", profile=99)
        assert len([effect for effect in readers.effects if isinstance(effect, Publish)]) == 2


class TestStateEvents:
    """They coalesce to the latest of each profile."""

    def test_the_latest_with_the_number_skipped(self, readers: Readers) -> None:
        readers.publish("registered", revision=1)
        readers.publish("deregistered", status="unregistered", revision=2)
        readers.publish("status", status="registering", revision=3)
        assert readers.told(readers.one) == [("status", 3, 2)]
        readers.publish("registered", revision=4)
        assert readers.told(readers.one) == [("registered", 4, 0)]

    def test_a_refresh_does_not_hide_what_was_not_read(self, readers: Readers) -> None:
        readers.publish("registered", revision=1)
        readers.publish("status", revision=2)
        assert readers.told(readers.one) == [("registered", 2, 1)]

    def test_each_profile_for_itself(self, readers: Readers) -> None:
        readers.hub.hold(readers.one, 2)
        readers.publish("registered", 1)
        readers.publish("registered", 2)
        readers.publish("status", 1)
        assert [frame["profile"] for frame in readers.read(readers.one)] == [1, 2]

    def test_they_never_end_a_session(self, readers: Readers) -> None:
        for profile in range(1000):
            readers.hub.hold(readers.one, profile + 10)
        for turn in range(3):
            for profile in range(1000):
                readers.publish("registered", profile + 10, revision=turn)
        assert readers.overrun == []
        assert len(readers.read(readers.one)) == 1000


class TestOrder:
    def test_a_newer_state_never_overtakes_a_document(self, readers: Readers) -> None:
        readers.publish("registered", revision=1)
        readers.publish("updated", revision=2)
        readers.publish("status", revision=3)
        assert readers.told(readers.one) == [("registered", 1, 0), ("updated", 2, 0), ("status", 3, 0)]

    def test_documents_coalesce_and_a_new_profile_stays_new(self, readers: Readers) -> None:
        readers.publish("created", revision=1)
        readers.publish("updated", revision=2)
        (frame,) = readers.read(readers.one)
        assert (frame["event"], frame["document"]) == ("created", {"revision": 2})
        readers.publish("updated", revision=3)
        readers.publish("updated", revision=4)
        assert readers.told(readers.one) == [("updated", 4, 0)]

    def test_a_new_state_comes_after_the_force_disable_it_follows(self, readers: Readers) -> None:
        readers.publish("registered", revision=1)
        readers.publish("forcibly_disabled", status="unregistered", revision=2)
        readers.publish("status", status="registering", revision=3)
        assert [name for name, _, _ in readers.told(readers.one)] == ["registered", "forcibly_disabled", "status"]

    def test_of_a_destroyed_profile_nothing_else_is_told(self, readers: Readers) -> None:
        readers.publish("created")
        readers.publish("registered")
        readers.publish("destroyed")
        assert [name for name, _, _ in readers.told(readers.one)] == ["destroyed"]
        assert (readers.one.unread, len(readers.one._states)) == (0, 0)

    def test_replies_keep_their_place(self, readers: Readers) -> None:
        readers.publish("registered")
        readers.hub.reply(readers.one, b'{"id":1}')
        readers.publish("forcibly_disabled")
        frames = readers.one.frames(64)
        assert [b"registered" in frames[0], frames[1], b"forcibly" in frames[2]] == [True, b'{"id":1}', True]


class TestSlowConsumer:
    def test_256_unread_events_are_kept_and_one_more_ends_the_session(self, readers: Readers) -> None:
        readers.hub.hold(readers.two, 1)
        for _ in range(256):
            readers.publish("forcibly_disabled")
        assert readers.overrun == []
        readers.read(readers.two)
        readers.publish("forcibly_disabled")
        assert readers.overrun == [1]

    def test_reading_makes_room(self, readers: Readers) -> None:
        for profile in range(1000):
            readers.one.listens = True
            readers.publish("created", profile)
            if profile % 200 == 199:
                readers.read(readers.one)
        assert (readers.overrun, readers.one.unread) == ([], 0)


class TestWake:
    def test_once_until_everything_was_taken(self, readers: Readers) -> None:
        def wakes() -> int:
            return sum(isinstance(effect, Wake) for effect in readers.effects)

        readers.publish("registered")
        readers.publish("deregistered")
        assert wakes() == 1
        assert readers.one.frames(64)
        readers.publish("registered")
        assert wakes() == 1  # the reader has not seen the end yet
        assert readers.one.frames(64)
        assert not readers.one.frames(64)
        readers.publish("registered")
        assert wakes() == 2

    def test_a_limit(self, readers: Readers) -> None:
        for number in range(10):
            readers.hub.reply(readers.one, b"%d" % number)
        assert readers.one.frames(4) == [b"0", b"1", b"2", b"3"]
        assert (readers.one.replies, readers.one.size) == (6, 6)
