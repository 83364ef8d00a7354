"""aiosipua from PyPI, a library for asyncio, in an environment of its own; its application is aiosipua_holder.py."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.aiosipua_holder import AT_ONCE, LONGEST, OVERDUE, RECEIVE_BUFFER
from benchmarks.peers.child import Child
from benchmarks.process import Usage
from benchmarks.responder import BUILD

ENVIRONMENT = BUILD / "aiosipua" / ".venv"


class Aiosipua:
    name = "aiosipua"
    holds = True
    keeps_leases = False
    largest = 10_000

    def __init__(self) -> None:
        self._directory = Path()
        self._count, self._port = 0, 0
        self._child: Child | None = None

    def missing(self) -> str:
        if self._version():
            return ""
        return "not installed: scripts/install-bench-peers puts it into benchmarks/build"

    def settings(self) -> list[str]:
        return [
            f"version {self._version()}; one Registration for each account over one UDP transport, receive buffer "
            f"{RECEIVE_BUFFER >> 20} MB",
            f"the application begins {AT_ONCE} at a time; the library sends no request twice, so the application asks "
            f"again for what is not registered after {OVERDUE:g} s, then twice as long, {LONGEST:g} s at most",
            "it refreshes after 90 % of a lease, each time with two round trips",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        self._directory, self._count, self._port = directory, count, port

    def start(self) -> None:
        program = Path(__file__).with_name("aiosipua_holder.py")
        command = [str(ENVIRONMENT / "bin" / "python"), "-I", str(program), str(self._port), str(self._count)]
        self._child = Child(command, self._directory / "log")

    def usage(self) -> Usage | None:
        return self._child.usage() if self._child else None

    def stop(self) -> float:
        return self._child.stop() if self._child else 0.0

    @staticmethod
    def _version() -> str:
        found = sorted(ENVIRONMENT.glob("lib/python3*/site-packages/aiosipua-*.dist-info"))
        return found[-1].name.removesuffix(".dist-info").partition("-")[2] if found else ""
