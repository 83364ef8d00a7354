"""A store of any version is brought up to date, or left as it was."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import sipprofile
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile
from sipprofile.records import NONCE_BLOCK, FlowRecord, NonceRecord, PutProfile, TransitionRecord
from sipprofile.store import database, revision
from sipprofile.store.migrate import migrate
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store

SOURCE = str(Path(sipprofile.__file__).parent.parent)


def before_the_first(path: Path, more: str = "") -> None:
    """A database that Alembic knows and that has no table of ours."""
    connection = sqlite3.connect(path)
    connection.executescript(f"CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL); {more}")
    connection.close()


def definitions(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    content = connection.execute("SELECT key, value FROM meta ORDER BY key").fetchall()
    connection.close()
    return {**dict(rows), "content of meta": repr(content)}


def at(path: Path, revision: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def test_a_new_store_is_what_the_migrations_make(tmp_path: Path) -> None:
    Store.open(tmp_path / "new.db", KeyRing.generate()).close()
    (tmp_path / "migrated.db").touch()
    migrate(tmp_path / "migrated.db")
    assert definitions(tmp_path / "new.db") == definitions(tmp_path / "migrated.db")
    assert database.revision(tmp_path / "new.db") == database.revision(tmp_path / "migrated.db") == revision.REVISION


def test_the_newest_migration_is_the_one_the_schema_names() -> None:
    versions = Path(revision.__file__).parent / "migrations" / "versions"
    assert max(path.name for path in versions.glob("*.py")).startswith(revision.REVISION + "_")


def test_opening_an_older_store_migrates_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_the_first(tmp_path / "store.db")
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    store = Store.open(tmp_path / "store.db", KeyRing.generate())
    store.commit([PutProfile(Profile(id=1, name="trunk", aor="sip:a@example.com"), revision=1)])
    assert store.names() == [(1, "trunk")]
    store.close()


def test_a_migration_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    before_the_first(tmp_path / "store.db", "CREATE TABLE history (mine); INSERT INTO history VALUES (1);")
    with pytest.raises(SipProfileError) as error:
        migrate(tmp_path / "store.db")
    assert error.value.code == "store_failed"
    connection = sqlite3.connect(tmp_path / "store.db")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in tables} == {"alembic_version", "history"}
    connection.close()


def test_a_failure_of_the_child_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_the_first(tmp_path / "store.db", "CREATE TABLE history (mine);")
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    with pytest.raises(SipProfileError, match="already exists") as error:
        Store.open(tmp_path / "store.db", KeyRing.generate())
    assert error.value.code == "store_failed"


def test_flows_and_history_go_into_the_journal_and_its_buckets(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    migrate(path, "0001")
    names = "id, name, type, aor, aor_key, revision, is_default, held, document"
    connection = sqlite3.connect(path)
    connection.executemany(
        f"INSERT INTO profiles ({names}) VALUES (?, ?, 'ietf', 'sip:a@b', 'a@b', 1, ?, '', ?)",
        [(n, f"p{n}", n == 1, json.dumps({"id": n, "name": f"p{n}", "aor": "sip:a@b"})) for n in range(1, 1203)],
    )
    nonce = {"realm": "r", "nonce": "n", "algorithm": "MD5", "qop": "auth", "count_reserved": 17}
    flow = {
        "profile": 1,
        "call_id": "c",
        "cseq_reserved": 300,
        "lease_ends": 9.5,
        "contact": "sip:c",
        "nonces": [nonce],
    }
    further = {"profile": 1, "number": 2, "call_id": "c2", "registered_aors": ["sip:a@b"], "outbound": True}
    rows = [(1, 1, 300 - 256, json.dumps(flow)), (1, 2, 100, json.dumps(further))]
    rows += [(n, 1, 256, json.dumps({"profile": n, "cseq_reserved": 256})) for n in range(2, 1202)]
    connection.executemany("INSERT INTO flows VALUES (?, ?, ?, ?)", rows)
    connection.execute("UPDATE meta SET value = '768' WHERE key = 'cseq_raised'")
    transitions = [TransitionRecord(1, revision, 1.0, "registered") for revision in (3, *range(970, 995))]
    connection.executemany(
        "INSERT INTO history VALUES (?, ?, ?, ?)",
        [(1, row.revision % 32, row.revision, msgspec.json.encode(row).decode()) for row in transitions],
    )
    connection.commit()
    connection.close()
    migrate(path)
    store = Store.open(path, KeyRing.generate())
    first, *others = store.load()
    kept = NonceRecord("r", "n", "MD5", qop="auth", count_reserved=17 + NONCE_BLOCK)  # two starts since it was written
    assert first.flows == (
        FlowRecord(1, 1, "c", 300 - 256 + 768, lease_ends=9.5, contact="sip:c", nonces=(kept,)),
        FlowRecord(1, 2, "c2", 100 + 768, registered_aors=("sip:a@b",), outbound=True),
    )
    assert [record.flows for record in others[:-1]] == [(FlowRecord(n, 1, "", 256 + 768),) for n in range(2, 1202)]
    assert others[-1].flows == ()
    assert store.history(1) == transitions
    store.close()


def test_what_the_history_had_is_followed_by_what_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    migrate(path, "0002")
    connection = sqlite3.connect(path)
    names = "id, name, type, aor, aor_key, revision, is_default, held, document"
    connection.execute(f"INSERT INTO profiles ({names}) VALUES (1, 'p', 'ietf', 'sip:a@b', 'a@b', 1, 1, '', '{{}}')")
    kept = [TransitionRecord(1, number, 1.0, "registered") for number in (2, 3)]
    lines = "\n".join(msgspec.json.encode(row).decode() for row in kept)
    connection.execute("INSERT INTO history (id, bucket, records) VALUES (16, 0, ?)", (lines,))
    connection.commit()
    connection.close()
    migrate(path)
    store = Store.open(path, KeyRing.generate())
    later = TransitionRecord(1, 4, 2.0, "unregistered")
    store.save([later])
    assert store.history(1) == [*kept, later]
    store.close()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db", KeyRing.generate()).close()
    before = definitions(tmp_path / "store.db")
    migrate(tmp_path / "store.db")
    assert definitions(tmp_path / "store.db") == before


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db", KeyRing.generate()).close()
    at(tmp_path / "store.db", "9999")
    with pytest.raises(SipProfileError, match="newer version") as error:
        Store.open(tmp_path / "store.db", KeyRing.generate())
    assert error.value.code == "store_damaged"


def test_another_program_s_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.executescript("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);")
    connection.close()
    before = (tmp_path / "store.db").read_bytes()
    with pytest.raises(SipProfileError, match="not a store") as error:
        Store.open(tmp_path / "store.db", KeyRing.generate())
    assert error.value.code == "store_damaged"
    assert (tmp_path / "store.db").read_bytes() == before


def test_the_service_never_imports_alembic(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from sipprofile.store.store import Store\n"
        "from sipprofile.store.writer import Writer\n"
        "from sipprofile.store.secrets import KeyRing\n"
        "Writer(Store.open(pathlib.Path(sys.argv[1]), KeyRing.generate()), print).stop()\n"
        "print([name for name in ('alembic', 'mako', 'sqlalchemy.orm') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store.db")]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "[]\n"
