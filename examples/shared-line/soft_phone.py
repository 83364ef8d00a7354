"""baresip, an unmodified soft phone: a child process behind the bridge, told over its control port when to do what."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kamailio import NotInstalled, free_port, installed
from programs import Program

START_LIMIT = 10.0  # seconds
COLOURS = re.compile("\x1b\\[[0-9;]*m")
PLACES = ("/usr/lib*/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib*/baresip/modules")


class SoftPhone:
    """A phone with the account of docs/recipes/baresip.md; ``happened`` gets the events of its calls."""

    _reading: asyncio.Task[None]
    _writer: asyncio.StreamWriter

    def __init__(self, directory: Path, program: Program) -> None:
        self.events: list[str] = []
        """What it reported, such as ``CALL_INCOMING``."""
        self._directory = directory
        self._program = program

    @staticmethod
    def find() -> tuple[str, str]:
        """The paths of the program and of its modules. Raises NotInstalled."""
        path = installed("baresip", "baresip-core")
        modules = next((found for place in PLACES for found in glob.glob(place)), None)
        if modules is None:
            raise NotInstalled(
                "baresip has no modules; `make counterparts` or `apt-get install baresip-core` brings them"
            )
        return path, modules

    @classmethod
    async def start(cls, directory: Path, bridge_port: int, happened: Callable[[str, str], None]) -> SoftPhone:
        """Start it. Raises NotInstalled, RuntimeError with what it printed."""
        path, modules = cls.find()
        control = free_port()
        _configure(directory, control, modules, bridge_port)
        # its output would stay in a buffer without stdbuf; -s prints every SIP message that it gets and sends
        program = await Program.start(["stdbuf", "-oL", path, "-f", str(directory), "-s"], {}, lambda line: None)
        phone = cls(directory, program)
        try:
            reader, phone._writer = await phone._connect(control)
        except BaseException:
            await program.kill()
            raise
        phone._reading = asyncio.create_task(phone._read(reader, happened))
        return phone

    async def stop(self) -> int:
        """As Ctrl-C does: it unregisters. The result is its exit status."""
        status = await self._program.stop()
        await self.kill()
        return status

    async def kill(self) -> None:
        """End it at once, whatever it does."""
        self._reading.cancel()
        self._writer.close()
        await self._program.kill()

    @property
    def registered(self) -> bool:
        """It has registered at the bridge, perhaps before it could be asked."""
        return any("[1 binding]" in line for line in self._program.lines)

    def command(self, name: str, parameters: str = "") -> None:
        """One command of baresip, such as ``dial``."""
        text = json.dumps({"command": name, "params": parameters, "token": name})
        self._writer.write(f"{len(text)}:{text},".encode())

    def seen(self) -> str:
        """All that it ever got: its settings, and every SIP message that it received or sent."""
        files = "\n".join(path.read_text() for path in sorted(self._directory.iterdir()) if path.is_file())
        return files + "\n" + COLOURS.sub("", "\n".join(self._program.lines))

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(int(START_LIMIT / 0.05)):
            if not self._program.running:
                break
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
        raise RuntimeError("baresip did not start:\n" + "\n".join(self._program.lines[-8:]))

    async def _read(self, reader: asyncio.StreamReader, happened: Callable[[str, str], None]) -> None:
        """Netstrings with JSON: events, and answers to commands."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                message: dict[str, Any] = json.loads((await reader.readexactly(length + 1))[:-1])
                if "type" in message:
                    self.events.append(message["type"])
                    happened(message["type"], str(message.get("param", "")))


def _configure(directory: Path, control: int, modules: str, bridge_port: int) -> None:
    directory.mkdir()
    lines = [f"sip_listen 127.0.0.1:{free_port()}", "net_interface 127.0.0.1"]
    lines += [f"ctrl_tcp_listen 127.0.0.1:{control}", f"module_path {modules}", "module g711.so"]
    lines += ["module_tmp account.so", "module_app ctrl_tcp.so", "module_app menu.so"]
    (directory / "config").write_text("\n".join([*lines, ""]))
    (directory / "accounts").write_text(f"<sip:alice@127.0.0.1:{bridge_port}>;auth_pass=none;regint=60\n")
