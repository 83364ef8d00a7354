"""The daemon between its sockets: it registers at a registrar, keeps leases over its end or gives them back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sipprofile.store import files
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService

AOR = "sip:alice@example.test"


def alice(registrar: RegistrarServer, **changes: Any) -> dict[str, Any]:
    server = {"uri": registrar.uri, "username": "alice", "password": "secret"}
    return {"name": "line", "aor": AOR, "registrar": server, "register": "always", **changes}


async def request(daemon: RunningService, method: str, path: str, body: Any = None) -> Any:
    return (await asyncio.to_thread(daemon.request, method, path, body)).document


async def registered(daemon: RunningService) -> dict[str, Any]:
    """The registration of the profile once it is registered."""
    async with asyncio.timeout(10):
        while True:
            state: dict[str, Any] = (await request(daemon, "GET", "/v1/profiles/1"))["registration"]
            if state["status"] == "registered":
                return state
            await asyncio.sleep(0.02)


@pytest.fixture
async def with_lease(daemon: RunningService, sip_registrar: RegistrarServer) -> RunningService:
    """A service whose one profile is registered."""
    await request(daemon, "POST", "/v1/profiles", alice(sip_registrar))
    await registered(daemon)
    return daemon


Stop = Callable[[RunningService], Awaitable[object]]


async def crash(daemon: RunningService) -> None:
    """A lease is written within 50 ms of its grant; a crash before that costs a REGISTER."""
    await asyncio.to_thread(daemon.wait_until, lambda: stored_leases(daemon), "the lease's way to disk")
    await asyncio.to_thread(daemon.kill)


def stored_leases(daemon: RunningService) -> int:
    keys = KeyRing.read(daemon.state / files.KEY_FILE)
    with contextlib.closing(Store.open_to_read(daemon.state / files.STORE_FILE, keys)) as store:
        return sum(flow.lease_ends > 0 for record in store.load() for flow in record.flows)


async def terminate(daemon: RunningService) -> None:
    assert await asyncio.to_thread(daemon.stop) == 0


async def ask_to_stop(daemon: RunningService) -> None:
    await request(daemon, "POST", "/v1/stop", {})
    assert await asyncio.to_thread(daemon.wait) == 0


async def interrupt(daemon: RunningService) -> None:
    assert await asyncio.to_thread(daemon.stop, signal.SIGINT) == 0


async def ask_to_deregister(daemon: RunningService) -> None:
    await request(daemon, "POST", "/v1/stop", {"deregister": True})
    assert await asyncio.to_thread(daemon.wait) == 0


class TestRegistering:
    async def test_udp(self, with_lease: RunningService, sip_registrar: RegistrarServer) -> None:
        binding = sip_registrar.bindings(AOR)[0]
        state = (await request(with_lease, "GET", "/v1/profiles/1"))["registration"]
        assert state["registered_contact"] == binding.contact
        metrics = await request(with_lease, "GET", "/metrics")
        assert 'status="registered"} 1.0' in metrics
        assert "sipprofile_register_sent_total 2.0" in metrics  # the second answers the challenge

    async def test_tcp(self, daemon: RunningService, sip_registrar: RegistrarServer) -> None:
        document = alice(sip_registrar)
        document["registrar"]["uri"] += ";transport=tcp"
        await request(daemon, "POST", "/v1/profiles", document)
        await registered(daemon)
        assert len(sip_registrar.bindings(AOR)) == 1

    async def test_name_of_the_registrar_is_looked_up(
        self, daemon: RunningService, sip_registrar: RegistrarServer
    ) -> None:
        document = alice(sip_registrar)
        document["registrar"]["uri"] = f"sip:localhost:{sip_registrar.port}"
        await request(daemon, "POST", "/v1/profiles", document)
        await registered(daemon)
        assert len(sip_registrar.bindings(AOR)) == 1

    async def test_log(self, with_lease: RunningService) -> None:
        line = next(line for line in with_lease.lines() if line["event"] == "registered")
        assert (line["profile"], line["level"]) == ("line", "info")
        assert line["expires"] > 0


class TestEnd:
    """SIGTERM keeps the leases, SIGINT gives them back."""

    @pytest.mark.parametrize("stop", [terminate, crash, ask_to_stop])
    async def test_restart_needs_no_register(
        self, with_lease: RunningService, sip_registrar: RegistrarServer, stop: Stop
    ) -> None:
        seen = len([each for each in sip_registrar.registrar.log if each.method == "REGISTER"])
        before = sip_registrar.bindings(AOR)
        await stop(with_lease)
        assert len(sip_registrar.bindings(AOR)) == 1
        await asyncio.to_thread(with_lease.start)
        state = await registered(with_lease)
        assert state["registered_contact"] == before[0].contact
        assert len([each for each in sip_registrar.registrar.log if each.method == "REGISTER"]) == seen

    @pytest.mark.parametrize("stop", [interrupt, ask_to_deregister])
    async def test_deregistration(self, with_lease: RunningService, sip_registrar: RegistrarServer, stop: Stop) -> None:
        await stop(with_lease)
        assert sip_registrar.bindings(AOR) == []

    async def test_second_signal_does_not_wait_for_a_silent_registrar(
        self, with_lease: RunningService, sip_registrar: RegistrarServer
    ) -> None:
        sip_registrar.registrar.faults.silent = True
        assert with_lease.process is not None
        with_lease.process.send_signal(signal.SIGINT)

        def stopping() -> bool:
            return bool(with_lease.lines()[-1]["event"] == "stopping")

        await asyncio.to_thread(with_lease.wait_until, stopping, "the stop")
        assert await asyncio.to_thread(with_lease.stop, signal.SIGINT) == 0
        assert "some registrars" not in with_lease.log.read_text()
