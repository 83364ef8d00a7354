"""What the client library costs an application: importing it, and one object for each profile."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.cold import OTHER_CORE
from benchmarks.daemon import Daemon, compiled
from benchmarks.targets.row import Row, at_most

TIMES = 5
IMPORT = (
    "import time; begin = time.process_time(); from sipprofile import Sip, ProfileRegistry, use; "
    "print(time.process_time() - begin)"
)


def import_time() -> Row:
    """CPU time, since another program on the core is not the library's fault. The files are in the page cache."""
    times = [float(_child("-c", IMPORT)) for _ in range(TIMES)]
    return at_most("import of the client", 150, "ms", min(times) * 1e3)


def instances(service: Daemon, count: int) -> Row:
    """Bytes of one profile instance beside the record that it shows."""
    cost = float(_child("-m", "benchmarks.instances", str(service.socket)))
    return at_most(f"profile instance in the client, {count:,}", 200, "bytes", cost)


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, env=compiled())
    return done.stdout


def pin() -> None:
    """Everybody but the daemon is on the other core."""
    os.sched_setaffinity(0, {OTHER_CORE})
