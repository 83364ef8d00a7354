"""dnsmasq as the name server of the tests: a child process on a loopback port, with the records of a test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .ports import free_port

START_LIMIT = 10.0  # seconds
STOP_LIMIT = 2.0
PROBE = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00\x00\x01\x00\x01"  # A of test.


class Dnsmasq:
    """A running dnsmasq. It answers for ``test`` alone and asks nobody; `directory` takes its files."""

    def __init__(self, directory: Path, records: Sequence[str], *, ttl: int = 1) -> None:
        """`records`: lines of its configuration (srv-host=, naptr-record=, host-record=); `ttl` in seconds."""
        self.directory = directory
        self.port = free_port()
        self.records = list(records)
        self.ttl = ttl
        self.log = directory / "dnsmasq.log"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """The path of the program, None where it is not installed."""
        return shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    @property
    def address(self) -> str:
        """As `[sip] nameservers` wants it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and returns when it answers. Raises RuntimeError with its log."""
        program = self.program()
        if program is None:
            raise RuntimeError("dnsmasq is not installed")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "dnsmasq.conf"
        lines = [
            f"port={self.port}",
            "listen-address=127.0.0.1",
            "bind-interfaces",
            "no-resolv",
            "no-hosts",
            "local=/test/",
            f"local-ttl={self.ttl}",
            f"neg-ttl={self.ttl}",
            "log-queries",
            "log-facility=-",
            "pid-file=",
            "user=",
            *self.records,
        ]
        configuration.write_text("\n".join(lines) + "\n")
        command = [program, "--keep-in-foreground", f"--conf-file={configuration}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"dnsmasq does not answer:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ends it; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def change(self, records: Sequence[str]) -> None:
        """Has other records from now on, at the same port."""
        self.stop()
        self.records = list(records)
        self.start()

    def queries(self) -> list[tuple[str, str]]:
        """(type, name) of every question since the first start."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            _, mark, question = line.partition(" query[")
            if mark and not question.startswith("A] test "):
                kind, _, rest = question.partition("] ")
                found.append((kind, rest.split(" ", 1)[0]))
        return found

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            try:
                probe.connect(("127.0.0.1", self.port))
                probe.send(PROBE)
                return probe.recv(512)[:2] == PROBE[:2]
            except OSError:
                time.sleep(0.02)
                return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
