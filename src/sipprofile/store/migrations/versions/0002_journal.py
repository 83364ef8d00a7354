"""The state of flows is a journal; transitions that follow each other share a row of the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FORMAT = 1
AT_ONCE = 1000
TOGETHER, SLOTS = 4, 16

FLOW: dict[str, Any] = {
    "profile": 0,
    "number": 1,
    "call_id": "",
    "cseq_reserved": 0,
    "contact_token": "",
    "lease_ends": 0.0,
    "refresh_at": 0.0,
    "expires_granted": 0,
    "boot_id": "",
    "wall_offset": 0.0,
    "protocol": "",
    "local_host": "",
    "local_port": 0,
    "target_host": "",
    "target_port": 0,
    "contact": "",
    "registered_aors": (),
    "service_route": (),
    "nonces": (),
    "rejected_attempts": 0,
    "since": 0.0,
    "state_revision": 0,
    "bound_as": 0,
    "sent_as": 0,
    "leaving": False,
    "hop": 0,
    "outbound": False,
    "path": (),
    "public_gruu": "",
    "temporary_gruu": "",
    "bridge_port": 0,
}
NONCE: dict[str, Any] = {
    "realm": "",
    "nonce": "",
    "algorithm": "",
    "algorithm_given": True,
    "qop": None,
    "opaque": None,
    "proxy": False,
    "count_reserved": 0,
    "userhash": False,
    "utf8": False,
}


def upgrade() -> None:
    """Append every flow's row to the journal, and put together what is together in the history."""
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("raised", sa.Integer, nullable=False),
        sa.Column("flows", sa.LargeBinary, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
    )
    connection = op.get_bind()
    for raised, rows in _flows(connection):
        _append(connection, raised, rows)
    op.drop_table("flows")

    op.rename_table("history", "transitions")
    op.create_table(
        "history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("records", sa.Text, nullable=False),
    )
    bucket = f"revision / {TOGETHER}"
    op.execute(
        "INSERT OR REPLACE INTO history (id, bucket, records) "
        f"SELECT profile * {SLOTS} + ({bucket}) % {SLOTS}, {bucket}, group_concat(record, char(10)) "
        f"FROM transitions GROUP BY profile, {bucket} ORDER BY profile, {bucket}"
    )
    op.drop_table("transitions")


def _flows(connection: sa.Connection) -> Iterator[tuple[int, list[tuple[int, int, int, str]]]]:
    """Rows for the journal that were written when as much had been added to ``cseq_reserved``."""
    statement = "SELECT profile, number, cseq_reserved, record FROM flows ORDER BY profile, number"
    by_raised: dict[int, list[tuple[int, int, int, str]]] = {}
    for profile, number, cseq_reserved, record in connection.exec_driver_sql(statement):
        # The column is without what had been added, the record with it.
        raised = msgspec.json.decode(record).get("cseq_reserved", 0) - cseq_reserved
        rows = by_raised.setdefault(raised, [])
        rows.append((profile, number, cseq_reserved, record))
        if len(rows) == AT_ONCE:
            yield raised, by_raised.pop(raised)
    yield from by_raised.items()


def _append(connection: sa.Connection, raised: int, rows: list[tuple[int, int, int, str]]) -> None:
    records = []
    for _, _, _, record in rows:
        flow = {**FLOW, **msgspec.json.decode(record)}
        flow["nonces"] = [[{**NONCE, **nonce}[key] for key in NONCE] for nonce in flow["nonces"]]
        records.append(msgspec.msgpack.encode([flow[key] for key in FLOW]))
    profiles, numbers, reserved, _ = zip(*rows, strict=True)
    lengths = [len(record) for record in records]
    flows = msgspec.msgpack.encode((FORMAT, profiles, numbers, [base + raised for base in reserved], lengths))
    insert = "INSERT INTO journal (raised, flows, records) VALUES (?, ?, ?)"
    connection.exec_driver_sql(insert, (raised, flows, b"".join(records)))
