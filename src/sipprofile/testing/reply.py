"""What the test registrar sends, and what happens to it on the way."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from sipprofile.testing.faults import Faults


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Bytes to send, the address they go to, the seconds to wait before, and the port they come from."""

    data: bytes
    destination: tuple[str, int]
    delay: float = 0.0
    port: int | None = None
    """``None``: the port that the request went to. It means nothing on a connection."""


def on_the_way(replies: Sequence[Reply], faults: Faults, random: random.Random) -> list[Reply]:
    """What is sent of ``replies``, and how."""
    sent = []
    for reply in replies:
        if faults.drop_answers and random.random() < faults.drop_answers:
            continue
        if faults.answer_port is not None:
            reply = msgspec.structs.replace(reply, port=faults.answer_port)
        if faults.garbage and random.random() < faults.garbage:
            reply = msgspec.structs.replace(reply, data=_spoiled(reply.data, random))
        sent.append(reply)
        if faults.duplicate_answers:
            sent.append(reply)
    return sent


def _spoiled(data: bytes, random: random.Random) -> bytes:
    way = random.randrange(3)
    if way == 0:
        return random.randbytes(random.randrange(1, 400))
    if way == 1:
        return data[: random.randrange(1, len(data))]
    spoiled = bytearray(data)
    for _ in range(8):
        spoiled[random.randrange(len(spoiled))] = random.randrange(256)
    return bytes(spoiled)
