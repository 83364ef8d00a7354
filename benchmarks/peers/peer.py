"""What the benchmark knows of a program that holds registrations, and the work that all of them get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.process import Usage

DOMAIN = "bench.example"
EXPIRES = 60  # seconds
HOLDER_CORE, OTHER_CORE = 0, 1  # the holder's own; everybody else's
RECEIVE_BUFFER = 4 << 20  # bytes of a holder's socket, where that can be set


class Peer(Protocol):
    """One program. `prepare` comes first; then it is started and stopped as often as asked for."""

    name: str
    holds: bool
    """False: a generator, which registers everything once and ends."""
    keeps_leases: bool
    """True: started again, it goes on with the leases it has."""
    largest: int
    """More registrations it does not get through in the time there is."""

    def missing(self) -> str:
        """Why it cannot be measured here; empty when it can."""
        ...

    def settings(self) -> Sequence[str]:
        """Its version and what was set, for the report."""
        ...

    def prepare(self, directory: Path, count: int, port: int) -> None:
        """Write what makes it hold user1 to user`count` of bench.example at the registrar on this port of 127.0.0.1."""
        ...

    def start(self) -> None:
        """Start it on its core. Raises RuntimeError when it ends at once."""
        ...

    def usage(self) -> Usage | None:
        """What it uses, over all its processes; None when it has ended."""
        ...

    def stop(self) -> float:
        """End it as an operator does, with SIGTERM; the CPU seconds of all its processes since the start."""
        ...


def user(number: int) -> str:
    return f"user{number}"


def password(number: int) -> str:
    return f"secret{number}"
