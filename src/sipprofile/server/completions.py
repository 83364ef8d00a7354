"""The way back from other threads into the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Completions:
    """Results of other threads, handed to the loop in order and with one wake-up for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._woken = False

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have ``function`` called in the loop; callable from any thread."""
        with self._lock:
            self._waiting.append((function, arguments))
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:  # the loop is closed: nobody waits for the result any more
            pass

    def _run(self) -> None:
        with self._lock:
            batch = list(self._waiting)
            self._waiting.clear()
            self._woken = False
        for function, arguments in batch:
            function(*arguments)
