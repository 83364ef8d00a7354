"""What the attacks on the running service share: what they send, and how they look at its process and its log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from .conftest import RunningService

SECRET = "M4rker-of-a-secret"
AOR = "sip:alice@127.0.0.1:9"
SERVER = {"uri": "sip:127.0.0.1:9", "username": "alice", "password": SECRET}
HELLO = {"id": 1, "op": "hello", "version": 1}


def line(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "aor": AOR, "registrar": SERVER, **changes}


def megabytes(service: RunningService) -> int:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def processor_time(service: RunningService) -> float:
    assert service.process is not None
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mistakes(service: RunningService) -> list[dict[str, Any]]:
    return [entry for entry in service.lines() if entry["event"] == "mistake" or "exception" in entry]


def port_of(service: RunningService, event: str, key: str) -> int:
    return next(int(entry[key]) for entry in reversed(service.lines()) if entry["event"] == event)


@contextlib.asynccontextmanager
async def connected(service: RunningService) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A session that has said hello."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(service.socket))) as client,
        client.ws_connect("http://localhost/v1/session", max_msg_size=0) as session,
    ):
        await session.send_json(HELLO)
        assert "ok" in await session.receive_json(timeout=5)
        yield session
