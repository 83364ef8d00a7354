"""WebSocket as a SIP transport (RFC 6455, RFC 7118): our end, without I/O."""

from __future__ import annotations

import base64
import hashlib
import secrets

from sipprofile.sip.message import MAXIMUM_MESSAGE

MAXIMUM_ANSWER = 16 << 10  # bytes of the HTTP answer to the handshake
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_MAXIMUM_CONTROL = 125  # bytes, RFC 6455 §5.5
_CRLF_PING, _CRLF_PONG = b"\r\n\r\n", b"\r\n"  # RFC 5626 §3.5.1


class WebSocketFailed(Exception):
    """The WebSocket is over. ``code``: websocket_refused, transport_closed or transport_failed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class WebSocketClient:
    """The opening handshake, then one SIP message a WebSocket message (RFC 7118 §5).

    A CRLF ping goes out as a Ping frame, which every WebSocket server answers, and its Pong comes in as the CRLF of a
    pong (RFC 7118 §6).
    What :meth:`outgoing` returns after each call is to be written.
    """

    __slots__ = ("_accept", "_buffer", "_error", "_message", "_out", "open")

    def __init__(self, host: str, path: str) -> None:
        """Begin the handshake; ``host`` is a Host header's value (RFC 9110 §7.2)."""
        self.open = False
        """Whether the handshake is complete."""
        key = base64.b64encode(secrets.token_bytes(16))
        self._accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
        self._buffer = bytearray()
        self._error: WebSocketFailed | None = None
        self._message: bytearray | None = None  # the fragments of a message so far
        self._out = bytearray(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: sip\r\n\r\n".encode()
        )

    def receive(self, data: bytes) -> list[bytes]:
        """The SIP messages that ``data`` completes. Raises WebSocketFailed; complete messages before are returned
        first, then the next call raises.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        if not self.open and not self._answered():
            return []
        messages: list[bytes] = []
        try:
            while (frame := self._next_frame()) is not None:
                self._take(*frame, messages)
        except WebSocketFailed as error:
            self._error = error
            if not messages:
                raise
        return messages

    def send(self, data: bytes) -> None:
        """Frame one SIP message; binary where it is not UTF-8 (RFC 7118 §5)."""
        if data == _CRLF_PING:
            self._frame(_PING, b"")
            return
        try:
            data.decode()
        except UnicodeDecodeError:
            self._frame(_BINARY, data)
        else:
            self._frame(_TEXT, data)

    def outgoing(self) -> bytes:
        """What is to be written now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def close(self) -> None:
        """Say that nothing follows (RFC 6455 §5.5.1)."""
        if self.open:
            self._frame(_CLOSE, b"\x03\xe8")  # 1000, normal

    def _answered(self) -> bool:
        """Read the answer to the handshake (RFC 6455 §4.1) when it is complete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAXIMUM_ANSWER:
                raise WebSocketFailed("websocket_refused", "what answers there is no WebSocket server")
            return False
        status, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        words = status.split(b" ", 2)
        if not words[0].startswith(b"HTTP/1.") or len(words) < 2:
            raise WebSocketFailed("websocket_refused", "what answers there does not speak HTTP")
        if words[1] != b"101":
            shown = b" ".join(words[1:])[:60].decode("ascii", "replace")
            raise WebSocketFailed("websocket_refused", f"the WebSocket was refused: {shown}")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        upgraded = fields.get(b"upgrade", b"").lower() == b"websocket"
        if not upgraded or fields.get(b"sec-websocket-accept") != self._accept:
            raise WebSocketFailed("websocket_refused", "the answer to the WebSocket handshake is wrong")
        if fields.get(b"sec-websocket-protocol", b"").lower() != b"sip" or b"sec-websocket-extensions" in fields:
            raise WebSocketFailed("websocket_refused", "the server does not speak SIP over WebSocket")
        self.open = True
        return True

    def _next_frame(self) -> tuple[int, bool, bytes] | None:
        """Opcode, whether it is the last fragment, and payload (RFC 6455 §5.2)."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, length = buffer[0], buffer[1]
        if first & 0x70 or length & 0x80:
            raise WebSocketFailed("transport_failed", "it broke the WebSocket protocol")
        start = 2
        if length > 125:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start], "big")
        if length > (MAXIMUM_MESSAGE if not first & 8 else _MAXIMUM_CONTROL):
            raise WebSocketFailed("transport_failed", f"it sent a message longer than {MAXIMUM_MESSAGE} bytes")
        if len(buffer) < start + length:
            return None
        payload = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return first & 15, bool(first & 0x80), payload

    def _take(self, opcode: int, last: bool, payload: bytes, messages: list[bytes]) -> None:
        if opcode == _PING:
            self._frame(_PONG, payload)
        elif opcode == _CLOSE:
            self._frame(_CLOSE, payload[:2])
            raise WebSocketFailed("transport_closed", "it has closed the WebSocket")
        elif opcode in (_TEXT, _BINARY) and self._message is None:
            if last:
                messages.append(payload)
            else:
                self._message = bytearray(payload)
        elif opcode == _CONTINUATION and self._message is not None:
            self._message += payload
            if len(self._message) > MAXIMUM_MESSAGE:
                raise WebSocketFailed("transport_failed", f"it sent a message longer than {MAXIMUM_MESSAGE} bytes")
            if last:
                messages.append(bytes(self._message))
                self._message = None
        elif opcode == _PONG:
            messages.append(_CRLF_PONG)
        else:
            raise WebSocketFailed("transport_failed", "it broke the WebSocket protocol")

    def _frame(self, opcode: int, payload: bytes) -> None:
        """One frame, masked with a new key as a client's must be (RFC 6455 §5.3)."""
        length = len(payload)
        head = bytearray((0x80 | opcode,))
        if length < 126:
            head.append(0x80 | length)
        elif length < 1 << 16:
            head += bytes((0xFE,)) + length.to_bytes(2, "big")
        else:
            head += bytes((0xFF,)) + length.to_bytes(8, "big")
        mask = secrets.token_bytes(4)
        whole = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        self._out += head + mask + (int.from_bytes(payload, "big") ^ whole).to_bytes(length, "big")
