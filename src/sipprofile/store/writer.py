"""The writer's thread: configuration at once and in order, runtime rows in batches; and a reader's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from sipprofile.errors import SipProfileError
from sipprofile.records import ConfigurationWrite, PutProfile, RuntimeWrite
from sipprofile.store.batch import Batch, Done
from sipprofile.store.store import Store

BATCH_ROWS = 1000
BATCH_TIME = 0.05  # seconds that a runtime row waits for others
RETRY_TIME = 1.0  # seconds between two tries to write what could not be written

Committed = Callable[[SipProfileError | None], None]
Read = Callable[[Any], None]
T = TypeVar("T")


class Writer:
    """Owns a store from now on. All callbacks run in its threads, so they must only hand over to another.

    ``failing`` is the sentence that says why runtime rows cannot be written, ``None`` while they can.
    """

    def __init__(self, store: Store) -> None:
        self.failing: str | None = None
        self._store = store
        self._changed = threading.Condition()
        self._commits: deque[tuple[int, Sequence[ConfigurationWrite], Committed]] = deque()
        self._submitted = 0
        self._waiting = Batch()
        self._write_at = 0.0  # monotonic seconds; meaningful while rows wait
        self._stopping = False
        self._reads: SimpleQueue[tuple[Callable[[Store], Any], Read] | None] = SimpleQueue()
        self._reader: Store | None = None
        self._threads = [
            threading.Thread(target=self._write, name="store-writer", daemon=True),
            threading.Thread(target=self._read, name="store-reader", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, writes: Sequence[ConfigurationWrite], done: Committed) -> None:
        """Commit in one transaction, before any runtime row that waits; ``done(None)`` once it is on disk."""
        with self._changed:
            self._submitted += 1
            self._commits.append((self._submitted, writes, done))
            self._changed.notify()

    def save(self, rows: Sequence[RuntimeWrite], done: Done | None = None) -> None:
        """Write within 50 ms, or once 1,000 rows wait; ``done()`` when these or newer ones are on disk.

        A full disk does not lose them: they are tried again every second, and ``failing`` says so.
        """
        with self._changed:
            if not self._waiting:
                self._write_at = max(self._write_at, time.monotonic() + BATCH_TIME)
                self._changed.notify()
            self._waiting.add(rows, done, commits=self._submitted)
            if len(self._waiting) >= BATCH_ROWS:
                self._changed.notify()

    def read(self, function: Callable[[Store], T], done: Callable[[T | SipProfileError], None]) -> None:
        """Give ``function`` a read-only store, which never waits for writes, and ``done`` what it returns."""
        self._reads.put((function, done))

    def stop(self) -> None:
        """Write what waits, answer every commit and read, close the store.

        Where runtime rows could not be written even now, ``failing`` says why.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._store.close()

    # The writer's thread

    def _write(self) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                while (left := self._time_left()) is None or left > 0:
                    self._changed.wait(left)
                stopping = self._stopping
                commits, self._commits = self._commits, deque()
                batch = Batch()
                if stopping or self._due():
                    batch, self._waiting = self._waiting, batch
            for number, writes, done in commits:
                self._commit(number, writes, done, batch)
            if batch:
                self._save(batch)

    def _time_left(self) -> float | None:
        """Seconds until there is something to do, ``None`` when only a new call can tell."""
        if self._stopping or self._commits or self._due():
            return 0.0
        return self._write_at - time.monotonic() if self._waiting else None

    def _due(self) -> bool:
        full = len(self._waiting) >= BATCH_ROWS and self.failing is None
        return bool(self._waiting) and (full or time.monotonic() >= self._write_at)

    def _commit(self, number: int, writes: Sequence[ConfigurationWrite], done: Committed, batch: Batch) -> None:
        error = _attempt(lambda: self._store.commit(writes))
        if error is None:
            flows = [flow for write in writes if isinstance(write, PutProfile) for flow in write.flows]
            batch.overtake(flows, number)
            with self._changed:
                self._waiting.overtake(flows, number)
        _tell(done, error)

    def _save(self, batch: Batch) -> None:
        error = _attempt(lambda: self._store.save(batch.rows()))
        if error is None:
            self.failing = None
            for done in batch.done:
                _tell(done)
            return
        with self._changed:
            self.failing = error.detail
            self._waiting = batch.before(self._waiting)
            self._write_at = time.monotonic() + RETRY_TIME

    # The reader's thread

    def _read(self) -> None:
        while (read := self._reads.get()) is not None:
            function, done = read
            _tell(done, _attempt(partial(self._answer, function)))
        if self._reader is not None:
            self._reader.close()

    def _answer(self, function: Callable[[Store], Any]) -> Any:
        if self._reader is None:
            self._reader = Store.open_to_read(self._store.path, self._store.keys)
        return function(self._reader)


def _attempt(action: Callable[[], T]) -> T | SipProfileError:
    """What ``action`` returns or raises; a mistake of ours must reach who waits and not end the thread."""
    try:
        return action()
    except SipProfileError as error:
        return error
    except Exception as error:
        mistake = SipProfileError("internal", f"The store made a mistake: {type(error).__name__}.")
        mistake.__cause__ = error
        return mistake


def _tell(done: Callable[..., None], *result: Any) -> None:
    try:
        done(*result)
    except RuntimeError:
        pass  # the event loop it hands over to is closed: nobody waits, but what comes next must be written
