"""A program with all of its processes on one core."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import HOLDER_CORE
from benchmarks.process import Usage, usage

STOP_LIMIT = 10.0  # seconds between SIGTERM and SIGKILL


class Child:
    """`command`, pinned to the core of the holders; its output goes to `log`."""

    def __init__(self, command: Sequence[str], log: Path, directory: Path | None = None) -> None:
        self._log = log
        self._before = _cpu_of_ended()
        pinned = [shutil.which("taskset") or "taskset", "-c", str(HOLDER_CORE), *command]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env={**os.environ, "TERM": "dumb"},
                start_new_session=True,
            )

    def usage(self) -> Usage | None:
        if self._process.poll() is not None:
            return None
        found: list[Usage] = []
        for pid in descendants(self._process.pid):
            try:
                found.append(usage(pid))
            except (OSError, KeyError, ValueError):
                continue  # it ends just now
        return Usage(
            sum(one.cpu for one in found),
            sum(one.main_cpu for one in found),
            sum(one.resident for one in found),
            sum(one.proportional for one in found),
        )

    def stop(self) -> float:
        """Also when it has ended by itself. What it left running is killed; CPU seconds of what it waited for."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: nobody else is in it
        except ProcessLookupError:
            pass
        self._process.wait()
        return _cpu_of_ended() - self._before

    def written(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:]


def descendants(pid: int) -> list[int]:
    """The process and everything it has started, as far as it runs."""
    found = [pid]
    for one in found:
        try:
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_of_ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
