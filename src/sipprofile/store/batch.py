"""Runtime rows that wait to be written: the latest of each flow and history slot."""

from __future__ import annotations

from collections.abc import Iterable

from sipprofile.records import HISTORY_LENGTH, FlowRecord, RuntimeWrite, TransitionRecord

UNSORTED = 4000  # transitions that are kept as they come, before it is looked for those that no history would hold


class Batch:
    """A newer row of a flow or history slot wins: however long nothing can be written, there are no more than twice
    those."""

    __slots__ = ("_asked", "_asked_later", "_flows", "_longest", "_transitions")

    def __init__(self) -> None:
        self._flows: dict[int | tuple[int, int], FlowRecord] = {}
        self._asked = 0
        """How many commits were asked for before the flows, but for those in ``_asked_later``."""
        self._asked_later: dict[int | tuple[int, int], int] = {}
        self._transitions: list[TransitionRecord] = []
        self._longest = UNSORTED

    def __len__(self) -> int:
        return len(self._flows) + len(self._transitions)

    def add(self, rows: Iterable[RuntimeWrite], *, commits: int = 0) -> None:
        """Take rows; ``commits`` is how many commits were asked for before."""
        flows, keep = self._flows, self._transitions.append
        if not flows:
            self._asked = commits
        later = None if commits == self._asked else self._asked_later
        for row in rows:
            if isinstance(row, FlowRecord):
                key = row.profile if row.number == 1 else (row.profile, row.number)
                flows[key] = row
                if later is not None:
                    later[key] = commits
            else:
                keep(row)
        if len(self._transitions) > self._longest:
            last = {(row.profile, row.revision % HISTORY_LENGTH): row for row in self._transitions}
            self._transitions = list(last.values())
            self._longest = max(UNSORTED, 2 * len(last))

    def overtake(self, flows: Iterable[FlowRecord], commit: int) -> None:
        """The commit with this number (from 1) wrote ``flows``: older rows must not replace them. Numbers rise."""
        for flow in flows:
            key = flow.profile if flow.number == 1 else (flow.profile, flow.number)
            if key in self._flows and self._asked_later.get(key, self._asked) < commit:
                self._flows[key] = flow

    def rows(self) -> list[RuntimeWrite]:
        """What is to be written."""
        return [*self._flows.values(), *self._transitions]
