"""The store's writer without its threads: the same order and batches, in virtual time, with points to crash at."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from sipprofile.errors import SipProfileError
from sipprofile.records import ConfigurationWrite, PutProfile, RuntimeWrite
from sipprofile.store.batch import Batch
from sipprofile.store.store import Store
from sipprofile.store.writer import BATCH_TIME, RETRY_TIME, Saved
from sipprofile.testing.virtual import SuspendableClock

Committed = Callable[[SipProfileError | None], None]
T = TypeVar("T")


class VirtualWriter:
    """Does what :class:`sipprofile.store.writer.Writer` does.

    ``point(name)`` is called wherever the process may be killed: before and after every transaction.
    ``guard(function)`` is how an event of the loop is run.
    """

    def __init__(
        self,
        store: Store,
        clock: SuspendableClock,
        random: random.Random,
        saved: Saved,
        *,
        point: Callable[[str], None],
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        self.full = False
        """The disk is full: nothing can be written."""
        self._store = store
        self._clock = clock
        self._random = random
        self._saved = saved
        self._point = point
        self._guard = guard
        self._submitted = 0
        self._commits: list[tuple[int, Sequence[ConfigurationWrite], Committed]] = []
        self._rows = Batch()
        self._save_armed = False

    @property
    def idle(self) -> bool:
        """Whether everything is on disk."""
        return not self._commits and not self._rows

    def submit(self, writes: Sequence[ConfigurationWrite], done: Committed) -> None:
        """Commit in one transaction, some time soon."""
        self._submitted += 1
        self._commits.append((self._submitted, writes, done))
        self._clock.after(0.02 * self._random.random(), self._guard, self._commit)

    def save(self, rows: Sequence[RuntimeWrite]) -> None:
        """Write within 50 ms."""
        self._rows.add(rows, commits=self._submitted)
        self._arm(BATCH_TIME)

    def finish(self) -> None:
        """The daemon ends in an orderly way: what waits is written."""
        while self._commits:
            self._commit()
        if self._rows and not self.full:
            self._store.save(self._rows.rows())

    def _arm(self, delay: float) -> None:
        if not self._save_armed:
            self._save_armed = True
            self._clock.after(delay, self._guard, self._save)

    def _commit(self) -> None:
        """The oldest commit; the others have events of their own."""
        if not self._commits:
            return
        number, writes, done = self._commits.pop(0)
        self._point("before a commit")
        error = self._attempt(lambda: self._store.commit(writes))
        self._point("after a commit")
        if error is None:
            self._rows.overtake(
                [flow for write in writes if isinstance(write, PutProfile) for flow in write.flows], number
            )
        done(error)

    def _save(self) -> None:
        self._save_armed = False
        if not self._rows:
            return
        self._point("before a save")
        result = self._attempt(lambda: self._store.save(self._rows.rows()))
        self._point("after a save")
        if isinstance(result, SipProfileError):
            self._arm(RETRY_TIME)
            return
        self._rows = Batch()
        if result:
            self._saved(result)

    def _attempt(self, action: Callable[[], T]) -> T | SipProfileError:
        try:
            if self.full:
                raise SipProfileError("store_failed", "The disk is full.")
            return action()
        except SipProfileError as error:
            return error
