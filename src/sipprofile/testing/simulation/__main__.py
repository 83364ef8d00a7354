"""Run simulations from the command line."""

from __future__ import annotations

import argparse
import sys

from sipprofile.server import quick_path
from sipprofile.testing.simulation.promise import Violation
from sipprofile.testing.simulation.run import simulate
from sipprofile.testing.simulation.sharing.run import share


def main() -> int:
    """Exit code 0: every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m sipprofile.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the (first) seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--profiles", type=int, help="how many profiles instead of the seed's own number")
    parser.add_argument("--fault", action="append", default=[], help="only this of the catalogue; may be repeated")
    parser.add_argument("--usual", action="store_true", help="registrations as most are, which take the short ways")
    parser.add_argument("--shared", action="store_true", help="applications that share profiles, with calls and claims")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    options = parser.parse_args()
    quick_path.choose()
    failed = 0
    show = print if options.trace else None
    for seed in range(options.seed, options.seed + options.count):
        try:
            if options.shared:
                shared = share(seed, show=show)
                print(
                    f"seed {seed}: {shared.events} events, {shared.requests} requests, {shared.endings} endings,"
                    f" {shared.kills} kills, {shared.seconds:.0f} s, {shared.digest[:16]}"
                )
                continue
            result = simulate(seed, profiles=options.profiles, only=options.fault, usual=options.usual, show=show)
        except Violation as violation:
            print(violation, file=sys.stderr)
            failed += 1
            continue
        print(
            f"seed {seed}: {result.events} events, {result.registers} REGISTERs, {result.starts} starts,"
            f" {result.kills} kills, {result.seconds:.0f} s, {result.digest[:16]}"
        )
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
