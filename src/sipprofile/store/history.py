"""The last transitions of each profile. Those that follow each other share a row, since they are written together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.records import HISTORY_LENGTH, TransitionRecord
from sipprofile.store.journal import without_surrogates

TOGETHER = 4
"""A row holds the transitions whose revisions, divided by this, are its bucket; as JSON, one in each line."""

SLOTS = 2 * HISTORY_LENGTH // TOGETHER
"""A row's slot is its bucket modulo this. There are more than 32 transitions fill: some revisions are none."""

ROWS_AT_ONCE = 128  # a power of two; four values each stay below the 999 that an older SQLite takes

# A statement with many VALUES gives the interpreter lock up once for all of its rows, unlike executemany.
_SAVE = """
INSERT INTO history (profile, slot, bucket, records)
SELECT column1, column2, column3, column4 FROM (VALUES %s)
WHERE column1 IN (SELECT id FROM profiles)
ON CONFLICT (profile, slot) DO UPDATE SET bucket = excluded.bucket, records = CASE
WHEN history.bucket = excluded.bucket THEN history.records || char(10) || excluded.records ELSE excluded.records END
"""

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(TransitionRecord)


def save(driver: sqlite3.Connection, rows: Sequence[TransitionRecord]) -> None:
    """Put each transition in its place; those of profiles that are not there are left out."""
    buckets: dict[tuple[int, int], str] = {}
    for row in rows:
        key = row.profile, row.revision // TOGETHER
        before = buckets.get(key)
        buckets[key] = _json(row) if before is None else f"{before}\n{_json(row)}"
    values = [(profile, bucket % SLOTS, bucket, records) for (profile, bucket), records in buckets.items()]
    start = 0
    while left := len(values) - start:
        # The largest power of two: few different statements, which the driver keeps prepared.
        count = min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
        parameters: list[int | str] = []
        for value in values[start : start + count]:
            parameters += value
        driver.execute(_with_places(count), parameters)
        start += count


def of_profile(driver: sqlite3.Connection, profile: int) -> list[TransitionRecord]:
    """The profile's last transitions, oldest first."""
    statement = "SELECT records FROM history WHERE profile = ? ORDER BY bucket"
    found: dict[int, TransitionRecord] = {}
    for (records,) in driver.execute(statement, (profile,)):
        try:
            found.update((row.revision, row) for row in _decoder.decode_lines(records))
        except msgspec.DecodeError as error:
            sentence = f"The history of profile {profile} cannot be read: {error}."
            raise SipProfileError("store_damaged", sentence) from None
    return [found[revision] for revision in sorted(found)[-HISTORY_LENGTH:]]


@cache
def _with_places(rows: int) -> str:
    return _SAVE % ",".join(["(?,?,?,?)"] * rows)


def _json(row: TransitionRecord) -> str:
    try:
        return _encode(row).decode()
    except UnicodeEncodeError:
        return _encode(without_surrogates(msgspec.to_builtins(row))).decode()
