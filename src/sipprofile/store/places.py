"""Where in the journal the last row of each flow is: 16 bytes for each flow, and which profiles there are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

_BITS = 10
_RANGE = 1 << _BITS  # profiles that share a page
_MASK = _RANGE - 1


class Places:
    """The journal's row in which each flow was written last, with the CSeq numbers reserved by then.

    Changes count once they are kept; :meth:`undo` takes back all since then, as a transaction that failed must.
    """

    __slots__ = (
        "_before",
        "_known",
        "_known_changes",
        "_live_kept",
        "_numbers",
        "_pages",
        "_pages_before",
        "live",
    )

    def __init__(self) -> None:
        self.live = 0
        """How many flows have a row."""
        self._live_kept = 0
        self._numbers = 1
        self._known: dict[int, bytearray] = {}
        self._pages: dict[tuple[int, int], array[int]] = {}
        self._pages_before: list[array[int]] = []
        self._before: list[int] = []
        """Index in the page, place and numbers reserved before each change: flat, for the garbage collector's sake."""
        self._known_changes: list[tuple[int, int]] = []

    def add(self, profile: int) -> None:
        """There is this profile."""
        self._know(profile, 1)

    def add_all(self, profiles: Iterable[int]) -> None:
        """There are these since before."""
        knowns = self._known
        for profile in profiles:
            span = profile >> _BITS
            if span not in knowns:
                knowns[span] = bytearray(_RANGE)
            knowns[span][profile & _MASK] = 1

    def knows(self, profile: int) -> bool:
        """Whether there is this profile."""
        page = self._known.get(profile >> _BITS)
        return page is not None and page[profile & _MASK] == 1

    def remove(self, profile: int) -> None:
        """The profile is gone, its rows are of no use."""
        span, at = profile >> _BITS, (profile & _MASK) << 1
        if not self.knows(profile):
            return
        self._know(profile, 0)
        for number in range(1, self._numbers + 1):
            page = self._pages.get((span, number))
            if page is not None and page[at]:
                self._pages_before.append(page)
                self._before += at, page[at], page[at + 1]
                page[at] = page[at + 1] = 0
                self.live -= 1

    def read(
        self, place: int, raised: int, profiles: Sequence[int], numbers: Sequence[int], reserved: Sequence[int]
    ) -> None:
        """:meth:`written`, for a row that is there since before: nothing of it is to be taken back or told."""
        knowns, pages = self._known, self._pages
        known: bytearray | None = None
        page: array[int] | None = None
        of_span, of_number = -1, 0
        for profile, number, cseq_reserved in zip(profiles, numbers, reserved, strict=True):
            if profile >> _BITS != of_span or number != of_number:  # most are of the same page as the one before
                of_span, of_number = profile >> _BITS, number
                known = knowns.get(of_span)
                page = pages.get((of_span, number))
            at = profile & _MASK
            if known is None or not known[at]:
                continue
            if page is None:
                page = pages[of_span, number] = array("q", bytes(_RANGE * 16))
                self._numbers = max(self._numbers, number)
            at <<= 1
            base = cseq_reserved - raised
            if not page[at]:
                self.live += 1
                page[at + 1] = base
            elif base > page[at + 1]:
                page[at + 1] = base
            page[at] = place

    def last(self, profile: int, number: int) -> tuple[int, int]:
        """The journal's row that holds the flow's last state, 0 when none does; and the highest ``cseq_reserved``
        written, less what was to be added to all of them by then."""
        page = self._pages.get((profile >> _BITS, number))
        if page is None:
            return 0, 0
        at = (profile & _MASK) << 1
        return page[at], page[at + 1]

    def written(
        self, place: int, raised: int, flows: Iterable[tuple[int, int, int]]
    ) -> tuple[list[int], list[int], list[bool]]:
        """The last state of flows (profile, number, ``cseq_reserved``) is in this row of the journal.

        Returns the indexes of those whose profiles there are, and for each of them the ``cseq_reserved`` that was
        reached at any time, and whether it is another one than before.
        """
        taken: list[int] = []
        reached: list[int] = []
        other: list[bool] = []
        pages, pages_before, befores = self._pages, self._pages_before, self._before
        span, known = -1, bytearray()
        for index, (profile, number, cseq_reserved) in enumerate(flows):
            if profile >> _BITS != span:
                span = profile >> _BITS
                known = self._known.get(span) or bytearray(_RANGE)
            at = profile & _MASK
            if not known[at]:
                continue
            page = pages.get((span, number))
            if page is None:
                page = pages[span, number] = array("q", bytes(_RANGE * 16))
                self._numbers = max(self._numbers, number)
            at <<= 1
            before, base_before = page[at], page[at + 1]
            pages_before.append(page)
            befores += at, before, base_before
            base = cseq_reserved - raised
            if not before:
                self.live += 1
                other.append(True)
            else:
                other.append(base != base_before)
                if base < base_before:
                    base, cseq_reserved = base_before, base_before + raised
            page[at] = place
            page[at + 1] = base
            taken.append(index)
            reached.append(cseq_reserved)
        return taken, reached, other

    def counting(self, place: int, profiles: Sequence[int], numbers: Sequence[int]) -> list[int]:
        """The indexes of those flows whose last state is in this row of the journal."""
        pages = self._pages
        found = []
        for index, profile in enumerate(profiles):
            page = pages.get((profile >> _BITS, numbers[index]))
            if page is not None and page[(profile & _MASK) << 1] == place:
                found.append(index)
        return found

    def keep(self) -> None:
        """All changes are on disk."""
        self._pages_before.clear()
        self._before.clear()
        self._live_kept = self.live
        for profile, before in self._known_changes:
            span = profile >> _BITS
            if before and span in self._known and 1 not in self._known[span]:
                del self._known[span]
                for number in range(1, self._numbers + 1):
                    self._pages.pop((span, number), None)
        self._known_changes.clear()

    def undo(self) -> None:
        """Nothing of what was changed has reached the disk."""
        while self._pages_before:
            page, reserved, place, at = self._pages_before.pop(), *(self._before.pop() for _ in range(3))
            page[at] = place
            page[at + 1] = reserved
        for profile, before in reversed(self._known_changes):
            self._known[profile >> _BITS][profile & _MASK] = before
        self._known_changes.clear()
        self.live = self._live_kept

    def _know(self, profile: int, known: int) -> None:
        page = self._known.get(profile >> _BITS)
        if page is None:
            page = self._known[profile >> _BITS] = bytearray(_RANGE)
        self._known_changes.append((profile, page[profile & _MASK]))
        page[profile & _MASK] = known
