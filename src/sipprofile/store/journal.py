"""What a restart must know of each flow, as a journal: a batch is appended as one row, a flow's last state counts.

To write a flow where it was written before would change a page of the file for each, since those that are refreshed
together are not neighbours. Here a batch costs one insert, and a little of what was appended first is cleared away with
it: rows that still count are appended again, the others go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from sipprofile.errors import SipProfileError
from sipprofile.records import NONCE_BLOCK, RESERVED_BLOCK, FlowRecord
from sipprofile.store.places import Places
from sipprofile.store.revision import CSEQ_RAISED

FORMAT = 1
"""Of a row's ``flows``; a FlowRecord may get further fields at its end without another one."""

GARBAGE = 4000  # rows that no longer count and are left alone however few do
PIECE = 2000  # rows looked at for each append, and four for each row that is appended: it ends, and soon


class Flows(msgspec.Struct, array_like=True, frozen=True):
    """Whose rows ``records`` holds, one after the other, and how long each is."""

    format: int
    profiles: Sequence[int]
    numbers: Sequence[int]
    cseq_reserved: Sequence[int]
    lengths: Sequence[int]


_encode = msgspec.msgpack.Encoder().encode
_decode_flows = msgspec.msgpack.Decoder(Flows).decode
_decode_flow = msgspec.msgpack.Decoder(FlowRecord).decode


class Journal:
    """Appends to the journal in the caller's transaction, and clears it; :meth:`kept` or :meth:`undone` follows.

    ``version`` is SQLite's of the file it was read from: another process may have written since.
    """

    def __init__(self, driver: sqlite3.Connection, version: int) -> None:
        self.version = version
        self.places = Places()
        self._driver = driver
        self._raised = raised_by(driver)
        self._rows = 0
        self._rows_kept = 0
        self.places.add_all(profile for (profile,) in driver.execute("SELECT id FROM profiles").fetchall())
        for row, raised, content in driver.execute("SELECT id, raised, flows FROM journal ORDER BY id"):
            flows = _flows(row, content)
            self._rows += len(flows.profiles)
            self.places.read(row, raised, flows.profiles, flows.numbers, flows.cseq_reserved)
        self.kept()

    def append(self, rows: Sequence[FlowRecord]) -> list[FlowRecord]:
        """Write rows, of which the later one of a flow counts; those of profiles that are not there are left out.

        ``cseq_reserved`` never goes down. Returns those that somebody may wait for: they reserve CSeq numbers, or a
        de-registration has begun, or they are of a further flow, whose number another flow may have had before.
        """
        place = (self._driver.execute("SELECT max(id) FROM journal").fetchone()[0] or 0) + 1
        profiles, numbers = [row.profile for row in rows], [row.number for row in rows]
        reserved = [row.cseq_reserved for row in rows]
        taken, reached, other = self.places.written(place, self._raised, zip(profiles, numbers, reserved, strict=True))
        if len(taken) < len(rows):
            rows = [rows[index] for index in taken]
            profiles, numbers = [row.profile for row in rows], [row.number for row in rows]
        awaited = [row for row, raises in zip(rows, other, strict=True) if raises or row.number > 1 or row.leaving]
        if rows:
            records = _encoded(rows)
            self._insert(self._raised, profiles, numbers, reached, records)
        self._clear(PIECE + 4 * len(rows), before=place)
        return awaited

    def kept(self) -> None:
        """The transaction is on disk."""
        self.places.keep()
        self._rows_kept = self._rows

    def undone(self) -> None:
        """The transaction failed."""
        self.places.undo()
        self._rows = self._rows_kept

    def _clear(self, most: int, before: int) -> None:
        """Look at about so many of the first rows, while too few of all rows count."""
        while most > 0 and self._rows > 2 * self.places.live + GARBAGE:
            looked = self._clear_first(before)
            if not looked:
                break
            most -= looked

    def _clear_first(self, before: int) -> int:
        """Append what counts of the first rows anew, and drop them; returns how many were looked at."""
        looked = last = of = 0
        profiles: list[int] = []
        numbers: list[int] = []
        reserved: list[int] = []
        records: list[bytes] = []
        first = "SELECT id, raised, flows FROM journal WHERE id < ? ORDER BY id"
        for row, raised, content in self._driver.execute(first, (before,)):
            if looked >= PIECE or (last and raised != of):
                break
            last, of = row, raised
            flows = _flows(row, content)
            looked += len(flows.profiles)
            counting = self.places.counting(row, flows.profiles, flows.numbers)
            profiles += [flows.profiles[index] for index in counting]
            numbers += [flows.numbers[index] for index in counting]
            reserved += [flows.cseq_reserved[index] for index in counting]
            records += _records(self._driver, row, flows, counting)
        self._driver.execute("DELETE FROM journal WHERE id <= ?", (last,))
        self._rows -= looked
        if records:
            place = (self._driver.execute("SELECT max(id) FROM journal").fetchone()[0] or 0) + 1
            _, reached, _ = self.places.written(place, of, zip(profiles, numbers, reserved, strict=True))
            self._insert(of, profiles, numbers, reached, records)
        return looked

    def _insert(
        self, raised: int, profiles: list[int], numbers: list[int], reserved: list[int], records: list[bytes]
    ) -> None:
        flows = Flows(FORMAT, profiles, numbers, reserved, [len(record) for record in records])
        statement = "INSERT INTO journal (raised, flows, records) VALUES (?, ?, ?)"
        self._driver.execute(statement, (raised, _encode(flows), b"".join(records)))
        self._rows += len(records)


