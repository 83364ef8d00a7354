"""`make run`: the demonstration tells its story, ends by itself, and can be repeated on the same store."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds; a demonstration that hangs is a failure, not a hung test


@contextmanager
def demonstration(state: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(ROOT / "examples/demo/main.py"), "--state", str(state), *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def lines_of(output: str) -> list[tuple[str, str]]:
    """(who, what) of each line of the narration."""
    found = re.findall(r"^\d\d:\d\d:\d\d\.\d  (\w+) +(.*)$", output, re.MULTILINE)
    assert found, output
    return found


@pytest.mark.pain(13)
def test_the_whole_story_and_once_more_on_the_same_store(tmp_path: Path) -> None:
    state = tmp_path / "var"
    with demonstration(state, "--seconds", "12") as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    told = lines_of(output)
    registrar = [what for who, what in told if who == "registrar"]
    assert sum(": registered at " in what for what in registrar) == 1, "exactly one registration"
    assert any(": refreshed" in what for what in registrar)
    assert sum("binding gone" in what for what in registrar) == 1
    assert ("service", "demo is used by 2 programs, registered") in told
    assert any(who == "phone" and "SIGKILL" in what for who, what in told)
    assert told[-1] == ("demo", "everything was as it should be")
    assert "curl --unix-socket" in output

    with demonstration(state) as process:  # Ctrl-C in the middle of the story
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if ": registered at " in line:
                process.send_signal(signal.SIGINT)
                break
        rest, _ = process.communicate(timeout=LIMIT)
        output += rest
    assert process.returncode == 0, output
    assert "was stored before" in output
    assert "binding gone" in output
    assert "bindings left: 0" in output


def test_it_says_when_something_did_not_happen(tmp_path: Path) -> None:
    with demonstration(tmp_path / "var", "--seconds", "3.5") as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "FAILED: 3.5 s are too short" in output


def test_colours_are_escape_sequences_and_nothing_more() -> None:
    command = """if True:
        from narration import COLOURS, Narration
        narration = Narration(True)
        for who in (*COLOURS, "nobody"):
            narration.say(who, "x")
        narration.chapter("y")
    """
    output = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT / "examples/demo", capture_output=True, text=True, check=True
    ).stdout
    plain = re.sub("\x1b\\[[0-9]+m", "", output)
    assert "\x1b" not in plain
    assert ("nobody", "x") in lines_of(plain)
    assert plain.endswith("── y\n")
