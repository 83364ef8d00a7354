"""The history of each profile: transitions are appended a batch at a time, and find their places later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile
from sipprofile.records import HISTORY_LENGTH, FlowRecord, PutProfile, RemoveProfile, TransitionRecord
from sipprofile.store import history, transitions
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"), synchronous="OFF")
    yield store
    store.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended goes to its place with the next batch."""
    monkeypatch.setattr(transitions, "LEFT", -1)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little waits for its place, and little is put there at a time."""
    monkeypatch.setattr(transitions, "LEFT", 4)
    monkeypatch.setattr(transitions, "PIECE", 3)


def put(number: int, *flows: FlowRecord) -> PutProfile:
    return PutProfile(Profile(id=number, name=f"p{number}", aor="sip:a@example.com"), 1, flows=flows)


def changed(profile: int, revision: int, at: float = 0.0) -> TransitionRecord:
    return TransitionRecord(profile, revision, at, "registered", status_code=200)


def waiting(store: Store) -> int:
    """Transitions that are not in their places."""
    rows = store._driver.execute("SELECT profiles FROM transitions").fetchall()
    return sum(len(msgspec.msgpack.decode(profiles)) for (profiles,) in rows)


def places(store: Store) -> list[tuple[int, int]]:
    """Profile and bucket of each row of the history."""
    rows = store._driver.execute("SELECT id, bucket FROM history ORDER BY id").fetchall()
    return [(place // history.SLOTS, bucket) for place, bucket in rows]


class TestAppending:
    def test_a_batch_is_one_row_and_changes_no_profile_s_own(self, store: Store) -> None:
        store.commit([put(n) for n in range(1, 101)])
        store.save([changed(n, revision) for n in range(1, 101) for revision in (1, 2)])
        assert store._driver.execute("SELECT count(*) FROM transitions").fetchone() == (1,)
        assert places(store) == []
        assert [store.history(n) for n in (1, 50, 100)] == [[changed(n, 1), changed(n, 2)] for n in (1, 50, 100)]

    def test_a_start_with_many_is_not_kept_from_its_work_by_older_ones(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They find their places beside batches with few of them, or when twice as many wait."""
        monkeypatch.setattr(transitions, "LEFT", 200)
        store.commit([put(n) for n in range(1, 401)])
        for start in (1, 101, 201, 301):
            store.save([changed(n, 1) for n in range(start, start + 101)])
            assert places(store) == []
        store.save([FlowRecord(1)])
        assert len(places(store)) == 400
        for revision in range(1, 20):
            store.save([changed(n, revision) for n in range(1, 201)])
            assert waiting(store) <= 2 * (200 + 4) + 2 * 200

    def test_four_of_each_flow_wait(self, store: Store, tight: None) -> None:
        store.commit([put(n, FlowRecord(n)) for n in range(1, 11)])
        for revision in range(1, 5):
            store.save([changed(n, revision) for n in range(1, 11)])
        assert waiting(store) == 40
        for revision in range(5, 40):
            store.save([changed(n, revision) for n in range(1, 11)])
            assert waiting(store) <= 4 * 10 + 4 + 10
        assert [row.revision for row in store.history(7)] == list(range(40 - HISTORY_LENGTH, 40))

    def test_a_batch_that_waited_for_the_disk_becomes_several_rows(self, store: Store, tight: None) -> None:
        store.commit([put(1)])
        store.save([changed(1, revision) for revision in range(1, 12)])
        sizes = store._driver.execute("SELECT profiles FROM transitions").fetchall()
        assert all(len(msgspec.msgpack.decode(profiles)) <= 3 for (profiles,) in sizes)
        assert [row.revision for row in store.history(1)] == list(range(1, 12))

    def test_a_transaction_that_fails_appends_nothing(self, store: Store, tight: None) -> None:
        store.commit([put(1)])
        store.save([changed(1, 1)])
        with pytest.raises(ZeroDivisionError), store._writing() as flows:  # noqa: PT012
            transitions.save(store._driver, [changed(1, n) for n in range(2, 30)], 0, flows.places.knows)
            raise ZeroDivisionError
        store.save([changed(1, 2)])
        assert store.history(1) == [changed(1, 1), changed(1, 2)]

    def test_bytes_that_are_no_utf_8_do_not_take_others_with_them(self, store: Store, at_once: None) -> None:
        store.commit([put(1), put(2)])
        store.save([TransitionRecord(1, 1, 0.0, "registering", text="na\udcefve"), changed(2, 1)])
        store.save([])
        assert [store.history(n)[0].text for n in (1, 2)] == ["na?ve", ""]

    def test_a_removed_profile_s_are_not_read_and_get_no_place(self, store: Store, at_once: None) -> None:
        store.commit([put(1), put(2)])
        store.save([changed(1, 1), changed(2, 1)])
        store.commit([RemoveProfile(1)])
        assert store.history(1) == []
        store.save([changed(2, 2)])
        store.save([])
        assert store.history(1) == []
        assert {profile for profile, _ in places(store)} == {2}

    @pytest.mark.parametrize("column", ["profiles", "records"])
    def test_a_row_that_cannot_be_read_is_named(self, store: Store, column: str) -> None:
        store.commit([put(1)])
        store.save([changed(1, 1)])
        store._driver.execute(f"UPDATE transitions SET {column} = x'93ff'")
        with pytest.raises(SipProfileError, match="transitions' row 1 cannot be read") as error:
            store.history(1)
        assert error.value.code == "store_damaged"

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_wherever_they_are_the_last_are_read(self, data: st.DataObject) -> None:
        directory = tempfile.TemporaryDirectory()
        store = Store.open(Path(directory.name) / "store.db", KeyRing.generate(), synchronous="OFF")
        store.commit([put(n * 700, *[FlowRecord(n * 700)] * (n % 2)) for n in range(1, 5)])
        expected: dict[int, list[TransitionRecord]] = {n * 700: [] for n in range(1, 5)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transitions, "LEFT", data.draw(st.integers(-1, 20)))
            patch.setattr(transitions, "PIECE", data.draw(st.integers(1, 9)))
            patch.setattr(transitions, "FEW", data.draw(st.integers(0, 9)))
            for turn in range(data.draw(st.integers(1, 20))):
                rows = []
                for profile in data.draw(st.lists(st.sampled_from(sorted(expected)), max_size=12)):
                    own = expected[profile]
                    rows.append(changed(profile, own[-1].revision + 1 if own else 1, turn))
                    own.append(rows[-1])
                store.save(rows)
            for profile, own in expected.items():
                assert store.history(profile) == own[-HISTORY_LENGTH:]
        store.close()
        directory.cleanup()


