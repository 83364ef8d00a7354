"""Webhooks of the real daemon, posted to a real HTTP server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp.web
import pytest
import pytest_asyncio

import sipprofile
from sipprofile.testing.peer_server import SipPeerServer
from sipprofile.testing.server import RegistrarServer

from .adding import add
from .conftest import RunningService

SECRET = b"a secret that signs"
LIMIT = 10.0  # seconds


class Receiver:
    """An operator's HTTP server. ``answers`` are given in turn, a 200 when there are none."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Callable[[], aiohttp.web.StreamResponse]] = []
        self.url = ""
        self.delay = 0.0

    async def take(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        self.posts.append((dict(request.headers), await request.read()))
        await asyncio.sleep(self.delay)
        return self.answers.pop(0)() if self.answers else aiohttp.web.Response()

    def documents(self) -> list[Any]:
        return [json.loads(body) for _, body in self.posts]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(LIMIT):
            while len(self.posts) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = aiohttp.web.Application()
    application.router.add_post("/hook", receiver.take)
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/hook?key=not-for-logs"
    yield receiver
    await runner.cleanup()


@pytest.fixture
def hooked(service: RunningService, receiver: Receiver) -> RunningService:
    """A service whose operator is told of three kinds of events, started."""
    secret = service.state.parent / "secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    service.configuration += (
        f"[webhooks.operations]\nurl = '{receiver.url}'\nsecret_file = '{secret}'\ntimeout = 1\n"
        "events = ['registered', 'deregistered', 'error']\nprofiles = ['li*']\n"
    )
    service.environment = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    service.start()
    return service


def metric(service: RunningService, name: str) -> float:
    for line in service.request("GET", "/metrics").document.splitlines():
        if line.startswith(f'sipprofile_webhook_{name}{{webhook="operations"}}'):
            return float(line.split()[1])
    raise AssertionError(f"there is no metric {name}")


async def test_operators_are_told_in_order_and_can_tell_who_posts(hooked: RunningService, receiver: Receiver) -> None:
    async with RegistrarServer(users={"alice": "secret"}) as registrar:
        await add(hooked, registrar)
        await add(hooked, registrar, "other")
        async with sipprofile.use("line", app="one", url=hooked.url, timeout=10):
            pass
        await receiver.until(2)
    assert [document["event"] for document in receiver.documents()] == ["registered", "deregistered"]
    document = receiver.documents()[0]
    assert (document["name"], document["state"]["status"]) == ("line", "registered")
    for headers, body in receiver.posts:
        fields = dict(part.split("=") for part in headers["X-Sipprofile-Signature"].split(","))
        assert abs(time.time() - int(fields["t"])) < LIMIT
        signed = hmac.new(SECRET, fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
        assert fields["v1"] == signed
        assert headers["X-Sipprofile-Event"] == json.loads(body)["event"]
    assert receiver.posts[0][0]["X-Sipprofile-Id"] != receiver.posts[1][0]["X-Sipprofile-Id"]


async def test_a_failure_is_made_good_and_counted(hooked: RunningService, receiver: Receiver) -> None:
    receiver.answers = [lambda: aiohttp.web.Response(status=503)]
    async with RegistrarServer(users={"alice": "secret"}) as registrar:
        await add(hooked, registrar)
        async with sipprofile.use("line", app="one", url=hooked.url, timeout=10):
            await receiver.until(2)
        await receiver.until(3)
    first, again, _ = (headers["X-Sipprofile-Id"] for headers, _ in receiver.posts)
    assert first == again
    assert [document["event"] for document in receiver.documents()] == ["registered", "registered", "deregistered"]
    await asyncio.to_thread(hooked.wait_until, lambda: metric(hooked, "events_delivered_total") == 2, "the delivery")
    assert metric(hooked, "attempts_failed_total") == 1
    assert metric(hooked, "events_dropped_total") == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda: aiohttp.web.Response(status=307, headers={"Location": "/hook"}),
        lambda: aiohttp.web.Response(status=404),
        lambda: aiohttp.web.Response(body=b"x" * 200_000),
    ],
    ids=["redirect", "not-found", "long"],
)
async def test_what_is_no_answer_is_dropped_and_logged_without_secrets(
    hooked: RunningService, receiver: Receiver, answer: Callable[[], aiohttp.web.StreamResponse]
) -> None:
    receiver.answers = [answer]
    async with RegistrarServer(users={"alice": "secret"}) as registrar:
        await add(hooked, registrar)
        async with sipprofile.use("line", app="one", url=hooked.url, timeout=10):
            await receiver.until(1)
            dropped = lambda: metric(hooked, "events_dropped_total") == 1  # noqa: E731
            await asyncio.to_thread(hooked.wait_until, dropped, "the drop")
    log = hooked.log.read_text()
    assert "a webhook was not told of an event" in log
    assert SECRET.decode() not in log
    assert "not-for-logs" not in log


async def test_the_last_events_still_go_out(hooked: RunningService, receiver: Receiver) -> None:
    async with RegistrarServer(users={"alice": "secret"}) as registrar:
        await add(hooked, registrar, register="always")
        await receiver.until(1)
        assert await asyncio.to_thread(hooked.stop, signal.SIGINT) == 0
    assert [document["event"] for document in receiver.documents()] == ["registered", "deregistered"]


