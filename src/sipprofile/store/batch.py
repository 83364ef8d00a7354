"""Runtime rows that wait to be written: the latest of each flow and history slot."""

from __future__ import annotations

from collections.abc import Iterable

from sipprofile.records import HISTORY_LENGTH, FlowRecord, RuntimeWrite, TransitionRecord

UNSORTED = 4000  # transitions that are kept as they come, before it is looked for those that no history would hold


class Batch:
    """A newer row of a flow or history slot wins: however long nothing can be written, there are no more than twice
    those."""

    __slots__ = ("_flows", "_longest", "_transitions")

    def __init__(self) -> None:
        self._flows: dict[tuple[int, int], tuple[int, FlowRecord]] = {}
        self._transitions: list[TransitionRecord] = []
        self._longest = UNSORTED

    def __len__(self) -> int:
        return len(self._flows) + len(self._transitions)

    def add(self, rows: Iterable[RuntimeWrite], *, commits: int = 0) -> None:
        """Take rows; ``commits`` is how many commits were asked for before."""
        flows, keep = self._flows, self._transitions.append
        for row in rows:
            if isinstance(row, FlowRecord):
                flows[row.profile, row.number] = commits, row
            else:
                keep(row)
        if len(self._transitions) > self._longest:
            last = {(row.profile, row.revision % HISTORY_LENGTH): row for row in self._transitions}
            self._transitions = list(last.values())
            self._longest = max(UNSORTED, 2 * len(last))

    def overtake(self, flows: Iterable[FlowRecord], commit: int) -> None:
        """The commit with this number (from 1) wrote ``flows``: older rows must not replace them."""
        for flow in flows:
            key = flow.profile, flow.number
            waiting = self._flows.get(key)
            if waiting is not None and waiting[0] < commit:
                self._flows[key] = commit, flow

    def rows(self) -> list[RuntimeWrite]:
        """What is to be written."""
        return [*[row for _, row in self._flows.values()], *self._transitions]