@pytest.mark.usefixtures("at_once")
class TestPlaces:
    def save(self, store: Store, *rows: TransitionRecord) -> None:
        store.save(rows)
        store.save([])
        assert waiting(store) == 0

    def test_transitions_that_follow_each_other_share_a_row(self, store: Store) -> None:
        store.commit([put(1)])
        self.save(store, changed(1, 1), changed(1, 2))
        self.save(store, changed(1, 3))
        assert places(store) == [(1, 0)]
        assert [row.revision for row in store.history(1)] == [1, 2, 3]

    def test_revisions_that_are_no_transitions_leave_the_older_ones_there(self, store: Store) -> None:
        store.commit([put(1)])
        for revision in (2, 3, 1000, 1001):
            self.save(store, changed(1, revision))
        assert [row.revision for row in store.history(1)] == [2, 3, 1000, 1001]

    def test_a_revision_that_comes_again_counts_once(self, store: Store) -> None:
        store.commit([put(1)])
        self.save(store, changed(1, 5), changed(1, 5, 1.0))
        assert store.history(1) == [changed(1, 5, 1.0)]
        self.save(store, changed(1, 5, 2.0))
        assert store.history(1) == [changed(1, 5, 2.0)]
        store.save([changed(1, 5, 3.0)])
        assert store.history(1) == [changed(1, 5, 3.0)]

    def test_however_many_there_are_their_number_is_bounded(self, store: Store) -> None:
        store.commit([put(1)])
        for revision in range(1, 1000):
            store.save([changed(1, revision)])
        assert [row.revision for row in store.history(1)] == list(range(1000 - HISTORY_LENGTH, 1000))
        (lines,) = store._driver.execute(
            "SELECT sum(1 + length(records) - length(replace(records, char(10), ''))) FROM history"
        ).fetchone()
        assert lines <= 2 * HISTORY_LENGTH

    def test_revisions_that_come_again_at_every_start_take_no_more_room(self, store: Store) -> None:
        store.commit([put(1)])
        for start in range(500):
            store.save([changed(1, revision, float(start)) for revision in (1, 2, 3)])
        assert [(row.revision, row.at) for row in store.history(1)] == [(1, 499.0), (2, 499.0), (3, 499.0)]
        (length,) = store._driver.execute("SELECT sum(length(records)) FROM history").fetchone()
        assert length <= 2 * history.LONGEST
