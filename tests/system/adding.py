"""A profile is added to a running service."""

from __future__ import annotations

from typing import Any

from sipprofile import ManagedProfileRegistry, ServerParameters, Sip
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService

AOR = "sip:alice@example.test"


async def add(daemon: RunningService, registrar: RegistrarServer, name: str = "line", **changes: Any) -> None:
    async with Sip("admin", url=daemon.url) as sip, ManagedProfileRegistry(sip) as registry:
        profile = await registry.create("ietf")
        profile.name, profile.aor = name, AOR
        profile.registrar = ServerParameters(registrar.uri, username="alice", password="secret")
        for field, value in changes.items():
            setattr(profile, field, value)
        await registry.save(profile)
