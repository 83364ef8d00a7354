"""What all tests need."""

from __future__ import annotations

import os
import signal
import sys

from sipprofile.server import quick_path

# Started in the background by a shell we would ignore SIGINT, and so would every program that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A service that is installed finds itself compiled. Hundreds are started here, and would be compiled for two seconds each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

quick_path.choose()  # SIPPROFILE_NATIVE=0 runs the tests without the compiled module
