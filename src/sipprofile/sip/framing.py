"""Messages out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1)."""

from __future__ import annotations

import re

from sipprofile.sip.message import MAXIMUM_MESSAGE, MalformedMessage

_content_lengths = re.compile(rb"\r\n(?:content-length|l)[ \t]*:([^\r\n]*)", re.IGNORECASE).findall


class StreamFramer:
    """Cuts what arrives on a TCP or TLS connection into messages.

    After MalformedMessage was raised the connection must be closed: where the next message begins is unknown.
    """

    __slots__ = ("_buffer", "_error", "_length", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes already known not to begin the end of the headers
        self._length = 0  # bytes of the message whose headers are complete, else 0
        self._error: MalformedMessage | None = None

    @property
    def incomplete(self) -> bool:
        """Whether a message has begun that is not complete yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        r"""The messages that `data` completes, and between them b'\r\n\r\n' for a ping, b'\r\n' for a pong.

        Raises MalformedMessage for a message without readable Content-Length, or one past the limits.
        Complete messages before it are returned first, then the next call raises.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        complete: list[bytes] = []
        try:
            while (size := self._next_size()) > 0:
                complete.append(bytes(self._buffer[:size]))
                del self._buffer[:size]
                self._searched = self._length = 0
        except MalformedMessage as error:
            self._error = error
            self._buffer.clear()
            if not complete:
                raise
        return complete

    def _next_size(self) -> int:
        """The size of the complete message or keepalive at the start of the buffer, 0 when more is needed."""
        buffer = self._buffer
        if self._length == 0:
            if buffer.startswith(b"\r\n"):
                return 4 if buffer.startswith(b"\r\n\r\n") else 2
            end = buffer.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._searched = max(0, len(buffer) - 3)
                if len(buffer) > MAXIMUM_MESSAGE:
                    raise _too_large()
                return 0
            self._length = end + 4 + _body_length(bytes(buffer[: end + 2]))
            if self._length > MAXIMUM_MESSAGE:
                raise _too_large()
        return self._length if len(buffer) >= self._length else 0


def _body_length(head: bytes) -> int:
    if b"\r\n " in head or b"\r\n\t" in head:
        head = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    lengths = {value.strip(b" \t") for value in _content_lengths(head)}
    digits = lengths.pop() if len(lengths) == 1 else b""
    if not digits.isdigit():
        raise MalformedMessage(
            "content_length", 400, "a message on a stream needs exactly one Content-Length with a number"
        )
    significant = digits.lstrip(b"0")
    return int(significant or b"0") if len(significant) < 10 else MAXIMUM_MESSAGE


def _too_large() -> MalformedMessage:
    return MalformedMessage("too_large", 513, f"a message on the stream is longer than {MAXIMUM_MESSAGE} bytes")
