"""``python -m sipprofile.store.migrate PATH``: bring a store up to date, all of it or nothing."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config

from sipprofile.errors import SipProfileError
from sipprofile.store import database


def migrate(path: Path, target: str = "head") -> None:
    """Run the migrations up to ``target``; raises ``store_failed`` or ``store_damaged``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with (
        database.explained(),
        # SQLite changes a table by copying it; with foreign keys, dropping the old one would empty others.
        closing(database.connect(path, foreign_keys=False)) as driver,
        closing(database.over(driver)) as connection,
        database.transaction(driver),
    ):
        connection.begin()  # Alembic begins no transaction of its own, and ends none
        config.attributes["connection"] = connection
        command.upgrade(config, target)


if __name__ == "__main__":
    try:
        migrate(Path(sys.argv[1]))
    except SipProfileError as error:
        sys.exit(str(error))