def load(driver: sqlite3.Connection, journal: Journal) -> Callable[[int], tuple[FlowRecord, ...]]:
    """Read all rows that count; the answer gives the flows of a profile, once."""
    first: dict[int, bytes] = {}
    further: dict[int, dict[int, bytes]] = {}
    raised: dict[int, int] = {}
    places, present = journal.places, raised_by(driver)
    rows = driver.execute("SELECT id, raised, flows, records FROM journal ORDER BY id")
    for row, raised[row], content, records in rows:  # of a flow's rows the last counts
        flows = _flows(row, content)
        ends = [0, *accumulate(flows.lengths)]
        each = [records[begin:end] for begin, end in pairwise(ends)]
        if flows.numbers.count(1) == len(each):
            first.update(zip(flows.profiles, each, strict=True))
            continue
        for profile, number, record in zip(flows.profiles, flows.numbers, each, strict=True):
            if number == 1:
                first[profile] = record
            else:
                further.setdefault(profile, {})[number] = record

    def flow(profile: int, number: int, record: bytes) -> FlowRecord:
        place, base = places.last(profile, number)
        return _flow(profile, record, base + present, present - raised[place])

    def flows_of(profile: int) -> tuple[FlowRecord, ...]:
        record = first.pop(profile, None)
        own = () if record is None else (flow(profile, 1, record),)
        if profile in further:
            rest = sorted(further.pop(profile).items())
            return (*own, *[flow(profile, number, record) for number, record in rest])
        return own

    return flows_of


def of_profiles(driver: sqlite3.Connection, profiles: Collection[int]) -> dict[int, tuple[FlowRecord, ...]]:
    """The flows of these profiles. It looks at every row, so it is not for what has to be quick."""
    present = raised_by(driver)
    last: dict[tuple[int, int], tuple[int, int, int]] = {}
    reserved: dict[tuple[int, int], int] = {}
    for row, raised, content in driver.execute("SELECT id, raised, flows FROM journal ORDER BY id"):
        flows = _flows(row, content)
        for index, profile in enumerate(flows.profiles):
            if profile in profiles:
                key, base = (profile, flows.numbers[index]), flows.cseq_reserved[index] - raised
                last[key] = row, raised, index
                reserved[key] = max(base, reserved.get(key, base))
    found: dict[int, tuple[FlowRecord, ...]] = {}
    for (profile, number), (row, raised, index) in sorted(last.items()):
        ((content,),) = driver.execute("SELECT flows FROM journal WHERE id = ?", (row,)).fetchall()
        (record,) = _records(driver, row, _flows(row, content), [index])
        flow = _flow(profile, record, reserved[profile, number] + present, present - raised)
        found[profile] = (*found.get(profile, ()), flow)
    return found


