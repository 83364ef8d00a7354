"""What a byte costs each parser, for inputs that double from 1 kB to 64 kB: ``python -m benchmarks.parsers``.

Each parser of fuzz/parsers.py is given every hostile repetition at every place of its grammar; the line of a parser
shows the dearest. Ends with an error when one of them costs more than three times as much for twice the bytes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import NamedTuple

from fuzz.parsers import DOCUMENTED, PARSERS, Parser

SIZES = tuple(1000 * 2**doubling for doubling in range(7))
NOISE = 0.0002  # seconds; below it a growth says more about the machine than about the parser
LIMIT = 3.0
USUAL = 2.4  # with which no more rounds are needed
PATIENCE = 10.0  # seconds


class Curve(NamedTuple):
    """One hostile input: the best seconds for each of SIZES."""

    place: str
    seconds: tuple[float, ...]

    @property
    def growth(self) -> float:
        """The largest factor between one size and the next, 0 when all of it is noise."""
        return max(
            (twice / once for once, twice in itertools.pairwise(self.seconds) if twice > NOISE),
            default=0.0,
        )


def curve(parser: Parser, start: str, unit: str, rounds: int) -> Curve:
    """The best of ``rounds`` measurements at each size; more of them while other work on the machine disturbs."""
    inputs = [parser.hostile(start, unit, size) for size in SIZES]
    best = [float("inf")] * len(inputs)
    patience = time.monotonic() + PATIENCE
    for done in itertools.count(1):
        for index, data in enumerate(inputs):
            begin = time.process_time()
            try:
                parser.read(data)
            except DOCUMENTED:
                pass
            best[index] = min(best[index], time.process_time() - begin)
        found = Curve(f"{start}, {unit}", tuple(best))
        if done >= rounds and (found.growth < USUAL or time.monotonic() > patience):
            return found
    raise AssertionError


def line(name: str, curves: list[Curve]) -> str:
    dearest = max(curves, key=lambda one: one.seconds[-1])
    costs = [f"{1e9 * seconds / size:7.1f}" for size, seconds in zip(SIZES, dearest.seconds, strict=True)]
    growth = max(one.growth for one in curves)
    return " | ".join((f"| {name:13}", *costs, f"{growth:6.2f}" if growth else "     -", f"{dearest.place:32} |"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parsers", description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each input (5)")
    rounds = parser.parse_args().rounds
    heads = [f"{size // 1000:2d} kB" for size in SIZES]
    print(" | ".join(("| ns per byte  ", *(f"{head:>7}" for head in heads), "growth", f"{'dearest input':32} |")))
    print("|---|" + "---:|" * (len(SIZES) + 1) + "---|")
    failed = []
    for name, entry in PARSERS.items():
        curves = [curve(entry, start, unit, rounds) for start in entry.starts for unit in entry.units]
        print(line(name, curves), flush=True)
        failed += [f"{name}: {one.place} grows {one.growth:.1f} times" for one in curves if one.growth >= LIMIT]
    print("\n".join(failed), file=sys.stderr, end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
