"""The real daemon, `sipprofile serve`, as a child process on a core of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.process import Usage, usage

START_LIMIT = 60.0  # seconds
STOP_LIMIT = 60.0

# The rate is lifted. The burst is not: more requests at once than the loop answers in half a second would only be
# retransmitted.
CONFIGURATION = """\
[sip]
bind = ["127.0.0.1"]

[registration]
rate = 100000
burst = 100
"""
PACED = """\
[sip]
bind = ["127.0.0.1"]
"""
"""The rate of REGISTER requests as it comes."""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def compiled() -> dict[str, str]:
    """The environment for a program that keeps what Python compiles, as one that is installed does."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Daemon:
    """A daemon with the store in `directory`; unless it is `paced` the pacing is lifted, all else is as it comes or as
    in `configuration`. Without `quick` the core does in Python what is compiled otherwise.
    """

    def __init__(
        self, directory: Path, core: int, configuration: str = "", *, paced: bool = False, quick: bool = True
    ) -> None:
        self.answered = self.ready = 0.0
        """Seconds from the last start to the first answer of the HTTP interface, and until everything was loaded."""
        self.state = directory / "state"
        self.socket = directory / "sock"
        self.log = directory / "log"
        self._core = core
        self._environment = {} if quick else {"SIPPROFILE_NATIVE": "0"}
        self._settings = (PACED if paced else CONFIGURATION) + configuration
        self._configuration = directory / "sipprofile.toml"
        self._notify = directory / "notify"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def usage(self) -> Usage:
        return usage(self.pid)

    def start(self) -> float:
        """Returns when it is ready; the seconds that took. Raises RuntimeError with the log when it ends instead."""
        self._configuration.write_text(self._settings)
        self.answered = 0.0
        begin = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self.log.open("wb") as log:
            self._notify.unlink(missing_ok=True)
            manager.bind(str(self._notify))
            options = ["--config", self._configuration, "--state", self.state, "--socket", self.socket]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sipprofile.cli.main", "serve", *map(str, options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**compiled(), **self._environment, "NOTIFY_SOCKET": str(self._notify)},
            )
            os.sched_setaffinity(self._process.pid, {self._core})
            with socket.socket(socket.AF_UNIX) as client:
                self._wait(manager, client, begin)
        self.ready = time.monotonic() - begin
        return self.ready

    def _wait(self, manager: socket.socket, client: socket.socket, begin: float) -> None:
        """Until it says that it is ready, and has answered a first request before."""
        assert self._process is not None
        asked = ready = False
        while not (ready and self.answered):
            if not asked and self.socket.exists():
                asked = client.connect_ex(str(self.socket)) == 0
                if asked:
                    client.sendall(HEALTH)
            waited_for = [*([] if ready else [manager]), *([client] if asked and not self.answered else [])]
            readable = select.select(waited_for, [], [], 0.05 if asked else 0.005)[0]
            ready = ready or manager in readable
            if client in readable:
                if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("the service is not healthy")
                self.answered = time.monotonic() - begin
            if not readable and (self._process.poll() is not None or time.monotonic() - begin > START_LIMIT):
                raise RuntimeError(f"the service did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End it; its leases stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_LIMIT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
