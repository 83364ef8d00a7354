"""The store: what was committed is there, what was refused is not, and no secret is in the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sipprofile
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile, ServerParameters, TlsSettings
from sipprofile.records import (
    HISTORY_LENGTH,
    RESERVED_BLOCK,
    FlowRecord,
    Held,
    NonceRecord,
    ProfileRecord,
    PutProfile,
    Query,
    RemoveProfile,
    SetDefault,
    SetHeld,
    TransitionRecord,
)
from sipprofile.store import database, files, profiles
from sipprofile.store.lock import StateLock
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store

SOURCE = str(Path(sipprofile.__file__).parent.parent)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return KeyRing.read(tmp_path / "key")


@pytest.fixture
def store(tmp_path: Path, keys: KeyRing) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", keys, synchronous="OFF")
    yield store
    store.close()


def put(number: int, name: str | None = None, revision: int = 1, **fields: Any) -> PutProfile:
    fields = {"aor": f"sip:user{number}@example.com", **fields}
    flows = fields.pop("flows", ())
    held: Held = fields.pop("held", "")
    return PutProfile(Profile(id=number, name=name or f"p{number}", **fields), revision, held, flows)


def with_password(number: int, password: str) -> PutProfile:
    return put(number, registrar=ServerParameters(uri="sip:192.0.2.1", password=password))


def ids(records: list[ProfileRecord]) -> list[int]:
    return [record.profile.id for record in records]


def defaults(store: Store) -> list[int]:
    return [record.profile.id for record in store.load() if record.profile.default]


def limit_size(store: Store, pages: int) -> None:
    """The disk is full once the file has this many pages more (0: no limit any more)."""
    driver = database.driver(store._connection)
    (count,) = driver.execute("PRAGMA page_count").fetchone()
    driver.execute(f"PRAGMA max_page_count = {count + pages if pages else 1 << 30}")


class TestProfiles:
    def test_everything_comes_back(self, store: Store) -> None:
        flow = FlowRecord(
            profile=3,
            call_id="c@h",
            cseq_reserved=300,
            contact_token="t0ken",
            lease_ends=1_700_000_000.123456,
            nonces=(NonceRecord("example.com", "n", "SHA-256", qop="auth", count_reserved=256),),
            registered_aors=("sip:a@example.com",),
        )
        written = put(
            3,
            revision=7,
            held="paused",
            flows=(flow,),
            labels={"site": "berlin", "x": ""},
            registrar=ServerParameters(uri="sip:r", password="one"),
            proxies=[ServerParameters(uri="sip:p1", password="two"), ServerParameters(uri="sip:p2")],
            extensions={"a": 1, "b": True, "c": "x", "d": ["y"]},
            default=True,
        )
        store.commit([written])
        assert list(store.load()) == [ProfileRecord(written.profile, 7, "paused", (flow,))]
        assert store.read(Query(ids=(3,), flows=True)) == list(store.load())

    def test_a_second_put_replaces_and_keeps_the_flows(self, store: Store) -> None:
        store.commit([put(1, labels={"a": "1"}, flows=(FlowRecord(1, call_id="c"),))])
        store.commit([put(1, name="renamed", revision=2, labels={"b": "2"})])
        (record,) = store.load()
        assert (record.profile.name, record.revision, record.flows[0].call_id) == ("renamed", 2, "c")
        assert store.read(Query(label="a")) == []
        assert ids(store.read(Query(label="b=2"))) == [1]

    def test_several_flows_come_in_order(self, store: Store) -> None:
        store.commit([put(1, flows=(FlowRecord(1, number=2, call_id="b"), FlowRecord(1, call_id="a")))])
        store.commit([put(2), put(3, flows=(FlowRecord(3, call_id="c"),))])
        assert [[flow.call_id for flow in record.flows] for record in store.load()] == [["a", "b"], [], ["c"]]

    def test_removing_removes_all_that_belongs_to_it(self, store: Store) -> None:
        store.commit([put(1, labels={"a": "1"}, flows=(FlowRecord(1),)), put(2)])
        store.save([TransitionRecord(1, 1, 0.0, "registering")])
        store.commit([RemoveProfile(1)])
        assert store.names() == [(2, "p2")]
        assert store.history(1) == []
        for table in ("labels", "history"):
            count = store._connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            assert count == 0, table
        assert [record.flows for record in store.load()] == [()]

    def test_removing_twice_is_no_error(self, store: Store) -> None:
        store.commit([put(1)])
        store.commit([RemoveProfile(1)])
        store.commit([RemoveProfile(1)])
        assert store.count() == 0

    def test_held_is_stored_and_ends(self, store: Store) -> None:
        store.commit([put(1)])
        store.commit([SetHeld(1, "forcibly_disabled")])
        assert [record.held for record in store.load()] == ["forcibly_disabled"]
        store.commit([SetHeld(1, "")])
        assert [record.held for record in store.load()] == [""]

    @pytest.mark.parametrize("write", [SetHeld(9, "paused"), SetDefault(9)])
    def test_a_write_for_no_profile_is_refused(self, store: Store, write: SetHeld | SetDefault) -> None:
        store.commit([put(1)])
        with pytest.raises(SipProfileError) as error:
            store.commit([put(2), write])
        assert error.value.code == "store_failed"
        assert store.count() == 1

    def test_a_name_is_unique_and_the_refused_transaction_leaves_nothing(self, store: Store) -> None:
        store.commit([put(1, name="trunk")])
        with pytest.raises(SipProfileError) as error:
            store.commit([put(2), put(3, name="trunk")])
        assert error.value.code == "duplicate_name"
        assert store.names() == [(1, "trunk")]
        store.commit([put(2)])
        assert store.count() == 2

    def test_ids_are_never_reused(self, store: Store, tmp_path: Path, keys: KeyRing) -> None:
        assert store.next_profile_id() == 1
        store.commit([put(1), put(5)])
        assert store.next_profile_id() == 6
        store.commit([RemoveProfile(5), RemoveProfile(1)])
        assert store.next_profile_id() == 6
        store.close()
        again = Store.open(tmp_path / "store.db", keys)
        assert again.next_profile_id() == 6
        again.close()

    def test_meta_remembers(self, store: Store) -> None:
        assert store.meta("x") is None
        store.set_meta("x", "1")
        store.set_meta("x", "2")
        assert store.meta("x") == "2"


class TestDefault:
    """Exactly one default profile while any exists."""

    def test_the_first_becomes_it(self, store: Store) -> None:
        store.commit([put(4), put(5)])
        assert defaults(store) == [4]

    def test_saving_another_with_default_moves_it(self, store: Store) -> None:
        store.commit([put(1)])
        store.commit([put(2, default=True)])
        assert defaults(store) == [2]

    def test_saving_the_default_without_the_flag_keeps_it(self, store: Store) -> None:
        store.commit([put(1), put(2, default=True)])
        store.commit([put(2, revision=2)])
        assert defaults(store) == [2]

    def test_it_moves_when_told_and_back(self, store: Store) -> None:
        store.commit([put(1), put(2)])
        store.commit([SetDefault(2)])
        assert defaults(store) == [2]
        store.commit([SetDefault(1), SetDefault(1)])
        assert defaults(store) == [1]

    def test_removing_it_moves_it(self, store: Store) -> None:
        store.commit([put(1), put(2), put(3, default=True)])
        store.commit([RemoveProfile(3)])
        assert defaults(store) == [1]
        store.commit([RemoveProfile(1), SetDefault(2)])
        assert defaults(store) == [2]
        store.commit([RemoveProfile(2)])
        assert defaults(store) == []

    def test_the_file_itself_cannot_hold_two(self, store: Store) -> None:
        store.commit([put(1), put(2)])
        with pytest.raises(sqlite3.IntegrityError):
            database.driver(store._connection).execute("UPDATE profiles SET is_default = 1")

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.builds(lambda n, d: put(n, default=d), st.integers(1, 4), st.booleans()),
                st.builds(RemoveProfile, st.integers(1, 4)),
                st.builds(SetDefault, st.integers(1, 4)),
            ),
            max_size=12,
        )
    )
    def test_whatever_happens_there_is_one(self, writes: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            store = Store.open(Path(directory) / "store.db", KeyRing.generate(), synchronous="OFF")
            for write in writes:
                try:
                    store.commit([write])
                except SipProfileError:
                    assert isinstance(write, SetDefault)
                assert len(defaults(store)) == (1 if store.count() else 0)
            store.close()


class TestRuntimeRows:
    def test_the_last_row_of_a_flow_wins(self, store: Store) -> None:
        store.commit([put(1), put(2)])
        store.save([FlowRecord(1, call_id="a"), FlowRecord(2, call_id="x"), FlowRecord(1, call_id="b")])
        assert [record.flows[0].call_id for record in store.load()] == ["b", "x"]

    def test_rows_of_a_removed_profile_are_dropped(self, store: Store) -> None:
        store.commit([put(1)])
        store.save([FlowRecord(7), TransitionRecord(7, 1, 0.0, "registered"), FlowRecord(1, call_id="a")])
        assert [record.flows for record in store.load()] == [(FlowRecord(1, call_id="a"),)]
        assert store.history(7) == []

    def test_nothing_to_save_is_no_error(self, store: Store) -> None:
        store.save([])

    def test_more_rows_than_one_statement_takes(self, store: Store) -> None:
        store.commit([put(n) for n in range(1, 2502)])
        store.save([FlowRecord(n, call_id=f"c{n}") for n in range(1, 2502)])
        assert [record.flows[0].call_id for record in store.load()] == [f"c{n}" for n in range(1, 2502)]

    def test_cseq_reserved_never_goes_down(self, store: Store) -> None:
        store.commit([put(1, flows=(FlowRecord(1, cseq_reserved=900),))])
        store.save([FlowRecord(1, call_id="later", cseq_reserved=100)])
        store.commit([put(1, flows=(FlowRecord(1, call_id="latest", cseq_reserved=200),))])
        (record,) = store.load()
        assert (record.flows[0].call_id, record.flows[0].cseq_reserved) == ("latest", 900)

    def test_a_start_reserves_the_next_block_of_every_flow(self, store: Store) -> None:
        store.commit([put(1, flows=(FlowRecord(1, cseq_reserved=300),)), put(2, flows=(FlowRecord(2),))])
        store.reserve()
        assert [r.flows[0].cseq_reserved for r in store.load()] == [300 + RESERVED_BLOCK, RESERVED_BLOCK]
        store.save([FlowRecord(1, cseq_reserved=800)])
        assert [r.flows[0].cseq_reserved for r in store.load()] == [800, RESERVED_BLOCK]
        store.save([FlowRecord(2, cseq_reserved=10)])
        store.reserve()
        store.commit([put(3, flows=(FlowRecord(3, cseq_reserved=5),))])
        expected = [800 + RESERVED_BLOCK, 2 * RESERVED_BLOCK, 5]
        assert [r.flows[0].cseq_reserved for r in store.load()] == expected
        assert [r.flows[0].cseq_reserved for r in store.read(Query(flows=True))] == expected

    def test_bytes_of_a_server_that_are_no_utf8_do_not_stop_the_others(self, store: Store) -> None:
        store.commit([put(1), put(2)])
        bad = NonceRecord("example.com", b"\xff\xfe".decode("utf-8", "surrogateescape"), "MD5")
        store.save([FlowRecord(1, call_id="a", cseq_reserved=7, nonces=(bad,)), FlowRecord(2, call_id="b")])
        first, second = store.load()
        assert (first.flows[0].call_id, first.flows[0].cseq_reserved) == ("a", 7)
        assert second.flows[0].call_id == "b"

    def test_history_keeps_the_last_32_oldest_first(self, store: Store) -> None:
        store.commit([put(1), put(2)])
        rows = [TransitionRecord(1, n, float(n), "registered", status_code=200) for n in range(1, 101)]
        store.save(rows[:50])
        store.save([*rows[50:], TransitionRecord(2, 1, 0.0, "registering")])
        assert store.history(1) == rows[-HISTORY_LENGTH:]
        assert store.history(2) == [TransitionRecord(2, 1, 0.0, "registering")]

    def test_a_removed_profile_s_numbers_do_not_come_back(self, store: Store) -> None:
        store.commit([put(1, flows=(FlowRecord(1, cseq_reserved=900),))])
        store.commit([RemoveProfile(1)])
        store.commit([put(2)])
        assert [record.flows for record in store.load()] == [()]


class TestQuery:
    @pytest.fixture(autouse=True)
    def filled(self, store: Store) -> None:
        store.commit(
            [
                put(1, aor="sip:alice@example.com", labels={"site": "berlin", "tier": "gold"}),
                put(2, aor="sip:%61lice@EXAMPLE.com", labels={"site": "bonn"}, type="acme"),
                put(3, aor="sip:Alice@example.com"),
                put(4, aor="sips:alice@example.com", labels={"site": "berlin"}),
                put(5, aor="sip:alice@example.com:5060"),
                put(6, aor="sip:alice@[2001:db8::1]"),
                put(7, aor="sip:alice@[2001:DB8:0:0::1]", default=True),
            ]
        )

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (Query(), [1, 2, 3, 4, 5, 6, 7]),
            (Query(limit=3), [1, 2, 3]),
            (Query(after=3, limit=2), [4, 5]),
            (Query(after=7), []),
            (Query(ids=(5, 2, 99)), [2, 5]),
            (Query(ids=()), []),
            (Query(name="p3"), [3]),
            (Query(name="p33"), []),
            (Query(type="acme"), [2]),
            (Query(type="ietf", limit=2), [1, 3]),
            (Query(default=True), [7]),
            (Query(label="site"), [1, 2, 4]),
            (Query(label="site=berlin"), [1, 4]),
            (Query(label="site=berlin", after=1), [4]),
            (Query(label="site="), []),
            (Query(label="none"), []),
            (Query(label="site=berlin", aor="sips:alice@example.com"), [4]),
            (Query(type="acme", name="p1"), []),
        ],
    )
    def test_which_match(self, store: Store, query: Query, expected: list[int]) -> None:
        assert ids(store.read(query)) == expected

    @pytest.mark.parametrize(
        ("aor", "expected"),
        [
            ("sip:alice@example.com", [1, 2]),
            ("SIP:alice@Example.COM", [1, 2]),
            ("sip:Alice@example.com", [3]),
            ("sips:alice@example.com", [4]),
            ("sip:alice@example.com:5060", [5]),
            ("sip:alice@[2001:db8:0::0:1]", [6, 7]),
            ("sip:bob@example.com", []),
            ("no uri", []),
        ],
    )
    def test_addresses_are_compared_as_uris(self, store: Store, aor: str, expected: list[int]) -> None:
        """RFC 3261 §19.1.4."""
        assert ids(store.read(Query(aor=aor))) == expected

    def test_pages_of_one_address(self, store: Store) -> None:
        assert ids(store.read(Query(aor="sip:alice@example.com", limit=1))) == [1]
        assert ids(store.read(Query(aor="sip:alice@example.com", limit=1, after=1))) == [2]

    def test_names_in_order_of_id(self, store: Store) -> None:
        assert store.names() == [(n, f"p{n}") for n in range(1, 8)]
        assert store.count() == 7


class TestSecrets:
    MARKS = ("registrar-s3cret", "proxy-s3cret", "registrar-pr1vate", "proxy-pr1vate", "f0rmer-s3cret")

    def write(self, store: Store) -> PutProfile:
        registrar, proxy, registrar_key, proxy_key, former = self.MARKS
        server = ServerParameters(uri="sip:r", username="u", password=former)
        store.commit([put(1, registrar=server)])
        written = put(
            1,
            registrar=ServerParameters(
                uri="sip:r", username="u", password=registrar, tls=TlsSettings(private_key=registrar_key)
            ),
            proxies=[
                ServerParameters(uri="sip:p", password=proxy, tls=TlsSettings(private_key=proxy_key, ca="CA")),
                ServerParameters(uri="sip:q", tls=TlsSettings(ca="CA")),
            ],
            default=True,
        )
        store.commit([written])
        return written

    @pytest.mark.pain(22)
    def test_they_are_in_no_file(self, store: Store, tmp_path: Path) -> None:
        self.write(store)
        store.backup(tmp_path / "backup", with_key=True)
        paths = list(tmp_path.iterdir())
        assert {"store.db", "store.db-wal", "backup", "backup.key", "key"} <= {path.name for path in paths}
        for path in paths:
            content = path.read_bytes()
            for mark in self.MARKS:
                assert mark.encode() not in content, path
                assert mark.encode("utf-16-le") not in content, path

    def test_the_caller_s_profile_is_not_changed(self, store: Store) -> None:
        written = self.write(store)
        assert written.profile.registrar is not None
        assert written.profile.registrar.password == self.MARKS[0]
        assert [record.profile for record in store.load()] == [written.profile]

    def test_errors_do_not_show_them(self, store: Store) -> None:
        self.write(store)
        limit_size(store, 1)
        with pytest.raises(SipProfileError) as error:
            store.commit([with_password(n, "s3cret" + "x" * 5000) for n in range(2, 50)])
        assert "s3cret" not in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__

    def test_a_key_is_made_only_while_nothing_is_sealed(self, store: Store, tmp_path: Path) -> None:
        store.commit([put(1)])
        (tmp_path / "key").unlink()
        Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key")).close()
        assert (tmp_path / "key").exists()

    def test_a_missing_key_stops_the_start_and_makes_no_new_one(self, store: Store, tmp_path: Path) -> None:
        self.write(store)
        (tmp_path / "key").unlink()
        with pytest.raises(SipProfileError) as error:
            Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"))
        assert error.value.code == "missing_key"
        assert not (tmp_path / "key").exists()

    def test_another_key_stops_the_start(self, store: Store, tmp_path: Path) -> None:
        self.write(store)
        with pytest.raises(SipProfileError) as error:
            Store.open(tmp_path / "store.db", KeyRing.generate())
        assert error.value.code == "missing_key"

    def test_a_sealed_value_moved_to_another_profile_does_not_open(self, store: Store) -> None:
        store.commit([with_password(1, "one"), with_password(2, "two")])
        driver = database.driver(store._connection)
        driver.execute("UPDATE profiles SET document = (SELECT document FROM profiles WHERE id = 1) WHERE id = 2")
        with pytest.raises(SipProfileError) as error:
            store.read(Query(ids=(2,)))
        assert error.value.code == "store_damaged"


class TestRotation:
    def test_everything_is_sealed_anew(self, store: Store, keys: KeyRing, tmp_path: Path) -> None:
        store.commit([with_password(1, "one"), put(2), with_password(3, "three")])
        before = list(store.load())
        old = keys.current
        keys.rotate()
        store.reseal(keys)
        assert list(store.load()) == before
        rows = store._connection.exec_driver_sql("SELECT key_id, document FROM profiles").all()
        assert [key_id for key_id, _ in rows] == [keys.current, None, keys.current]
        assert old is not None
        assert not [document for _, document in rows if old in document]

    def test_a_crash_between_the_key_and_the_store_loses_nothing(
        self, store: Store, keys: KeyRing, tmp_path: Path
    ) -> None:
        store.commit([with_password(1, "one")])
        keys.rotate()
        again = Store.open(tmp_path / "store.db", KeyRing.read(tmp_path / "key"))
        assert [record.profile.registrar.password for record in again.load() if record.profile.registrar] == ["one"]
        again.close()

    def test_a_failure_leaves_all_secrets_with_the_old_key(self, store: Store, keys: KeyRing) -> None:
        store.commit([with_password(n, f"secret {n}") for n in range(1, 200)])
        before = list(store.load())
        rows = store._connection.exec_driver_sql("SELECT id, document FROM profiles").all()
        driver = database.driver(store._connection)
        driver.execute("UPDATE profiles SET document = '{' WHERE id = 150")
        keys.rotate()
        with pytest.raises(SipProfileError) as error:
            store.reseal(keys)
        assert error.value.code == "store_damaged"
        driver.executemany("UPDATE profiles SET document = ?2 WHERE id = ?1", [tuple(row) for row in rows[149:150]])
        assert store._connection.exec_driver_sql("SELECT id, document FROM profiles").all() == rows
        assert list(store.load()) == before

    def test_the_open_service_reads_what_was_sealed_anew(self, store: Store, tmp_path: Path) -> None:
        store.commit([with_password(1, "one")])
        before = list(store.load())
        operator_keys = KeyRing.read(tmp_path / "key")
        operator = Store.open(tmp_path / "store.db", operator_keys)
        operator_keys.rotate()
        operator.reseal(operator_keys)
        operator.close()
        assert list(store.load()) == before
        store.commit([with_password(2, "two")])
        assert store._connection.exec_driver_sql("SELECT DISTINCT key_id FROM profiles").scalars().all() == [
            operator_keys.current
        ]


class TestFiles:
    def test_modes(self, tmp_path: Path) -> None:
        mask = os.umask(0)
        try:
            directory = tmp_path / "state"
            lock = StateLock(directory)
            store = Store.open(directory / "store.db", KeyRing.read(directory / "key"))
            store.commit([put(1)])
            store.backup(directory / "backup", with_key=True)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
            store.close()
            lock.release()
        finally:
            os.umask(mask)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o750
        names = {"lock", "key", "store.db", "store.db-wal", "store.db-shm", "backup", "backup.key"}
        assert modes == dict.fromkeys(names, 0o600)

    def test_opening_takes_a_loose_mode_back(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "store.db").chmod(0o644)
        Store.open(tmp_path / "store.db", store.keys).close()
        assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600

    def test_what_is_committed_is_synced(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "store.db", KeyRing.generate())
        assert store._connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert store._connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        store.close()

    def test_no_permission_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(files, "create", refuse)
        with pytest.raises(SipProfileError, match="Permission denied") as error:
            Store.open(tmp_path / "store.db", KeyRing.generate())
        assert error.value.code == "store_failed"

    @pytest.mark.parametrize("content", [b"", b"not a database" * 500, b"SQLite format 3\0" + bytes(4080)])
    def test_a_file_that_is_no_store_is_damaged_and_left_alone(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "store.db").write_bytes(content)
        with pytest.raises(SipProfileError) as error:
            Store.open(tmp_path / "store.db", KeyRing.generate())
        assert error.value.code == "store_damaged"
        assert (tmp_path / "store.db").read_bytes() == content

    def test_damage_inside_is_found_while_loading(self, tmp_path: Path) -> None:
        keys = KeyRing.generate()
        store = Store.open(tmp_path / "store.db", keys)
        store.commit([put(n, flows=(FlowRecord(n, call_id="x" * 200),)) for n in range(1, 500)])
        store.close()
        with (tmp_path / "store.db").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size // 2)
            file.write(b"\xff" * (size // 4))
        with pytest.raises(SipProfileError) as error:  # noqa: PT012
            damaged = Store.open(tmp_path / "store.db", keys)
            list(damaged.load())
        assert error.value.code == "store_damaged"

    @pytest.mark.parametrize("document", ["{", '{"expires": "x"}', '{"unheard_of": 1}'])
    def test_a_row_that_cannot_be_read_is_named(self, store: Store, document: str) -> None:
        store.commit([put(7)])
        database.driver(store._connection).execute("UPDATE profiles SET document = ?", (document,))
        with pytest.raises(SipProfileError, match="profile 7") as error:
            list(store.load())
        assert error.value.code == "store_damaged"

    def test_a_store_left_without_its_journal_s_file_takes_nothing_over(self, tmp_path: Path) -> None:
        keys = KeyRing.generate()
        store = Store.open(tmp_path / "store.db", keys)
        store.commit([put(1)])
        journal = (tmp_path / "store.db-wal").read_bytes()
        store.close()
        (tmp_path / "store.db").unlink()
        (tmp_path / "store.db-wal").write_bytes(journal)
        again = Store.open(tmp_path / "store.db", keys)
        assert again.count() == 0
        again.close()

    def test_a_full_disk_refuses_and_changes_nothing(self, store: Store) -> None:
        store.commit([put(1)])
        limit_size(store, 2)
        big = "x" * 50_000
        with pytest.raises(SipProfileError, match="disk is full") as error:
            store.commit([put(2), put(3, provider_name=big)])
        assert error.value.code == "store_failed"
        with pytest.raises(SipProfileError, match="disk is full"):
            store.save([FlowRecord(1, call_id="a"), FlowRecord(1, number=2, call_id=big)])
        assert [(record.profile.id, record.flows) for record in store.load()] == [(1, ())]
        limit_size(store, 0)
        store.commit([put(3, provider_name=big)])
        assert store.count() == 2

    def test_reading_beside_a_service_cannot_write(self, store: Store, tmp_path: Path, keys: KeyRing) -> None:
        store.commit([put(1)])
        reader = Store.open_to_read(tmp_path / "store.db", keys)
        assert reader.names() == [(1, "p1")]
        with pytest.raises(SipProfileError) as error:
            reader.commit([put(2)])
        assert error.value.code == "store_failed"
        reader.close()

    def test_reading_makes_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError) as error:
            Store.open_to_read(tmp_path / "store.db", KeyRing.generate())
        assert error.value.code == "store_failed"
        assert list(tmp_path.iterdir()) == []

    def test_a_path_with_unusual_characters(self, tmp_path: Path) -> None:
        directory = tmp_path / "a b?c=d#e%41"
        store = Store.open(directory / "store.db", KeyRing.generate())
        store.commit([put(1)])
        store.close()
        assert [path.name for path in directory.iterdir()] == ["store.db"]


class TestLock:
    def test_one_service_for_each_directory(self, tmp_path: Path) -> None:
        lock = StateLock(tmp_path)
        with pytest.raises(SipProfileError, match=str(os.getpid())) as error:
            StateLock(tmp_path)
        assert error.value.code == "already_running"
        assert error.value.members["pid"] == os.getpid()
        lock.release()
        StateLock(tmp_path).release()

    def test_it_ends_with_the_process(self, tmp_path: Path) -> None:
        program = (
            "import os, pathlib, signal, sys\n"
            "from sipprofile.store.lock import StateLock\n"
            "lock = StateLock(pathlib.Path(sys.argv[1]))\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        child = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={"PYTHONPATH": SOURCE}, check=False)
        assert child.returncode == -signal.SIGKILL
        assert (tmp_path / "lock").read_text().strip().isdigit()
        StateLock(tmp_path).release()


class TestBackup:
    def test_it_is_complete_and_opens_with_its_key(self, store: Store, tmp_path: Path) -> None:
        store.commit([with_password(1, "one"), put(2, default=True, labels={"a": "b"})])
        store.save([TransitionRecord(1, 1, 1.0, "registered")])
        store.backup(tmp_path / "copy", with_key=True)
        state = tmp_path / "restored"
        state.mkdir()
        (tmp_path / "copy").rename(state / "store.db")
        (tmp_path / "copy.key").rename(state / "key")
        restored = Store.open(state / "store.db", KeyRing.read(state / "key"))
        assert list(restored.load()) == list(store.load())
        assert restored.history(1) == store.history(1)
        assert restored.next_profile_id() == store.next_profile_id()
        restored.close()

    def test_it_is_one_file_and_without_the_key_unless_asked(self, store: Store, tmp_path: Path) -> None:
        store.commit([with_password(1, "one")])
        before = {path.name for path in tmp_path.iterdir()}
        store.backup(tmp_path / "copy", with_key=False)
        assert {path.name for path in tmp_path.iterdir()} - before == {"copy"}

    def test_a_restored_flow_skips_numbers_that_were_used_since(self, store: Store, tmp_path: Path) -> None:
        """CSeq must rise within a Call-ID (RFC 3261 §10.2), and a nonce count may not repeat (RFC 7616 §3.4)."""
        flow = FlowRecord(
            1,
            call_id="c",
            cseq_reserved=500,
            lease_ends=2000.0,
            refresh_at=1500.0,
            nonces=(NonceRecord("example.com", "n", "MD5"),),
        )
        store.commit([put(1, flows=(flow,))])
        store.backup(tmp_path / "copy", with_key=False)
        restored = Store.open(tmp_path / "copy", store.keys)
        ((copied,),) = [record.flows for record in restored.load()]
        restored.close()
        assert copied.cseq_reserved >= 500 + 100_000
        assert copied == msgspec.structs.replace(flow, cseq_reserved=copied.cseq_reserved, refresh_at=0.0, nonces=())
        assert [record.flows for record in store.load()] == [(flow,)]

    @pytest.mark.parametrize("taken", ["copy", "copy.key"])
    def test_it_overwrites_nothing(self, store: Store, tmp_path: Path, taken: str) -> None:
        (tmp_path / taken).write_text("mine")
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(SipProfileError, match=f"{taken} exists") as error:
            store.backup(tmp_path / "copy", with_key=True)
        assert error.value.code == "store_failed"
        assert (tmp_path / taken).read_text() == "mine"
        assert {path.name for path in tmp_path.iterdir()} == before

    def test_a_directory_that_is_not_there_is_told(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError, match="No such file") as error:
            store.backup(tmp_path / "none" / "copy", with_key=False)
        assert error.value.code == "store_failed"

    def test_an_operator_s_process_copies_while_the_service_writes(self, store: Store, tmp_path: Path) -> None:
        store.commit([put(1)])
        operator = Store.open_to_read(tmp_path / "store.db", KeyRing.read(tmp_path / "key"))
        with store._writing() as flows:
            profiles.write(store._connection, (put(2),), store.keys, flows)
            operator.backup(tmp_path / "copy", with_key=False)
        operator.close()
        copy = Store.open_to_read(tmp_path / "copy", store.keys)
        assert copy.names() == [(1, "p1")]
        copy.close()


def kill_at(place: str, directory: Path, program: str) -> None:
    """Run ``program`` in a process that is killed with SIGKILL when it comes to ``place``."""
    whole = (
        "import os, pathlib, signal, sys\n"
        "from sipprofile.profile import *\n"
        "from sipprofile.records import *\n"
        "from sipprofile.store import database, files, journal, profiles, schema, transitions, store as store_module\n"
        "from sipprofile.store.secrets import KeyRing\n"
        "from sipprofile.store.store import Store\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "def die(*arguments, **named):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def start():\n"
        f"    {place} = die\n"
        f"{program}\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", whole, str(directory)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


class TestKilled:
    """After ``kill -9`` the store holds what was committed, whole, and nothing else."""

    OPEN = "keys = KeyRing.read(directory / 'key')\nstore = Store.open(directory / 'store.db', keys)\n"

    def reopened(self, directory: Path) -> Store:
        return Store.open(directory / "store.db", KeyRing.read(directory / "key"))

    def test_right_after_a_commit_all_of_it_is_there(self, tmp_path: Path) -> None:
        program = (
            f"{self.OPEN}"
            "server = ServerParameters(uri='sip:r', password='one')\n"
            "profile = Profile(id=1, name='a', aor='sip:a@example.com', registrar=server, labels={'x': 'y'})\n"
            "store.commit([PutProfile(profile, 1, flows=(FlowRecord(1, call_id='c', cseq_reserved=256),))])\n"
            "store.save([FlowRecord(1, call_id='c', cseq_reserved=512), TransitionRecord(1, 1, 0.0, 'registered')])\n"
            "die()\n"
        )
        kill_at("unused", tmp_path, program)
        store = self.reopened(tmp_path)
        (record,) = store.load()
        assert record.profile.registrar is not None
        assert record.profile.registrar.password == "one"
        assert [flow.cseq_reserved for flow in record.flows] == [512]
        assert ids(store.read(Query(label="x=y"))) == [1]
        assert len(store.history(1)) == 1
        store.close()

    @pytest.mark.parametrize(
        "place",
        ["profiles._keep_one_default", "journal.Journal.append", "profiles._set_default", "profiles.insert"],
    )
    def test_between_the_statements_of_a_commit_none_of_it_is_there(self, tmp_path: Path, place: str) -> None:
        program = (
            f"{self.OPEN}"
            "store.commit([PutProfile(Profile(id=1, name='a', aor='sip:a@example.com'), 1)])\n"
            "start()\n"
            "profile = Profile(id=2, name='b', aor='sip:b@example.com', labels={'x': 'y'}, default=True)\n"
            "store.commit([RemoveProfile(1), PutProfile(profile, 1, flows=(FlowRecord(2),))])\n"
        )
        kill_at(place, tmp_path, program)
        store = self.reopened(tmp_path)
        assert store.names() == [(1, "a")]
        assert defaults(store) == [1]
        store.close()

    def test_between_flows_and_history_neither_is_there(self, tmp_path: Path) -> None:
        program = (
            f"{self.OPEN}"
            "store.commit([PutProfile(Profile(id=1, name='a', aor='sip:a@example.com'), 1)])\n"
            "start()\n"
            "store.save([FlowRecord(1), TransitionRecord(1, 1, 0.0, 'registered')])\n"
        )
        kill_at("transitions.save", tmp_path, program)
        store = self.reopened(tmp_path)
        assert [record.flows for record in store.load()] == [()]
        store.close()

    @pytest.mark.parametrize(
        "place", ["database.connect", "schema.metadata.create_all", "files.sync", "pathlib.Path.replace"]
    )
    def test_while_a_store_is_created_the_next_start_creates_it(self, tmp_path: Path, place: str) -> None:
        kill_at(place, tmp_path, f"start()\n{self.OPEN}")
        assert not (tmp_path / "store.db").exists()
        store = self.reopened(tmp_path)
        store.commit([put(1)])
        store.close()
        assert {path.name for path in tmp_path.iterdir()} == {"store.db", "key"}

    def test_while_secrets_are_sealed_anew_all_open(self, tmp_path: Path) -> None:
        program = (
            f"{self.OPEN}"
            "for n in range(1, 20):\n"
            "    server = ServerParameters(uri='sip:r', password=f'secret {n}')\n"
            "    store.commit([PutProfile(Profile(id=n, name=f'p{n}', aor='sip:a@b', registrar=server), 1)])\n"
            "sealed, calls = profiles.documents.sealed, []\n"
            "def tenth(*arguments):\n"
            "    calls.append(1)\n"
            "    return die() if len(calls) == 10 else sealed(*arguments)\n"
            "profiles.documents.sealed = tenth\n"
            "keys.rotate()\n"
            "store.reseal(keys)\n"
        )
        kill_at("unused", tmp_path, program)
        store = self.reopened(tmp_path)
        passwords = [record.profile.registrar.password for record in store.load() if record.profile.registrar]
        assert passwords == [f"secret {n}" for n in range(1, 20)]
        store.close()


extension_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3)
)
optional_text = st.none() | st.text(max_size=20)
tls_settings = st.builds(
    TlsSettings, server_name=optional_text, ca=optional_text, certificate=optional_text, private_key=optional_text
)
servers = st.builds(
    ServerParameters,
    uri=st.text(max_size=20),
    username=optional_text,
    realm=optional_text,
    password=optional_text,
    loose_routing=st.booleans(),
    tls=st.none() | tls_settings,
    extensions=st.dictionaries(st.text(max_size=9), extension_values, max_size=2),
)
written_profiles = st.builds(
    Profile,
    id=st.just(1),
    name=st.text(max_size=20),
    type=st.text(max_size=20),
    aor=st.text(max_size=20) | st.just("sip:a@[::1]") | st.just("sip:%zz@example.com"),
    labels=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    registrar=st.none() | servers,
    proxies=st.lists(servers, max_size=2),
    register=st.sampled_from(["always", "on-demand"]),
    linger=st.floats(0, 1e9),
    expires=st.integers(0, 2**32 - 1),
    headers=st.lists(st.text(max_size=9), max_size=2),
    private_identity=optional_text,
    dscp=st.none() | st.integers(0, 63),
    locked=st.booleans(),
    default=st.just(True),
    extensions=st.dictionaries(st.text(max_size=9), extension_values, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(written_profiles, st.sampled_from(["", "paused", "forcibly_disabled"]), st.integers(1, 2**62))
def test_any_profile_comes_back_as_it_was(profile: Profile, held: Held, revision: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        store = Store.open(path, KeyRing.generate(), synchronous="OFF")
        store.commit([PutProfile(profile, revision, held)])
        expected = [ProfileRecord(profile, revision, held)]
        assert list(store.load()) == expected
        assert store.read(Query(aor=profile.aor)) == expected
        store.close()
