"""What is measured in which order, so that the time is enough and nobody always comes first."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace

from benchmarks.peers import phases
from benchmarks.peers.child import free_port
from benchmarks.peers.peer import Peer
from benchmarks.peers.results import Idle, Run, Skipped, of

HELD = 10_000
"""Where refreshes, restart and outage are looked at."""
HELD_FALLBACK = 1_000
HELD_SECONDS = 270.0  # what that takes
APART = 10.0  # seconds between the begin of one holder and the next there


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
        """What tells most comes first, so that what the time is not enough for is the least loss.

        Round 1 for all numbers; the other rounds with 10,000; refreshes, restart and outage; the other rounds with the
        other numbers. With `everything` each run is a complete one, with refreshes, restart and outage.
        """
        first, *others = range(1, self.rounds + 1)
        with tempfile.TemporaryDirectory(prefix="bench-peers") as name:
            directory = Path(name)
            self._round(directory, first, self.counts, everything)
            held = [peer for peer in self.peers if peer.holds] if self.refreshes and not everything else []
            steps = [
                lambda: self._rounds(directory, others, [count for count in self.counts if count == HELD], everything),
                lambda: self._hold(directory, held),
            ]
            if time.monotonic() + self._took_at(HELD) * len(others) + HELD_SECONDS + APART * len(held) > self._end:
                steps.reverse()  # not enough time for both
            for step in steps:
                step()
            rest = [count for count in self.counts if count != HELD]
            self._rounds(directory, others, sorted(rest, key=lambda count: count == 50_000), everything)

    def _rounds(self, directory: Path, numbers: Sequence[int], counts: Sequence[int], everything: bool) -> None:
        for number in numbers:
            self._round(directory, number, counts, everything)

    def _took_at(self, count: int) -> float:
        """Seconds for a round with this number, without those who failed."""
        known = [self._took.get((peer.name, count, False), 0.0) for peer in self.peers if self._holds_well(peer, count)]
        return sum(known)

    def _round(self, directory: Path, number: int, counts: Sequence[int], everything: bool) -> None:
        for peer, count in self._order(number, counts):
            self._one(peer, directory, count, number, self.refreshes if everything else 0)

    def _hold(self, root: Path, peers: Sequence[Peer]) -> None:
        """At the same time, each with a registrar of its own: what they do most is wait. They begin apart, so that what
        comes a minute later for all of them comes apart too."""
        chosen = [(peer, count) for peer in reversed(peers) if (count := self._held_count(peer))]
        if time.monotonic() + APART * len(chosen) + HELD_SECONDS > self._end:
            for peer, count in chosen:
                self.skipped.append(Skipped(peer.name, count, f"no time left for {_said(0, True)}"))
            return

        def look(place: int) -> Run:
            time.sleep(place * APART)
            peer, count = chosen[place]
            directory = _made(root / f"{peer.name}-{count}-held")
            base, limit = self.idle[peer.name], _limit(count)
            return phases.measure(peer, directory, count, 0, free_port(), base, limit=limit, refreshes=self.refreshes)

        with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
            for run in pool.map(look, range(len(chosen))):
                self.runs.append(replace(run, together=True))
                said = run.failure or run.held_failure or "done"
                print(f"{run.peer}, {run.count:,}, {_said(0, True)}: {said}", file=sys.stderr, flush=True)

    def _held_count(self, peer: Peer) -> int:
        """With how many registrations it is looked at: what it got registered without losing any."""
        return max((count for count in (HELD, HELD_FALLBACK) if self._holds_well(peer, count)), default=0)

    def _holds_well(self, peer: Peer, count: int) -> bool:
        return any(one.complete and not one.lapsed for one in of(self.runs, peer.name, count))

    def _order(self, number: int, counts: Sequence[int]) -> Iterator[tuple[Peer, int]]:
        """Everybody comes first once; what failed is not tried again."""
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
        limit = _limit(count)
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


def _limit(count: int) -> float:
    """Seconds for the registrations."""
    return 20.0 + count / 1000


def _said(number: int, held: bool) -> str:
    return "refreshes, restart and outage" if held else f"round {number}"


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
