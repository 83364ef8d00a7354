"""Runtime rows: what a restart must know of each flow, and the history. Many rows are one statement.

A statement with many VALUES costs a quarter of one that takes a JSON array apart. Unlike ``executemany`` it gives the
interpreter lock up once for all of its rows, so the event loop is not in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Select, func, select, text

from sipprofile.errors import SipProfileError
from sipprofile.records import NONCE_BLOCK, RESERVED_BLOCK, FlowRecord, TransitionRecord
from sipprofile.store.schema import CSEQ_RAISED, SLOTS, flows, history

ROWS_AT_ONCE = 128  # a power of two; four values each stay below the 999 that an older SQLite takes

_raised = f"(SELECT CAST(value AS INTEGER) FROM meta WHERE key = '{CSEQ_RAISED}')"

_save_flows = f"""
INSERT INTO flows (profile, number, cseq_reserved, record)
SELECT column1, column2, column3 - {_raised}, column4 FROM (VALUES %s)
WHERE column1 IN (SELECT id FROM profiles)
ON CONFLICT (profile, number) DO UPDATE
SET record = excluded.record, cseq_reserved = max(flows.cseq_reserved, excluded.cseq_reserved)
"""

_save_history = """
INSERT INTO history (profile, slot, revision, record)
SELECT column1, column2, column3, column4 FROM (VALUES %s)
WHERE column1 IN (SELECT id FROM profiles)
ON CONFLICT (profile, slot) DO UPDATE SET revision = excluded.revision, record = excluded.record
"""

_encode = msgspec.json.Encoder().encode
_decode_flow = msgspec.json.Decoder(FlowRecord).decode
_decode_transition = msgspec.json.Decoder(TransitionRecord).decode
_set = msgspec.structs.force_setattr

_columns = (flows.c.profile, flows.c.cseq_reserved, flows.c.record)

_Values = tuple[int, int, int, str]
Row = TypeVar("Row", FlowRecord, TransitionRecord)


def save(connection: Connection, rows: Sequence[FlowRecord]) -> None:
    """Insert or replace, the later row of one flow wins; ``cseq_reserved`` never goes down."""
    _save(connection, _save_flows, rows, lambda row: (row.profile, row.number, row.cseq_reserved, _json(row)))


def save_history(connection: Connection, rows: Sequence[TransitionRecord]) -> None:
    """Put each transition in its slot, in place of the one 32 before."""
    _save(connection, _save_history, rows, lambda row: (row.profile, row.revision % SLOTS, row.revision, _json(row)))


def _save(connection: Connection, statement: str, rows: Sequence[Row], values: Callable[[Row], _Values]) -> None:
    start = 0
    while left := len(rows) - start:
        # The largest power of two: few different statements, which the driver keeps prepared.
        count = min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
        parameters: list[int | str] = []
        for row in rows[start : start + count]:
            parameters += values(row)
        connection.exec_driver_sql(_with_places(statement, count), tuple(parameters))
        start += count


@cache
def _with_places(statement: str, rows: int) -> str:
    return statement % ",".join(["(?,?,?,?)"] * rows)


def _json(row: FlowRecord | TransitionRecord) -> str:
    try:
        return _encode(row).decode()
    except UnicodeEncodeError:
        # A server's bytes that are no UTF-8 were decoded with surrogates. Such a value does not survive a
        # restart, but it must not take the other rows of the batch with it.
        return _encode(_without_surrogates(msgspec.to_builtins(row))).decode()


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value


def reserve(connection: Connection, block: int) -> None:
    """Raise the ``cseq_reserved`` of every flow, present and future, by ``block``."""
    connection.execute(
        text("UPDATE meta SET value = CAST(value AS INTEGER) + :block WHERE key = :key"),
        {"block": block, "key": CSEQ_RAISED},
    )


def load(connection: Connection) -> Iterator[tuple[int, FlowRecord]]:
    """Every flow with its profile's id, in the order of both."""
    raised = _raised_by(connection)
    statement = select(*_columns).order_by(flows.c.profile, flows.c.number)
    for profile, cseq_reserved, record in connection.execute(statement.execution_options(yield_per=1000)):
        yield profile, _flow(profile, cseq_reserved + raised, record)


def of_profiles(connection: Connection, profiles: Sequence[int]) -> dict[int, tuple[FlowRecord, ...]]:
    """The flows of these profiles."""
    raised = _raised_by(connection)
    statement = (
        select(*_columns).where(flows.c.profile.in_(numbers(profiles))).order_by(flows.c.profile, flows.c.number)
    )
    found: dict[int, tuple[FlowRecord, ...]] = {}
    for profile, cseq_reserved, record in connection.execute(statement):
        found[profile] = (*found.get(profile, ()), _flow(profile, cseq_reserved + raised, record))
    return found


def numbers(values: Sequence[int]) -> Select[Any]:
    """A subquery with these numbers, however many."""
    each = func.json_each(_encode(values).decode()).table_valued("value")
    return select(each.c.value)


def history_of(connection: Connection, profile: int) -> list[TransitionRecord]:
    """The profile's last transitions, oldest first."""
    statement = select(history.c.record).where(history.c.profile == profile).order_by(history.c.revision)
    try:
        return [_decode_transition(record) for record in connection.execute(statement).scalars()]
    except msgspec.DecodeError as error:
        raise _unreadable("history", profile, error) from None


def _raised_by(connection: Connection) -> int:
    value = connection.exec_driver_sql(f"SELECT {_raised}").scalar()
    if value is None:
        raise SipProfileError("store_damaged", f"The store has no {CSEQ_RAISED}.")
    return int(value)


def _flow(profile: int, cseq_reserved: int, record: str) -> FlowRecord:
    try:
        flow = _decode_flow(record)
    except msgspec.DecodeError as error:
        raise _unreadable("flow", profile, error) from None
    # Each start since the row was written took a block, of nonce counts too; that of the last one is free.
    starts = (cseq_reserved - flow.cseq_reserved) // RESERVED_BLOCK
    if flow.nonces and starts > 1:
        taken = (starts - 1) * NONCE_BLOCK
        raised = (replace(nonce, count_reserved=nonce.count_reserved + taken) for nonce in flow.nonces)
        _set(flow, "nonces", tuple(raised))
    _set(flow, "cseq_reserved", cseq_reserved)
    return flow


def _unreadable(what: str, profile: int, error: Exception) -> SipProfileError:
    return SipProfileError("store_damaged", f"The {what} of profile {profile} cannot be read: {error}.")
