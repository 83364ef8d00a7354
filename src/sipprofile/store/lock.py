"""One service for each state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sipprofile.errors import SipProfileError
from sipprofile.store import files


class StateLock:
    """The exclusive lock on a state directory; it ends with :meth:`release` or with the process."""

    def __init__(self, directory: Path) -> None:
        """Take the lock; raises ``already_running`` that names the process which has it, or ``store_failed``."""
        path = directory / files.LOCK_FILE
        try:
            files.make_directory(directory)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE)
        except OSError as error:
            raise SipProfileError("store_failed", f"The lock file {path}: {error.strerror}.") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            who = f"process {pid}" if pid else "another process"
            raise SipProfileError(
                "already_running",
                f"A service already runs on the state directory {directory}: {who}.",
                pid=int(pid) if pid.isdigit() else None,
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two services lock two different files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
