"""ProfileRegistry: profiles are enabled, registered, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from client_session import heard, registry
from fake_service import FakeService, running

from sipprofile import ProfileRegistry, RegistrationFailed, SipProfileError

__all__ = ["registry"]


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add("trunk", labels={"site": "a"}, extensions={"count": 3, "flag": True, "words": ["a", "b"]})
        service.add("desk")
        yield service


class TestUse:
    """CSIPProfileRegistry: EnableL, Disable, IsEnabled, ForceDisable, RefreshEnableL."""

    async def test_enable_renews_the_state_at_once(self, registry: ProfileRegistry, service: FakeService) -> None:
        service.profiles[1]["registration"] = {"status": "registered"}
        profile = await registry.profile(1)
        assert not profile.active
        await registry.enable(profile)
        assert registry.is_enabled(profile)
        assert profile.active
        assert profile.users == 1

    async def test_an_answer_older_than_an_event_that_overtook_it(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.profile(1)
        enable = service._op_enable

        def overtaken(session: Any, command: dict[str, Any]) -> dict[str, Any]:
            answer = enable(session, command)
            state = {"status": "registered", "revision": 5}
            overtaking.append(service.tell({"event": "registered", "profile": 1, "state": state}))
            return {"registration": {**answer["registration"], "revision": 4}}

        overtaking: list[Any] = []
        service._op_enable = overtaken  # type: ignore[method-assign]
        service.before_answer = lambda: overtaking.pop() if overtaking else None
        await registry.enable(profile)
        assert (profile.status, profile.registration.revision) == ("registered", 5)

    async def test_twice(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        with pytest.raises(SipProfileError) as caught:
            await registry.enable(profile)
        assert caught.value.code == "already_enabled"
        assert registry.is_enabled(profile)

    async def test_disable(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        await registry.disable(profile)
        assert not registry.is_enabled(profile)
        with pytest.raises(SipProfileError) as caught:
            await registry.disable(profile)
        assert caught.value.code == "not_enabled"

    async def test_force_disable_ends_the_use(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        stream = registry.events()
        await registry.force_disable(profile)
        await heard(stream, "forcibly_disabled")
        assert not registry.is_enabled(profile)
        assert profile.held == "forcibly_disabled"

    async def test_refresh_enable(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.refresh_enable(profile)
        assert [command["profile"] for command in service.said("retry-now")] == [1]

    async def test_a_profile_of_another_registry(self, registry: ProfileRegistry) -> None:
        async with ProfileRegistry(registry.sip) as other:
            profile = await other.profile(1)
            with pytest.raises(SipProfileError, match="another registry"):
                await registry.enable(profile)

    async def test_last_registration_error(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        assert registry.last_registration_error(profile) is None
        stream = registry.events()
        await service.event("error", 1, status="unregistered", reason={"code": "timeout", "text": "No answer."})
        await heard(stream, "error")
        reason = registry.last_registration_error(profile)
        assert reason is not None
        assert reason.code == "timeout"
        await service.event("registered", 1, status="registered", reason={"code": "response", "status_code": 200})
        await heard(stream, "registered")
        assert registry.last_registration_error(profile) is None


class TestWaitRegistered:
    """``wait_registered`` returns, or raises as soon as the answer is no."""

    async def test_already_registered(self, registry: ProfileRegistry, service: FakeService) -> None:
        service.profiles[1]["registration"] = {"status": "registered"}
        await registry.wait_registered(await registry.profile(1), timeout=1)

    async def test_later(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        waiting = asyncio.create_task(registry.wait_registered(profile, timeout=5))
        await service.event("status", 1, status="registering", attempt=2)
        await service.event("registered", 1, status="registered")
        await waiting
        assert profile.registered

    async def test_refused_raises_at_once(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        waiting = asyncio.create_task(registry.wait_registered(profile))
        reason = {"code": "response", "status_code": 403, "text": "The registrar answered 403 Forbidden."}
        await service.event("error", 1, status="unregistered", reason=reason, next_try=1e9)
        with pytest.raises(RegistrationFailed) as caught:
            await asyncio.wait_for(waiting, 5)
        assert (caught.value.reason.status_code, caught.value.next_try) == (403, 1e9)

    async def test_refused_before_waiting(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        stream = registry.events()
        await service.event("error", 1, status="unregistered", reason={"code": "credentials_needed"}, next_try=5.0)
        await heard(stream, "error")
        with pytest.raises(RegistrationFailed):
            await registry.wait_registered(profile)

    async def test_an_attempt_under_way_is_waited_for_whatever_failed_before(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        service.profiles[1]["registration"] = {"status": "registering", "reason": {"code": "timeout"}}
        profile = await registry.profile(1)
        await registry.enable(profile)
        waiting = asyncio.create_task(registry.wait_registered(profile, timeout=5))
        await service.event("registered", 1, status="registered")
        await waiting

    async def test_paused(self, registry: ProfileRegistry, service: FakeService) -> None:
        service.profiles[1]["registration"] = {"held": "paused"}
        profile = await registry.profile(1)
        with pytest.raises(RegistrationFailed) as caught:
            await registry.wait_registered(profile)
        assert caught.value.reason.code == "paused"

    async def test_nobody_wants_it(self, registry: ProfileRegistry) -> None:
        with pytest.raises(SipProfileError) as caught:
            await registry.wait_registered(await registry.profile(1))
        assert caught.value.code == "not_enabled"

    async def test_timeout_says_how_far_it_is(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        with pytest.raises(SipProfileError, match="registering") as caught:
            await registry.wait_registered(profile, timeout=0)
        assert caught.value.code == "timed_out"

    async def test_removed_meanwhile(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        waiting = asyncio.create_task(registry.wait_registered(profile))
        await asyncio.sleep(0)
        await service.tell({"event": "destroyed", "profile": 1})
        with pytest.raises(SipProfileError) as caught:
            await asyncio.wait_for(waiting, 5)
        assert caught.value.code == "not_found"

    async def test_registry_closed_meanwhile(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        waiting = asyncio.create_task(registry.wait_registered(profile))
        await asyncio.sleep(0)
        await registry.close()
        with pytest.raises(SipProfileError) as caught:
            await asyncio.wait_for(waiting, 5)
        assert caught.value.code == "closed"
