"""Free ports of the loopback interface."""

from __future__ import annotations

import random
import socket

_random = random.SystemRandom()
"""Not the one that a test may have seeded: several run at a time, and each must guess other ports."""


def is_free(port: int) -> bool:
    """Whether nobody has `port` of 127.0.0.1, neither for UDP nor for TCP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        # connections of an earlier listener that linger in TIME_WAIT do not count
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP now.

    It lies below the range the kernel gives to sockets without a port, so that it stays free while a
    counterpart is restarted. Raises RuntimeError when 50 guesses are taken.
    """
    for _ in range(50):
        port = _random.randrange(16000, 32000)
        if is_free(port):
            return port
    raise RuntimeError("50 ports of 127.0.0.1 between 16000 and 32000 are taken")
