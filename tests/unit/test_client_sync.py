"""The client without asyncio."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from fake_service import FakeService, in_thread

from sipprofile import RegistrationFailed, SipProfileError, sync


@pytest.fixture
def service() -> Iterator[FakeService]:
    with in_thread() as service:
        service.add("trunk", registration={"status": "registered"})
        service.add("desk", registration={"held": "paused"})
        yield service


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_use(service: FakeService) -> None:
    with sync.use("trunk", app="script", url=service.url) as line:
        assert line.profile.registered
        assert line.profile.users == 1
        assert list(line.events(timeout=0.01)) == []
    assert service.profiles[1]["registration"]["users"] == 0
    assert line.profile.closed


def test_use_refused_ends_the_thread(service: FakeService) -> None:
    with pytest.raises(RegistrationFailed), sync.use("desk", url=service.url):
        pass
    with pytest.raises(SipProfileError) as caught, sync.use("nobody", url=service.url):
        pass
    assert caught.value.code == "not_found"


def test_service_unavailable() -> None:
    with pytest.raises(SipProfileError) as caught, sync.use("trunk", url="unix:/nowhere/sock"):
        pass
    assert caught.value.code == "service_unavailable"


def test_registry(service: FakeService) -> None:
    with sync.Sip("script", url=service.url) as sip, sync.ProfileRegistry(sip) as registry:
        assert sip.connected
        assert [profile.name for profile in registry.profiles()] == ["trunk", "desk"]
        assert [one.name for one in registry.supported_types()] == ["ietf"]
        profile = registry.default_profile()
        registry.enable(profile)
        assert registry.is_enabled(profile)
        registry.wait_registered(profile, 1)
        registry.refresh_enable(profile)
        registry.disable(profile)
        assert registry.last_registration_error(profile) is None
        registry.enable(profile)
        registry.force_disable(profile)
        with pytest.raises(SipProfileError) as caught:
            registry.profile(99)
        assert caught.value.code == "not_found"
    with pytest.raises(SipProfileError) as caught:
        registry.profile(1)
    assert caught.value.code == "closed"


def test_events(service: FakeService) -> None:
    with sync.Sip("script", url=service.url) as sip, sync.ProfileRegistry(sip) as registry:
        profile = registry.profile(1)
        events = registry.events(profile, timeout=5)
        registry.enable(profile)
        registry.force_disable(profile)
        assert next(events).event == "forcibly_disabled"


def test_close_and_lost_reference_in_the_scripts_thread(service: FakeService) -> None:
    with sync.Sip("script", url=service.url) as sip, sync.ProfileRegistry(sip) as registry:
        profile = registry.profile(1)
        profile.close()
        assert len(service.said("release")) == 1
        other = registry.profile(2)
        del other
        gc.collect()
        registry.profile(1)
        assert [command["profile"] for command in service.said("release")][:2] == [1, 2]


def test_managed(service: FakeService) -> None:
    with sync.Sip("script", url=service.url) as sip, sync.ManagedProfileRegistry(sip) as registry:
        profile = registry.create()
        profile.name, profile.aor = "new", "sip:new@example.test"
        registry.save(profile)
        registry.set_default(profile)
        assert not registry.is_in_use(profile)
        copy = registry.clone(profile, "copy")
        registry.save(copy)
        registry.destroy(copy)
    assert [profile["name"] for profile in service.profiles.values()] == ["trunk", "desk", "new"]


def test_observer(service: FakeService) -> None:
    heard: list[str] = []
    called = threading.Event()

    class Observer:
        def profile_registry_event(self, event: object) -> None:
            heard.append(threading.current_thread().name)
            called.set()

    with (
        sync.Sip("script", url=service.url) as sip,
        sync.ProfileRegistry(sip, observer=Observer()) as registry,  # type: ignore[arg-type]
    ):
        profile = registry.profile(1)
        registry.force_disable(profile)
        assert called.wait(5)
    assert heard == ["sipprofile"]
