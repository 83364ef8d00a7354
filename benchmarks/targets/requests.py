"""Requests to the HTTP interface, one connection for each as curl does it, and how long the answers took."""

from __future__ import annotations

import socket
import time
from pathlib import Path


def get(path: Path, target: str) -> tuple[float, bytes]:
    """Seconds from connecting to the last byte, and the content. Raises RuntimeError for another status than 200."""
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := client.recv(1 << 18):
            parts.append(part)
    head, _, content = b"".join(parts).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"GET {target}: {head[:60]!r} {content[:200]!r}")
    return time.monotonic() - begin, content
