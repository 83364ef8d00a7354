"""What went over the loopback interface, seen by tshark; evidence independent of both sides."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class Capture:
    """Captures the SIP requests to or from `port` of the loopback; sees nothing where tshark is missing."""

    def __init__(self, directory: Path, port: int) -> None:
        self._port = port
        self._out = directory / "capture.txt"
        self._errors = directory / "capture.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def requests(self) -> list[str]:
        """One line per request: seconds of the wall clock, source port, destination port, request line."""
        return self._out.read_text().splitlines() if self._out.exists() else []

    def __enter__(self) -> Self:
        program = shutil.which("tshark")
        if program is None:
            return self
        command = [program, "-i", "lo", "-l", "-n", "-f", f"port {self._port}", "-Y", "sip.Request-Line"]
        command += ["-d", f"udp.port=={self._port},sip", "-d", f"tcp.port=={self._port},sip"]
        command += ["-T", "fields", "-E", "separator=/s"]
        for field in ("frame.time_epoch", "udp.srcport", "udp.dstport", "sip.Request-Line"):
            command += ["-e", field]
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        deadline = time.monotonic() + 10
        while self.running and b"Capturing on" not in self._errors.read_bytes():
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        time.sleep(0.3)  # "Capturing on" is said shortly before the first packet is seen
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        time.sleep(0.5)  # the last packets are on their way through tshark's buffers
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
