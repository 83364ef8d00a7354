"""The service as a child process, with the one profile of the story."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from programs import Program, log_to
from promise import DidNotHappen, until

import sipprofile

CONFIGURATION = """\
[sip]
bind = ["127.0.0.1"]  # nothing leaves this machine
"""


class Service:
    """A running service; ``url`` is what programs find in SIPPROFILE_URL."""

    def __init__(self, url: str, program: Program) -> None:
        self.url = url
        self._program = program

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Service]:
        """Start it; at the end of the block it is gone. Raises DidNotHappen with the end of its log."""
        configuration = directory / "sipprofile.toml"
        configuration.write_text(CONFIGURATION)
        command = [sys.executable, "-m", "sipprofile.cli.main", "serve", "--config", str(configuration)]
        command += ["--state", str(directory / "state"), "--socket", str(directory / "sock")]
        service = cls(f"unix:{directory / 'sock'}", await Program.start(command, {}, log_to(directory / "service.log")))
        try:
            await until(service._answers, f"the service's start; see {directory / 'service.log'}")
            yield service
        finally:
            await service._program.stop()

    async def stop(self) -> int:
        """As Ctrl-C does: it gives its bindings back. The result is its exit status."""
        return await self._program.stop()

    async def add_alice(self, registrar: str, password: str) -> int:
        """Store alice's profile with a bridge; the result is the bridge's port once she is registered."""
        async with (
            sipprofile.Sip("com.example.admin", url=self.url) as sip,
            sipprofile.ManagedProfileRegistry(sip) as registry,
        ):
            profile = await registry.create("ietf")
            profile.name, profile.aor = "alice", "sip:alice@example.test"
            profile.registrar = sipprofile.ServerParameters(uri=registrar, username="alice", password=password)
            profile.bridge = sipprofile.Bridge()  # the phone registers at it, as phones insist on doing
            await registry.save(profile)
            await until(lambda: profile.registered and profile.bridge_port is not None, "alice is registered")
            port = profile.bridge_port
            assert port is not None
            return port

    async def _answers(self) -> bool:
        if not self._program.running:
            raise DidNotHappen("the service's start:\n" + "\n".join(self._program.lines[-5:]))
        sip = sipprofile.Sip("com.example.admin", url=self.url)
        try:
            await sip.open()
        except sipprofile.SipProfileError:
            return False
        await sip.close()
        return True
