"""The SQLite file: opening it, its durability, transactions, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from sipprofile.errors import SipProfileError
from sipprofile.store import files
from sipprofile.store.revision import CSEQ_RAISED, REVISION

if TYPE_CHECKING:
    from sqlalchemy import Connection

Synchronous = Literal["FULL", "OFF"]
"""``FULL``: what is committed survives a power cut. ``OFF`` is for tests and simulations."""

BUSY_TIMEOUT = 30.0  # seconds; sealing 100,000 profiles anew keeps the write lock for a few seconds
CHECKPOINT = 4000  # pages of 4 KiB in the journal before they go into the file; a batch may change 1,000 pages

_VERSION_TABLE = (
    "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n\t"
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
)


def connect(
    path: Path, *, synchronous: Synchronous = "FULL", read_only: bool = False, foreign_keys: bool = True
) -> sqlite3.Connection:
    """A connection of its own to an existing store; one thread at a time may use it."""
    uri = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, check_same_thread=False)
    connection.isolation_level = None  # transaction() below begins and ends them
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            # Some builds overwrite what is deleted. Secrets are sealed, and the journal deletes a lot.
            connection.execute("PRAGMA secure_delete = FAST")
            connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def over(driver: sqlite3.Connection) -> Connection:
    """SQLAlchemy's connection over the standard library's, to be made outside of transactions, which it would end.

    A start needs none, and answers sooner when it does not import SQLAlchemy.
    """
    from sqlalchemy import StaticPool, create_engine

    engine = create_engine(
        "sqlite://",
        creator=lambda: driver,
        poolclass=StaticPool,
        pool_reset_on_return=None,  # whoever opened the file closes it
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    return engine.connect()


def driver(connection: Connection) -> sqlite3.Connection:
    """The standard library's connection beneath."""
    inner = connection.connection.driver_connection
    assert isinstance(inner, sqlite3.Connection)
    return inner


@contextmanager
def transaction(driver: sqlite3.Connection, kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[None]:
    """All or nothing. ``IMMEDIATE`` holds the write lock from the start: what is read is true when it writes.

    Raises ``store_failed`` or ``store_damaged``; the database is then as before.
    """
    with explained():
        driver.execute(f"BEGIN {kind}")
        try:
            yield
            driver.execute("COMMIT")
        finally:
            # A COMMIT that failed (disk full) leaves the transaction open.
            if driver.in_transaction:
                driver.rollback()


@contextmanager
def explained() -> Iterator[None]:
    """Turn the database's errors into ours; they name no value."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's
        if not isinstance(cause, sqlite3.Error):
            raise
        raise _explained(cause) from None


_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_BUSY: "Another process keeps the store locked.",
    sqlite3.SQLITE_READONLY: "The store may not be written.",
    sqlite3.SQLITE_CANTOPEN: "The store cannot be opened.",
    sqlite3.SQLITE_IOERR: "The disk does not read or write.",
}


def _explained(error: BaseException | None) -> SipProfileError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return SipProfileError("store_damaged", f"The store is damaged: {error}.")
    if str(error) == "UNIQUE constraint failed: profiles.name":
        return SipProfileError("duplicate_name")
    return SipProfileError("store_failed", _SENTENCES.get(code, f"The store refused it: {error}."))


def prepare(path: Path, synchronous: Synchronous) -> None:
    """Make a store that is there and up to date: create it, or migrate it in a child process.

    Raises ``store_damaged`` when the file is not a store, or is one of a newer version.
    """
    try:
        files.make_directory(path.parent)
        if not path.exists():
            _create(path, synchronous)
            return
        path.chmod(files.FILE_MODE)
    except OSError as error:
        raise SipProfileError("store_failed", f"The store {path}: {error.strerror}.") from None
    if path.stat().st_size == 0:
        # Ours is never empty, see _create; SQLite would take it for a new one and all profiles would be gone.
        raise SipProfileError("store_damaged", f"The store {path} is empty.")
    found = revision(path)
    if found > REVISION:
        raise SipProfileError("store_damaged", f"The store {path} was written by a newer version ({found}).")
    if found < REVISION:
        _migrate(path)


def revision(path: Path) -> str:
    """The migration the store is at; empty before the first."""
    with explained():
        connection = connect(path, read_only=True)
        try:
            named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
            if named.fetchone() is not None:
                return connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()[0] or ""
        finally:
            connection.close()
    raise SipProfileError("store_damaged", f"{path} is not a store of sipprofile.")


def _create(path: Path, synchronous: Synchronous) -> None:
    """A complete new store under its name at once, so that a crash never leaves half of one."""
    from sipprofile.store import schema

    new = path.with_name(path.name + ".new")
    for stale in (new, *beside(new), *beside(path)):
        stale.unlink(missing_ok=True)  # SQLite would replay another store's journal into this one
    os.close(files.create(new))
    with explained():
        connection = connect(new, synchronous=synchronous)
        try:
            tables = over(connection)
            with transaction(connection):
                schema.metadata.create_all(tables)
                connection.execute(_VERSION_TABLE)
                connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
                connection.execute("INSERT INTO meta VALUES (?, '0')", (CSEQ_RAISED,))
        finally:
            connection.close()
    files.sync(new)
    new.replace(path)
    files.sync_directory(path.parent)


def beside(path: Path) -> tuple[Path, Path]:
    """SQLite's journal and its index for this database file."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _migrate(path: Path) -> None:
    """In a child process: Alembic is needed once in a version's life and would stay in memory for good."""
    command = [sys.executable, "-m", "sipprofile.store.migrate", str(path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SipProfileError("store_failed", f"The store {path} could not be brought up to date: {last}")
