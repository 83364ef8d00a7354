"""What all tests need: the conditions that programs start in, and an order in which nobody waits for nothing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from sipprofile.server import quick_path

# Started in the background by a shell we would ignore SIGINT, and so would every program that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An installed service finds itself compiled. Hundreds are started here; to compile each anew would double its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

quick_path.choose()  # SIPPROFILE_NATIVE=0 runs the tests without the compiled module

WAITING = ("interop", "system")  # directories whose tests wait for other programs most of their time
LONGEST = ("test_network", "test_kamailio", "test_keepalive", "test_cli", "test_subscribing")
"""Files that take 40 seconds or more."""
ENDS = 0.8  # where in the order the last of them is; short files at the end are what all processes end with together


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-xdist from its own order: files with many tests first, and those are the ones that only compute."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that wait among those that compute, so that the processor always has something to do."""
    files = list(dict.fromkeys(item.path for item in items))
    waiting = sorted((path for path in files if path.parent.name in WAITING), key=_place)
    computing = [path for path in files if path.parent.name not in WAITING]
    order = {path: ENDS * place / len(waiting) for place, path in enumerate(waiting)}
    order |= {path: place / len(computing) for place, path in enumerate(computing)}
    items.sort(key=lambda item: order[item.path])


def _place(path: Path) -> int:
    return LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST)
