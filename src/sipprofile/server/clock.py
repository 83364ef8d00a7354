"""The daemon's clocks: CLOCK_BOOTTIME for everything that waits, the wall clock for what is stored."""

from __future__ import annotations

import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now() -> float:
    """Seconds since the machine started; unlike CLOCK_MONOTONIC it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def utc() -> float:
    """Seconds since 1970, UTC."""
    return time.time()


def slept() -> float:
    """Seconds that the machine was suspended since it started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def wall_offset() -> float:
    """UTC minus :func:`now`, in seconds; it changes when the wall clock is set."""
    return time.time() - now()


def boot_id() -> str:
    """Identifies this boot of the machine; empty when unknown, and then no stored lease can be trusted."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
