"""ManagedProfileRegistry: create, edit, save, clone, destroy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fake_service import FakeService, running

from sipprofile import ManagedProfileRegistry, ProfileRegistry, ServerParameters, Sip, SipProfileError
from sipprofile.client.document import ServerDocument


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add(
            "trunk",
            registrar={"uri": "sip:r.example.test", "username": "u", "password_set": True},
            proxies=[{"uri": "sip:p.example.test", "password_set": True}],
            instance_id="0a0a0a0a-0000-4000-8000-000000000000",
        )
        yield service


@pytest_asyncio.fixture
async def registry(service: FakeService) -> AsyncIterator[ManagedProfileRegistry]:
    async with Sip("test", url=service.url) as sip, ManagedProfileRegistry(sip) as registry:
        yield registry


class TestCreate:
    """CreateL and SaveL of a new profile."""

    async def test_has_the_types_defaults_and_no_id(self, registry: ManagedProfileRegistry) -> None:
        profile = await registry.create("ietf")
        assert (profile.id, profile.type, profile.expires, profile.status) == (0, "ietf", 600, "unregistered")
        assert profile.edited

    async def test_unknown_type(self, registry: ManagedProfileRegistry) -> None:
        with pytest.raises(SipProfileError) as caught:
            await registry.create("acme")
        assert (caught.value.code, caught.value.value) == ("unknown_type", "acme")

    async def test_save_gives_it_an_id_and_holds_it(
        self, registry: ManagedProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.create()
        profile.name, profile.aor = "new", "sip:new@example.test"
        profile.registrar = ServerDocument("sip:example.test", username="new", password="hunter2")
        profile.labels["site"] = "b"
        assert await registry.save(profile) == []
        method, path, body, _ = service.requests[0]
        assert (method, path) == ("POST", "/v1/profiles")
        assert body["registrar"] == {"uri": "sip:example.test", "username": "new", "password": "hunter2"}
        assert body["labels"] == {"site": "b"}
        assert "id" not in body
        assert (profile.id, profile.revision, profile.edited) == (2, 1, False)
        assert profile.registrar.password is None
        assert profile.registrar.password_set
        assert service.sessions[0].held == {2}
        assert (await registry.profile(2)).name == "new"

    async def test_warnings(self, registry: ManagedProfileRegistry) -> None:
        profile = await registry.create()
        profile.name, profile.aor, profile.expires = "new", "sip:new@example.test", 10
        (warning,) = await registry.save(profile)
        assert (warning.code, warning.field) == ("unwise", "expires")

    async def test_refused_save_leaves_it_unsaved(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.create()
        profile.name = "new"
        with pytest.raises(SipProfileError) as caught:
            await registry.save(profile)
        assert (caught.value.code, caught.value.field) == ("missing_field", "aor")
        profile.aor = "sip:new@example.test"
        await registry.save(profile)
        assert profile.id == 2

    async def test_not_saved_yet(self, registry: ManagedProfileRegistry) -> None:
        profile = await registry.create()
        for attempt in (registry.destroy(profile), registry.is_in_use(profile), registry.set_default(profile)):
            with pytest.raises(SipProfileError) as caught:
                await attempt
            assert caught.value.code == "not_found"


class TestEdit:
    """SetParameter on a stored profile, and SaveL of it."""

    async def test_only_what_was_edited_is_sent(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(name="trunk")
        assert not profile.edited
        profile.expires = 900
        profile.registrar.username = "v"  # type: ignore[union-attr]
        profile.set_extension("x", 5)
        assert profile.edited
        await registry.save(profile)
        patch = {"expires": 900, "registrar": {"username": "v"}, "extensions": {"x": 5}}
        assert service.requests == [("PATCH", "/v1/profiles/1", patch, '"1"')]
        assert (profile.expires, profile.revision, profile.edited) == (900, 2, False)
        assert profile.extension("x", int) == 5

    async def test_back_to_the_default_is_null(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        profile.registrar = None
        profile.proxies = []
        profile.set_extension("x", None)
        await registry.save(profile)
        assert service.requests[0][2] == {"registrar": None, "proxies": None}
        assert profile.registrar is None

    async def test_password(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        assert profile.registrar is not None
        assert profile.registrar.password is None
        profile.registrar.password = "hunter2"
        assert "hunter2" not in repr(profile.registrar)
        await registry.save(profile)
        profile.registrar.password = ""
        await registry.save(profile)
        assert [request[2] for request in service.requests] == [
            {"registrar": {"password": "hunter2"}},
            {"registrar": {"password": None}},
        ]

    async def test_nothing_edited_sends_nothing(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        await registry.save(await registry.profile(1))
        assert service.requests == []

    async def test_follows_the_service_until_edited(
        self, registry: ManagedProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.profile(1)
        assert profile.expires == 3600
        stream = registry.events()
        await service.update(1, expires=700)
        await anext(stream)
        assert profile.expires == 700
        profile.expires = 800
        await service.event("registered", 1, status="registered")
        await anext(stream)
        assert (profile.expires, profile.status) == (800, "registered")
        assert await registry.save(profile) == []

    async def test_somebody_else_saved_it(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        profile.expires = 800
        stream = registry.events()
        await service.update(1, provider_name="New")
        await anext(stream)
        assert profile.provider_name == ""
        with pytest.raises(SipProfileError) as caught:
            await registry.save(profile)
        assert caught.value.code == "revision_mismatch"
        profile.revert()
        assert (profile.expires, profile.provider_name) == (3600, "New")

    async def test_a_saved_answer_never_undoes_a_newer_event(
        self, registry: ManagedProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.profile(1)
        stream = registry.events()
        await service.event("registered", 1, status="registered")
        await anext(stream)
        stale = {**service.profiles[1], "registration": {"status": "registering"}}
        registry.records.renew(json.dumps(stale).encode())
        assert profile.status == "registered"

    async def test_plain_server_parameters(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        profile.registrar = ServerParameters("sip:s.example.test", username="u", password="hunter2")
        profile.proxies = [ServerParameters("sip:q.example.test")]
        await registry.save(profile)
        registrar = {"uri": "sip:s.example.test", "password": "hunter2"}
        assert service.requests[0][2] == {"registrar": registrar, "proxies": [{"uri": "sip:q.example.test"}]}


class TestCloneAndDestroy:
    """CloneL, DestroyL, IsInUseL."""

    async def test_clone(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        original = await registry.profile(1)
        copy = await registry.clone(original, "copy")
        assert (copy.id, copy.name, copy.aor, copy.default) == (0, "copy", original.aor, False)
        await registry.save(copy)
        body = service.requests[0][2]
        assert {"id", "instance_id", "default", "registration", "revision"}.isdisjoint(body)
        assert copy.id == 2
        assert original.name == "trunk"

    async def test_destroy(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.destroy(profile)
        assert service.profiles == {}
        assert profile.closed

    async def test_destroy_in_use(self, registry: ManagedProfileRegistry) -> None:
        profile = await registry.profile(1)
        assert not await registry.is_in_use(profile)
        async with ProfileRegistry(registry.sip) as users:
            await users.enable(used := await users.profile(1))
            assert await registry.is_in_use(profile)
            with pytest.raises(SipProfileError) as caught:
                await registry.destroy(profile)
            assert (caught.value.code, caught.value.members["users"]) == ("in_use", 1)
            await used.close()
        await registry.destroy(profile)

    async def test_destroyed_by_somebody_else(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        stream = registry.events()
        await service.tell({"event": "destroyed", "profile": 1})
        assert (await asyncio.wait_for(anext(stream), 5)).event == "destroyed"
        assert profile.name == "trunk"  # the copied values stay until it is closed
        service.profiles.clear()
        with pytest.raises(SipProfileError) as caught:
            await registry.destroy(profile)
        assert caught.value.code == "not_found"

    async def test_set_default(self, registry: ManagedProfileRegistry, service: FakeService) -> None:
        service.add("desk")
        profile = await registry.profile(2)
        await registry.set_default(profile)
        assert profile.default
