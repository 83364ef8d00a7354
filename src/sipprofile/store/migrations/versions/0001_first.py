"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "profiles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("aor", sa.String, nullable=False),
        sa.Column("aor_key", sa.String, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("held", sa.String, nullable=False),
        sa.Column("key_id", sa.String),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("profiles_aor_key", "profiles", ["aor_key"])
    op.create_index("profiles_key_id", "profiles", ["key_id"], sqlite_where=sa.text("key_id IS NOT NULL"))
    op.create_index("profiles_default", "profiles", ["is_default"], unique=True, sqlite_where=sa.text("is_default = 1"))
    op.create_table(
        "labels",
        sa.Column("profile", sa.Integer, sa.ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("labels_key_value", "labels", ["key", "value"])
    op.create_table(
        "flows",
        sa.Column("profile", sa.Integer, sa.ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("cseq_reserved", sa.Integer, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("profile", sa.Integer, sa.ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    meta = op.create_table(
        "meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(meta, [{"key": "cseq_raised", "value": "0"}])
