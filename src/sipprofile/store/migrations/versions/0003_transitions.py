"""Transitions wait in batches before they go to their places in the history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make room for them; those of the history stay where they are."""
    op.create_table(
        "transitions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("profiles", sa.LargeBinary, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
    )
