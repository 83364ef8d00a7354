"""Stores with profiles, filled once and copied for each daemon, since a daemon leaves its leases in them."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.cold import CORE, OTHER_CORE
from benchmarks.daemon import Daemon
from benchmarks.profiles import fill
from benchmarks.responder import Responder

EXPIRES = 3600  # seconds; the registrar may grant less


class Stores:
    """Profiles `user1` to `userN` of one registrar, whose port stays the same from daemon to daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((Responder.host, 0))
            self.port = int(free.getsockname()[1])

    def put(self, count: int, register: Literal["always", "on-demand"], daemon: Daemon) -> None:
        """Give `daemon` a store with `count` profiles."""
        stored = self._directory / f"{register}-{count}"
        if not stored.exists():
            fill(stored, count, f"sip:{Responder.host}:{self.port}", register, EXPIRES)
        shutil.copytree(stored, daemon.state)

    def registrar(self, expires: int) -> Responder:
        """The registrar of these profiles."""
        return Responder(port=self.port, expires=expires, core=OTHER_CORE)


@contextmanager
def daemon(*, paced: bool = False, quick: bool = True) -> Iterator[Daemon]:
    """One that is not started, with an empty directory of its own."""
    with TemporaryDirectory(prefix="bench-") as name:  # the path of a socket has 107 bytes at most
        yield Daemon(Path(name), CORE, paced=paced, quick=quick)
