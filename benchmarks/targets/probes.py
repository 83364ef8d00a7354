"""How long the event loop keeps others waiting: pings at fixed times, whether the last one was answered or not.

Each waits from the time at which it was to be sent, so a stall of 50 ms is seen by every ping of these 50 ms and not by
one of them only.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from pathlib import Path

from benchmarks.raw_session import MASKED, RawSession

PING = 0x89  # RFC 6455 §5.5.2; the answer is made by the service's event loop, and by nothing behind it
PONG = 0x8A
PINGS_EVERY = 0.001  # seconds
ENABLES_EVERY = 0.005
LAST_ANSWERS = 2.0  # seconds after the last question


class Pings:
    """Pings on a session of their own, from a thread of their own."""

    def __init__(self, path: Path, every: float = PINGS_EVERY) -> None:
        self.waited: list[tuple[float, float]] = []
        """When each was to be sent (CLOCK_MONOTONIC), and the seconds from then to its pong."""
        self._session = RawSession(path)
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._session.close()

    def _run(self) -> None:
        sent: dict[int, float] = {}
        due = time.monotonic()
        number = 0
        unread = b""
        connection = self._session.socket
        while sent or not self._end.is_set():
            now = time.monotonic()
            if now >= due and not self._end.is_set():
                number += 1
                sent[number] = due
                due += self._every
                connection.sendall(struct.pack(">BBII", PING, MASKED | 4, 0, number))
                continue
            if self._end.is_set() and now > due + LAST_ANSWERS:
                break
            if not select.select([connection], [], [], max(0.0, min(due - now, 0.1)))[0]:
                continue
            unread += connection.recv(65536)
            now = time.monotonic()
            while len(unread) >= 2 and len(unread) >= 2 + unread[1]:
                frame, unread = unread[: 2 + unread[1]], unread[2 + unread[1] :]
                if frame[0] == PONG:
                    begin = sent.pop(int.from_bytes(frame[2:], "big"))
                    self.waited.append((begin, now - begin))
        self.waited += [(begin, time.monotonic() - begin) for begin in sent.values()]


class Enables:
    """Enables of one registered profile, each followed by a disable, on a session of their own."""

    def __init__(self, path: Path, profile: int) -> None:
        self.waited: list[tuple[float, float]] = []
        """When each was sent, and the seconds from then to its answer."""
        self._session = RawSession(path)
        self._profile = profile

    def run(self, until: float) -> None:
        """Ask until the time `until`."""
        while (begin := time.monotonic()) < until:
            self._session.ask(f'{{"id":1,"op":"enable","profile":{self._profile}}}')
            self.waited.append((begin, time.monotonic() - begin))
            self._session.ask(f'{{"id":2,"op":"disable","profile":{self._profile}}}')
            time.sleep(max(0.0, begin + ENABLES_EVERY - time.monotonic()))

    def close(self) -> None:
        self._session.close()
