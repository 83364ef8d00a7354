"""Claims of the real daemon: applications that share one registration, and one that is started for a request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import sipprofile
from sipprofile.testing.peer import SDP
from sipprofile.testing.peer_server import SipPeerServer
from sipprofile.testing.server import RegistrarServer

from .adding import add
from .conftest import RunningService

ALICE = "sip:alice@example.test"
LIMIT = 10.0  # seconds
PAGER = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
import sipprofile

async def main():
    async with sipprofile.use("line", app="pager", url=os.environ["SIPPROFILE_URL"], claims=["MESSAGE"]) as line:
        async for request in line.requests():
            await request.respond(202, "Paged")
            break

asyncio.run(main())
"""


@pytest.fixture
def pager(service: RunningService, tmp_path: Path) -> RunningService:
    """A daemon whose configuration names an application to be started, and says who may claim what."""
    program = tmp_path / "pager.py"
    program.write_text(PAGER)
    source = Path(sipprofile.__file__).parents[1]
    service.configuration += (
        f"[activate.pager]\ncommand = ['{sys.executable}', '{program}', '{source}']\n"
        "[[claims.rules]]\nmethods = ['MESSAGE', 'INVITE']\n"
        "[[claims.rules]]\nevents = ['message-summary']\nexclusive = false\n"
    )
    service.start()
    return service


@pytest_asyncio.fixture
async def caller(pager: RunningService) -> AsyncIterator[SipPeerServer]:
    """Somebody who sends to alice by way of her registrar."""
    async with RegistrarServer(users={"alice": "secret"}) as registrar:
        await add(pager, registrar, register="always")
        async with asyncio.timeout(LIMIT):
            while not registrar.bindings(ALICE):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with SipPeerServer("bob", next_hop=(registrar.host, registrar.port)) as caller:
            yield caller


def standing(service: RunningService, *claims: dict[str, Any]) -> None:
    answer = service.request("PATCH", "/v1/profiles/by-name/line", {"claims": list(claims)})
    assert answer.status == 200, answer.document


def use(service: RunningService, app: str, *claims: Any) -> Any:
    return sipprofile.use("line", app=app, url=service.url, timeout=LIMIT, claims=claims)


def ended(service: RunningService) -> bool:
    """Whether each application that was started has ended."""
    events = [line["event"] for line in service.lines()]
    return events.count("application started for a request") == events.count("application ended") > 0


async def test_an_application_is_started_when_a_message_comes(pager: RunningService, caller: SipPeerServer) -> None:
    standing(pager, {"methods": ["MESSAGE"], "to": "activate:pager"})
    for _ in range(2):  # it has ended after the first, and is started once more
        exchange = caller.begin("MESSAGE", ALICE, body=b"hi", content_type="text/plain")
        answer = await caller.final(exchange, 20)
        assert (answer.status, answer.reason) == (202, "Paged")
        await asyncio.to_thread(pager.wait_until, lambda: ended(pager), "the end of the application")
    started = [line for line in pager.lines() if line["event"] == "application started for a request"]
    assert len(started) == 2


async def test_each_gets_what_it_claimed_and_a_call_for_two_is_one_call(
    pager: RunningService, caller: SipPeerServer
) -> None:
    async with asyncio.timeout(20):
        shared = sipprofile.Claim(methods=["INVITE"], exclusive=False)
        async with (
            use(pager, "desk", shared) as desk,
            use(pager, "mobile", shared) as mobile,
            use(pager, "bot", "MESSAGE") as bot,
        ):
            assert (await caller.send("OPTIONS", ALICE)).header("allow") == (
                "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, INFO, PRACK, UPDATE"
            )
            exchange = caller.begin("INVITE", ALICE, body=SDP, content_type="application/sdp")
            ringing = [await anext(aiter(line.requests())) for line in (desk, mobile)]
            assert [request.method for request in ringing] == ["INVITE"] * 2
            await ringing[1].respond(200, body=SDP, content_type="application/sdp")
            answer = await caller.final(exchange)
            tags = {response.header("to") for response in exchange.responses if response.status > 100}
            assert [response.status for response in exchange.responses if response.status > 100] == [180, 200]
            assert len(tags) == 1
            assert exchange.responses[-2].body == b""
            assert answer.body == SDP
            with pytest.raises(sipprofile.SipProfileError) as caught:
                await ringing[0].respond(200)
            assert caught.value.code in ("invalid_state", "closed")
            message = asyncio.create_task(caller.send("MESSAGE", ALICE, body=b"x", content_type="text/plain"))
            await (await anext(aiter(bot.requests()))).respond(200)
            assert (await message).status == 200
            with pytest.raises(sipprofile.SipProfileError) as caught:
                async with use(pager, "other", "MESSAGE"):
                    pass
            assert caught.value.code == "claim_in_use"
            assert caught.value.members["by"].startswith("bot")


async def test_what_the_rules_do_not_allow_is_refused(pager: RunningService, caller: SipPeerServer) -> None:
    for claim in (sipprofile.Claim(default=True), sipprofile.Claim(events=["presence"], exclusive=False)):
        with pytest.raises(sipprofile.SipProfileError) as caught:
            async with use(pager, "watcher", claim):
                pass
        assert caught.value.code == "claim_not_allowed"
        assert "message-summary" in caught.value.detail


async def test_nobody_is_there(pager: RunningService, caller: SipPeerServer) -> None:
    notify = ("NOTIFY", ALICE)
    assert (await caller.send("SUBSCRIBE", ALICE, headers=[("Event", "presence")])).status == 489
    assert (await caller.send(*notify, headers=[("Event", "message-summary")])).status == 489
    summary = sipprofile.Claim(events=["message-summary"], exclusive=False)
    async with use(pager, "watcher", summary) as watcher:
        answer = await caller.send(*notify, headers=[("Event", "message-summary"), ("Subscription-State", "active")])
        assert answer.status == 200
        assert (await anext(aiter(watcher.requests()))).method == "NOTIFY"
        answer = await caller.send("MESSAGE", ALICE, body=b"x", content_type="text/plain")
        assert (answer.status, "MESSAGE" in (answer.header("allow") or "")) == (405, False)
