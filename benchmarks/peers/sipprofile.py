"""sipprofile itself: the whole service with its store, events, history and metrics."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.daemon import CONFIGURATION, Daemon
from benchmarks.peers.peer import HOLDER_CORE
from benchmarks.process import Usage
from benchmarks.profiles import fill
from sipprofile.registration import native
from sipprofile.server import quick_path


def _quick_path() -> str:
    quick_path.choose()
    return "compiled" if native.usable() else "in Python"


class SipProfile:
    name = "sipprofile"
    holds = True
    keeps_leases = True
    largest = 100_000

    def __init__(self) -> None:
        self._daemon: Daemon | None = None
        self._run: tempfile.TemporaryDirectory[str] | None = None

    def missing(self) -> str:
        return ""

    def settings(self) -> list[str]:
        set_here = ", ".join(line for line in CONFIGURATION.splitlines() if "=" in line and "bind" not in line)
        return [
            f"version {version('sipprofile')}, `sipprofile serve`, one process, its quick path {_quick_path()}",
            f"{set_here} (pacing lifted); all else as it comes: SQLite, synchronous = FULL, events, history, metrics",
            'profiles with register = "always"; it refreshes after about half of a lease, with one round trip',
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        """The store is written once for a count and copied for each run, since a run leaves its leases there."""
        stored = directory / "stored"
        if not stored.exists():
            fill(stored, count, f"sip:127.0.0.1:{port}", "always")
        # The path of a socket has 107 bytes at most.
        self._run = tempfile.TemporaryDirectory(prefix="bench-")
        self._daemon = Daemon(Path(self._run.name), HOLDER_CORE)
        shutil.copytree(stored, self._daemon.state)

    def start(self) -> None:
        assert self._daemon is not None
        self._daemon.start()

    def usage(self) -> Usage | None:
        assert self._daemon is not None
        try:
            return self._daemon.usage()
        except OSError:
            return None

    def stop(self) -> float:
        assert self._daemon is not None
        last = self.usage()
        self._daemon.stop()
        return last.cpu if last else 0.0
