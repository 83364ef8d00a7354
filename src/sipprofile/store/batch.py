"""Runtime rows that wait to be written: the latest of each kind, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sipprofile.records import FlowRecord, RuntimeWrite
from sipprofile.store.schema import SLOTS

Done = Callable[[], None]


class Batch:
    """Rows and the callbacks of those who gave them; a newer row of a flow or history slot wins.

    However long nothing can be written, there are no more rows than flows and history slots.
    """

    __slots__ = ("_rows", "done")

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], tuple[int, RuntimeWrite]] = {}
        self.done: list[Done] = []

    def __bool__(self) -> bool:
        return bool(self._rows or self.done)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Iterable[RuntimeWrite], done: Done | None = None, *, commits: int = 0) -> None:
        """Take rows; ``done`` is for when they, or newer ones in their place, are on disk.

        ``commits`` is how many commits were asked for before.
        """
        for row in rows:
            self._rows[_key(row)] = commits, row
        if done is not None:
            self.done.append(done)

    def overtake(self, flows: Iterable[FlowRecord], commit: int) -> None:
        """The commit with this number (from 1) wrote ``flows``: older rows must not replace them."""
        for flow in flows:
            waiting = self._rows.get(_key(flow))
            if waiting is not None and waiting[0] < commit:
                self._rows[_key(flow)] = commit, flow

    def before(self, newer: Batch) -> Batch:
        """Both as one, the rows of ``newer`` win."""
        both = Batch()
        both._rows = {**self._rows, **newer._rows}
        both.done = self.done + newer.done
        return both

    def rows(self) -> list[RuntimeWrite]:
        """What is to be written."""
        return [row for _, row in self._rows.values()]


def _key(row: RuntimeWrite) -> tuple[int, int]:
    if isinstance(row, FlowRecord):
        return row.profile, row.number
    return row.profile, -1 - row.revision % SLOTS
