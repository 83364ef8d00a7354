"""Kamailio, a real SIP server, as the provider of example.test: a child process on a port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from programs import Program

TEMPLATE = Path(__file__).with_name("kamailio.cfg")
DOMAIN = "example.test"
START_LIMIT = 15.0  # seconds


class NotInstalled(Exception):
    """A program that the story needs is missing; the text says what brings it."""


def installed(program: str, package: str) -> str:
    """The path of a program. Raises NotInstalled."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalled(f"{program} is not installed; `make counterparts` or `apt-get install {package}` brings it")
    return found


class Kamailio:
    """A running Kamailio that knows some users; ``told`` gets what it says of requests."""

    def __init__(self, directory: Path, port: int, program: Program, log: list[str]) -> None:
        self.port = port
        self.log = log
        """What passed through it: ``method|user of From|user of To|Call-ID`` for each request that it sent on."""
        self._control = directory / "kamailio.control"
        self._answers = directory / "kamailio.answers"
        self._program = program

    @staticmethod
    def find() -> str:
        """The path of the program. Raises NotInstalled."""
        return installed("kamailio", "kamailio")

    @property
    def uri(self) -> str:
        return f"sip:127.0.0.1:{self.port}"

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, directory: Path, passwords: Mapping[str, str], told: Callable[[str], None], port: int | None = None
    ) -> AsyncIterator[Kamailio]:
        """Start it at ``port``, or any; at the end of the block it is gone.

        Raises NotInstalled, RuntimeError with the end of its log.
        """
        path = cls.find()
        configuration = directory / "kamailio.cfg"
        port = port or free_port()
        text = TEMPLATE.read_text().replace("@port@", str(port))
        text = text.replace("@control@", str(directory / "kamailio.control"))
        lines = (f'    $sht(passwords=>{user}) = "{password}";' for user, password in passwords.items())
        configuration.touch(mode=0o600)
        configuration.write_text(text.replace("@passwords@", "\n".join(lines)))
        log: list[str] = []

        def heard(line: str) -> None:
            if match := re.search(r"(TELL|SENT ON)\|(.*)", line):
                told(match[2]) if match[1] == "TELL" else log.append(match[2])

        command = [path, "-DD", "-E", "-f", str(configuration), "-Y", str(directory), "-m", "64", "-M", "8"]
        program = await Program.start([*command, "-P", str(directory / "kamailio.pid")], {}, heard)
        kamailio = cls(directory, port, program, log)
        try:
            await kamailio._wait()
            yield kamailio
        finally:
            await program.kill()  # it keeps nothing, and sometimes hangs when it is asked to end

    async def _wait(self) -> None:
        for _ in range(int(START_LIMIT / 0.05)):
            if not self._program.running:
                break
            try:
                await self.ask("core.version")
                return
            except OSError:
                await asyncio.sleep(0.05)
        raise RuntimeError("kamailio did not start:\n" + "\n".join(self._program.lines[-8:]))

    async def bindings(self, user: str) -> list[str]:
        """The contacts that are registered for a user now."""
        answer = await self.ask("ul.lookup", "location", f"{user}@{DOMAIN}")
        rows = [entry.get("Contact", entry) for entry in answer.get("result", {}).get("Contacts", [])]
        return [row["Address"] for row in rows if isinstance(row["Expires"], int)]  # others are about to be removed

    async def ask(self, method: str, *parameters: str) -> dict[str, Any]:
        """One JSON-RPC call on its control socket. Raises OSError when nobody answers."""
        request = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}).encode()
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
            control.setblocking(False)
            self._answers.unlink(missing_ok=True)
            control.bind(str(self._answers))
            control.connect(str(self._control))
            await loop.sock_sendall(control, request)
            async with asyncio.timeout(2.0):
                data = await loop.sock_recv(control, 1 << 20)
        return dict(json.loads(data))


def free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP, below those that the kernel gives away by itself."""
    for port in random.sample(range(16000, 32000), 50):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            contextlib.suppress(OSError),
        ):
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("50 ports of 127.0.0.1 between 16000 and 32000 are taken")
