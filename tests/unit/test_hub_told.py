"""What is told of SIP requests queues in its order; unread for too long it ends the session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sipprofile.events import Event, RegistrationState
from sipprofile.service.hub import Hub, Outbox

LIMIT = 256


class Reader:
    """One session's outbox in a hub of its own."""

    def __init__(self) -> None:
        self.overrun: list[int] = []
        self.hub = Hub(lambda _: None, self.overrun.append, LIMIT, 100_000)
        self.outbox: Outbox = self.hub.open(1)
        self.hub.hold(self.outbox, 1)
        self.now = 0.0

    def tell(self, number: int, size: int = 0, *, later: float = 1.0) -> None:
        self.now += later
        self.hub.tell(self.outbox, 1, json.dumps({"n": number, "x": "x" * size}).encode(), self.now)

    def connection(self, state: str) -> None:
        self.hub.tell_latest(self.outbox, 1, json.dumps({"state": state}).encode())

    def status(self, revision: int) -> None:
        self.hub.publish(Event("status", 1, "p", RegistrationState(revision=revision)))

    def read(self) -> list[Any]:
        found: list[Any] = []
        while frames := self.outbox.frames(64):
            for frame in frames:
                document = json.loads(frame)
                kinds = (document.get(name) for name in ("n", "ok"))
                state = document.get("state")
                found.append(next((kind for kind in kinds if kind is not None), state))
        return [each["revision"] if isinstance(each, dict) else each for each in found]


@pytest.fixture
def reader() -> Reader:
    return Reader()


class TestOrder:
    def test_none_coalesces(self, reader: Reader) -> None:
        for number in range(5):
            reader.tell(number)
        assert reader.read() == [0, 1, 2, 3, 4]

    def test_states_before_it_stay_before_it(self, reader: Reader) -> None:
        reader.status(11)
        reader.connection("active")
        reader.tell(1)
        reader.status(12)
        reader.connection("inactive")
        assert reader.read() == [11, "active", 1, 12, "inactive"]

    def test_the_answer_to_a_command_goes_before_what_it_caused(self, reader: Reader) -> None:
        reader.tell(1)
        place = reader.outbox.length
        reader.tell(2)
        reader.hub.reply(reader.outbox, b'{"ok": "answer"}', place)
        assert reader.read() == [1, "answer", 2]


class TestConnection:
    def test_only_the_newest_unread_state_is_kept(self, reader: Reader) -> None:
        for state in ("init", "active", "suspended"):
            reader.connection(state)
        assert reader.read() == ["suspended"]
        reader.connection("active")
        assert reader.read() == ["active"]

    def test_states_never_end_a_session(self, reader: Reader) -> None:
        for _ in range(10_000):
            reader.connection("active")
        assert reader.overrun == []
        assert reader.outbox.length == 1


class TestSlowConsumer:
    def test_256_unread_are_borne_one_more_ends_it(self, reader: Reader) -> None:
        for number in range(LIMIT):
            reader.tell(number)
        assert reader.overrun == []
        reader.tell(LIMIT)
        assert reader.overrun == [1]

    def test_what_was_read_does_not_count(self, reader: Reader) -> None:
        for number in range(LIMIT * 3):
            reader.tell(number)
            if number % LIMIT == LIMIT - 1:
                reader.read()
        assert reader.overrun == []
        assert reader.outbox.unread == 0

    def test_many_at_one_moment_are_not_the_reader_s_fault(self, reader: Reader) -> None:
        reader.tell(0)
        for number in range(1, 2000):  # a connection was lost with all that waited for answers on it
            reader.tell(number, later=0.0)
        assert reader.overrun == []
        assert len(reader.read()) == 2000
        for number in range(LIMIT + 1):
            reader.tell(number)
        assert reader.overrun == [1]

    def test_too_many_bytes_end_it_too(self, reader: Reader) -> None:
        reader.tell(0, 60_000)
        assert reader.overrun == []
        reader.tell(1, 60_000)
        assert reader.overrun == [1]

    def test_bytes_that_were_read_are_forgotten(self, reader: Reader) -> None:
        for number in range(10):
            reader.tell(number, 60_000)
            reader.read()
        assert reader.overrun == []
        assert reader.outbox.size == 0


class TestBusy:
    """Requests that can be refused are, from half of the limit on, so that no caller ends a session."""

    def busy(self, reader: Reader) -> bool:
        return reader.hub.is_busy(reader.outbox, reader.now)

    def test_from_half_of_the_limit_on(self) -> None:
        reader = Reader()
        for number in range(LIMIT // 2):
            reader.tell(number)
        assert not self.busy(reader)
        reader.tell(LIMIT)
        assert self.busy(reader)
        reader.read()
        assert not self.busy(reader)

    @pytest.mark.parametrize(("reads", "overrun"), [(True, []), (False, [1])])
    def test_who_reads_nothing_for_long_is_overrun(self, reads: bool, overrun: list[int]) -> None:
        """What it has claimed is for others; whoever reads, however slowly, keeps it."""
        reader = Reader()
        for number in range(LIMIT // 2 + 50):
            reader.tell(number)
        for _ in range(3):
            assert self.busy(reader)
            assert reader.overrun == []
            reader.now += 4.0
            if reads:
                reader.outbox.frames(1)
        assert self.busy(reader)
        assert reader.overrun == overrun
