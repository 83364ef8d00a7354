"""Webhooks: who is told what, in which order, how often it is tried, and how a receiver knows who has posted."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.events import Event, RegistrationState
from sipprofile.server import webhook_client, webhooks
from sipprofile.server.configuration import WebhookSection
from sipprofile.server.webhook_client import Webhook, WebhookFailed, read_webhooks, signature
from sipprofile.server.webhooks import Webhooks

DOCUMENT = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRET = b"0123456789abcdef-secret"


class Log:
    """Keeps every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda words, **members: self.lines.append(f"{level} {words} {members}")


class Server:
    """Stands for the HTTP client and the server behind it: answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str, str, bytes]] = []
        self.outcomes: list[WebhookFailed] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    async def post(self, hook: Webhook, number: str, kind: str, body: bytes, limit: float) -> bytes:
        self.posts.append((hook.name, number, kind, body))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.outcomes:
            raise self.outcomes.pop(0)
        return b"{}"

    async def close(self) -> None:
        pass


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> None:
        self.server = Server()
        self.pauses: list[float] = []
        """Seconds between attempts; none of them is really waited for."""
        monkeypatch.setattr(webhooks, "WebhookClient", lambda: self.server)
        monkeypatch.setattr(webhooks.random, "uniform", lambda low, high: high)
        self.log = Log()
        hooks = {
            name: Webhook(name, WebhookSection("https://hooks.example/?key=token", "file", **section), SECRET)
            for name, section in sections.items()
        }
        self.hooks = Webhooks(hooks, self.log)
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            await real(0)

        monkeypatch.setattr(webhooks.asyncio, "sleep", sleep)
        self.real_sleep = real

    async def quiet(self) -> None:
        """Let everything happen that can."""
        for _ in range(50):
            await self.real_sleep(0)

    @property
    def told(self) -> list[str]:
        return [kind for _, _, kind, _ in self.server.posts]


def event(name: Any, profile: str = "trunk", **members: Any) -> Event:
    return Event(name, 1, name=profile, state=RegistrationState(), **members)


Make = Callable[..., World]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    made: list[World] = []

    def make(**sections: Any) -> World:
        made.append(World(monkeypatch, **sections))
        return made[-1]

    yield make
    for each in made:
        each.server.gate.set()
        await each.hooks.close()


class TestWhoIsTold:
    async def test_only_of_its_events_and_profiles(self, world: Make) -> None:
        both = ("registered", "error")
        wire = world(one={"events": both}, two={"events": ("error",), "profiles": ("trunk.*", "desk")})
        for name, profile in (("registered", "trunk"), ("error", "trunk.a"), ("error", "desk"), ("status", "desk")):
            wire.hooks.publish(event(name, profile))
        await wire.quiet()
        told = {name: [kind for hook, _, kind, _ in wire.server.posts if hook == name] for name in ("one", "two")}
        assert told == {"one": ["registered", "error", "error"], "two": ["error", "error"]}

    async def test_the_body_is_the_event(self, world: Make) -> None:
        wire = world(one={"events": ("registered",)})
        wire.hooks.publish(event("registered", at=12.5))
        await wire.quiet()
        assert wire.server.posts[0][3].startswith(b'{"event":"registered","profile":1,"name":"trunk","state":{')

    async def test_no_profiles_is_none(self, world: Make) -> None:
        wire = world(one={"events": ("registered",), "profiles": ()})
        wire.hooks.publish(event("registered"))
        await wire.quiet()
        assert wire.told == []


class TestDelivery:
    async def test_one_at_a_time_in_order(self, world: Make) -> None:
        wire = world(one={"events": ("registered", "deregistered", "error")})
        wire.server.gate.clear()
        for name in ("registered", "error", "deregistered"):
            wire.hooks.publish(event(name))
        await wire.quiet()
        assert wire.told == ["registered"]
        wire.server.gate.set()
        await wire.quiet()
        assert wire.told == ["registered", "error", "deregistered"]
        assert wire.server.most_at_once == 1
        assert wire.hooks.counts()["one"].items() >= {"delivered": 3, "failed": 0, "dropped": 0, "waiting": 0}.items()

    async def test_a_failure_is_tried_again_with_the_same_number_and_holds_the_others_up(self, world: Make) -> None:
        wire = world(one={"events": ("registered", "error")})
        wire.server.outcomes = [WebhookFailed("it answered 503", again=True) for _ in range(3)]
        wire.hooks.publish(event("registered"))
        wire.hooks.publish(event("error"))
        await wire.quiet()
        assert wire.told == ["registered"] * 4 + ["error"]
        assert len({number for _, number, kind, _ in wire.server.posts if kind == "registered"}) == 1
        assert wire.pauses == [1.0, 2.0, 4.0]
        assert wire.hooks.counts()["one"].items() >= {"delivered": 2, "failed": 3, "dropped": 0, "waiting": 0}.items()

    async def test_not_for_ever(self, world: Make) -> None:
        wire = world(one={"events": ("registered", "error")})
        wire.server.outcomes = [WebhookFailed("it answered 503", again=True) for _ in range(webhooks.ATTEMPTS)]
        wire.hooks.publish(event("registered"))
        wire.hooks.publish(event("error"))
        await wire.quiet()
        assert wire.told == ["registered"] * webhooks.ATTEMPTS + ["error"]
        assert max(wire.pauses) == webhooks.LONGEST_PAUSE
        assert wire.hooks.counts()["one"]["dropped"] == 1

    async def test_a_final_no_is_not_tried_again(self, world: Make) -> None:
        wire = world(one={"events": ("registered",)})
        wire.server.outcomes = [WebhookFailed("it answered 404", again=False)]
        wire.hooks.publish(event("registered"))
        await wire.quiet()
        assert wire.told == ["registered"]
        assert "it answered 404" in wire.log.lines[-1]
        assert "token" not in "".join(wire.log.lines)

    async def test_retry_after_is_heeded_within_reason(self, world: Make) -> None:
        wire = world(one={"events": ("registered",)})
        wire.server.outcomes = [WebhookFailed("", again=True, retry_after=seconds) for seconds in (7.0, 86400.0)]
        wire.hooks.publish(event("registered"))
        await wire.quiet()
        assert wire.pauses == [7.0, webhooks.LONGEST_RETRY_AFTER]

    async def test_the_oldest_is_dropped_when_too_many_wait(self, world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks, "QUEUE", 2)
        wire = world(one={"events": ("registered", "error", "deregistered", "updated")})
        wire.server.gate.clear()
        wire.hooks.publish(event("registered"))
        await wire.quiet()
        for name in ("error", "deregistered", "updated"):
            wire.hooks.publish(event(name))
        assert wire.hooks.counts()["one"]["waiting"] == 3
        wire.server.gate.set()
        await wire.quiet()
        assert wire.told == ["registered", "deregistered", "updated"]
        assert wire.hooks.counts()["one"]["dropped"] == 1

    async def test_the_end_waits_a_short_time(self, world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks, "CLOSE_LIMIT", 0.01)
        wire = world(one={"events": ("registered",)}, two={"events": ("deregistered",)})
        wire.hooks.publish(event("registered"))
        await wire.hooks.close()
        assert wire.told == ["registered"]
        wire.hooks.publish(event("registered"))
        assert wire.hooks.counts()["one"]["waiting"] == 0


class TestInquiries:
    @pytest.fixture
    def asked(self, world: Make) -> tuple[World, list[Any]]:
        wire, heard = world(one={}), []
        wire.hooks.answered = lambda token, body: heard.append((token, body))
        wire.hooks.failed = lambda token: heard.append((token, None))
        return wire, heard

    async def test_the_answer_is_told(self, asked: tuple[World, list[Any]]) -> None:
        wire, heard = asked
        wire.hooks.ask(7, "one", b"{}")
        await wire.quiet()
        assert heard == [(7, b"{}")]
        assert wire.told == ["request"]

    async def test_it_is_asked_once(self, asked: tuple[World, list[Any]]) -> None:
        wire, heard = asked
        wire.server.outcomes = [WebhookFailed("it answered 503", again=True)]
        wire.hooks.ask(7, "one", b"{}")
        await wire.quiet()
        assert (heard, wire.told) == ([(7, None)], ["request"])
        wire.hooks.ask(8, "one", b"{}")
        await wire.quiet()
        assert wire.hooks.counts()["one"].items() >= {"answered": 1, "unanswered": 1}.items()

    async def test_some_at_once_some_wait_and_the_others_fail(self, asked: tuple[World, list[Any]]) -> None:
        wire, heard = asked
        wire.server.gate.clear()
        for token in range(webhooks.AT_ONCE + webhooks.WAITING):
            wire.hooks.ask(token, "one", b"{}")
            await wire.real_sleep(0)
        wire.hooks.ask(-1, "one", b"{}")
        await wire.quiet()
        assert heard == [(-1, None)]
        assert wire.server.most_at_once == webhooks.AT_ONCE
        wire.server.gate.set()
        for _ in range(20):
            await wire.quiet()
        assert len(heard) == 1 + webhooks.AT_ONCE + webhooks.WAITING

    async def test_an_unknown_one_fails(self, asked: tuple[World, list[Any]]) -> None:
        wire, heard = asked
        wire.hooks.ask(7, "two", b"{}")
        await wire.quiet()
        assert heard == [(7, None)]

    async def test_what_waits_too_long_is_not_posted(
        self, asked: tuple[World, list[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wire, heard = asked
        wire.hooks.ask(7, "one", b"{}")
        now = webhooks.clock.now()
        monkeypatch.setattr(webhooks.clock, "now", lambda: now + 6)
        await wire.quiet()
        assert (heard, wire.told) == ([(7, None)], [])


class TestSecrets:
    def read(self, path: Path) -> Webhook:
        return read_webhooks({"one": WebhookSection("https://hooks.example", str(path))})["one"]

    def test_white_space_around_it_is_none_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(SECRET + b"\n")
        path.chmod(0o600)
        assert self.read(path).secret == SECRET

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
    def test_others_may_not_read_it(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "secret"
        path.write_bytes(SECRET)
        path.chmod(mode)
        with pytest.raises(SipProfileError, match="chmod 600"):
            self.read(path)

    @pytest.mark.parametrize("content", [b"", b"hunter2", b"x" * 4097])
    def test_its_length(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "secret"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SipProfileError) as caught:
            self.read(path)
        assert caught.value.code == "bad_configuration"
        assert content == b"" or content.decode() not in str(caught.value).replace(str(path), "")

    def test_it_must_be_there_and_be_a_file(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(SipProfileError, match="secret_file"):
                self.read(path)

    def test_it_is_in_no_representation(self) -> None:
        hook = Webhook("one", WebhookSection("https://hooks.example/?key=token", "file"), SECRET)
        assert SECRET.decode() not in repr(hook)
        assert "token" not in repr(hook) + repr(hook.section)

    def test_in_clear(self) -> None:
        for url, clear in (
            ("https://hooks.example", False),
            ("http://127.0.0.1:8000/x", False),
            ("http://[::1]/", False),
            ("http://localhost", False),
            ("http://hooks.example", True),
            ("http://192.0.2.1", True),
        ):
            assert Webhook("one", WebhookSection(url, "file"), SECRET).in_clear is clear


class TestSignature:
    """docs/webhooks.md tells receivers how to check it."""

    @pytest.fixture
    def is_genuine(self) -> Any:
        [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        names: dict[str, Any] = {}
        exec(code, names)
        return names["is_genuine"]

    def test_ours_is_genuine(self, is_genuine: Any) -> None:
        assert is_genuine(SECRET, signature(SECRET, b'{"event":"error"}', int(time.time())), b'{"event":"error"}')

    def test_others_are_not(self, is_genuine: Any) -> None:
        now = int(time.time())
        ours = signature(SECRET, b"body", now)
        assert not is_genuine(SECRET, ours, b"another body")
        assert not is_genuine(b"another secret", ours, b"body")
        assert not is_genuine(SECRET, signature(SECRET, b"body", now - 3600), b"body")
        assert not is_genuine(SECRET, ours.replace(f"t={now}", f"t={now - 1}"), b"body")
        for header in ("", "t=", "v1=", "t=x,v1=y", ",,", f"t={now}"):
            assert not is_genuine(SECRET, header, b"body")

    def test_it_is_that_of_the_standard_tools(self) -> None:
        """printf '100.body' | openssl dgst -sha256 -hmac 0123456789abcdef-secret"""
        known = "t=100,v1=108866749c4d704d4015c09ff41fcf5a77331887cb6247542c171e76a3813fb9"
        assert signature(SECRET, b"body", 100) == known


def test_the_longest_sip_body_fits_an_answer() -> None:
    assert webhook_client.MAXIMUM_ANSWER > 65_536 * 4 / 3 + 16_384
