"""What a start reads: with the driver's own cursor, for there is a row for each profile, and without SQLAlchemy."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator

from sipprofile.records import ProfileRecord
from sipprofile.store import documents, journal
from sipprofile.store.journal import Journal
from sipprofile.store.secrets import KeyRing

_ALL = "SELECT id, revision, is_default, held, document FROM profiles ORDER BY id"


def load(driver: sqlite3.Connection, keys: KeyRing, flows: Journal) -> Iterator[ProfileRecord]:
    """Every profile with its flows, in order of id."""
    flows_of = journal.load(driver, flows)
    for number, revision, is_default, held, document in driver.execute(_ALL):
        profile = documents.opened(number, document, bool(is_default), keys)
        yield ProfileRecord(profile, revision, held, flows_of(number))


def unknown_key(driver: sqlite3.Connection, known: Collection[str]) -> str | None:
    """The id of a key that is needed and not among ``known``."""
    others = ", ".join("?" * len(known))
    query = f"SELECT key_id FROM profiles WHERE key_id IS NOT NULL AND key_id NOT IN ({others}) LIMIT 1"
    found = driver.execute(query, tuple(known)).fetchone()
    return None if found is None else found[0]
