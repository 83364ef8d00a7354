"""The real daemon as a child process, with its own state directory and Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

START_LIMIT = 30.0  # seconds
STOP_LIMIT = 20.0
WAIT_LIMIT = 10.0

CHILD = """
import sys
from pathlib import Path
from sipprofile.server import authorities
with authorities.unread():
    from sipprofile.server.main import ServeOptions, serve
config, state, socket = map(Path, sys.argv[1:4])
sys.exit(serve(ServeOptions(config=config, state=state, socket=socket)))
"""


class Answer(NamedTuple):
    """An answer of the HTTP interface; ``document`` is its JSON, if it has any."""

    status: int
    headers: Message
    document: Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_LIMIT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT_LIMIT)
        self.sock.connect(str(self._path))


class RunningService:
    """A service of its own. Set ``configuration`` before :meth:`start`; it may be started again and again."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.socket = directory / "run" / "sock"
        self.url = f"unix:{self.socket}"
        self.log = directory / "log"
        """What the daemon wrote, one JSON object a line, over all starts."""
        self.configuration = "[sip]\nbind = ['127.0.0.1']\n"
        self.environment: dict[str, str] = {}
        self.wrapper: list[str] = []
        """What its command line begins with, such as a program that runs it in a network namespace."""
        self.process: subprocess.Popen[bytes] | None = None
        self._config = directory / "sipprofile.toml"
        self._manager_path = directory / "notify"

    def start(self) -> None:
        """Start and wait until it is ready; raises ``AssertionError`` with the log when it ends instead."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            self._manager_path.unlink(missing_ok=True)
            manager.bind(str(self._manager_path))
            self.spawn()
            assert self.process is not None
            end = time.monotonic() + START_LIMIT
            while not select.select([manager], [], [], 0.05)[0]:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.kill()
                    raise AssertionError(f"the service did not start:\n{self.log.read_text()}")
            assert manager.recv(100) == b"READY=1"

    def spawn(self) -> None:
        """Start without waiting."""
        self._config.write_text(self.configuration)
        environment = {**os.environ, **self.environment, "NOTIFY_SOCKET": str(self._manager_path)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-c", CHILD, str(self._config), str(self.state), str(self.socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def wait(self) -> int:
        """Wait for its end; the result is its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the service did not end:\n{self.log.read_text()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal: SIGTERM keeps leases, SIGINT gives them back. The result is its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Stop with SIGTERM and start again."""
        assert self.stop() == 0
        self.start()

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on the Unix socket; ``body`` is sent as JSON, bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(_UnixConnection(self.socket)) as connection:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(response.status, response.headers, json.loads(content) if is_json else content.decode())

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        found: list[dict[str, Any]] = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true result of ``condition``; raises ``AssertionError`` with the log after 10 seconds."""
        end = time.monotonic() + WAIT_LIMIT
        while not (result := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not happen:\n{self.log.read_text()}")
            time.sleep(0.01)
        return result
