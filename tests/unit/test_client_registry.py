"""ProfileRegistry: retrieval, values, events, and giving back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from client_session import heard, registry
from fake_service import FakeService, running

from sipprofile import ProfileRegistry, RegistrationFailed, Sip, SipProfileError
from sipprofile.client.events import LIMIT, EventStream, ServiceEvent
from sipprofile.events import Event, RegistrationState

__all__ = ["registry"]


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add("trunk", labels={"site": "a"}, extensions={"count": 3, "flag": True, "words": ["a", "b"]})
        service.add("desk")
        yield service


class Observer:
    """Notes every call together with what the profile said at that moment."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.called = asyncio.Event()
        self.look: Any = lambda: None

    async def profile_registry_event(self, event: Event) -> None:
        self._note(event.event)

    def profile_registry_error(self, event: Event, error: RegistrationFailed) -> None:
        self._note(f"error {error.reason.code} {error.next_try}")

    def service_event(self, event: ServiceEvent) -> None:
        self._note(event.event)

    def _note(self, what: str) -> None:
        self.calls.append((what, self.look()))
        self.called.set()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.calls) < count:
                self.called.clear()
                await self.called.wait()


class TestRetrieval:
    """CSIPProfileRegistryBase: ProfileL, ProfilesL, DefaultProfileL, SupportedProfileTypesL."""

    async def test_by_id_and_by_name(self, registry: ProfileRegistry) -> None:
        assert (await registry.profile(2)).name == "desk"
        assert (await registry.profile(name="trunk")).id == 1

    async def test_unknown_profile(self, registry: ProfileRegistry) -> None:
        with pytest.raises(SipProfileError) as caught:
            await registry.profile(9)
        assert (caught.value.code, caught.value.value) == ("not_found", 9)

    async def test_exactly_one_of_id_and_name(self, registry: ProfileRegistry) -> None:
        with pytest.raises(SipProfileError, match="either"):
            await registry.profile()
        with pytest.raises(SipProfileError, match="either"):
            await registry.profile(1, name="trunk")

    async def test_default(self, registry: ProfileRegistry) -> None:
        assert (await registry.default_profile()).name == "trunk"

    async def test_no_default(self, registry: ProfileRegistry, service: FakeService) -> None:
        service.profiles.clear()
        with pytest.raises(SipProfileError) as caught:
            await registry.default_profile()
        assert caught.value.code == "not_found"

    async def test_all_by_type_aor_and_label(self, registry: ProfileRegistry) -> None:
        assert [profile.name for profile in await registry.profiles()] == ["trunk", "desk"]
        assert await registry.profiles(type="ims") == []
        assert [profile.name for profile in await registry.profiles(aor="sip:desk@example.test")] == ["desk"]
        assert [profile.name for profile in await registry.profiles(label="site")] == ["trunk"]

    async def test_many_pages(self, registry: ProfileRegistry, service: FakeService) -> None:
        for number in range(2100):
            service.add(f"p{number}")
        profiles = await registry.profiles()
        assert [profile.id for profile in profiles] == list(range(1, 2103))

    async def test_a_profile_removed_while_listing_is_left_out(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        listed = service._list

        def then_removed(request: Any) -> dict[str, Any]:
            page = listed(request)
            service.profiles.pop(1, None)
            return page

        service._list = then_removed  # type: ignore[method-assign]
        assert [profile.name for profile in await registry.profiles()] == ["desk"]

    async def test_supported_types(self, registry: ProfileRegistry) -> None:
        (supported,) = await registry.supported_types()
        assert (supported.name, supported.profile_class) == ("ietf", "internet")
        assert supported.not_supported == ["sigcomp"]


class TestValues:
    """CSIPProfile::GetParameter: values are copied at retrieval."""

    async def test_settings_and_state(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        assert (profile.aor, profile.expires, profile.labels) == ("sip:trunk@example.test", 3600, {"site": "a"})
        assert (profile.status, profile.registered, profile.lease_left) == ("unregistered", False, None)

    async def test_extensions_by_kind(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        assert profile.extension("count", int) == 3
        assert profile.extension("flag", bool) is True
        assert profile.extension("words", list) == ["a", "b"]
        for name, kind in (("count", str), ("flag", int), ("absent", int)):
            with pytest.raises(SipProfileError) as caught:
                profile.extension(name, kind)
            assert caught.value.code == "not_found"

    async def test_read_only(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        with pytest.raises(AttributeError):
            profile.aor = "sip:other@example.test"  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            profile.status = "registered"

    async def test_instances_of_one_id_share_one_record(self, registry: ProfileRegistry, service: FakeService) -> None:
        one, other = await registry.profile(1), await registry.profile(name="trunk")
        assert one is not other
        stream = registry.events()
        await service.update(1, provider_name="New")
        await heard(stream, "updated")
        assert one.provider_name == other.provider_name == "New"
        assert one._document() is other._document()

    async def test_fields_of_a_newer_service_are_ignored(self, registry: ProfileRegistry, service: FakeService) -> None:
        service.profiles[1]["from_the_future"] = 1
        service.profiles[1]["registrar"] = {"uri": "sip:example.test", "password_set": True, "new": 2}
        profile = await registry.profile(1)
        assert profile.registrar is not None
        assert profile.registrar.password_set


class TestEvents:
    """MSIPProfileRegistryObserver, and the same as an iterator."""

    async def test_values_are_renewed_before_the_observer_is_called(self, service: FakeService) -> None:
        observer = Observer()
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip, observer=observer) as registry:
            profile = await registry.profile(1)
            observer.look = lambda: (profile.status, profile.provider_name)
            await service.update(1, provider_name="New")
            await observer.wait(1)
            await service.event("registered", 1, status="registered")
            await observer.wait(2)
        assert observer.calls == [
            ("updated", ("unregistered", "New")),
            ("registered", ("registered", "New")),
        ]

    async def test_errors_have_their_own_method(self, service: FakeService) -> None:
        observer = Observer()
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip, observer=observer) as registry:
            profile = await registry.profile(1)
            await service.event("error", 1, reason={"code": "timeout"}, next_try=7.0)
            await observer.wait(1)
            del profile
        assert observer.calls[0][0] == "error timeout 7.0"

    async def test_methods_may_be_absent_and_may_fail(self, service: FakeService) -> None:
        class Failing:
            def __init__(self) -> None:
                self.count = 0

            def profile_registry_event(self, event: Event) -> None:
                self.count += 1
                raise ValueError("a mistake of the application")

        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        observer: Any = Failing()
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip, observer=observer) as registry:
            profile = await registry.profile(1)
            stream = registry.events()
            await service.event("error", 1, reason={"code": "timeout"})
            await service.event("status", 1)
            await service.event("registered", 1, status="registered")
            await heard(stream, "registered")
            del profile
        assert observer.count == 2
        assert [str(problem) for problem in problems] == ["a mistake of the application"] * 2

    async def test_only_holders_hear_but_everybody_hears_created(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        stream = registry.events()
        profile = await registry.profile(1)
        await service.event("status", 2, everybody=True)  # a mistake of the service must not confuse
        service.add("new")
        await service.tell({"event": "created", "profile": 3, "name": "new"}, everybody=True)
        await service.event("status", 1)
        assert [(await anext(stream)).event, (await anext(stream)).event] == ["created", "status"]
        del profile

    async def test_of_one_profile(self, registry: ProfileRegistry, service: FakeService) -> None:
        one, other = await registry.profile(1), await registry.profile(2)
        stream = registry.events(one)
        await service.event("status", 2)
        await service.event("registered", 1)
        assert (await anext(stream)).event == "registered"
        del other

    async def test_unknown_events_are_ignored(self, registry: ProfileRegistry, service: FakeService) -> None:
        profile = await registry.profile(1)
        stream = registry.events()
        await service.event("from_the_future", 1)
        await service.event("status", 1)
        assert (await anext(stream)).event == "status"
        del profile

    async def test_iteration_ends_with_the_registry(self, registry: ProfileRegistry) -> None:
        stream = registry.events()
        await registry.close()
        assert [event async for event in stream] == []

    async def test_a_slow_reader_gets_the_latest_state_of_each_profile(self) -> None:
        stream = EventStream()
        for revision in range(LIMIT + 10):
            for profile in (1, 2):
                stream.put(Event("status", profile, state=RegistrationState("unregistered", revision=revision)))
        stream.put(Event("destroyed", 1))
        stream.close()
        events = [event async for event in stream]
        assert len(events) == LIMIT + 3
        last = [event for event in events if isinstance(event, Event) and event.skipped]
        assert {event.profile for event in last} == {1, 2}
        assert all(event.state is not None and event.state.revision == LIMIT + 9 for event in last)
        assert sum(event.skipped for event in last) + len(events) == 2 * (LIMIT + 10) + 1


class TestGivingBack:
    """Losing the last reference, or ``close``, releases; leaving the context manager surely does."""

    async def test_losing_the_last_reference_releases(self, registry: ProfileRegistry, service: FakeService) -> None:
        one, other = await registry.profile(1), await registry.profile(1)
        await registry.enable(one)
        del one
        gc.collect()
        await registry.supported_types()
        assert service.said("release") == []
        del other
        gc.collect()
        await registry.profile(2)  # commands are answered in order
        assert [command["profile"] for command in service.said("release")] == [1]
        assert service.profiles[1]["registration"]["users"] == 0

    async def test_close_releases_and_is_known_to_be_done(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.profile(1)
        await registry.enable(profile)
        await profile.close()
        assert [command["profile"] for command in service.said("release")] == [1]
        assert profile.closed
        assert not registry.is_enabled(profile)
        with pytest.raises(SipProfileError) as caught:
            _ = profile.aor
        assert caught.value.code == "closed"
        await profile.close()  # again: nothing happens
        assert len(service.said("release")) == 1

    async def test_close_of_one_instance_leaves_the_others(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        instances = [await registry.profile(1) for _ in range(4)]
        for instance in instances[:3]:
            await instance.close()
        assert instances[3].name == "trunk"
        assert service.said("release") == []
        await instances[3].close()
        assert len(service.said("release")) == 1

    async def test_held_again_after_release_in_the_order_of_the_calls(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        profile = await registry.profile(1)
        closing = profile.close()
        again = await registry.profile(1)
        await closing
        assert [command["op"] for command in service.commands] == ["hello", "hold", "release", "hold"]
        assert again.name == "trunk"
        assert service.sessions[0].held == {1}

    async def test_another_registry_of_the_session_goes_on_holding(
        self, registry: ProfileRegistry, service: FakeService
    ) -> None:
        mine = await registry.profile(1)
        await registry.enable(mine)
        async with ProfileRegistry(registry.sip) as other:
            theirs = await other.profile(1)
            await mine.close()
            assert theirs.name == "trunk"
            assert service.said("release") == []
            assert len(service.said("disable")) == 1
        assert len(service.said("release")) == 1

    async def test_leaving_the_registry_disables_and_releases(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip:
            async with ProfileRegistry(sip) as registry:
                profile = await registry.profile(1)
                await registry.enable(profile)
            assert [command["profile"] for command in service.said("disable")] == [1]
            assert [command["profile"] for command in service.said("release")] == [1]
            assert profile.closed

    async def test_leaving_the_session_closes_its_registries(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip:
            registry = ProfileRegistry(sip)
            await registry.open()
            await registry.enable(await registry.profile(1))
        assert not registry.is_open
        assert service.profiles[1]["registration"]["users"] == 0
        with pytest.raises(SipProfileError) as caught:
            await registry.profile(1)
        assert caught.value.code == "closed"

    async def test_a_cancelled_enable_is_known(self, registry: ProfileRegistry) -> None:
        profile = await registry.profile(1)
        enabling = asyncio.create_task(registry.enable(profile))
        await asyncio.sleep(0)
        enabling.cancel()
        await registry.profile(2)
        assert registry.is_enabled(profile)
