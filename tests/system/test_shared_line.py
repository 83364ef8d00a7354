"""`make shared-line`: three programs on one registration at a real Kamailio; what is told, and that nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interop.baresip import Baresip
from interop.conftest import require
from interop.kamailio import Kamailio

ROOT = Path(__file__).parents[2]
LIMIT = 120.0  # seconds; a story that hangs is a failure, not a hung test


@contextmanager
def story(directory: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command of the Makefile, with everything that it makes in ``directory``."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "examples/shared-line/main.py"), "--pause", "0.1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory), **environment},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short name: the path of a socket has 107 bytes at most."""
    return tmp_path_factory.mktemp("story")


def left_behind(directory: Path) -> list[str]:
    """The commands of processes whose environment names ``directory``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={directory}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def require_counterparts() -> None:
    require(Kamailio.program(), "kamailio", "kamailio")
    require(Baresip.program(), "baresip", "baresip-core")


def test_everything_happens_as_promised(directory: Path) -> None:
    require_counterparts()
    with story(directory) as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    told = re.findall(r"^\d\d:\d\d:\d\d\.\d  (\w+) +(.*)$", output, re.MULTILINE)
    assert told[-1] == ("story", "everything was as it should be")

    def says(who: str, what: str) -> int:
        return sum(name == who and what in line for name, line in told)

    assert says("bob", "gets a MESSAGE from sip:alice@example.test: You said: hello") == 1
    assert [says("watcher", f"waiting: yes, voice messages (new/old): {count}/0") for count in (2, 3)] == [1, 1]
    assert says("phone", "rings: a call from sip:bob@example.test") == 1
    assert says("bob", "rings: a call from sip:alice@example.test") == 1
    assert says("kamailio", "INVITE from alice to bob: the password is right") == 1
    assert says("second", "[claim_in_use]") == 1
    assert says("second", "com.example.bot") == 1
    assert says("bob", "is told 480 Temporarily Unavailable") == 1
    assert says("bob", "puts the call on hold: 200 OK") == 1
    assert says("bot", "answers messages to sip:alice@example.test") == 2
    assert says("bob", "You said: are you there now?") == 1
    assert says("kamailio", "bindings of alice: 1, ") == 3
    assert len({line for name, line in told if line.startswith("bindings of alice")}) == 1, "always the same one"
    assert says("kamailio", "REGISTER of alice: the password is right") == 1
    assert says("kamailio", "REGISTER of alice: the binding is removed") == 1
    rows = re.findall(r"^  │  (.*?) *│$", output, re.MULTILINE)
    assert len(rows) == 13
    assert any(row.endswith("no password, no digest, no MESSAGE, no NOTIFY") for row in rows)
    assert left_behind(directory) == []
    assert list(directory.iterdir()) == []


def test_it_can_be_interrupted(directory: Path) -> None:
    require_counterparts()
    with story(directory) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "baresip, unmodified" in line:
                process.send_signal(signal.SIGINT)
                break
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, output
    assert "was interrupted" in output
    assert left_behind(directory) == []
    assert list(directory.iterdir()) == []


def test_what_is_missing_is_said(directory: Path) -> None:
    with story(directory, PATH=str(directory)) as process:
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert re.search(r"FAILED: \w+ is not installed; `make counterparts` or `apt-get install [\w-]+` brings it", output)
