"""The last transitions of each profile, in their places. Those that follow each other share a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.records import HISTORY_LENGTH, TransitionRecord

TOGETHER = 4
"""A row holds the transitions whose revisions, divided by this, are its bucket; as JSON, one in each line."""

SLOTS = 2 * HISTORY_LENGTH // TOGETHER
"""A row's slot is its bucket modulo this, its id the profile's times this and the slot. There are more slots than 32
transitions fill: some revisions are none.
"""

LONGEST = 16_384
"""Characters of a row that gets further transitions. What was never registered has the same revisions after each start,
so that they come again and again; a row of such a length begins anew.
"""

ROWS_AT_ONCE = 128  # a power of two; three values each stay below the 999 that an older SQLite takes

# A statement with many VALUES gives the interpreter lock up once for all of its rows, unlike executemany.
_SAVE = f"""
INSERT INTO history (id, bucket, records) VALUES %s ON CONFLICT (id) DO UPDATE SET bucket = excluded.bucket, records =
CASE WHEN history.bucket = excluded.bucket AND length(history.records) < {LONGEST}
THEN history.records || char(10) || excluded.records ELSE excluded.records END
"""

_OF_PROFILE = "id BETWEEN ? AND ?"

_lines = msgspec.json.Encoder().encode_lines
_decoder = msgspec.json.Decoder(TransitionRecord)


def save(driver: sqlite3.Connection, rows: Iterable[TransitionRecord]) -> None:
    """Put each transition in its place, in the order in which they came."""
    buckets: dict[tuple[int, int], dict[int, TransitionRecord]] = {}
    for row in rows:
        buckets.setdefault((row.profile, row.revision // TOGETHER), {})[row.revision] = row
    values: list[int | str] = []
    # The table's own order, which changes fewest pages; those of one profile as they came.
    for (profile, bucket), together in sorted(buckets.items(), key=lambda item: item[0][0]):
        values += profile * SLOTS + bucket % SLOTS, bucket, _lines(together.values()).decode().rstrip()
    start = 0
    while left := len(values) // 3 - start:
        # The largest power of two: few different statements, which the driver keeps prepared.
        count = min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
        driver.execute(_with_places(count), values[3 * start : 3 * (start + count)])
        start += count


def of_profile(
    driver: sqlite3.Connection, profile: int, recent: Sequence[TransitionRecord] = ()
) -> list[TransitionRecord]:
    """The profile's last transitions, oldest first; ``recent`` came after those that are in their places."""
    found: dict[int, TransitionRecord] = {}
    for (records,) in driver.execute(f"SELECT records FROM history WHERE {_OF_PROFILE} ORDER BY bucket", _ids(profile)):
        try:
            found.update((row.revision, row) for row in _decoder.decode_lines(records))
        except msgspec.DecodeError as error:
            sentence = f"The history of profile {profile} cannot be read: {error}."
            raise SipProfileError("store_damaged", sentence) from None
    found.update((row.revision, row) for row in recent)
    return [found[revision] for revision in sorted(found)[-HISTORY_LENGTH:]]


def remove(driver: sqlite3.Connection, profile: int) -> None:
    """The profile is gone."""
    driver.execute(f"DELETE FROM history WHERE {_OF_PROFILE}", _ids(profile))


def _ids(profile: int) -> tuple[int, int]:
    return profile * SLOTS, profile * SLOTS + SLOTS - 1


@cache
def _with_places(rows: int) -> str:
    return _SAVE % ",".join(["(?,?,?)"] * rows)
