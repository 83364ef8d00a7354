"""Transitions as they come: a batch is appended as one row; the oldest go to their places in the history later, many
of a profile at once.

To put each in its place when it comes would change a page of the file for each profile, and twice in a registration.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.records import TransitionRecord
from sipprofile.store import history
from sipprofile.store.journal import without_surrogates

LEFT = 4000  # transitions that are left where they came however few flows there are, beside four for each
FEW = 100  # transitions in a batch beside which there is time for older ones
PIECE = 1000  # transitions put in their places beside a batch, and two for each that is appended: it ends, and soon

# A row's id is how many transitions were appended up to its last one, so that they need not be counted.
_ENDS = "SELECT (SELECT min(id) FROM transitions), (SELECT max(id) FROM transitions)"

_encode = msgspec.msgpack.Encoder().encode
_decode_profiles = msgspec.msgpack.Decoder(list[int]).decode
_decode_records = msgspec.msgpack.Decoder(list[TransitionRecord]).decode


def save(
    driver: sqlite3.Connection, rows: Sequence[TransitionRecord], flows: int, known: Callable[[int], bool]
) -> None:
    """Append a batch, and put the oldest in their places while more wait than four for each of so many ``flows``.

    Of those, what belongs to profiles that are not ``known`` is left out.
    """
    first, last = driver.execute(_ENDS).fetchone()
    for start in range(0, len(rows), PIECE):
        last = _append(driver, last or 0, rows[start : start + PIECE])
    if first is None:
        return
    waiting, most = last - first, 4 * flows + LEFT
    if waiting > most and (len(rows) <= FEW or waiting > 2 * most):
        _put_in_place(driver, first + PIECE + 2 * len(rows), known)


def of_profile(driver: sqlite3.Connection, profile: int) -> list[TransitionRecord]:
    """The profile's last transitions, oldest first."""
    if driver.execute("SELECT 1 FROM profiles WHERE id = ?", (profile,)).fetchone() is None:
        return []
    recent: list[TransitionRecord] = []
    for row, content in driver.execute("SELECT id, profiles FROM transitions ORDER BY id"):
        if profile in _decoded(row, content, _decode_profiles):
            recent += [each for each in _records(driver, row) if each.profile == profile]
    return history.of_profile(driver, profile, recent)


def _append(driver: sqlite3.Connection, last: int, rows: Sequence[TransitionRecord]) -> int:
    last += len(rows)
    statement = "INSERT INTO transitions (id, profiles, records) VALUES (?, ?, ?)"
    driver.execute(statement, (last, _encode([row.profile for row in rows]), _encoded(rows)))
    return last


def _put_in_place(driver: sqlite3.Connection, up_to: int, known: Callable[[int], bool]) -> None:
    rows = [row for (row,) in driver.execute("SELECT id FROM transitions WHERE id <= ? ORDER BY id", (up_to,))]
    oldest = [each for row in rows for each in _records(driver, row) if known(each.profile)]
    history.save(driver, oldest)
    driver.execute("DELETE FROM transitions WHERE id <= ?", (up_to,))


def _records(driver: sqlite3.Connection, row: int) -> list[TransitionRecord]:
    ((content,),) = driver.execute("SELECT records FROM transitions WHERE id = ?", (row,)).fetchall()
    found: list[TransitionRecord] = _decoded(row, content, _decode_records)
    return found


def _decoded(row: int, content: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise SipProfileError("store_damaged", f"The transitions' row {row} cannot be read: {error}.") from None


def _encoded(rows: Sequence[TransitionRecord]) -> bytes:
    try:
        return _encode(rows)
    except UnicodeEncodeError:
        return _encode(without_surrogates(msgspec.to_builtins(rows)))
