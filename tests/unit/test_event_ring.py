"""The ring behind the event stream: resumable as long as nothing is lost, and never longer than it is."""

from __future__ import annotations

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.events import Event
from sipprofile.server.events import BATCH, EventRing


def ring_of(count: int, size: int = 8) -> EventRing:
    """With so many events, which somebody has read."""
    ring = EventRing(streams=2, size=size)
    reader = ring.reader()
    for number in range(1, count + 1):
        ring.append(Event("status", number))
    ring.leave(reader)
    return ring


def profiles(found: list[tuple[int, Event]] | None) -> list[int]:
    assert found is not None
    return [event.profile for _, event in found]


class TestResume:
    def test_new_reader_begins_at_the_end(self) -> None:
        ring = ring_of(5)
        assert ring.after(ring.position(None)) == []

    def test_reader_goes_on_after_its_last_event(self) -> None:
        ring = ring_of(5)
        assert profiles(ring.after(ring.position(f"{ring.epoch}-3"))) == [4, 5]

    def test_oldest_event_that_is_kept(self) -> None:
        assert profiles(ring_of(20).after(12)) == list(range(13, 21))

    @pytest.mark.parametrize("position", [0, 11])
    def test_event_that_is_not_kept_any_more(self, position: int) -> None:
        assert ring_of(20).after(position) is None

    def test_whole_short_ring(self) -> None:
        assert profiles(ring_of(3).after(0)) == [1, 2, 3]

    @pytest.mark.parametrize("given", ["-3", "x-3", "{epoch}-", "{epoch}-x", "{epoch}-4", "{epoch}-٣", "3", "{epoch}"])
    def test_what_is_no_id_of_ours_is_lost(self, given: str) -> None:
        ring = ring_of(3)
        assert ring.after(ring.position(given.format(epoch=ring.epoch))) is None

    def test_ids_of_two_starts_differ(self) -> None:
        first, second = ring_of(3), ring_of(3)
        assert second.after(second.position(f"{first.epoch}-2")) is None

    def test_batches_are_bounded(self) -> None:
        ring = ring_of(BATCH + 10, size=4096)
        assert profiles(ring.after(0)) == list(range(1, BATCH + 1))


class TestNobodyReads:
    """What nobody can ask for is counted and not kept; whoever comes back finds what it would find otherwise."""

    def test_nothing_is_kept_before_the_first_reader(self) -> None:
        ring = EventRing(streams=2, size=8)
        ring.append(Event("status", 1))
        ring.count()
        assert not ring.keeps
        assert ring.after(0) is None
        ring.reader()
        assert ring.position(None) == 2
        ring.append(Event("status", 3))
        assert profiles(ring.after(2)) == [3]
        assert ring.after(1) is None

    def test_a_reader_that_has_gone_can_come_back_as_long_as_the_ring_holds(self) -> None:
        ring = ring_of(2)
        for number in range(3, 11):
            ring.append(Event("status", number))
        assert profiles(ring.after(2)) == list(range(3, 11))
        assert ring.keeps
        ring.append(Event("status", 11))
        assert not ring.keeps
        assert ring.after(2) is None
        assert ring.after(10) is None
        assert ring.after(ring.position(None)) == []

    def test_as_long_as_one_reads_everything_is_kept(self) -> None:
        ring = ring_of(0)
        first, second = ring.reader(), ring.reader()
        for number in range(1, 20):
            ring.append(Event("status", number))
        ring.leave(first)
        for number in range(20, 40):
            ring.append(Event("status", number))
        assert ring.keeps
        ring.leave(second)
        assert profiles(ring.after(32)) == list(range(33, 40))


class TestReaders:
    def test_append_wakes_all(self) -> None:
        ring = ring_of(0)
        first, second = ring.reader(), ring.reader()
        ring.append(Event("status", 1))
        assert first.is_set()
        assert second.is_set()

    def test_number_of_readers_is_bounded(self) -> None:
        ring = ring_of(0)
        first = ring.reader()
        ring.reader()
        with pytest.raises(SipProfileError, match=r"limits\.event_streams"):
            ring.reader()
        ring.leave(first)
        ring.reader()
