"""``python -m benchmarks.targets``: every target of the service, with the real daemon. See ../README.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks import cold
from benchmarks.__main__ import machine
from benchmarks.targets import client, costs, latency, scale
from benchmarks.targets.row import Row, table
from benchmarks.targets.stores import Stores

SMALL, MIDDLE = 10_000, 50_000
"""Numbers of profiles at which rates are compared with that of the largest."""
Section = Callable[[], Iterator[Row]]


class Report(msgspec.Struct, frozen=True):
    """Everything."""

    machine: str
    minutes: float
    rows: tuple[Row, ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description="Targets and figures.")
    parser.add_argument("--profiles", type=int, default=100_000, metavar="N", help="the largest number of profiles")
    parser.add_argument("--minutes", type=float, default=6.0, help="what has not begun by then is left out")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="client, costs, refreshes, latency, scale")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the benchmarks need two cores: one for the service, one for everybody else")
    client.pin()
    begin = time.monotonic()
    with TemporaryDirectory(prefix="bench-stores-") as directory:
        rows = list(measured(options, Path(directory), begin + options.minutes * 60))
    report = Report(machine(), (time.monotonic() - begin) / 60, tuple(rows))
    text = f"{report.machine}; {report.minutes:.1f} minutes\n\n{table(rows)}\n"
    print(text)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if options.markdown is not None:
        options.markdown.write_text(text)


def measured(options: argparse.Namespace, directory: Path, end: float) -> Iterator[Row]:
    """The rows of all sections, as they are measured."""
    stores, most = Stores(directory), options.profiles
    small = min(SMALL, most)
    counts = sorted({small, min(MIDDLE, most), most})
    sections: dict[str, Section] = {
        "client": lambda: iter((client.import_time(),)),
        "ceiling": lambda: iter((_ceiling(small),)),
        "latency": lambda: latency.rows(stores, small),
        "costs": lambda: costs.rows(stores, counts),
        "scale": lambda: scale.rows(stores, most),
        "refreshes": lambda: costs.refreshes(stores, small),
    }
    for name, section in sections.items():
        if options.only and name not in options.only:
            continue
        if time.monotonic() > end:
            yield Row(name, "", "not measured: the time was over")
            continue
        begin = time.monotonic()
        try:
            for row in section():
                print(f"{row.what}: {row.measured}", file=sys.stderr, flush=True)
                yield row
        except RuntimeError as error:
            yield Row(name, "", f"not measured: {error}")
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def _ceiling(count: int) -> Row:
    """What the machine lets a bare loop do at this moment."""
    bare = cold.ceiling(count)
    text = f"{bare.per_second:,.0f} a second, {bare.cpu:.3f} s of CPU time per 1,000"
    return Row(f"bare loop in Python, {count:,}", "", text, None, (bare.per_second, bare.cpu))


if __name__ == "__main__":
    main()
