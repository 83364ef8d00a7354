"""What is freed goes back to the kernel."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from sipprofile.server import allocator

PROGRAM = """
from sipprofile.server import allocator

def heap():
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if line.endswith("[heap]\\n"):
                return int(next(maps).split()[1])

allocator.configure()
before = heap()
for _ in range(2):  # glibc would map the first one only
    table = bytearray(1 << 24)
    after = heap()
    del table
print(after - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's")
def test_large_tables_are_not_part_of_the_heap() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert int(found) < 1024  # kB


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    allocator.configure()
    allocator.trim()
