"""``python -m benchmarks.instructions``: CPU instructions per cold registration in the core, counted and not timed.

The count is the same on a busy machine as on a quiet one. It differs between builds of Python, so it is given as a
multiple of what one turn of :func:`yardstick` takes with the same Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile

FEW, MANY = 50, 250  # registrations; the start of Python is in both
TURNS = 2_000
RECORDED = 119.7
"""Yardsticks per registration."""
TOLERANCE = 0.1
LIMIT = 120.0  # seconds for one run

YARDSTICK = """\
import gc; gc.disable()
kept = {}
for number in range(%d):
    name = "user%%d" %% number
    line = ("Contact: <sip:" + name + "@192.0.2.1:5060>").encode()
    head, _, rest = line.partition(b":")
    kept[name] = (head, rest.strip().decode(), number)
"""


def measured() -> float:
    """Yardsticks per registration. Raises RuntimeError without valgrind."""
    subprocess.run([sys.executable, *_workload(1)], env=_environment(), timeout=LIMIT, check=True)  # compiles
    registration = (_count(*_workload(MANY)) - _count(*_workload(FEW))) / (MANY - FEW)
    turn = (_count("-c", YARDSTICK % (2 * TURNS)) - _count("-c", YARDSTICK % TURNS)) / TURNS
    return registration / turn


def _workload(count: int) -> tuple[str, ...]:
    return "-m", "benchmarks.workload", str(count)


def _environment() -> dict[str, str]:
    return {"PYTHONHASHSEED": "0", "PYTHONPATH": ":".join(path for path in sys.path if path)}


def _count(*arguments: str) -> int:
    """Instructions of one run of Python with these arguments."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("valgrind is not installed; `apt-get install valgrind` brings it")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [valgrind, "--tool=callgrind", f"--callgrind-out-file={directory}/out", sys.executable, *arguments],
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
    found = re.search(r"Collected *: *(\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing:\n{done.stderr}")
    return int(found[1])


if __name__ == "__main__":
    print(f"{measured():.1f} yardsticks per cold registration; recorded: {RECORDED}")
