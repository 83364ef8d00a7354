"""The journal of flows: however often they are written it stays short, and what counts is never lost."""

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
from sipprofile.records import (
    NONCE_BLOCK,
    RESERVED_BLOCK,
    FlowRecord,
    NonceRecord,
    PutProfile,
    Query,
    RemoveProfile,
)
from sipprofile.store import database, journal
from sipprofile.store.places import Places
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"), synchronous="OFF")
    yield store
    store.close()


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No garbage is left alone, and little is looked at for each append."""
    monkeypatch.setattr(journal, "GARBAGE", 0)
    monkeypatch.setattr(journal, "PIECE", 2)


def put(number: int, *flows: FlowRecord) -> PutProfile:
    return PutProfile(Profile(id=number, name=f"p{number}", aor="sip:a@example.com"), 1, flows=flows)


def call_ids(store: Store) -> dict[int, list[str]]:
    return {record.profile.id: [flow.call_id for flow in record.flows] for record in store.load()}


def length(store: Store) -> int:
    """Rows of flows, of which some no longer count."""
    rows = store._driver.execute("SELECT flows FROM journal").fetchall()
    return sum(len(msgspec.msgpack.decode(flows)[1]) for (flows,) in rows)


def again(store: Store) -> Store:
    return Store.open(store.path, store.keys, synchronous="OFF")


class TestClearing:
    def test_it_stays_short_however_often_flows_are_written(self, store: Store, tight: None) -> None:
        store.commit([put(n, FlowRecord(n)) for n in range(1, 51)])
        for turn in range(40):
            for n in range(1, 51, 10):
                store.save([FlowRecord(m, call_id=f"{turn}") for m in range(n, n + 10)])
            assert length(store) <= 2 * 50 + 10
        assert call_ids(store) == {n: ["39"] for n in range(1, 51)}

    def test_what_is_seldom_written_is_kept(self, store: Store, tight: None) -> None:
        nonce = NonceRecord("r", "n", "MD5", count_reserved=17)
        seldom = [FlowRecord(n, number, f"kept {n}", 1000 + n, nonces=(nonce,)) for n in (1, 2) for number in (1, 2)]
        store.commit([put(n) for n in range(1, 6)])
        store.save(seldom)
        for turn in range(200):
            store.save([FlowRecord(3 + turn % 3, call_id=f"{turn}", cseq_reserved=turn)])
        assert length(store) <= 2 * 7 + 1
        assert [flow for record in store.load() for flow in record.flows][:4] == seldom
        assert call_ids(again(store)) == {1: ["kept 1"] * 2, 2: ["kept 2"] * 2, 3: ["198"], 4: ["199"], 5: ["197"]}

    def test_a_removed_profile_leaves_nothing(self, store: Store, tight: None) -> None:
        store.commit([put(n, FlowRecord(n, call_id="gone-with-it"), FlowRecord(n, 2)) for n in range(1, 30)])
        store.commit([RemoveProfile(n) for n in range(1, 30)])
        store.save([FlowRecord(1, call_id="gone-with-it")])
        for n in range(100, 130):
            store.commit([put(n)])
        assert length(store) == 0

    def test_starts_between_are_counted_for_each_row(self, store: Store, tight: None) -> None:
        store.commit([put(n, FlowRecord(n, cseq_reserved=300)) for n in (1, 2)])
        for start in range(1, 8):
            store.reserve()
            for _ in range(5):
                store.save([FlowRecord(2, cseq_reserved=10_000 * start)])
            reserved = [record.flows[0].cseq_reserved for record in store.load()]
            assert reserved == [300 + start * RESERVED_BLOCK, 10_000 * start]

    def test_rows_of_different_starts_are_not_put_together(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(journal, "GARBAGE", 0)
        store.commit([put(n) for n in range(1, 5)])
        nonce = NonceRecord("r", "n", "MD5", count_reserved=17)
        for n in (1, 2, 3):
            store.save([FlowRecord(n, cseq_reserved=5000, nonces=(nonce,))])
            store.reserve()
        for turn in range(20):
            store.save([FlowRecord(4, call_id=f"{turn}")])
        for reader in (store, again(store)):
            flows = [record.flows[0] for record in reader.load()][:3]
            assert [flow.cseq_reserved - 5000 for flow in flows] == [3 * 256, 2 * 256, 256]
            assert [flow.nonces[0].count_reserved - 17 for flow in flows] == [2 * NONCE_BLOCK, NONCE_BLOCK, 0]

    def test_little_is_done_at_once(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.commit([put(n, FlowRecord(n)) for n in range(1, 101)])
        for _ in range(20):
            store.save([FlowRecord(n) for n in range(1, 101)])
        monkeypatch.setattr(journal, "GARBAGE", 0)
        monkeypatch.setattr(journal, "PIECE", 100)
        before = length(store)
        store.save([FlowRecord(1)])
        assert before - 200 <= length(store) < before

    def test_a_transaction_that_fails_leaves_everything_as_it_was(self, store: Store, tight: None) -> None:
        store.commit([put(n, FlowRecord(n, call_id="a", cseq_reserved=n)) for n in range(1, 4)])
        for turn in range(20):
            with pytest.raises(SipProfileError):
                store.commit(
                    [put(4, FlowRecord(4)), RemoveProfile(1), put(5), put(5), PutProfile(Profile(id=6, name="p5"), 1)]
                )
            with pytest.raises(SipProfileError), store._writing() as flows:  # noqa: PT012
                flows.append([FlowRecord(n, call_id="lost", cseq_reserved=9) for n in range(1, 4)])
                raise SipProfileError("store_failed")
            store.save([FlowRecord(2, call_id=f"{turn}"), FlowRecord(4, call_id="nobody's")])
        assert call_ids(store) == call_ids(again(store)) == {1: ["a"], 2: ["19"], 3: ["a"]}
        assert [record.flows[0].cseq_reserved for record in store.load()] == [1, 2, 3]

    def test_what_another_process_wrote_is_seen(self, store: Store, tight: None) -> None:
        store.commit([put(1, FlowRecord(1, call_id="a")), put(2, FlowRecord(2))])
        other = again(store)
        other.save([FlowRecord(1, call_id="theirs")])
        other.close()
        for turn in range(10):
            store.save([FlowRecord(2, call_id=f"{turn}")])
        assert call_ids(store) == {1: ["theirs"], 2: ["9"]}

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_whatever_happens_the_last_row_counts(self, data: st.DataObject) -> None:
        directory = tempfile.TemporaryDirectory()
        store = Store.open(Path(directory.name) / "store.db", KeyRing.generate(), synchronous="OFF")
        present: set[int] = set()
        removed: set[int] = set()
        expected: dict[tuple[int, int], tuple[str, int]] = {}
        raised = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "GARBAGE", 0)
            patch.setattr(journal, "PIECE", data.draw(st.integers(1, 6)))
            for turn in range(data.draw(st.integers(1, 25))):
                what = data.draw(st.sampled_from(["put", "remove", "save", "save", "save", "start"]))
                if what == "start":
                    store.reserve()
                    raised += RESERVED_BLOCK
                elif what == "save":
                    keys = st.tuples(st.integers(1, 5).map(lambda n: n * 700), st.integers(1, 2), st.integers(0, 900))
                    rows = data.draw(st.lists(keys, max_size=6, unique_by=lambda key: key[:2]))
                    store.save([FlowRecord(n, number, f"{turn}", raised + cseq) for n, number, cseq in rows])
                    for n, number, cseq in rows:
                        if n in present:
                            most = max(cseq, expected.get((n, number), ("", cseq))[1])
                            expected[n, number] = f"{turn}", most
                elif what == "put":
                    n = data.draw(st.integers(1, 5)) * 700
                    if n not in removed:  # an id is never used again
                        store.commit([put(n)])
                        present.add(n)
                elif present:
                    n = data.draw(st.sampled_from(sorted(present)))
                    store.commit([RemoveProfile(n)])
                    present.discard(n)
                    removed.add(n)
                    expected = {key: value for key, value in expected.items() if key[0] != n}
            for reader in (store, again(store)):
                found = {(flow.profile, flow.number): flow.call_id for record in reader.load() for flow in record.flows}
                assert found == {key: call_id for key, (call_id, _) in expected.items()}
                read = [flow for record in reader.read(Query(flows=True)) for flow in record.flows]
                assert read == [flow for record in reader.load() for flow in record.flows]
                reader.close()
            directory.cleanup()


class TestPlaces:
    """Where each flow is written: what a start reads is what was known when it was written."""

    @given(
        st.sets(st.integers(1, 3000), max_size=20),
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3), st.integers(0, 2000)), max_size=12),
            ),
            max_size=8,
        ),
        st.data(),
    )
    @settings(max_examples=100, deadline=None)
    def test_read_as_they_were_written(
        self, known: set[int], rows: list[tuple[int, list[tuple[int, int, int]]]], data: st.DataObject
    ) -> None:
        written, read = Places(), Places()
        for profile in known:
            written.add(profile)
        read.add_all(known)
        some = sorted(known) or [1]
        for place, (raised, flows) in enumerate(rows, 1):
            mine = [(data.draw(st.sampled_from((profile, *some))), number, base) for profile, number, base in flows]
            written.written(place, 256 * raised, mine)
            read.read(place, 256 * raised, *([flow[column] for flow in mine] for column in range(3)))
        written.keep()
        read.keep()
        everything = [(profile, number) for profile in (*known, 1, 2, 3000) for number in (1, 2, 3)]
        assert [read.last(*each) for each in everything] == [written.last(*each) for each in everything]
        assert read.live == written.live
        assert all(read.knows(profile) == (profile in known) for profile in range(3001))
        undone = read.live
        read.written(99, 0, [(profile, 1, 5) for profile in known])
        read.undo()
        assert read.live == undone


class TestDamage:
    @pytest.mark.parametrize(
        ("statement", "sentence"),
        [
            ("UPDATE journal SET flows = x'ff'", "journal's row 1 cannot be read"),
            ("UPDATE journal SET flows = x'9509909090'", "journal's row 1 cannot be read"),
            ("UPDATE journal SET flows = x'950991010101919101'", "journal's row 1"),
            ("UPDATE journal SET records = x''", "flow of profile 7 cannot be read"),
            ("UPDATE journal SET records = x'91a1ff'", "flow of profile 7 cannot be read"),
        ],
    )
    def test_a_row_that_cannot_be_read_is_named(self, store: Store, statement: str, sentence: str) -> None:
        store.commit([put(7, FlowRecord(7, call_id="c"))])
        database.driver(store._connection).execute(statement)
        with pytest.raises(SipProfileError, match=sentence) as error:
            list(again(store).load())
        assert error.value.code == "store_damaged"

    def test_fields_that_are_not_there_have_their_defaults(self, store: Store) -> None:
        store.commit([put(1, FlowRecord(1))])
        short = msgspec.msgpack.encode([1, 1, "c", 256])
        flows = msgspec.msgpack.encode([journal.FORMAT, [1], [1], [256], [len(short)]])
        store._driver.execute("UPDATE journal SET flows = ?, records = ?", (flows, short))
        assert [record.flows for record in again(store).load()] == [(FlowRecord(1, 1, "c", 256),)]
