"""The files of the state directory: who may read them, and how they get onto the disk for good."""

from __future__ import annotations

import os
from pathlib import Path

STORE_FILE = "store.db"
KEY_FILE = "key"
LOCK_FILE = "lock"

DIRECTORY_MODE = 0o750
FILE_MODE = 0o600


def make_directory(path: Path) -> None:
    """Make the state directory; one that exists keeps its mode, an operator may have had a reason for it."""
    if not path.is_dir():
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        path.chmod(DIRECTORY_MODE)


def create(path: Path) -> int:
    """Create a file that only its owner can read and return its descriptor; raises ``FileExistsError``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in place of the file at once: after a crash it is the old file or the new one."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    owner = (path if path.exists() else path.parent).stat()
    descriptor = create(new)
    try:
        # A key that root rotates must stay readable for the service's own user.
        if os.geteuid() == 0 and (owner.st_uid, owner.st_gid) != (0, 0):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Wait until the file's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the directory's entries are on disk: a new or renamed file is not safe before."""
    sync(path)
