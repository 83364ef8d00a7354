"""Fuzzing with coverage finds nothing in the parsers, and would find something if it were there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import TARGETS
from interop.missing import cannot_run

ROOT = Path(__file__).parents[2]

BROKEN = """

def _fails(data: bytes) -> None:
    if b"<sip:" in data and len(data) > 3:
        raise KeyError("not documented")


def _dawdles(data: bytes) -> None:
    uri(data)
    end = __import__("time").thread_time() + 2.5 * data.startswith(b"sips:")
    while __import__("time").thread_time() < end:
        pass


TARGETS |= {"header": _fails, "uri": _dawdles}
"""


@pytest.fixture(autouse=True)
def atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        cannot_run("atheris is not installed; there is a wheel for glibc on x86_64 and some versions of Python")


def fuzz(folder: Path, root: Path, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuzz", *arguments, "--findings", str(folder)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def assert_nothing_found(folder: Path, seconds: int, *more: str) -> None:
    done = fuzz(folder, ROOT, "--seconds", str(seconds), *more, timeout=3 * seconds + 120)
    kept = [(path.name, path.read_bytes()[:2000]) for path in folder.iterdir()]
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{kept}"
    assert done.stdout.count("nothing found") == len(TARGETS)


def test_fifteen_seconds(tmp_path: Path) -> None:
    """The same inputs each time: what else there may be is for the longer run, and not for somebody's change."""
    assert_nothing_found(tmp_path, 15, "--seed", "1")


@pytest.mark.long
def test_six_minutes(tmp_path: Path) -> None:
    """One for each target."""
    assert_nothing_found(tmp_path, 360)


@pytest.mark.parametrize(
    ("target", "reason", "input_"),
    [("header", "KeyError: 'not documented'", b"<sip:"), ("uri", "seconds", b"sips:")],
    ids=["an undocumented exception", "a slow input"],
)
def test_what_breaks_a_parser_is_found_and_kept(tmp_path: Path, target: str, reason: str, input_: bytes) -> None:
    shutil.copytree(ROOT / "fuzz", tmp_path / "fuzz", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "fuzz" / "targets.py").open("a") as file:
        file.write(BROKEN)
    done = fuzz(tmp_path / "found", tmp_path, target, "--seconds", "5", timeout=120)
    assert done.returncode == 1, done.stdout
    assert reason in done.stdout
    (kept,) = (tmp_path / "found").iterdir()
    assert input_ in kept.read_bytes()
    assert str(kept) in done.stdout
