"""The client library sends and receives through the real daemon: two profiles of it and a registrar between them."""

from __future__ import annotations

import asyncio

import pytest

import sipprofile
from sipprofile import (
    Claim,
    InviteDialog,
    Line,
    RequestRefused,
    SipProfileError,
)
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService
from .two_profiles import ALICE, ANSWER, BOB, LIMIT, OFFER, registrar, request_of, soon, two

__all__ = ["registrar"]


async def test_a_message_and_its_answer(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "MESSAGE") as (alice, bob):
        sending = asyncio.create_task(alice.message(BOB, "grüße", timeout=LIMIT))
        request = await request_of(bob)
        assert (request.method, request.text) == ("MESSAGE", "grüße")
        assert ALICE in request.from_
        await request.respond(200, "Fine", headers={"X-Mood": "good"})
        response = await sending
        assert (response.status, response.reason, response.header("X-Mood")) == (200, "Fine", "good")
        connection = await alice.connection()
        assert connection.state == "active"
        assert (connection.local_address or "").startswith("127.0.0.1:")
        assert ANSWER not in daemon.log.read_text()


async def test_nobody_has_claimed_it(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon) as (alice, _):
        assert 400 <= (await alice.message(BOB, "hi", timeout=LIMIT)).status < 500
        assert (await alice.request("OPTIONS", BOB, timeout=LIMIT)).ok


async def test_a_second_claim_says_who_has_it(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "MESSAGE"):
        with pytest.raises(SipProfileError) as caught:
            async with sipprofile.use("bob", app="other", url=daemon.url, claims=["MESSAGE"]):
                pass
        assert caught.value.code == "claim_in_use"
        assert "bob" in str(caught.value.members["by"])


async def test_headers_of_the_service_are_refused(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon) as (alice, _):
        for name in ("Via", "CSeq", "Route", "Max-Forwards", "Authorization"):
            with pytest.raises(SipProfileError) as caught:
                await alice.request("MESSAGE", BOB, text="x", headers={name: "x"})
            assert caught.value.code == "header_refused"


async def call(alice: Line, bob: Line) -> tuple[InviteDialog, InviteDialog]:
    """Bob takes Alice's call."""
    calling = await alice.invite(BOB, body=OFFER)
    request = await request_of(bob)
    assert request.text == OFFER
    await request.ringing()
    assert (await soon(anext(calling.provisionals))).status == 180
    called = await request.accept(body=ANSWER)
    answered = await calling.answered(LIMIT)
    assert answered.answer is not None
    assert answered.answer.text == ANSWER
    await soon(called.acknowledged())
    assert (answered.state, called.state) == ("confirmed", "confirmed")
    return answered, called


