"""The last transitions of each profile. Those that follow each other share a row, since they are written together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.records import HISTORY_LENGTH, TransitionRecord
from sipprofile.store.journal import without_surrogates

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

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(TransitionRecord)


def save(driver: sqlite3.Connection, rows: Sequence[TransitionRecord], known: Callable[[int], bool]) -> None:
    """Put each transition in its place; those of profiles that are not ``known`` are left out."""
    buckets: dict[tuple[int, int], str] = {}
    for row in rows:
        key = row.profile, row.revision // TOGETHER
        before = buckets.get(key)
        buckets[key] = _json(row) if before is None else f"{before}\n{_json(row)}"
    values: list[int | str] = []
    for (profile, bucket), records in buckets.items():
        if known(profile):
            values += profile * SLOTS + bucket % SLOTS, bucket, records
    start = 0
    while left := len(values) // 3 - start:
        # The largest power of two: few different statements, which the driver keeps prepared.
        count = min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
        driver.execute(_with_places(count), values[3 * start : 3 * (start + count)])
        start += count


def of_profile(driver: sqlite3.Connection, profile: int) -> list[TransitionRecord]:
    """The profile's last transitions, oldest first."""
    found: dict[int, TransitionRecord] = {}
    for (records,) in driver.execute(f"SELECT records FROM history WHERE {_OF_PROFILE} ORDER BY bucket", _ids(profile)):
        try:
            found.update((row.revision, row) for row in _decoder.decode_lines(records))
        except msgspec.DecodeError as error:
            sentence = f"The history of profile {profile} cannot be read: {error}."
            raise SipProfileError("store_damaged", sentence) from None
    return [found[revision] for revision in sorted(found)[-HISTORY_LENGTH:]]


def remove(driver: sqlite3.Connection, profile: int) -> None:
    """The profile is gone."""
    driver.execute(f"DELETE FROM history WHERE {_OF_PROFILE}", _ids(profile))


def _ids(profile: int) -> tuple[int, int]:
    return profile * SLOTS, profile * SLOTS + SLOTS - 1


@cache
def _with_places(rows: int) -> str:
    return _SAVE % ",".join(["(?,?,?)"] * rows)


def _json(row: TransitionRecord) -> str:
    try:
        return _encode(row).decode()
    except UnicodeEncodeError:
        return _encode(without_surrogates(msgspec.to_builtins(row))).decode()
