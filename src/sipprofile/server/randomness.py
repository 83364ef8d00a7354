"""The service's source of randomness."""

from __future__ import annotations

import os
import random
import struct

WORDS = 512  # of 64 bits, asked of the system at once
_unpack = struct.Struct(f"{WORDS}Q").unpack


class ServiceRandom(random.SystemRandom):
    """Numbers that nobody can predict: contact tokens, Call-IDs and branches. A process that forks must make another.

    The system is asked for many at once, because each question is a system call: what a REGISTER needs takes 0.2 µs
    instead of 0.7. :meth:`random` alone, which only makes jitter, can be predicted by whoever sees enough of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._jitter = random.Random(os.urandom(32))
        self._words: list[int] = []

    def random(self) -> float:
        """A number from 0 to 1, for jitter."""
        return self._jitter.random()

    def getrandbits(self, k: int, /) -> int:
        """A number of ``k`` bits. None of them is given twice, and none is kept once it was given."""
        if not 0 < k <= 64:
            return super().getrandbits(k)
        if not self._words:
            self._words.extend(_unpack(os.urandom(8 * WORDS)))
        return self._words.pop() >> 64 - k
