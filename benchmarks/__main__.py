"""``python -m benchmarks``: see README.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys

import msgspec

from benchmarks.cold import OTHER_CORE, ceiling, instance_cost, measure
from benchmarks.report import Report, text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Cold registration of many profiles.")
    parser.add_argument("--profiles", type=int, nargs="+", default=[1_000, 10_000], metavar="N", help="how many")
    parser.add_argument("--case", choices=["always", "session"], nargs="+", default=["always", "session"])
    parser.add_argument("--no-refresh", action="store_true", help="do not wait 40 seconds for the refreshes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the benchmarks need two cores: one for the service, one for everybody else")
    os.sched_setaffinity(0, {OTHER_CORE})
    measurements = []
    for count in options.profiles:
        for case in options.case:
            print(f"{case}, {count:,} profiles", file=sys.stderr)
            measurements.append(asyncio.run(measure(case, count, refresh=not options.no_refresh)))
    report = Report(
        machine(),
        tuple(measurements),
        tuple(ceiling(count) for count in options.profiles),
        instance_cost(max(options.profiles)),
    )
    print(msgspec.json.encode(report).decode() if options.json else text(report))


def machine() -> str:
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown CPU")
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {model}, Linux, Python {platform.python_version()}, load {load:.1f} at the end"


if __name__ == "__main__":
    main()
