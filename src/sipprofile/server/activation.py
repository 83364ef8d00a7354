"""Applications are started that a request waits for: a command of the configuration, or a systemd unit.

What they get of the service is its address, and where its errors go: no open files, no secrets of its environment, and
a session of their own, so that no signal for the one reaches the other. What they print goes to the service's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ..service.effects import Activate
from .sharing_sections import ActivateSection

UNIT_LIMIT = 10.0  # seconds for systemd to take an order
INHERITED = (
    "DBUS_SESSION_BUS_ADDRESS",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
)
"""Variables that an application finds as the service has them; all others stay here."""


class Activations:
    """Performs ``Activate``. ``begin`` runs a coroutine, ``ended`` and ``failed`` tell the core what came of it."""

    def __init__(
        self,
        sections: Mapping[str, ActivateSection],
        url: str,
        log: Any,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        ended: Callable[[str], Any],
        failed: Callable[[str], Any],
    ) -> None:
        """``url`` is where the service is, for ``SIPPROFILE_URL``."""
        self._sections = sections
        self._url = url
        self._log = log
        self._begin = begin
        self._ended = ended
        self._failed = failed
        self._running: set[str] = set()

    def activate(self, effect: Activate) -> None:
        """Start it, unless it runs: then it will come by itself."""
        if effect.name not in self._running:
            self._running.add(effect.name)
            self._begin(self._run(effect.name))

    async def _run(self, name: str) -> None:
        """Until the program ends, however long that takes; systemd is only given its order."""
        section = self._sections[name]
        try:
            if section.unit is not None:
                problem = await self._order(section.unit)
            else:
                problem = await self._program(name, section.command)
        finally:
            self._running.discard(name)
        if problem:
            self._log.warning("an application that a request waits for was not started", name=name, reason=problem)
            self._failed(name)
        elif section.unit is None:
            self._ended(name)

    async def _order(self, unit: str) -> str:
        manager = () if os.geteuid() == 0 else ("--user",)
        command = ("systemctl", *manager, "start", "--no-block", "--", unit)
        try:
            process = await self._spawn(command)
        except (OSError, ValueError) as error:
            return f"systemctl cannot be run: {error}"
        try:
            async with asyncio.timeout(UNIT_LIMIT):
                status = await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            return f"systemctl took longer than {UNIT_LIMIT:g} s"
        return f"systemctl ended with status {status}" if status else ""

    async def _program(self, name: str, command: tuple[str, ...]) -> str:
        try:
            process = await self._spawn(command)
        except (OSError, ValueError) as error:
            return f"{command[0]} cannot be started: {error}"
        self._log.info("application started for a request", name=name, pid=process.pid)
        status = await process.wait()
        self._log.info("application ended", name=name, status=status)
        return f"{command[0]} ended with status {status}" if status else ""

    async def _spawn(self, command: tuple[str, ...]) -> asyncio.subprocess.Process:
        environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=2,
            stderr=2,
            env={**environment, "SIPPROFILE_URL": self._url},
            cwd="/",
            start_new_session=True,
        )
