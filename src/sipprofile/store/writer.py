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
from sipprofile.records import ConfigurationWrite, FlowRecord, PutProfile, RuntimeWrite
from sipprofile.store.batch import Batch
from sipprofile.store.store import Store

BATCH_ROWS = 2000
BATCH_TIME = 0.05  # seconds that a runtime row waits for others
LINGER_TIME = 0.5  # seconds that it waits where nothing presses: each batch costs a write of its own
REST_AFTER = 0.5  # seconds with nothing to write, and
REST_INTERVAL = 10.0  # seconds from one rest to the next, until memory is given back
RETRY_TIME = 1.0  # seconds between two tries to write what could not be written

Committed = Callable[[SipProfileError | None], None]
Saved = Callable[[list[FlowRecord]], None]
Read = Callable[[Any], None]
T = TypeVar("T")


class Writer:
    """Owns a store from now on. All callbacks run in its threads, so they must only hand over to another.

    ``saved`` gets those of the rows on disk that somebody may wait for, see :meth:`Store.save`.
    ``rest`` is called when there was nothing to write for a moment: memory is free then.
    ``failing`` is the sentence that says why runtime rows cannot be written, ``None`` while they can.
    """

    def __init__(self, store: Store, saved: Saved, rest: Callable[[], None] = lambda: None) -> None:
        self.failing: str | None = None
        self._rest = rest
        self._written = False  # since the last rest
        self._rest_at = 0.0  # monotonic seconds, not before
        self._store = store
        self._saved = saved
        self._changed = threading.Condition()
        self._commits: deque[tuple[int, Sequence[ConfigurationWrite], Committed]] = deque()
        self._submitted = 0
        self._given: list[tuple[int, Sequence[RuntimeWrite]]] = []
        self._batch = Batch()  # the writer's thread's own
        self._waiting = 0  # rows of both
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

    def save(self, rows: Sequence[RuntimeWrite], pressing: bool = True) -> None:
        """Write within 50 ms, within half a second where nothing presses, or once 2,000 rows wait; what presses takes
        along what waits. What is given belongs to the writer.

        A full disk does not lose them: they are tried again every second, and ``failing`` says so.
        """
        at = time.monotonic() + (BATCH_TIME if pressing else LINGER_TIME)
        with self._changed:
            before = self._waiting
            self._given.append((self._submitted, rows))
            self._waiting = waiting = before + len(rows)
            if not before or (at < self._write_at and self.failing is None):
                self._write_at = at
                self._changed.notify()
            elif before < BATCH_ROWS <= waiting:
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
                idle = False
                while not idle and ((left := self._time_left()) is None or left > 0):
                    pause = left is None and self._written
                    told = self._changed.wait(self._until_rest() if pause else left)
                    idle = pause and not told
                stopping = self._stopping
                commits, self._commits = self._commits, deque()
                given, self._given = self._given, []
                due = self._waiting and (stopping or self._due())
                if due:
                    self._waiting = 0
            for number, rows in given:
                self._batch.add(rows, commits=number)
            for number, writes, done in commits:
                self._commit(number, writes, done)
            if due:
                self._save()
            self._written = bool(self._written or commits or due)
            if idle:
                self._give_back()

    def _until_rest(self) -> float:
        return max(REST_AFTER, self._rest_at - time.monotonic())

    def _give_back(self) -> None:
        self._written, self._rest_at = False, time.monotonic() + REST_INTERVAL
        _attempt(self._store.shrink)
        _attempt(self._rest)

    def _time_left(self) -> float | None:
        """Seconds until there is something to do, ``None`` when only a new call can tell."""
        if self._stopping or self._commits or self._due():
            return 0.0
        return self._write_at - time.monotonic() if self._waiting else None

    def _due(self) -> bool:
        full = self._waiting >= BATCH_ROWS and self.failing is None
        return self._waiting > 0 and (full or time.monotonic() >= self._write_at)

    def _commit(self, number: int, writes: Sequence[ConfigurationWrite], done: Committed) -> None:
        error = _attempt(lambda: self._store.commit(writes))
        if error is None:
            # Rows that were given meanwhile are newer: they were given when this commit had been asked for.
            self._batch.overtake(
                [flow for write in writes if isinstance(write, PutProfile) for flow in write.flows], number
            )
        _tell(done, error)

    def _save(self) -> None:
        batch, rows = self._batch, self._batch.rows()
        result = _attempt(lambda: self._store.save(rows))
        if isinstance(result, SipProfileError):
            with self._changed:
                self.failing = result.detail
                self._waiting += len(batch)
                self._write_at = time.monotonic() + RETRY_TIME
            return
        self.failing = None
        self._batch = Batch()
        if result:
            _tell(self._saved, result)

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
