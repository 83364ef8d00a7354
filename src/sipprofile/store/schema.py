"""The tables. A change here needs a migration in ``migrations/versions`` and a new
:data:`~sipprofile.store.revision.REVISION`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

metadata = MetaData()

profiles = Table(
    "profiles",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("aor", String, nullable=False),
    Column("aor_key", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("held", String, nullable=False),
    Column("key_id", String),
    Column("document", Text, nullable=False),
    Index("profiles_aor_key", "aor_key"),
    Index("profiles_key_id", "key_id", sqlite_where=text("key_id IS NOT NULL")),
    Index("profiles_default", "is_default", unique=True, sqlite_where=text("is_default = 1")),
    sqlite_autoincrement=True,  # an id that was used once is never given again
)

labels = Table(
    "labels",
    metadata,
    Column("profile", ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("labels_key_value", "key", "value"),
    sqlite_with_rowid=False,
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("raised", Integer, nullable=False),
    Column("flows", LargeBinary, nullable=False),
    Column("records", LargeBinary, nullable=False),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("profiles", LargeBinary, nullable=False),
    Column("records", LargeBinary, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("bucket", Integer, nullable=False),
    Column("records", Text, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    sqlite_with_rowid=False,
)
