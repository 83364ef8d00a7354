"""A session's WebSocket with as little work as possible: a reader of a thousand must not be what is measured."""

from __future__ import annotations

import base64
import os
import socket
import struct
from pathlib import Path

TEXT = 0x81  # RFC 6455 §5.2: the last (and only) frame of a text message
MASKED = 0x80
READ = 1 << 16
HANDSHAKE = (
    "GET /v1/session HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class RawSession:
    """Sends commands and reads frames, blocking."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.socket.sendall(HANDSHAKE.format(key=base64.b64encode(os.urandom(16)).decode()).encode())
        self._unread = b""
        while b"\r\n\r\n" not in self._unread:
            self._unread += self._received()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the service refused the session: {head[:100]!r}")
        self.ask('{"id":0,"op":"hello","version":1,"app":"benchmark"}')

    def send(self, frame: str) -> None:
        """A command, without waiting."""
        data = frame.encode()
        size = bytes([MASKED | len(data)]) if len(data) < 126 else bytes([MASKED | 126]) + struct.pack(">H", len(data))
        self.socket.sendall(bytes([TEXT]) + size + bytes(4) + data)  # a mask of zeros changes nothing

    def frame(self) -> bytes:
        """The next frame."""
        while (found := self.next()) is None:
            self.take()
        return found

    def take(self) -> None:
        """Read what has come; blocks while nothing has."""
        self._unread += self._received()

    def next(self) -> bytes | None:
        """The next frame among what was read."""
        data = self._unread
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return None
        self._unread = data[start + size :]
        return data[start : start + size]

    def ask(self, frame: str) -> bytes:
        """A command and its answer; events that come before it are dropped."""
        self.send(frame)
        while (answer := self.frame()).startswith(b'{"event"'):
            pass
        if b'"error"' in answer[:40]:
            raise RuntimeError(f"the service refused a command: {answer.decode()}")
        return answer

    def close(self) -> None:
        """End it without a word, as a crash does."""
        self.socket.close()

    def _received(self) -> bytes:
        data = self.socket.recv(READ)
        if not data:
            raise RuntimeError("the service ended the session")
        return data
