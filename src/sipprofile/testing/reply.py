"""What the test registrar sends."""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Bytes to send, the address they go to, and the seconds to wait before."""

    data: bytes
    destination: tuple[str, int]
    delay: float = 0.0