def reserve(driver: sqlite3.Connection, block: int) -> None:
    """Raise the ``cseq_reserved`` of every flow, present and future, by ``block``."""
    driver.execute("UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key = ?", (block, CSEQ_RAISED))


def forget(driver: sqlite3.Connection) -> None:
    """For a copy: when to refresh, and nonces, which the registrar has seen used further since."""
    for (row,) in driver.execute("SELECT id FROM journal").fetchall():
        ((content,),) = driver.execute("SELECT flows FROM journal WHERE id = ?", (row,)).fetchall()
        flows = _flows(row, content)
        records = _records(driver, row, flows, range(len(flows.profiles)))
        rows = [_decoded(*each) for each in zip(flows.profiles, records, strict=True)]
        every = _encoded([replace(each, refresh_at=0.0, nonces=()) for each in rows])
        changed = _encode(replace(flows, lengths=[len(each) for each in every]))
        driver.execute("UPDATE journal SET flows = ?, records = ? WHERE id = ?", (changed, b"".join(every), row))


def raised_by(driver: sqlite3.Connection) -> int:
    """What the starts since a row was written, and before, have added to ``cseq_reserved``; ``raised`` is it then."""
    found = driver.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", (CSEQ_RAISED,)).fetchone()
    if found is None:
        raise SipProfileError("store_damaged", f"The store has no {CSEQ_RAISED}.")
    return int(found[0])


def _flows(row: int, content: bytes) -> Flows:
    try:
        flows = _decode_flows(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise SipProfileError("store_damaged", f"The journal's row {row} cannot be read: {error}.") from None
    columns = flows.profiles, flows.numbers, flows.cseq_reserved, flows.lengths
    if flows.format != FORMAT or len({len(column) for column in columns}) > 1:
        raise SipProfileError("store_damaged", f"The journal's row {row} has a format that nobody writes.")
    return flows


def _records(driver: sqlite3.Connection, row: int, flows: Flows, indexes: Sequence[int]) -> list[bytes]:
    """The records with these indexes in a row of the journal."""
    if not indexes:
        return []
    ((content,),) = driver.execute("SELECT records FROM journal WHERE id = ?", (row,)).fetchall()
    ends = [*accumulate(flows.lengths), 0]  # of the one before the first, too
    return [content[ends[index - 1] : ends[index]] for index in indexes]


def _encoded(rows: Sequence[FlowRecord]) -> list[bytes]:
    try:
        return [_encode(row) for row in rows]
    except UnicodeEncodeError:
        # A server's bytes that are no UTF-8 were decoded with surrogates. Such a value does not survive a
        # restart, but it must not take the other rows of the batch with it.
        return [_encode(without_surrogates(msgspec.to_builtins(row))) for row in rows]


def without_surrogates(value: Any) -> Any:
    """A copy of plain data that can be encoded."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(item) for item in value]
    return value


def _flow(profile: int, record: bytes, cseq_reserved: int, since: int) -> FlowRecord:
    """``since``: what was added to ``cseq_reserved`` since the row was written."""
    flow = _decoded(profile, record)
    # Each start since the row was written took a block, of nonce counts too; that of the last one is free.
    starts = since // RESERVED_BLOCK
    if starts > 1 and flow.nonces:
        taken = (starts - 1) * NONCE_BLOCK
        raised = (replace(nonce, count_reserved=nonce.count_reserved + taken) for nonce in flow.nonces)
        force_setattr(flow, "nonces", tuple(raised))
    force_setattr(flow, "cseq_reserved", cseq_reserved)
    return flow


def _decoded(profile: int, record: bytes) -> FlowRecord:
    try:
        return _decode_flow(record)
    except (msgspec.DecodeError, ValueError) as error:
        raise SipProfileError("store_damaged", f"The flow of profile {profile} cannot be read: {error}.") from None
