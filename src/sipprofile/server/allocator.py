"""The C library gives back to the kernel what is no longer used."""

from __future__ import annotations

import sys
from typing import Any

LARGE = 1 << 20
"""Bytes from which on a block is mapped by itself, so that it goes back as soon as it is freed."""
KEPT = 4 << 20
"""Bytes free at the end of the heap before they go back; less would go and come with every burst."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>


def configure() -> None:
    """Keep glibc from raising these two by itself: each table of profiles that grows leaves a hole of half its size,
    with 100,000 profiles 15 MB in all. Does nothing where there is another C library."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)


def trim() -> None:
    """Give back what is free now, in the heap of each thread; the interpreter is not locked meanwhile."""
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


def _function(name: str) -> Any:
    """This function of the C library, None where it has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes  # not everywhere, see net/datagrams.py

        return getattr(ctypes.CDLL(None), name)
    except (ImportError, OSError, AttributeError, MemoryError):
        return None
