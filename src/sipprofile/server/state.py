"""The state directory as the daemon opens it: its lock, the key of its secrets, its store."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SipProfileError
from ..store import files
from ..store.lock import StateLock
from ..store.secrets import KeyRing
from ..store.store import Store

CREDENTIAL = "sipprofile-key"  # systemd.exec(5), LoadCredential=


def read_keys(directory: Path) -> KeyRing:
    """The keys from the service manager's credential if there is one, else from the state directory's file."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials:
        try:
            return KeyRing.of_credential(Path(credentials, CREDENTIAL).read_bytes())
        except FileNotFoundError:
            pass
    return KeyRing.read(directory / files.KEY_FILE)


def lock(directory: Path) -> StateLock:
    """Make the directory if needed and lock it; raises ``already_running`` or ``bad_configuration``."""
    try:
        return StateLock(directory)
    except OSError as error:
        raise SipProfileError(
            "bad_configuration", f"State directory {directory}: {error.strerror}.", value=str(directory)
        ) from None


def open_store(directory: Path) -> Store:
    """The store for reading and writing."""
    return Store.open(directory / files.STORE_FILE, read_keys(directory))
