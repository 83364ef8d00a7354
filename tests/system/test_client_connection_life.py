"""What lasts: subscriptions and publications that the service keeps, forked calls, and a service that restarts."""

from __future__ import annotations

import asyncio

import pytest

import sipprofile
from sipprofile import Claim, ManagedProfileRegistry, RequestRefused, ServerParameters, Sip, SipProfileError
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService
from .two_profiles import ANSWER, BOB, LIMIT, OFFER, registrar, request_of, soon, two

__all__ = ["registrar"]


async def test_a_subscription_goes_on_in_another_dialog(daemon: RunningService, registrar: RegistrarServer) -> None:
    """RFC 6665 §4.1.3: deactivated means that a new subscription is to be asked for at once."""
    async with two(daemon, Claim(methods=["SUBSCRIBE"], events=["presence"])) as (alice, bob):
        connection = await alice.connection()
        subscribing = asyncio.create_task(connection.subscribe("presence", BOB))
        notifier = await (await request_of(bob)).accept_subscription()
        subscription = await soon(subscribing)
        await soon(notifier.notify("<one/>", "application/pidf+xml"))
        first = (await soon(anext(aiter(subscription)))).dialog
        await soon(notifier.notify(state="terminated", reason="deactivated"))
        again = await (await request_of(bob)).accept_subscription()
        await soon(again.notify("<two/>", "application/pidf+xml"))
        seen = [await soon(anext(aiter(subscription))) for _ in range(2)]
        assert [(each.state, each.text) for each in seen] == [("terminated", ""), ("active", "<two/>")]
        assert seen[1].dialog is not first
        assert subscription.state == "active"
        assert connection.dialogs == [seen[1].dialog]
        await subscription.unsubscribe()
        await soon(again.ended())
        await soon(subscription.ended())


async def test_a_publication(daemon: RunningService, registrar: RegistrarServer) -> None:
    """RFC 3903 §4: an entity tag for each state, and Expires: 0 at the end."""
    async with two(daemon, "PUBLISH") as (alice, bob):
        connection = await alice.connection()

        async def published(tag: str) -> sipprofile.IncomingRequest:
            request: sipprofile.IncomingRequest = await request_of(bob)
            await request.respond(200, headers={"SIP-ETag": tag, "Expires": "600"})
            return request

        publishing = asyncio.create_task(connection.publish("presence", "<one/>", "application/pidf+xml", uri=BOB))
        assert (await published("a")).text == "<one/>"
        publication = await soon(publishing)
        modifying = asyncio.create_task(publication.modify("<two/>", "application/pidf+xml"))
        change = await published("b")
        assert (change.text, change.header("SIP-If-Match")) == ("<two/>", "a")
        await soon(modifying)
        await_removal = asyncio.create_task(publication.remove())
        removal = await published("b")
        assert (removal.header("SIP-If-Match"), removal.header("Expires")) == ("b", "0")
        await soon(await_removal)


async def test_a_forked_call(daemon: RunningService, registrar: RegistrarServer) -> None:
    """RFC 3261 §16.7: the first 2xx counts, and the other branch is cancelled."""
    async with Sip("admin", url=daemon.url) as sip, ManagedProfileRegistry(sip) as managed:
        profile = await managed.create("ietf")
        profile.name, profile.aor = "bob2", BOB
        profile.registrar = ServerParameters(registrar.uri, username="bob", password="secret")
        await managed.save(profile)
    async with (
        two(daemon, "INVITE") as (alice, bob),
        sipprofile.use("bob2", app="bob2", url=daemon.url, timeout=LIMIT, claims=["INVITE"]) as other,
    ):
        first = await alice.invite(BOB, body=OFFER)
        ringing = [await request_of(line) for line in (bob, other)]
        for request in ringing:
            await request.ringing()
        async with asyncio.timeout(LIMIT):
            while len(first.dialogs) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        called = await ringing[1].accept(body=ANSWER)
        winner = await first.answered(LIMIT)
        assert winner.answer is not None
        assert winner.answer.text == ANSWER
        assert (await soon(ringing[0].until_withdrawn())).code == "cancelled"
        assert sorted(dialog.state for dialog in first.dialogs) == ["confirmed", "early"]
        await called.bye()
        assert (await soon(winner.ended())).code == "dialog_ended"


async def test_the_service_restarts(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "MESSAGE", "INVITE") as (alice, bob):
        connection = await bob.connection()
        events = [line.events() for line in (alice, bob)]
        calling = await alice.invite(BOB, body=OFFER)
        request = await request_of(bob)
        await asyncio.to_thread(daemon.stop)
        with pytest.raises(SipProfileError) as caught:
            await calling.answered(LIMIT)
        assert caught.value.code in ("service_gone", "shutting_down", "request_failed", "request_refused")
        assert (await soon(request.until_withdrawn())).code != "none"
        assert connection.state == "inactive"
        await asyncio.to_thread(daemon.start)
        for stream in events:  # claims are made again before this is told
            async with asyncio.timeout(20):
                while (await anext(stream)).event != "service_back":
                    pass
        for line in (alice, bob):
            async with asyncio.timeout(20):
                async for state in (await line.connection()).states():
                    if state == "active":
                        break
        sending = asyncio.create_task(alice.message(BOB, "still there?", timeout=LIMIT))
        message = await request_of(bob)
        await message.respond(200)
        assert (await sending).ok


async def test_a_subscription_that_is_refused(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon) as (alice, _):
        with pytest.raises(RequestRefused) as caught:
            await (await alice.connection()).subscribe("presence", BOB)
        assert caught.value.response.status in (480, 489, 405)
