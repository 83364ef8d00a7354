"""One target under atheris: ``python -m fuzz.child TARGET [libFuzzer options]``."""

from __future__ import annotations

import sys
import time

import atheris

with atheris.instrument_imports(include=["sipprofile.sip"]):
    from fuzz.targets import TARGETS

LONGEST = 2.0
"""CPU seconds for one input of at most 64 kB, instrumentation included; the dearest need a quarter of it."""


class SlowInput(Exception):
    """An input that took longer than LONGEST."""


def main() -> None:
    target = TARGETS[sys.argv[1]]

    def one(data: bytes) -> None:
        start = time.thread_time()
        target(data)
        taken = time.thread_time() - start
        if taken > LONGEST:
            raise SlowInput(f"{len(data)} bytes took {taken:.2f} seconds")

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
