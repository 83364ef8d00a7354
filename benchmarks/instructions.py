"""``python -m benchmarks.instructions``: CPU instructions per registration and per refresh in the core, not timed.

The count is the same on a busy machine as on a quiet one. It differs between builds of Python, so it is given as a
multiple of what one turn of :func:`yardstick` takes with the same Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

FEW, MANY = 100, 250  # registrations; the start of Python is in both
REFRESHES = 2  # of each
TURNS = 2_000
RECORDED = {"compiled": (22.3, 9.8), "python": (60.4, 32.5)}
"""Yardsticks per cold registration (REGISTER, 401, REGISTER, 200), its profile taken in, and per refresh (REGISTER,
200); with the compiled quick path and without."""
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


def measured() -> dict[str, tuple[float, float]]:
    """Yardsticks per registration and per refresh, both ways. Raises RuntimeError without valgrind."""
    # Run once without counting, so that everything is compiled.
    subprocess.run([sys.executable, *_workload("python", 1, 1)], env=_environment(), timeout=LIMIT, check=True)
    jobs = [_yardstick(TURNS), _yardstick(2 * TURNS)]
    for way in RECORDED:
        jobs += [_workload(way, FEW), _workload(way, MANY), _workload(way, MANY, REFRESHES)]
    with ThreadPoolExecutor(max_workers=2) as pool:  # what is counted does not depend on what else runs
        turns, twice, *runs = pool.map(_count, jobs)
    turn = (twice - turns) / TURNS
    costs = {}
    for place, way in enumerate(RECORDED):
        few, many, refreshed = runs[3 * place : 3 * place + 3]
        costs[way] = (many - few) / (MANY - FEW) / turn, (refreshed - many) / (MANY * REFRESHES) / turn
    return costs


def _workload(way: str, count: int, refreshes: int = 0) -> tuple[str, ...]:
    return "-m", "benchmarks.workload", str(count), str(refreshes), way


def _yardstick(turns: int) -> tuple[str, ...]:
    return "-c", YARDSTICK % turns


def _environment() -> dict[str, str]:
    return {"PYTHONHASHSEED": "0", "PYTHONPATH": ":".join(path for path in sys.path if path)}


def _count(arguments: Sequence[str]) -> int:
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
    for way, (registration, refresh) in measured().items():
        recorded = RECORDED[way]
        print(f"{way}: {registration:.1f} yardsticks per cold registration; recorded: {recorded[0]}")
        print(f"{way}: {refresh:.1f} yardsticks per refresh; recorded: {recorded[1]}")