async def test_a_call(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling, called = await call(alice, bob)
        informing = asyncio.create_task(calling.info("Signal=1", "application/dtmf-relay"))
        info = await soon(anext(called.requests()))
        assert (info.method, info.text, info.dialog) == ("INFO", "Signal=1", called)
        await info.respond(200)
        assert (await informing).ok
        holding = asyncio.create_task(called.reinvite(body=ANSWER, content_type="application/sdp"))
        reinvite = await soon(anext(calling.requests()))
        assert await reinvite.accept(body=OFFER) is calling
        assert (await soon(holding)).text == OFFER
        await soon(reinvite.acknowledged())
        await calling.bye()
        assert (await soon(called.ended())).code == "dialog_ended"
        assert [request.method async for request in called.requests()] == ["BYE"]


async def test_the_called_side_hangs_up(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling, called = await call(alice, bob)
        await called.bye()
        assert (await soon(calling.ended())).code == "dialog_ended"
        assert (await alice.connection()).dialogs == []


async def test_a_refused_call(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling = await alice.invite(BOB, body=OFFER)
        request = await request_of(bob)
        await request.ringing()
        await request.respond(486)
        with pytest.raises(RequestRefused) as caught:
            await calling.answered(LIMIT)
        assert caught.value.response.status == 486
        assert calling.state == "terminated"


async def test_a_cancelled_call(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling = await alice.invite(BOB, body=OFFER)
        request = await request_of(bob)
        await request.ringing()
        await soon(anext(calling.provisionals))
        await calling.cancel()
        assert (await soon(request.until_withdrawn())).code == "cancelled"
        with pytest.raises(RequestRefused) as caught:
            await calling.answered(LIMIT)
        assert caught.value.response.status == 487


async def test_a_subscription(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, Claim(methods=["SUBSCRIBE"], events=["presence"])) as (alice, bob):
        connection = await alice.connection()
        subscribing = asyncio.create_task(connection.subscribe("presence", BOB, expires=600))
        notifier = await (await request_of(bob)).accept_subscription(expires=300)
        assert (await soon(notifier.notify("<open/>", "application/pidf+xml"))).ok
        subscription = await soon(subscribing)
        notification = await soon(anext(aiter(subscription)))
        assert (notification.text, notification.state) == ("<open/>", "active")
        assert 0 < subscription.expires <= 300
        assert (await soon(subscription.refresh(200))).ok  # Bob's library answers, and repeats the state
        assert (await soon(anext(aiter(subscription)))).text == "<open/>"
        await subscription.unsubscribe()
        assert [each.state async for each in subscription] == ["terminated"]
        await soon(notifier.ended())


async def test_the_notifier_ends_it(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, Claim(events=["presence"])) as (alice, bob):
        connection = await alice.connection()
        subscribing = asyncio.create_task(connection.subscribe("presence", BOB))
        notifier = await (await request_of(bob)).accept_subscription()
        subscription = await soon(subscribing)
        await soon(notifier.notify("<gone/>", "application/pidf+xml", state="terminated", reason="noresource"))
        assert [(each.text, each.reason) async for each in subscription] == [("<gone/>", "noresource")]
        await soon(subscription.ended())


async def test_a_referral(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling, called = await call(alice, bob)
        referring = asyncio.create_task(calling.refer("sip:carol@example.test"))
        request = await soon(anext(called.requests()))
        notifier = await request.accept_subscription(status=202)
        assert notifier.refer_to == "<sip:carol@example.test>"
        referral = await soon(referring)
        await soon(notifier.notify("SIP/2.0 100 Trying"))
        await soon(notifier.notify("SIP/2.0 200 OK", state="terminated", reason="noresource"))
        assert [each.sipfrag_status async for each in referral][-1] == 200
        assert calling.state == "confirmed"
        await calling.bye()


async def test_a_killed_program_leaves_no_dialog(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "INVITE") as (alice, bob):
        calling, _ = await call(alice, bob)
        ringing = await alice.invite(BOB, body=OFFER)
        await request_of(bob)
        (claim,) = (await bob.connection()).claims
        first = claim.number
        bob.sip._socket._response.connection.transport.abort()  # type: ignore[union-attr]
        assert (await soon(calling.ended())).code == "dialog_ended"
        with pytest.raises(RequestRefused) as caught:
            await ringing.answered(LIMIT)
        assert caught.value.response.status == 480
        async with asyncio.timeout(LIMIT):  # its program connects again, and claims again
            while claim.number == first:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        again = await alice.invite(BOB, body=OFFER)
        await (await request_of(bob)).respond(486)
        with pytest.raises(RequestRefused):
            await again.answered(LIMIT)


async def test_fetch_bindings(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon) as (alice, _):
        bindings = await soon((await alice.connection()).fetch_bindings())
        assert [binding.uri for binding in bindings] == [alice.profile.registered_contact]
        assert bindings[0].expires
        assert alice.profile.registered


async def test_a_body_of_60_kb(daemon: RunningService, registrar: RegistrarServer) -> None:
    async with two(daemon, "MESSAGE") as (alice, bob):
        text = "x" * 60_000
        sending = asyncio.create_task(alice.message(BOB, text, timeout=LIMIT))
        request = await request_of(bob)
        assert request.text == text
        await request.respond(202)
        assert (await sending).status == 202
