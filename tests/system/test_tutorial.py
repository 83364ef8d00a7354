"""docs/tutorial.md, typed into a shell line by line, at the provider of examples/shared-line."""

from __future__ import annotations

import codecs
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.baresip import Baresip
from interop.bridged_baresip import BridgedBaresip
from interop.conftest import require
from interop.kamailio import Kamailio
from interop.ports import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
LIMIT = 30.0  # seconds
NOT_TYPED = {"make counterparts", "python examples/shared-line/provider.py", "pip install 'sipprofile[server]'"}


def sample(number: int) -> list[str]:
    """Patterns of the page's ``number``-th sample of output, … being anything; others may print in the same line."""
    lines = blocks("text")[number].replace("example.com", "example.test").splitlines()
    return [re.escape(line).replace("…", ".*") for line in lines]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


class Shell:
    """Somebody at a terminal who follows the page: bash, its input, and all that is printed."""

    def __init__(self, directory: Path, registrar: str) -> None:
        serving = f"sipprofile serve --state {directory / 'state'} --socket {directory / 'sock'}"
        self._written = {
            "sip:sip.example.com": registrar,
            "example.com": "example.test",
            "sipprofile serve": serving,  # what it would take by itself is the machine's
        }
        self._untyped = [line for block in blocks("sh") for line in block.splitlines() if line not in NOT_TYPED]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SIPPROFILE")}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(directory)}
        environment |= {"SIPPROFILE_URL": f"unix:{directory / 'sock'}", "NO_COLOR": "1", "COLUMNS": "200", "PS1": ""}
        self._terminal, terminal = pty.openpty()
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noediting"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=directory,
            env={**environment, "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(terminal)
        self._screen = ""
        self._read = 0
        self._reader = threading.Thread(target=self._read_all)
        self._reader.start()

    def types(self, beginning: str) -> None:
        """The page's next line, which begins like this."""
        line = self._untyped.pop(0)
        assert line.startswith(beginning)
        for written, here in self._written.items():
            line = line.replace(written, here)
        self.enters(line)

    def enters(self, text: str) -> None:
        os.write(self._terminal, f"{text}\n".encode())

    def sees(self, *patterns: str) -> str:
        """These, in any order, after the last thing that was seen; the result is the first one."""
        end = time.monotonic() + LIMIT
        while not all(found := [re.compile(one, re.MULTILINE).search(self._screen, self._read) for one in patterns]):
            assert time.monotonic() < end, f"not seen: {patterns}\n{self._screen}"
            time.sleep(0.05)
        matches = [match for match in found if match is not None]
        self._read = max(match.end() for match in matches)
        return matches[0][0]

    def is_done(self) -> None:
        assert self._untyped == []

    def end(self) -> None:
        """Everything that was started from it ends."""
        for pid in [int(process.name) for process in Path("/proc").glob("[0-9]*")]:
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == self._bash.pid:  # each job has a process group of its own
                    os.kill(pid, signal.SIGKILL)
        self._bash.wait()
        self._reader.join(LIMIT)
        os.close(self._terminal)

    def _read_all(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with contextlib.suppress(OSError):  # nobody has the terminal open any more
            while data := os.read(self._terminal, 4096):
                self._screen += decoder.decode(data).replace("\r", "")


@pytest.fixture
def registrar() -> Iterator[str]:
    """The provider that comes with the sources."""
    require(Kamailio.program(), "kamailio", "kamailio")
    port = free_port()
    command = [sys.executable, str(ROOT / "examples/shared-line/provider.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as provider:
        try:
            assert provider.stdout is not None
            assert "sip:alice@example.test" in provider.stdout.readline()
            yield f"sip:127.0.0.1:{port}"
        finally:
            provider.send_signal(signal.SIGINT)
            provider.communicate(timeout=LIMIT)
    assert provider.returncode == 0


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory, registrar: str) -> Iterator[Shell]:
    directory = tmp_path_factory.mktemp("t")
    for name, program in zip(("bot.py", "watcher.py"), blocks("python"), strict=True):
        (directory / name).write_text(program)
    shell = Shell(directory, registrar)
    yield shell
    shell.end()


def test_every_line_does_what_the_page_says(shell: Shell, tmp_path: Path) -> None:
    require(Baresip.program(), "baresip", "baresip-core")
    shell.types("sipprofile serve > sipprofile.log")
    shell.enters("until grep -q ready sipprofile.log; do sleep 0.1; done; echo it is there")
    shell.sees("^it is there$")
    shell.types("sipprofile add line")
    shell.sees("[Pp]assword")
    shell.enters("secret")
    shell.sees("^Added")
    shell.types("sipprofile test line")
    shell.sees("lease")

    shell.types("python bot.py &")
    shell.sees("^answers messages to sip:alice@example.test$")
    shell.types("sipprofile add other")
    shell.sees("[Pp]assword")
    shell.enters("secret")
    shell.sees("^Added")
    shell.types("sipprofile listen other")
    shell.sees("^Listening at sip:bob@example.test: MESSAGE")
    shell.types("sipprofile message other")
    shell.sees("sip:bob@example.test wrote: hello", "200 OK", *sample(0))

    shell.types("python watcher.py &")
    shell.sees(*sample(1))
    shell.types("sipprofile message other sip:voicemail")
    shell.sees("Messages-Waiting: yes", "200 OK")

    shell.types("sipprofile show line")
    port = int(shell.sees(r"bridge_port +\d+").split()[1])
    phone = BridgedBaresip(tmp_path / "phone", port)
    phone.start()
    try:
        phone.wait_until_registered()
    finally:
        phone.stop()

    shell.types("sipprofile show line")
    shell.sees("users +2")
    shell.types("python bot.py")
    shell.sees(*sample(3))
    shell.types("kill -9 $bot")
    shell.types("sipprofile message other")
    shell.sees("^480 Temporarily Unavailable$")
    shell.types("python bot.py &")
    shell.sees("^answers messages to sip:alice@example.test$")
    shell.types("sipprofile message other")
    shell.sees("200 OK")
    shell.is_done()
