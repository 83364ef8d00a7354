"""Sip: where the service is found, refusals, and connecting again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from client_session import heard
from fake_service import FakeService, running

import sipprofile
from sipprofile import Profile, ProfileRegistry, RegistrationFailed, Sip, SipProfileError
from sipprofile.client import endpoint
from sipprofile.client import sip as session
from sipprofile.client.held import HeldRecords


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add("trunk")
        service.add("desk")
        yield service


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(session, "LONGEST_DELAY", 0.01)


class TestEndpoint:
    """--url, else SIPPROFILE_URL, else the user's socket if it exists, else the system's."""

    @pytest.mark.parametrize(
        ("url", "path", "base"),
        [
            ("unix:/run/x", "/run/x", "http://localhost"),
            ("unix:///run/x", "/run/x", "http://localhost"),
            ("http://127.0.0.1:8080", None, "http://127.0.0.1:8080"),
            ("https://sip.example.test", None, "https://sip.example.test:443"),
            ("http://[::1]:80/", None, "http://[::1]:80"),
        ],
    )
    def test_forms(self, url: str, path: str | None, base: str) -> None:
        found = endpoint.parse(url)
        assert (found.path, found.base) == (path, base)

    @pytest.mark.parametrize(
        "url", ["", "/run/x", "unix:relative", "ftp://x", "http://", "http://x:99999", "http://x/y"]
    )
    def test_anything_else_is_refused_with_the_value(self, url: str) -> None:
        with pytest.raises(SipProfileError) as caught:
            endpoint.parse(url)
        assert (caught.value.code, caught.value.field, caught.value.value) == ("invalid_value", "url", url)

    def test_order(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("SIPPROFILE_URL", raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert endpoint.choose().path == endpoint.SYSTEM_SOCKET
        (tmp_path / "sipprofile").mkdir()
        (tmp_path / "sipprofile/sock").touch()
        assert endpoint.choose().path == str(tmp_path / "sipprofile/sock")
        monkeypatch.setenv("SIPPROFILE_URL", "http://127.0.0.1:1")
        assert endpoint.choose().url == "http://127.0.0.1:1"
        assert endpoint.choose("unix:/x").url == "unix:/x"

    async def test_the_error_names_the_address_that_was_tried(self, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError, match=f"unix:{tmp_path}/none") as caught:
            await Sip("test", url=f"unix:{tmp_path}/none").open()
        assert caught.value.code == "service_unavailable"
        assert "No such file" in caught.value.detail

    def test_permission_errors_say_who_may(self) -> None:
        error = endpoint.unreachable(endpoint.parse("unix:/x"), PermissionError(13, "no"))
        assert "group" in error.detail

    def test_token(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("SIPPROFILE_TOKEN", raising=False)
        assert endpoint.read_token() is None
        monkeypatch.setenv("SIPPROFILE_TOKEN", "secret")
        assert endpoint.headers(endpoint.read_token()) == {"Authorization": "Bearer secret"}
        (tmp_path / "token").write_text("other\n")
        assert endpoint.read_token(tmp_path / "token") == "other"
        for content in ("", "\xff"):
            (tmp_path / "token").write_text(content)
            with pytest.raises(SipProfileError):
                endpoint.read_token(tmp_path / "token")
        with pytest.raises(SipProfileError, match="No such file"):
            endpoint.read_token(tmp_path / "none")


class TestOpening:
    async def test_refused_hello(self, service: FakeService) -> None:
        service.refuse["hello"] = SipProfileError("protocol_version")
        sip = Sip("test", url=service.url)
        with pytest.raises(SipProfileError) as caught:
            await sip.open()
        assert caught.value.code == "protocol_version"
        assert not sip.connected

    async def test_app_and_version_are_told(self, service: FakeService) -> None:
        async with Sip("com.example.agent", url=service.url) as sip:
            assert sip.service == "fake/1"
        assert service.commands[0] == {"id": 0, "op": "hello", "version": 1, "app": "com.example.agent"}

    async def test_commands_before_and_after(self, service: FakeService) -> None:
        sip = Sip("test", url=service.url)
        with pytest.raises(SipProfileError) as caught:
            await sip.command("ping")
        assert caught.value.code == "closed"
        await sip.open()
        await sip.close()
        await sip.close()
        for attempt in (sip.command("ping"), sip.open()):
            with pytest.raises(SipProfileError) as caught:
                await attempt
            assert caught.value.code == "closed"


class TestCommands:
    async def test_an_answer_that_comes_with_a_cancellation_does_not_undo_it(self, service: FakeService) -> None:
        """As Ctrl-C does it: the program must end, whatever it was waiting for."""
        async with Sip("test", url=service.url) as sip:
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(sip.within_limit(answered, "get"))
            await asyncio.sleep(0)
            answered.set_result(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_no_answer_in_time(self, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "ANSWER_LIMIT", 0.001)
        async with Sip("test", url=service.url) as sip:
            with pytest.raises(SipProfileError) as caught:
                await sip.within_limit(asyncio.get_running_loop().create_future(), "get")
        assert caught.value.code == "timed_out"


class TestConnectingAgain:
    """Service gone: a clear exception, then a session that holds and enables again, and events that say so."""

    async def test_holds_and_enables_again_with_the_resume_token(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile, other = await registry.profile(1), await registry.profile(2)
            await registry.enable(profile)
            stream = registry.events()
            service.cut()
            gone = await heard(stream, "service_gone")
            assert gone.error.code == "service_gone"
            assert service.url in gone.error.detail
            back = await heard(stream, "service_back")
            assert back.errors == {}
            assert service.said("hello")[1]["resume"] == "token-1"
            assert service.sessions[0].held == {profile.id, other.id}
            assert service.sessions[0].enabled == {1}
            await registry.disable(profile)

    async def test_a_command_under_way_raises_service_gone(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            stream = registry.events()
            waiting = asyncio.gather(*(registry.profile(1) for _ in range(50)), return_exceptions=True)
            await asyncio.sleep(0)
            service.cut()
            results = await waiting
            assert any(isinstance(result, SipProfileError) and result.code == "service_gone" for result in results)
            await heard(stream, "service_back")

    async def test_commands_meanwhile_raise_at_once(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            stream = registry.events()
            profile = await registry.profile(1)
            await service.stop()
            await heard(stream, "service_gone")
            assert not sip.connected
            with pytest.raises(SipProfileError, match=service.url) as caught:
                await registry.enable(profile)
            assert caught.value.code == "service_gone"
            assert profile.name == "trunk"  # the copied values are still there
            await service.start()
            await heard(stream, "service_back")
            await registry.enable(profile)

    async def test_what_happened_meanwhile_is_told(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile, gone = await registry.profile(1), await registry.profile(2)
            await registry.enable(gone)
            stream = registry.events()
            await service.stop()
            service.profiles[1] |= {"revision": 2, "provider_name": "New", "registration": {"status": "registered"}}
            del service.profiles[2]
            await service.start()
            names = []
            while (event := await anext(stream)).event != "service_back":
                names.append((event.event, event.profile))
            assert names == [("service_gone", 0), ("updated", 1), ("registered", 1), ("destroyed", 2)]
            assert profile.provider_name == "New"
            assert profile.registered
            assert not registry.is_enabled(gone)

    async def test_what_cannot_be_enabled_again_is_told(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile = await registry.profile(1)
            await registry.enable(profile)
            stream = registry.events()
            service.refuse["enable"] = SipProfileError("permission_denied")
            service.cut()
            back = await heard(stream, "service_back")
            assert back.errors[1].code == "permission_denied"
            assert not registry.is_enabled(profile)

    async def test_a_resumed_session_has_everything_enabled(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile = await registry.profile(1)
            await registry.enable(profile)
            stream = registry.events()
            service.refuse["enable"] = SipProfileError("already_enabled")
            service.cut()
            assert (await heard(stream, "service_back")).errors == {}
            assert registry.is_enabled(profile)

    async def test_the_services_last_word_is_the_reason(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            stream = registry.events()
            problem = SipProfileError("slow_consumer").problem()
            await service.sessions[0].socket.send_json({"event": "closing", "error": problem})
            await service.sessions[0].socket.close(code=1013)
            assert (await heard(stream, "service_gone")).error.code == "slow_consumer"
            await heard(stream, "service_back")

    async def test_what_cannot_be_understood_ends_the_connection_and_not_the_client(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            stream = registry.events()
            await service.sessions[0].socket.send_str("{")
            assert "understood" in (await heard(stream, "service_gone")).error.detail
            await heard(stream, "service_back")

    async def test_waiting_for_a_registration_survives(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile = await registry.profile(1)
            await registry.enable(profile)
            stream = registry.events()
            waiting = asyncio.create_task(registry.wait_registered(profile, timeout=5))
            service.cut()
            await heard(stream, "service_back")
            await service.event("registered", 1, status="registered")
            await waiting

    async def test_closing_while_the_service_is_gone(self, service: FakeService) -> None:
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            profile = await registry.profile(1)
            await registry.enable(profile)
            stream = registry.events()
            await service.stop()
            await heard(stream, "service_gone")
        assert profile.closed

    async def test_nothing_is_left_running(self, service: FakeService) -> None:
        before = asyncio.all_tasks()
        async with Sip("test", url=service.url) as sip, ProfileRegistry(sip) as registry:
            await registry.enable(await registry.profile(1))
            stream = registry.events()
            service.cut()
            await heard(stream, "service_back")
        ours = {task for task in asyncio.all_tasks() - before if "sipprofile" in repr(task.get_coro())}
        assert ours == set()


class TestUse:
    """``sipprofile.use``: the whole common case."""

    async def test_waits_until_registered_and_gives_back(self, service: FakeService) -> None:
        service.on_enable = lambda id_: asyncio.ensure_future(service.event("registered", id_, status="registered"))  # type: ignore[assignment]
        async with sipprofile.use("trunk", app="com.example.agent", url=service.url) as line:
            assert line.profile.registered
            stream = line.events()
            await service.event("status", 1, attempt=1)
            assert (await anext(stream)).event == "status"
        assert service.commands[0]["app"] == "com.example.agent"
        assert service.sessions == [] or service.profiles[1]["registration"]["users"] == 0

    async def test_without_waiting(self, service: FakeService) -> None:
        async with sipprofile.use("trunk", url=service.url, wait=False) as line:
            assert line.profile.status == "registering"

    async def test_default_profile(self, service: FakeService) -> None:
        async with sipprofile.use(url=service.url, wait=False) as line:
            assert line.profile.name == "trunk"

    async def test_refused(self, service: FakeService) -> None:
        reason = {"code": "rejected_credentials", "text": "Refused."}
        service.on_enable = lambda id_: asyncio.ensure_future(  # type: ignore[assignment]
            service.event("error", id_, status="unregistered", reason=reason, next_try=9.0)
        )
        with pytest.raises(RegistrationFailed, match="Refused"):
            async with sipprofile.use("trunk", url=service.url):
                raise AssertionError("not registered")
        assert service.profiles[1]["registration"]["users"] == 0

    async def test_profile_outside_of_the_block(self, service: FakeService) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            _ = sipprofile.use("trunk", url=service.url).profile


def modules_after(code: str) -> set[str]:
    """What is imported after ``code`` has run in a new interpreter."""
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


class TestCost:
    def test_a_hundred_thousand_instances(self) -> None:
        """Design: at most 0.2 kB each beyond their content."""
        count = 100_000
        registry: Any = ProfileRegistry.__new__(ProfileRegistry)
        registry._loop = None
        registry.records = HeldRecords()
        frame = msgspec.json.encode({"profiles": [{"id": 1000, "name": "x" * 400}]})
        instances: list[Profile | None] = [None] * count
        content = 0
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            raw = frame.replace(b"1000", b"%d" % (1_000_000 + number))
            (instances[number],) = registry._adopt_all(msgspec.Raw(raw))
            content += len(raw) - len(b'{"profiles":[]}')
        each = (tracemalloc.get_traced_memory()[0] - before - content) / count
        tracemalloc.stop()
        assert each <= 200

    def test_importing_loads_nothing_heavy(self) -> None:
        loaded = modules_after("import sipprofile")
        assert loaded.isdisjoint(
            {"aiohttp", "asyncio", "ssl", "sqlalchemy", "rich", "click", "msgspec", "cryptography"}
        )

    def test_the_client_loads_nothing_of_the_server(self) -> None:
        loaded = modules_after("import sipprofile; sipprofile.use; sipprofile.sync; sipprofile.ManagedProfileRegistry")
        heavy = {"aiohttp", "sqlalchemy", "alembic", "rich", "click", "dns", "cryptography"}
        assert loaded.isdisjoint(heavy)  # the client connects with aiohttp, and loads it then
        ours = ("sipprofile.server", "sipprofile.service", "sipprofile.store", "sipprofile.registration")
        assert [name for name in loaded if name.startswith(ours)] == []

    def test_every_public_name_is_there(self) -> None:
        for name in sipprofile.__all__:
            assert getattr(sipprofile, name) is not None
        assert set(sipprofile.__all__) <= set(dir(sipprofile))
        with pytest.raises(AttributeError):
            sipprofile.nothing  # noqa: B018
