"""``python -m benchmarks.peers``: see ../README.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.__main__ import machine
from benchmarks.peers.aiosipua import Aiosipua
from benchmarks.peers.baresip import Baresip
from benchmarks.peers.generators import BareLoop, Sipp
from benchmarks.peers.kamailio import Kamailio
from benchmarks.peers.peer import OTHER_CORE, Peer
from benchmarks.peers.pjsip import Pjsip
from benchmarks.peers.plan import Plan
from benchmarks.peers.published import plot, publish, save
from benchmarks.peers.results import Report
from benchmarks.peers.sipprofile import SipProfile
from benchmarks.peers.table import text

KNOWN: Sequence[Peer] = (SipProfile(), Kamailio(), Pjsip(), Baresip(), Aiosipua(), Sipp(), BareLoop())


def main() -> None:
    names = [peer.name for peer in KNOWN]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="The same for several.")
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="PEER", help=", ".join(names))
    parser.add_argument("--profiles", type=int, nargs="+", default=[1_000, 10_000, 50_000, 100_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="medians are of as many runs (3)")
    parser.add_argument("--refreshes", type=int, default=2, help="how often each is refreshed (2; 0: only registered)")
    parser.add_argument("--minutes", type=float, default=16, help="what would end later is left out (16)")
    parser.add_argument("--full", action="store_true", help="refreshes, restart and outage in every run; takes hours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="write the plots, as SVG and PNG")
    parser.add_argument("--publish", action="store_true", help="put it into benchmarks/published and the two README.md")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing; print what was found before")
    options = parser.parse_args()
    if options.from_json:
        report = msgspec.json.decode(options.from_json.read_bytes(), type=Report)
    else:
        report = _measured(options)
    if options.json:
        save(report, options.json)
    if options.plots:
        plot(report, options.plots)
    if options.publish:
        publish(report)
    print(text(report))


def _measured(options: argparse.Namespace) -> Report:
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("the benchmarks need two cores: one for who holds the registrations, one for everybody else")
    os.sched_setaffinity(0, {OTHER_CORE})
    before, begin = os.getloadavg()[0], time.monotonic()
    chosen = [peer for peer in KNOWN if peer.name in options.peers]
    missing = {peer.name: reason for peer in chosen if (reason := peer.missing())}
    peers = [peer for peer in chosen if peer.name not in missing]
    plan = Plan(peers, sorted(options.profiles), options.rounds, options.minutes, options.refreshes)
    try:
        plan.run(options.full)
    except KeyboardInterrupt:
        print("interrupted: this is what there is", file=sys.stderr)
    return Report(
        machine=machine().partition(", load")[0],
        load_before=before,
        load_after=os.getloadavg()[0],
        seconds=time.monotonic() - begin,
        settings={peer.name: list(peer.settings()) for peer in peers},
        idle=plan.idle,
        runs=plan.runs,
        skipped=plan.skipped,
        missing=missing,
    )


if __name__ == "__main__":
    main()
