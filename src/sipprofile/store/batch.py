"""Runtime rows that wait to be written: the latest of each flow and history slot."""

from __future__ import annotations

from collections.abc import Iterable

from sipprofile.records import HISTORY_LENGTH, FlowRecord, RuntimeWrite


class Batch:
    """A newer row of a flow or history slot wins: however long nothing can be written, there are no more than those."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], tuple[int, RuntimeWrite]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Iterable[RuntimeWrite], *, commits: int = 0) -> None:
        """Take rows; ``commits`` is how many commits were asked for before."""
        for row in rows:
            self._rows[_key(row)] = commits, row

    def overtake(self, flows: Iterable[FlowRecord], commit: int) -> None:
        """The commit with this number (from 1) wrote ``flows``: older rows must not replace them."""
        for flow in flows:
            waiting = self._rows.get(_key(flow))
            if waiting is not None and waiting[0] < commit:
                self._rows[_key(flow)] = commit, flow

    def rows(self) -> list[RuntimeWrite]:
        """What is to be written."""
        return [row for _, row in self._rows.values()]


def _key(row: RuntimeWrite) -> tuple[int, int]:
    if isinstance(row, FlowRecord):
        return row.profile, row.number
    return row.profile, -1 - row.revision % HISTORY_LENGTH
