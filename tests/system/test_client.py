"""The client library against the real daemon and a registrar."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import sipprofile
from sipprofile import (
    ManagedProfileRegistry,
    ProfileRegistry,
    RegistrationFailed,
    Sip,
    SipProfileError,
    sync,
)
from sipprofile.client.events import EventStream
from sipprofile.testing.server import RegistrarServer

from .adding import AOR, add
from .conftest import RunningService


@pytest_asyncio.fixture
async def registrar(daemon: RunningService) -> AsyncIterator[RegistrarServer]:
    async with RegistrarServer(users={"alice": "secret"}) as server:
        await add(daemon, server)
        yield server


async def heard(stream: EventStream, name: str) -> Any:
    """The next event of this name."""
    async with asyncio.timeout(15):
        async for event in stream:
            if event.event == name:
                return event
    raise AssertionError(f"the stream ended without {name}")


async def gone(registrar: RegistrarServer) -> bool:
    """The binding disappears."""
    async with asyncio.timeout(10):
        while registrar.bindings(AOR):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


async def test_use_registers_once_for_all_and_gives_back(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with sipprofile.use("line", app="one", url=daemon.url, timeout=10) as one:
        assert one.profile.registered
        assert one.profile.registered_aors == [AOR]
        assert 0 < (one.profile.lease_left or 0) <= 3600
        async with sipprofile.use("line", app="two", url=daemon.url, timeout=10) as two:
            assert two.profile.users == 2
            assert len(registrar.bindings(AOR)) == 1
        assert len(registrar.bindings(AOR)) == 1
    assert await gone(registrar)


async def test_wrong_password_fails_at_once(daemon: RunningService, registrar: RegistrarServer) -> None:
    registrar.registrar.users["alice"] = "another"
    with pytest.raises(RegistrationFailed) as caught:
        async with sipprofile.use("line", url=daemon.url, timeout=20):
            raise AssertionError("registered with a wrong password")
    assert caught.value.reason.code in ("rejected_credentials", "credentials_needed")


async def test_observer_and_last_error(daemon: RunningService, registrar: RegistrarServer) -> None:
    registrar.registrar.faults.status = 403
    async with Sip("test", url=daemon.url) as sip, ProfileRegistry(sip) as registry:
        profile = await registry.profile(name="line")
        stream = registry.events(profile)
        await registry.enable(profile)
        await heard(stream, "error")
        reason = registry.last_registration_error(profile)
        assert reason is not None
        assert reason.status_code == 403
        registrar.registrar.faults.status = None
        await registry.refresh_enable(profile)
        await heard(stream, "registered")
        assert profile.active
        assert registry.last_registration_error(profile) is None


async def test_force_disable_detaches_every_user(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with sipprofile.use("line", url=daemon.url, timeout=10) as line:
        events = line.events()
        async with Sip("operator", url=daemon.url) as sip, ProfileRegistry(sip) as registry:
            await registry.force_disable(await registry.profile(name="line"))
        await heard(events, "forcibly_disabled")
        assert not line.registry.is_enabled(line.profile)
        assert line.profile.status == "unregistered"
        assert len(registrar.bindings(AOR)) == 1  # without SIP


async def test_losing_the_last_reference_gives_back(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with Sip("test", url=daemon.url) as sip, ProfileRegistry(sip) as registry:
        profile = await registry.profile(name="line")
        await registry.enable(profile)
        await registry.wait_registered(profile, timeout=10)
        del profile
        gc.collect()
        assert await gone(registrar)


async def test_a_restart_of_the_service(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with sipprofile.use("line", url=daemon.url, timeout=10) as line:
        events = line.events()
        await asyncio.to_thread(daemon.stop)
        await heard(events, "service_gone")
        with pytest.raises(SipProfileError) as caught:
            await line.registry.refresh_enable(line.profile)
        assert caught.value.code == "service_gone"
        assert daemon.url in str(caught.value)
        await asyncio.to_thread(daemon.start)
        assert (await heard(events, "service_back")).errors == {}
        await line.registry.wait_registered(line.profile, timeout=10)
        assert line.profile.users == 1
        assert len(registrar.bindings(AOR)) == 1
    assert await gone(registrar)


async def test_retrieval(daemon: RunningService, registrar: RegistrarServer) -> None:
    await add(daemon, registrar, "other", aor="sip:bob@example.test", labels={"site": "lab"})
    async with Sip("test", url=daemon.url) as sip, ProfileRegistry(sip) as registry:
        assert (await registry.default_profile()).name == "line"
        assert [profile.name for profile in await registry.profiles()] == ["line", "other"]
        assert [profile.name for profile in await registry.profiles(aor="SIP:alice@EXAMPLE.test:5060")] in (
            [],
            ["line"],
        )
        assert [profile.name for profile in await registry.profiles(aor="sip:alice@EXAMPLE.test")] == ["line"]
        assert [profile.name for profile in await registry.profiles(label="site=lab")] == ["other"]
        assert [profile.name for profile in await registry.profiles(type="ietf")] == ["line", "other"]
        assert "ietf" in [one.name for one in await registry.supported_types()]
        with pytest.raises(SipProfileError) as caught:
            await registry.profile(99)
        assert caught.value.code == "not_found"


async def test_administration(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with (
        Sip("admin", url=daemon.url) as sip,
        ManagedProfileRegistry(sip) as registry,
        ProfileRegistry(sip) as users,
    ):
        profile = await registry.profile(name="line")
        stream = users.events()
        used = await users.profile(profile.id)
        profile.provider_name = "Example"
        profile.set_extension("retries", 5)
        await registry.save(profile)
        await heard(stream, "updated")
        assert (used.provider_name, used.extension("retries", int)) == ("Example", 5)
        assert profile.registrar is not None
        assert profile.registrar.password_set

        await users.enable(used)
        await users.wait_registered(used, timeout=10)  # the password was kept
        assert await registry.is_in_use(profile)
        with pytest.raises(SipProfileError) as caught:
            await registry.destroy(profile)
        assert (caught.value.code, caught.value.members["users"]) == ("in_use", 1)

        copy = await registry.clone(profile, "copy")
        await registry.save(copy)
        assert copy.instance_id not in ("", profile.instance_id)
        await registry.set_default(copy)
        assert copy.default

        await users.disable(used)
        await registry.destroy(profile)
        await heard(stream, "destroyed")
        profile = await registry.profile(name="copy")
        profile.aor = "http://example.test"
        with pytest.raises(SipProfileError) as caught:
            await registry.save(profile)
        assert (caught.value.code, caught.value.field) == ("invalid_value", "aor")


async def test_two_administrators(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with Sip("admin", url=daemon.url) as sip, ManagedProfileRegistry(sip) as registry:
        mine, theirs = await registry.profile(name="line"), await registry.profile(name="line")
        mine.expires, theirs.expires = 600, 700
        await registry.save(mine)
        with pytest.raises(SipProfileError) as caught:
            await registry.save(theirs)
        assert caught.value.code == "revision_mismatch"
        theirs.revert()
        assert theirs.expires == 600


async def test_the_synchronous_facade(daemon: RunningService, registrar: RegistrarServer) -> None:
    def script() -> None:
        with sync.use("line", app="script", url=daemon.url, timeout=10) as line:
            assert line.profile.registered

    await asyncio.to_thread(script)
    assert await gone(registrar)
