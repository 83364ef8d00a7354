"""The programs of the demonstration: child processes whose output becomes lines of the narration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

STOP_LIMIT = 10.0  # seconds a program has to end after SIGINT


class Program:
    """A child process in a session of its own, so that Ctrl-C reaches it only by way of us."""

    def __init__(self, process: Process, said: Callable[[str], None]) -> None:
        self._process = process
        self._said = said
        self.lines: list[str] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], said: Callable[[str], None]
    ) -> Program:
        """Start ``command`` with additions to the environment; ``said`` gets every line it prints."""
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=STDOUT, start_new_session=True, env={**os.environ, **environment}
        )
        return cls(process, said)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def has_said(self, words: str) -> bool:
        """A line that begins with ``words`` was printed."""
        return any(line.startswith(words) for line in self.lines)

    async def kill(self) -> None:
        """SIGKILL, also to what it has started: they can do nothing about it."""
        self._signal(os.killpg, signal.SIGKILL)
        await self._process.wait()
        await self._reader

    async def stop(self) -> int:
        """SIGINT, and after 10 s SIGKILL; returns the exit status."""
        self._signal(os.kill, signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        await self._reader
        return self._process.returncode or 0

    def _signal(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        # not by the process object: that would wait for a child that has just ended, in asyncio's place
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            self._said(text)


def log_to(path: Path) -> Callable[[str], None]:
    """A receiver of lines that appends them to a file."""

    def write(line: str) -> None:
        with path.open("a") as log:
            log.write(line + "\n")

    return write
