"""Events that nobody outside listens to are not made, and nobody can tell the difference."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import pytest

from sipprofile.events import Event, RegistrationState
from sipprofile.server import logging
from sipprofile.server.configuration import WebhookSection
from sipprofile.server.events import EventRing
from sipprofile.server.logging import LINES_A_SECOND, EventLog
from sipprofile.server.publishing import Publishing
from sipprofile.server.webhook_client import Webhook
from sipprofile.server.webhooks import Webhooks
from tests.unit.service_world import World


class Outside:
    """Log, event stream and webhooks behind one :class:`Publishing`."""

    def __init__(self, level: str = "info", *, always: bool = False, **hooks: Any) -> None:
        self._stream = io.StringIO()
        log = logging.configure("json", level, self._stream)
        self.ring = EventRing(streams=10, size=8)
        self.webhooks = Webhooks(
            {
                name: Webhook(name, WebhookSection("https://hooks.example", "file", **hooks[name]), b"")
                for name in hooks
            },
            log,
        )
        self.publishing = Publishing(self.ring, EventLog(log, level), self.webhooks)
        self.made = 0
        """Events that were made."""
        self._always = always
        if always:
            self.ring.reader()

    def happened(self, name: Any, profile: int, users: int, now: float) -> None:
        if not self._always and not self.publishing.listens(name, profile, f"line{profile}", users, now):
            return
        self.made += 1
        event = Event(name, profile, f"line{profile}", RegistrationState(users=users), at=now)
        self.publishing.publish(event, now)

    @property
    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        for line in lines:
            del line["timestamp"]
        return lines


@pytest.fixture(autouse=True)
def standard_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """``configure`` takes the root logger over; leave it alone."""
    monkeypatch.setattr(logging.logging, "getLogger", lambda *_: logging.logging.Logger("root"))


class TestWhoListens:
    def test_a_refresh_is_made_for_nobody(self) -> None:
        outside = Outside()
        outside.happened("status", 1, 0, 1.0)
        assert (outside.made, outside.ring.last, outside.lines) == (0, 1, [])

    def test_a_refresh_is_logged_for_debugging(self) -> None:
        outside = Outside("debug")
        outside.happened("status", 1, 0, 1.0)
        assert [line["event"] for line in outside.lines] == ["status"]

    def test_a_reader_of_the_stream(self) -> None:
        outside = Outside()
        outside.ring.reader()
        outside.happened("status", 1, 0, 1.0)
        assert outside.made == 1

    def test_a_webhook_for_its_events_and_profiles(self) -> None:
        outside = Outside(one={"events": ("status",), "profiles": ("line2",)})
        wants = outside.webhooks.wants
        assert [wants("status", "line2"), wants("status", "line1"), wants("error", "line2")] == [True, False, False]
        assert outside.publishing.listens("status", 2, "line2", 0, 1.0)

    def test_what_the_log_has_no_room_for_is_counted_in_the_log(self) -> None:
        outside = Outside()
        for profile in range(LINES_A_SECOND + 7):
            outside.happened("registered", profile, 0, 1.5)
        assert outside.made == LINES_A_SECOND
        outside.happened("registered", 1, 0, 2.0)
        assert [line["lines"] for line in outside.lines if "lines" in line] == [7]

    def test_a_user_that_the_log_had_no_room_for_is_no_news_later(self) -> None:
        outside = Outside()
        for profile in range(LINES_A_SECOND + 1):
            outside.happened("status", profile, 1, 1.5)
        made = outside.made
        outside.happened("status", LINES_A_SECOND, 1, 2.5)
        assert outside.made == made == LINES_A_SECOND


@pytest.mark.parametrize("seed", range(20))
def test_nobody_can_tell_the_difference(seed: int) -> None:
    """The log is the same, and so is what each reader of the stream finds, also one that comes back."""
    random = Random(seed)
    sparing, reference = Outside(), Outside(always=True)
    known: list[int] = []
    readers: list[Any] = []
    now = 1.0
    for _ in range(600):
        now += random.choice((0.0, 0.001, 0.3)) * random.random()
        act = random.random()
        if act < 0.03 and len(readers) < 5:
            readers.append(sparing.ring.reader())
            known.append(sparing.ring.position(None))
        elif act < 0.06 and readers:
            sparing.ring.leave(readers.pop())
        elif act < 0.09 and readers:
            known.append(random.randint(max(1, sparing.ring.last - 8), max(1, sparing.ring.last)))
            if sparing.ring.after(known[-1]) is None:
                known.pop()
        else:
            name = random.choice(("status", "status", "registered", "error"))
            happened = (name, random.randrange(4), random.randrange(2), now)
            sparing.happened(*happened)
            reference.happened(*happened)
        assert sparing.ring.last == reference.ring.last
        for position in known[-10:]:
            assert sparing.ring.after(position) == reference.ring.after(position)
    assert sparing.lines == reference.lines
    assert sparing.made < reference.made


class TestService:
    def test_a_change_that_nobody_is_told_of_is_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def listens(name: Any, profile: int, profile_name: str, users: int, now: float) -> bool:
            asked.append((name, profile, profile_name, users, now))
            return False

        world = World(monkeypatch, listens=listens)
        profile = world.create("line")
        world.events.clear()
        monkeypatch.setattr(world.registrations, "state", None)
        world.registrations.become(profile, "registered", "registered")
        world.perform()
        assert asked == [("registered", profile, "line", 0, world.now)]
        assert world.events == []

    def test_a_session_that_holds_the_profile_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, listens=lambda *_: False)
        profile = world.create("line")
        session = world.session()
        session.ask("hold", profile=profile)
        world.registrations.become(profile, "registered", "registered")
        world.perform()
        assert [frame["event"] for frame in session.read()] == ["registered"]

    def test_one_that_watches_everything_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(monkeypatch, listens=lambda *_: False)
        profile = world.create("line")
        session = world.session()
        session.ask("watch", all=True)
        session.read()
        world.registrations.become(profile, "registered", "registered")
        world.perform()
        assert [frame["event"] for frame in session.read()] == ["registered"]

    @pytest.mark.parametrize("listening", [True, False])
    def test_a_user_is_announced_once(self, monkeypatch: pytest.MonkeyPatch, listening: bool) -> None:
        world = World(monkeypatch, listens=lambda *_: listening)
        profile = world.create("line")
        session = world.session()
        world.events.clear()
        session.ask("enable", profile=profile)
        assert len(world.events) == 1
