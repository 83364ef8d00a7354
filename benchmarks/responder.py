"""The registrar of the benchmarks: builds `responder.c`, runs it on a core of its own, reads its counters."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

SOURCE = Path(__file__).with_name("responder.c")
BUILD = Path(__file__).with_name("build")
ANSWER_LIMIT = 10.0  # seconds for a line of the responder


class Phase(msgspec.Struct, frozen=True):
    """What was seen since `begin_phase`, or since the start."""

    renewed: int  # bindings that were accepted at least once
    first_request: float
    last_renewed: float  # when the last of them was
    longest_silence: float  # seconds between two datagrams, since the first REGISTER


class Counters(msgspec.Struct, frozen=True):
    """What the responder counted since it started. Times are seconds of CLOCK_MONOTONIC, 0.0 = never."""

    received: int  # datagrams
    requests: int  # REGISTER, retransmissions included
    challenged: int
    accepted: int  # REGISTER with credentials, de-registrations included, retransmissions not
    distinct: int  # addresses-of-record accepted at least once
    refreshes: int  # accepted for a binding that was still alive
    retransmissions: int  # the same branch again
    deregistered: int
    active: int  # bindings alive now
    lapsed: int  # bindings whose expiry passed before a refresh came
    unanswered: int  # datagrams during outages
    malformed: int
    keepalives: int
    others: int  # requests that are not REGISTER
    dropped: int  # datagrams the kernel threw away because the receive buffer was full
    phase: Phase
    outage: bool
    first_request: float
    first_accepted: float
    last_accepted: float
    now: float

    @property
    def accepted_per_second(self) -> float:
        """From the first REGISTER that came to the last accepted one."""
        span = self.last_accepted - self.first_request
        return self.accepted / span if span > 0 else 0.0


def build() -> Path:
    """The compiled responder, made anew when its source is newer. Raises RuntimeError without compiler."""
    program = BUILD / "responder"
    if program.exists() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the benchmarks need a C compiler: install gcc or clang")
    BUILD.mkdir(exist_ok=True)
    made = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"{SOURCE.name} does not compile:\n{made.stderr}")
    return program


class Responder:
    """A running responder on 127.0.0.1; `expires`: the longest grant in seconds, `core` pins it to a core."""

    host = "127.0.0.1"

    def __init__(self, *, port: int = 0, expires: int = 3600, core: int | None = None) -> None:
        self.port = port
        self._expires = expires
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    @property
    def uri(self) -> str:
        return f"sip:{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process, for those who measure its CPU time."""
        return self._running.pid

    def start(self) -> None:
        """Returns when the port is open; `port` is then the real one."""
        command = [str(build()), "--port", str(self.port), "--expires", str(self._expires)]
        if self._core is not None:
            command += ["--core", str(self._core)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.port = int(json.loads(self._line())["port"])

    def counters(self) -> Counters:
        self._running.send_signal(signal.SIGUSR2)
        return msgspec.json.decode(self._line(), type=Counters)

    def begin_phase(self) -> None:
        """From now on `Counters.phase` counts anew."""
        self._running.send_signal(signal.SIGHUP)
        self.counters()

    def set_outage(self, outage: bool) -> None:
        """True: from now on nothing is answered, as if the registrar were down."""
        if self.counters().outage != outage:
            self._running.send_signal(signal.SIGUSR1)
            assert self.counters().outage == outage

    def stop(self) -> Counters:
        """Ends the responder and returns its last counters."""
        process = self._running
        process.terminate()
        counters = msgspec.json.decode(self._line(), type=Counters)
        self._close()
        return counters

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the responder is not running")
        return self._process

    def _line(self) -> bytes:
        process = self._running
        assert process.stdout is not None
        while b"\n" not in self._unread:
            readable, _, _ = select.select([process.stdout], [], [], ANSWER_LIMIT)
            part = os.read(process.stdout.fileno(), 65536) if readable else b""
            if not part:
                raise RuntimeError("the responder ended" if readable else "the responder does not answer")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
