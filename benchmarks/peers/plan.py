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
HELD_SECONDS = {True: 160.0, False: 210.0}  # what that takes: where leases are kept, where not


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
        """Round 1 is for all numbers; then the best two holders are looked at, before round 3 the others.

        With `everything` each run is a complete one, with refreshes, restart and outage.
        """
        with tempfile.TemporaryDirectory(prefix="bench-peers") as name:
            directory = Path(name)
            for number in range(1, self.rounds + 1):
                for peer, count in self._order(number):
                    self._one(peer, directory, count, number, self.refreshes if everything else 0)
                if self.refreshes and not everything:
                    held = [peer for peer in self.peers if peer.holds]
                    last = number == min(2, self.rounds)
                    self._hold(directory, (held[:2] if number == 1 else []) + (held[2:] if last else []))

    def _hold(self, directory: Path, peers: Sequence[Peer]) -> None:
        for peer in peers:
            count = max((one for one in (HELD, HELD_FALLBACK) if self._holds_well(peer, one)), default=0)
            if count:
                # a complete run; its registrations count as another round, in which the others have no pair
                self._one(peer, directory, count, 0, self.refreshes)

    def _holds_well(self, peer: Peer, count: int) -> bool:
        return any(one.complete and not one.lapsed for one in of(self.runs, peer.name, count))

    def _order(self, number: int) -> Iterator[tuple[Peer, int]]:
        """In later rounds first what is compared most, so that what the time is not enough for is the least loss."""
        counts = list(self.counts)
        if number > 1:
            counts.sort(key=lambda count: (count != HELD, count != self.counts[0], count != self.counts[-1]))
        for place, count in enumerate(counts):
            shift = (number + place) % len(self.peers)
            for peer in [*self.peers[shift:], *self.peers[:shift]]:
                if count <= peer.largest:
                    if all(one.complete for one in of(self.runs, peer.name, count)):
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
        limit = 20.0 + count / 1000
        base = self.idle[peer.name]
        run = phases.measure(peer, directory, count, number, self._port, base, limit=limit, refreshes=refreshes)
        self.runs.append(run)
        self._took[peer.name, count, held] = time.monotonic() - begin
        said = run.failure or f"{run.per_second or 0:,.0f}/s"
        took = self._took[peer.name, count, held]
        print(f"{peer.name}, {count:,}, {_said(number, held)}: {said} ({took:.0f} s)", file=sys.stderr, flush=True)

    def _expected(self, peer: Peer, count: int, held: bool) -> float:
        known = self._took.get((peer.name, count, held))
        return known if known is not None else 10 + count / 3000 + (HELD_SECONDS[peer.keeps_leases] if held else 0)


def _said(number: int, held: bool) -> str:
    return "refreshes, restart and outage" if held else f"round {number}"


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
