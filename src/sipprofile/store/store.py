"""The store, synchronous: the writer's thread uses it, and tests and simulations do inline."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sipprofile.errors import SipProfileError
from sipprofile.records import (
    RESERVED_BLOCK,
    ConfigurationWrite,
    FlowRecord,
    ProfileRecord,
    Query,
    RuntimeWrite,
    TransitionRecord,
)
from sipprofile.store import database, files, journal, loading, secrets, transitions
from sipprofile.store.journal import Journal
from sipprofile.store.secrets import KeyRing

if TYPE_CHECKING:
    from sqlalchemy import Connection

BACKUP_BLOCK = 100_000
"""CSeq numbers that a backup skips: more than a flow uses between its backup and the day it is restored."""


class Store:
    """One connection to the store; one thread at a time may use it.

    Every method raises ``store_failed`` (disk full, no permission, locked), and then nothing has changed,
    or ``store_damaged``; those that open secrets raise ``missing_key`` too.
    """

    def __init__(self, path: Path, driver: sqlite3.Connection, keys: KeyRing) -> None:
        self.path = path
        self.keys = keys
        self._driver = driver
        self._journal: Journal | None = None

    @cached_property
    def _connection(self) -> Connection:
        return database.over(self._driver)

    @classmethod
    def open(cls, path: Path, keys: KeyRing, *, synchronous: database.Synchronous = "FULL") -> Store:
        """Open the store for reading and writing; create it, or bring it up to date, when that is needed.

        An empty ``keys`` gets its first key here, unless the store holds secrets: that is ``missing_key``.
        """
        database.prepare(path, synchronous)
        store = cls._opened(path, keys, synchronous)
        try:
            with database.explained():
                unknown = loading.unknown_key(store._driver, keys.ids)
            if unknown is not None:
                raise secrets.missing(unknown)
            keys.create()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_to_read(cls, path: Path, keys: KeyRing) -> Store:
        """Open an existing store beside its service; writing raises ``store_failed``."""
        if not path.exists():
            raise SipProfileError("store_failed", f"There is no store {path}.")
        return cls._opened(path, keys, "FULL", read_only=True)

    @classmethod
    def _opened(cls, path: Path, keys: KeyRing, synchronous: database.Synchronous, *, read_only: bool = False) -> Store:
        with database.explained():
            return cls(path, database.connect(path, synchronous=synchronous, read_only=read_only), keys)

    def close(self) -> None:
        """Close the file."""
        self._driver.close()

    # Start

    def reserve(self) -> None:
        """Raise ``cseq_reserved`` of every flow by a block; called once before :meth:`load`.

        The numbers below may have been used; those of the block, the upper 256, were not.
        """
        with database.transaction(self._driver):
            journal.reserve(self._driver, RESERVED_BLOCK)
            self._journal = None

    def load(self) -> Generator[ProfileRecord, None, None]:
        """Every profile in order of id, with secrets opened and flows; a snapshot, to be read to its end."""
        with database.transaction(self._driver, "DEFERRED"):
            yield from loading.load(self._driver, self.keys, self._flows())

    def next_profile_id(self) -> int:
        """The lowest id that no profile ever had."""
        with database.explained():
            query = "SELECT seq FROM sqlite_sequence WHERE name = 'profiles'"
            found = self._driver.execute(query).fetchone()
            return (0 if found is None else int(found[0])) + 1

    # Writing

    def commit(self, writes: Sequence[ConfigurationWrite]) -> None:
        """Write in order, all or nothing, durable on return; raises ``duplicate_name`` too.

        While there are profiles exactly one is the default: a profile put with ``default`` takes it over,
        putting the default without keeps it, and if none is left the one with the lowest id becomes it.
        """
        from sipprofile.store import profiles

        connection = self._connection
        with self._writing() as flows:
            profiles.write(connection, tuple(writes), self.keys, flows)

    def save(self, rows: Sequence[RuntimeWrite]) -> list[FlowRecord]:
        """Write runtime rows in one transaction, durable on return; those of a removed profile are dropped.

        Of several rows of one flow the last is kept, and ``cseq_reserved`` never goes down. Returns the rows that
        somebody may wait for, see :meth:`Journal.append`.
        """
        with self._writing() as flows:
            of_flows = [row for row in rows if isinstance(row, FlowRecord)]
            changes = [row for row in rows if isinstance(row, TransitionRecord)]
            awaited = flows.append(of_flows)
            transitions.save(self._driver, changes, flows.places.live, flows.places.knows)
        return awaited

    def shrink(self) -> None:
        """Give back the memory in which pages of the file are kept; they are read again when they are needed."""
        self._driver.execute("PRAGMA shrink_memory")

    @contextmanager
    def _writing(self) -> Iterator[Journal]:
        """A transaction, and the journal with it: what fails has not happened."""
        try:
            with database.transaction(self._driver):
                flows = self._flows()
                yield flows
        except BaseException:
            if self._journal is not None:
                self._journal.undone()
            raise
        flows.kept()

    def _flows(self) -> Journal:
        """The journal as this transaction finds it."""
        (version,) = self._driver.execute("PRAGMA data_version").fetchone()
        if self._journal is None or self._journal.version != version:
            self._journal = Journal(self._driver, version)
        return self._journal

    def set_meta(self, key: str, value: str) -> None:
        """Store a text of the service's own under ``key``."""
        with database.transaction(self._driver):
            self._driver.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def reseal(self, keys: KeyRing) -> None:
        """Seal all secrets with the current key of ``keys``, in one transaction; a service may run.

        What it writes later has the new key too: it follows the key file and seals inside transactions.
        """
        from sipprofile.store import profiles

        connection = self._connection
        with database.transaction(self._driver):
            profiles.reseal(connection, self.keys, keys)
        self.keys = keys

    # Reading

    def read(self, query: Query) -> list[ProfileRecord]:
        """The profiles that match, in order of id, with secrets opened, and flows when they are asked for."""
        from sipprofile.store import profiles

        connection = self._connection
        with database.transaction(self._driver, "DEFERRED"):
            return profiles.read(connection, query, self.keys)

    def history(self, profile: int) -> list[TransitionRecord]:
        """The last 32 transitions, oldest first."""
        with database.transaction(self._driver, "DEFERRED"):
            return transitions.of_profile(self._driver, profile)

    def names(self) -> list[tuple[int, str]]:
        """Id and name of every profile, in order of id."""
        with database.explained():
            return self._driver.execute("SELECT id, name FROM profiles ORDER BY id").fetchall()

    def count(self) -> int:
        """How many profiles there are."""
        with database.explained():
            return int(self._driver.execute("SELECT count(*) FROM profiles").fetchone()[0])

    def meta(self, key: str) -> str | None:
        """What :meth:`set_meta` stored."""
        with database.explained():
            found = self._driver.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return None if found is None else found[0]

    # Backup

    def backup(self, path: Path, with_key: bool) -> None:
        """Copy the store as it is now into the new file ``path``, and asked for the keys to ``path.key``.

        Raises ``store_failed`` when one of them exists already. The copy skips CSeq numbers, forgets nonces
        and makes every refresh due, since the registrar knows more than it when it is restored.
        """
        key_path = path.with_name(path.name + ".key")
        made: list[Path] = []
        try:
            if with_key:
                self.keys.write(key_path)
                made.append(key_path)
            os.close(files.create(path))
            made.append(path)
            with database.explained():
                self._copy(path)
            files.sync(path)
            files.sync_directory(path.parent)
        except FileExistsError as error:
            _remove(made)
            raise SipProfileError("store_failed", f"{error.filename} exists already.") from None
        except OSError as error:
            _remove(made)
            raise SipProfileError("store_failed", f"{path}: {error.strerror}.") from None
        except BaseException:
            _remove(made)
            raise

    def _copy(self, path: Path) -> None:
        copy = database.connect(path, synchronous="OFF")
        try:
            self._driver.backup(copy)
            with database.transaction(copy):
                journal.reserve(copy, BACKUP_BLOCK)
                journal.forget(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, and nothing beside it
        finally:
            copy.close()


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        for each in (path, *database.beside(path)):
            each.unlink(missing_ok=True)
