"""SIPp as a counterpart with a script: it plays one scenario for one registration and judges it."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .ports import free_port

SCENARIOS = Path(__file__).with_name("scenarios")
START_LIMIT = 10.0  # seconds until SIPp must have opened its port


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a scenario ended. SIPp's exit codes: 0 every check held, 1 a call failed, others in its manual."""

    exit_code: int
    statistics: Mapping[str, str]  # the last line of SIPp's statistics by column name
    errors: str  # what SIPp says of unexpected messages and failed checks

    @property
    def successful_calls(self) -> int:
        return int(self.statistics.get("SuccessfulCall(C)", 0))

    @property
    def failed_calls(self) -> int:
        return int(self.statistics.get("FailedCall(C)", 0))


class Sipp:
    """SIPp plays `scenario` (a file, or one of scenarios/ without suffix) on a loopback UDP port, once.

    `keys` fill the [words] of the scenario. `limit` (seconds) ends it with failure.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        scenario: str | Path,
        keys: Mapping[str, str],
        *,
        calls: int = 1,
        limit: int = 60,
        remote: str = "",
        rate: int = 10,
        lost: int = 0,
        t2: int = 4000,
    ) -> None:
        """`remote`: the address and port that a scenario which calls sends to, `rate` calls a second. `lost`: how many
        of a hundred messages that it sends or receives are lost; it then sends again as long as the `limit` allows.
        `t2`: milliseconds."""
        self.port = free_port()
        self._options = [remote, "-r", str(rate)] if remote else []
        self._options += ["-lost", str(lost), "-max_retrans", "30"] if lost else []
        self._options += ["-T2", str(t2)]
        self.directory = directory
        self._scenario = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"
        self._keys = keys
        self._calls = calls
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """The path of the program, None where it is not installed."""
        return shutil.which("sipp")

    @property
    def uri(self) -> str:
        return f"sip:{self.host}:{self.port}"

    def start(self) -> None:
        """Starts SIPp and returns when its port is open. Raises RuntimeError when it does not open."""
        program = self.program()
        if program is None:
            raise RuntimeError("sipp is not installed")
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [program, "-sf", str(self._scenario), "-i", self.host, "-p", str(self.port)]
        command += self._options
        command += ["-m", str(self._calls), "-timeout", f"{self._limit}s", "-timeout_error", "-nostdin"]
        command += ["-trace_err", "-error_file", str(self.directory / "errors.log")]
        command += ["-trace_msg", "-message_file", str(self.directory / "messages.log")]
        command += ["-trace_stat", "-stf", str(self.directory / "statistics.csv")]
        for key, value in self._keys.items():
            command += ["-key", key, value]
        with (self.directory / "screen.log").open("wb") as screen:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                cwd=self.directory,
                env={**os.environ, "TERM": "dumb"},
            )
        deadline = time.monotonic() + START_LIMIT
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                screen_text = (self.directory / "screen.log").read_text(errors="replace")
                raise RuntimeError(f"sipp does not listen:\n{screen_text[-2000:]}")
            time.sleep(0.02)

    def wait(self) -> Verdict:
        """Waits for the end of the scenario, at most the limit and five seconds."""
        assert self._process is not None, "start() comes first"
        code = self._process.wait(self._limit + 5)
        errors = self.directory / "errors.log"
        return Verdict(
            exit_code=code,
            statistics=self._statistics(),
            errors=errors.read_text(errors="replace") if errors.exists() else "",
        )

    def messages(self) -> str:
        """Every message that it sent or got."""
        return (self.directory / "messages.log").read_text(errors="replace")

    def stop(self) -> None:
        """Ends SIPp at once, whatever it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listens(self) -> bool:
        # A trial bind() would take the port away from SIPp; the kernel's table only looks.
        address = f"{socket.htonl(0x7F000001):08X}:{self.port:04X}"
        return any(address in line for line in Path("/proc/net/udp").read_text().splitlines())

    def _statistics(self) -> dict[str, str]:
        path = self.directory / "statistics.csv"
        if not path.exists():
            return {}
        rows = list(csv.DictReader(path.read_text().splitlines(), delimiter=";"))
        return {name: value for name, value in rows[-1].items() if name} if rows else {}
