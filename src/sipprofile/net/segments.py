"""Datagrams of one length to one destination go to the kernel as one (UDP_SEGMENT, udp(7), Linux 4.18).

It takes them apart again where they leave, so others see no difference; a datagram costs a quarter of what it costs
alone. A capture on this very host may show them before they are taken apart: therefore few are never put together.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

FEWEST = 8
MOST = 64  # <linux/udp.h> UDP_MAX_SEGMENTS
LARGEST = 60_000  # bytes together
_UDP_SEGMENT = 103  # <linux/udp.h>


def groups(datagrams: Sequence[bytes]) -> Iterator[list[bytes]]:
    """All of them, those of one length together as far as they fit."""
    by_length: dict[int, list[bytes]] = {}
    for data in datagrams:
        by_length.setdefault(len(data), []).append(data)
    for length, alike in by_length.items():
        most = max(1, min(MOST, LARGEST // (length or 1)))
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def taken_apart(length: int) -> tuple[int, int, bytes]:
    """The control message that says how long each datagram is."""
    return socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("H", length)
