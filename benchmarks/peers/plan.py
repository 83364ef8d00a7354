"""What is measured in which order, so that the time is enough and nobody always comes first."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peers import phases
from benchmarks.peers.child import free_port
from benchmarks.peers.peer import Peer
from benchmarks.peers.results import Idle, Run, Skipped, of

HELD = 10_000
"""Where refreshes, restart and outage are looked at."""
HELD_FALLBACK = 1_000
HELD_SECONDS = 220.0  # what that takes, at most


class Plan:
    """Runs until it is through or `minutes` are over, and keeps what was found."""

    def __init__(
        self, peers: Sequence[Peer], counts: Sequence[int], rounds: int, minutes: float, refreshes: int
    ) -> None:
        self.peers, self.counts, self.rounds, self.refreshes = peers, counts, rounds, refreshes
        self.runs: list[Run] = []
        self.idle: dict[str, Idle] = {}
        self.skipped: list[Skipped] = []
        self._took: dict[tuple[str, int, bool], float] = {}
        self._end = time.monotonic() + minutes * 60
        self._port = free_port()

    def run(self, everything: bool) -> None:
        """Round 1 is for all numbers, then what holds is looked at once, then come the other rounds.

        With `everything` each run is a complete one, with refreshes, restart and outage.
        """
        with tempfile.TemporaryDirectory(prefix="bench-peers") as name:
            directory = Path(name)
            for number in range(1, self.rounds + 1):
                for peer, count in self._order(number):
                    self._one(peer, directory, count, number, self.refreshes if everything else 0)
                if number == 1 and not everything and self.refreshes:
                    self._hold(directory)

    def _hold(self, directory: Path) -> None:
        for peer in self.peers:
            count = max((one for one in (HELD, HELD_FALLBACK) if self._holds_well(peer, one)), default=0)
            if peer.holds and count:
                # a complete run; its registrations count as another round, in which the others have no pair
                self._one(peer, directory, count, 0, self.refreshes)

    def _holds_well(self, peer: Peer, count: int) -> bool:
        return any(one.complete and not one.lapsed for one in of(self.runs, peer.name, count))

    def _order(self, number: int) -> Iterator[tuple[Peer, int]]:
        for place, count in enumerate(self.counts):
            shift = (number + place) % len(self.peers)
            for peer in [*self.peers[shift:], *self.peers[:shift]]:
                if count <= peer.largest:
                    yield peer, count
                elif number == 1:
                    self.skipped.append(Skipped(peer.name, count, f"not tried beyond {peer.largest:,}"))

    def _one(self, peer: Peer, root: Path, count: int, number: int, refreshes: int) -> None:
        held = bool(refreshes and peer.holds)
        begin = time.monotonic()
        if begin + self._expected(peer, count, held) > self._end:
            self.skipped.append(Skipped(peer.name, count, f"no time left for {_said(number, held)}"))
            return
        if peer.name not in self.idle:
            self.idle[peer.name] = phases.idle(peer, _made(root / f"{peer.name}-1"), self._port)
        directory = _made(root / f"{peer.name}-{count}")
        limit = 40.0 + count / 1500
        base = self.idle[peer.name]
        run = phases.measure(peer, directory, count, number, self._port, base, limit=limit, refreshes=refreshes)
        self.runs.append(run)
        self._took[peer.name, count, held] = time.monotonic() - begin
        said = run.failure or f"{run.per_second or 0:,.0f}/s"
        took = self._took[peer.name, count, held]
        print(f"{peer.name}, {count:,}, {_said(number, held)}: {said} ({took:.0f} s)", file=sys.stderr, flush=True)

    def _expected(self, peer: Peer, count: int, held: bool) -> float:
        known = self._took.get((peer.name, count, held))
        return known if known is not None else 10 + count / 3000 + (HELD_SECONDS if held else 0)


def _said(number: int, held: bool) -> str:
    return "refreshes, restart and outage" if held else f"round {number}"


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