def test_a_secret_that_others_may_read_stops_the_start(service: RunningService) -> None:
    secret = service.state.parent / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o644)
    service.configuration += f"[webhooks.a]\nurl = 'https://hooks.example'\nsecret_file = '{secret}'\n"
    service.spawn()
    assert service.wait() == 78
    assert f"chmod 600 {secret}" in service.log.read_text()
    assert SECRET.decode() not in service.log.read_text()


class TestRequests:
    """What is sent to a profile is answered by whom its claim names."""

    @pytest_asyncio.fixture
    async def caller(self, hooked: RunningService) -> AsyncIterator[SipPeerServer]:
        """Somebody who sends to alice by way of her registrar."""
        async with RegistrarServer(users={"alice": "secret"}) as registrar:
            await add(hooked, registrar, "desk", register="always")
            claim = {"methods": ["MESSAGE", "NOTIFY", "OPTIONS"], "to": "webhook:operations"}
            answer = hooked.request("PATCH", "/v1/profiles/by-name/desk", {"claims": [claim]})
            assert answer.status == 200, answer.document
            async with asyncio.timeout(LIMIT):
                while not registrar.bindings("sip:alice@example.test"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with SipPeerServer("bob", next_hop=(registrar.host, registrar.port)) as caller:
                yield caller

    async def test_it_is_answered_with_what_the_webhook_says(self, caller: SipPeerServer, receiver: Receiver) -> None:
        receiver.answers = [
            lambda: aiohttp.web.json_response({"status": 202, "headers": [["X-Desk", "7"]], "text": "thanks"})
        ]
        answer = await caller.send(
            "MESSAGE", "sip:alice@example.test", body="Hellö".encode(), content_type="text/plain;charset=UTF-8"
        )
        assert (answer.status, answer.header("x-desk"), answer.body) == (202, "7", b"thanks")
        [(headers, body)] = receiver.posts
        assert headers["X-Sipprofile-Event"] == "request"
        asked = json.loads(body)
        assert (asked["method"], asked["name"], asked["body"]) == ("MESSAGE", "desk", {"text": "Hellö"})
        at = headers["X-Sipprofile-Signature"].partition(",")[0].removeprefix("t=")
        assert headers["X-Sipprofile-Signature"].endswith(
            hmac.new(SECRET, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        )

    async def test_an_empty_answer_is_yes(
        self, caller: SipPeerServer, receiver: Receiver, hooked: RunningService
    ) -> None:
        assert (
            await caller.send("MESSAGE", "sip:alice@example.test", body=b"hi", content_type="text/plain")
        ).status == 200
        assert (await caller.send("OPTIONS", "sip:alice@example.test")).status == 200
        assert [document["method"] for document in receiver.documents()] == ["MESSAGE", "OPTIONS"]
        assert metric(hooked, "requests_answered_total") == 2

    @pytest.mark.parametrize(
        "answer",
        [
            lambda: aiohttp.web.Response(status=500),
            lambda: aiohttp.web.Response(text="no JSON"),
            lambda: aiohttp.web.json_response({"headers": [["Via", "SIP/2.0/UDP 192.0.2.1"]]}),
            lambda: aiohttp.web.json_response({"headers": [["X-A", "b\r\nVia: c"]]}),
            lambda: aiohttp.web.json_response({"reason": "Fine\r\nVia: c"}),
            lambda: aiohttp.web.json_response({"text": "hi", "content_type": "text/plain\r\nVia: c"}),
            lambda: aiohttp.web.json_response({"text": "x" * 65_537}),
            lambda: aiohttp.web.json_response({"headers": [["X-A", "\ud800"]]}),
        ],
        ids=["error", "noise", "header", "line", "reason", "type", "long", "surrogate"],
    )
    async def test_no_answer_is_a_later_one(
        self, caller: SipPeerServer, receiver: Receiver, answer: Callable[[], aiohttp.web.StreamResponse]
    ) -> None:
        receiver.answers = [answer]
        response = await caller.send("MESSAGE", "sip:alice@example.test")
        assert (response.status, response.header("retry-after")) == (480, "30")
        assert len(receiver.posts) == 1

    async def test_a_webhook_that_takes_too_long(
        self, caller: SipPeerServer, receiver: Receiver, hooked: RunningService
    ) -> None:
        receiver.delay = 3.0  # its timeout is a second
        begin = time.monotonic()
        response = await caller.send("MESSAGE", "sip:alice@example.test")
        assert response.status == 480
        assert 0.9 < time.monotonic() - begin < 2.5
        assert "did not answer within 1 s" in hooked.log.read_text()

    async def test_other_methods_are_not_its(self, caller: SipPeerServer, receiver: Receiver) -> None:
        assert (await caller.send("INVITE", "sip:alice@example.test")).status == 405
        assert receiver.posts == []

    async def test_a_claim_for_calls_is_refused(self, caller: SipPeerServer, hooked: RunningService) -> None:
        claim = {"methods": ["INVITE"], "to": "webhook:operations"}
        answer = hooked.request("PATCH", "/v1/profiles/by-name/desk", {"claims": [claim]})
        assert (answer.status, answer.document["code"]) == (422, "not_supported")
        claim = {"methods": ["MESSAGE"], "to": "webhook:elsewhere"}
        answer = hooked.request("PATCH", "/v1/profiles/by-name/desk", {"claims": [claim]})
        assert (answer.status, answer.document["code"]) == (422, "invalid_value")
