"""sipprofile.use with claims: the whole common case of sending and receiving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fake_service import FakeService, response, running

import sipprofile
from sipprofile import Claim, SipProfileError

BOB = "sip:bob@example.test"


@pytest_asyncio.fixture
async def service() -> AsyncIterator[FakeService]:
    async with running() as service:
        service.add("trunk", registration={"status": "registered"})
        yield service


async def test_the_five_lines(service: FakeService) -> None:
    async with sipprofile.use("trunk", app="bot", url=service.url, claims=["MESSAGE"]) as line:
        assert (await line.request("MESSAGE", BOB, text="hi")).ok
        await service.incoming(7, body={"text": "hello"}, content_type="text/plain")
        async for request in line.requests():
            assert request.text == "hello"
            await request.respond(200)
            break
    assert service.said("claim")[0]["claim"] == {"methods": ["MESSAGE"]}
    assert service.said("respond")[0]["status"] == 200


async def test_claims_of_every_kind_before_the_first_request_can_come(service: FakeService) -> None:
    service.profiles[1]["registration"] = {"status": "unregistered"}
    service.on_enable = lambda id_: None
    claims = ["OPTIONS", Claim(events=["message-summary"], exclusive=False)]
    opening = asyncio.create_task(sipprofile.use("trunk", url=service.url, claims=claims).__aenter__())
    async with asyncio.timeout(5):
        while len(service.said("claim")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert not opening.done()
    await service.event("registered", 1, status="registered")
    line = await asyncio.wait_for(opening, 5)
    assert [command["claim"] for command in service.said("claim")] == [
        {"methods": ["OPTIONS"]}, {"events": ["message-summary"], "exclusive": False},
    ]  # fmt: skip
    await line.__aexit__(None, None, None)


async def test_a_claim_that_somebody_else_has(service: FakeService) -> None:
    async with sipprofile.use("trunk", url=service.url, claims=["MESSAGE"]):
        with pytest.raises(SipProfileError) as caught:
            async with sipprofile.use("trunk", url=service.url, claims=["MESSAGE"]):
                pass
    assert (caught.value.code, caught.value.members["by"]) == ("claim_in_use", "com.example.other")
    async with asyncio.timeout(5):
        while service.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_without_claims_requests_are_what_nobody_else_has_claimed(service: FakeService) -> None:
    async with sipprofile.use("trunk", url=service.url) as line:
        assert service.said("claim") == []
        reading = asyncio.create_task(anext(line.requests()))
        async with asyncio.timeout(5):
            while not service.said("claim"):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await service.incoming(7, "NOTIFY")
        assert (await asyncio.wait_for(reading, 5)).method == "NOTIFY"
    assert service.said("claim")[0]["claim"] == {"default": True}


async def test_message_invite_and_subscribe(service: FakeService) -> None:
    service.on_send = lambda command, number: [
        response(number, 200, dialog={"INVITE": 50, "SUBSCRIBE": 70}.get(command["method"]))
    ]
    async with sipprofile.use("trunk", url=service.url) as line:
        assert (await line.message(BOB, "hi")).ok
        call = await (await line.invite(BOB, body="v=0")).answered(5)
        subscription = await line.subscribe("message-summary", expires=60)
        assert (await line.connection()).dialogs == [call, subscription.dialog]
    assert [command["method"] for command in service.said("send")] == ["MESSAGE", "INVITE", "SUBSCRIBE"]
    assert (call.state, subscription.state) == ("terminated", "terminated")
