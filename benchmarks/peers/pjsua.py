"""pjsua, the client of PJSIP: only where its Python library `pjsua2` can be imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.process import Usage


class Pjsua:
    """Not to be had by the means of `make bench`, so it is a line of the report that says so."""

    name = "pjsua"
    holds = True
    keeps_leases = False
    largest = 0

    def missing(self) -> str:
        return (
            "not to be had here: Debian 12 has no package of PJSIP, and `pjsua2` on PyPI is a source archive that "
            "needs PJSIP's own source tree around it"
        )

    def settings(self) -> Sequence[str]:
        return ()

    def prepare(self, directory: Path, count: int, port: int) -> None:
        raise RuntimeError(self.missing())

    def start(self) -> None:
        raise RuntimeError(self.missing())

    def usage(self) -> Usage | None:
        return None

    def stop(self) -> float:
        return 0.0
