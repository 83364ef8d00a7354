"""Two services, a program at each, and Kamailio between them, which asks for passwords: what it saw is what counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import sipprofile
from running_service import RunningService
from sipprofile.client.incoming import IncomingRequest
from sipprofile.client.use import Line
from sipprofile.testing.peer import SDP, Scripted
from sipprofile.testing.peer_server import SipPeerServer

from .baresip import Baresip
from .conftest import SHORT_TIMES, require
from .kamailio import Kamailio, Settings
from .stored_profile import StoredProfile

USERS = {"alice": "secret", "bob": "another", "carol": "third", "dora": "fourth"}
LIMIT = 10.0  # seconds
PATIENCE = 20.0  # seconds; a subscription of 12 s is refreshed after 6, and begun again after 5
NONCE_ENDS = 2  # seconds; a request after that is challenged again
ANSWER = SDP.replace(b"o=- 1 1", b"o=- 2 1").decode()
OFFER = SDP.decode()
TYPE = "application/sdp"


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    """A Kamailio that routes between its users; +4930123 is bob's number."""
    require(Kamailio.program(), "kamailio", "kamailio")
    settings = Settings(routes=True, users=USERS, numbers={"+4930123": "bob"}, nonce_expire=NONCE_ENDS)
    with Kamailio(tmp_path_factory.mktemp("kamailio"), settings) as kamailio:
        yield kamailio


def service(directory: Path) -> RunningService:
    running = RunningService(directory)
    running.configuration = SHORT_TIMES
    running.start()
    return running


def add(
    running: RunningService, router: Kamailio, user: str, name: str | None = None, transport: str = "udp"
) -> StoredProfile:
    """A profile that stays registered."""
    registrar = {"uri": f"{router.uri};transport={transport}", "username": user, "password": USERS[user]}
    document = {"name": name or user, "aor": router.aor(user), "registrar": registrar, "register": "always"}
    profile = StoredProfile(running, document)
    profile.wait(status="registered")
    return profile


def leave(profile: StoredProfile) -> None:
    """Give the binding back and remove the profile."""
    profile.patch(register="on-demand")
    profile.wait(status="unregistered")
    profile.discard()


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, router: Kamailio) -> Iterator[RunningService]:
    """Alice's service."""
    running = service(tmp_path_factory.mktemp("near"))
    add(running, router, "alice")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, router: Kamailio) -> Iterator[RunningService]:
    """Bob's service."""
    running = service(tmp_path_factory.mktemp("far"))
    add(running, router, "bob")
    yield running
    running.kill()


@pytest_asyncio.fixture
async def alice(near: RunningService) -> AsyncIterator[Line]:
    async with sipprofile.use("alice", url=near.url, timeout=LIMIT, claims=["MESSAGE", "INVITE"]) as line:
        yield line


@pytest_asyncio.fixture
async def bob(far: RunningService) -> AsyncIterator[Line]:
    claims = ["MESSAGE", "INVITE", "REFER", sipprofile.Claim(events=["presence"])]
    async with sipprofile.use("bob", url=far.url, timeout=LIMIT, claims=claims) as line:
        yield line


async def incoming(reader: Any) -> IncomingRequest:
    """The next request."""
    async with asyncio.timeout(LIMIT):
        async for request in reader:
            assert isinstance(request, IncomingRequest)
            return request
    raise AssertionError("there will be none")


async def seen(router: Kamailio, promise: Any, what: str) -> None:
    await asyncio.to_thread(router.wait_until, promise, LIMIT, what)


def challenged(router: Kamailio, call_id: str) -> set[tuple[str, int]]:
    """The requests that Kamailio answered 407: method and CSeq."""
    answers = router.marked("RESPONSE-SENT|", 6)
    return {(method, int(cseq)) for _, status, _, call, cseq, method in answers if (status, call) == ("407", call_id)}


def requests(router: Kamailio, call_id: str) -> list[str]:
    """What Kamailio passed on in a call, retransmissions left out."""
    found = {(one.method, one.cseq, one.caller): None for one in router.routed() if one.call_id == call_id}
    _, _, initiator = next(iter(found))
    refused = {(method, cseq, initiator) for method, cseq in challenged(router, call_id)}
    return [method for method, cseq, caller in found if (method, cseq, caller) not in refused]


def statuses(router: Kamailio, call_id: str, method: str) -> list[int]:
    """What those that it was passed on to answered, retransmissions left out."""
    return list(dict.fromkeys(one.status for one in router.replied(method) if one.call_id == call_id))


async def talk(alice: Line, bob: Line, uri: str) -> tuple[Any, Any, str]:
    """A call that is answered: both dialogs, and its Call-ID."""
    call = await alice.invite(uri, body=OFFER)
    request = await incoming(bob.requests())
    assert request.body == SDP
    theirs = await request.accept(body=ANSWER)
    ours = await call.answered(LIMIT)
    assert ours.answer is not None
    assert ours.answer.text == ANSWER
    async with asyncio.timeout(LIMIT):
        await theirs.acknowledged()
    return ours, theirs, request.call_id


class TestMessages:
    """RFC 3428."""

    async def test_both_ways(self, router: Kamailio, alice: Line, bob: Line) -> None:
        for sender, receiver, user in ((alice, bob, "bob"), (bob, alice, "alice")):
            sending = asyncio.create_task(sender.message(router.aor(user), "Grüße"))
            request = await incoming(receiver.requests())
            assert (request.method, request.text) == ("MESSAGE", "Grüße")
            await request.respond(202, "Thanks")
            response = await sending
            assert (response.status, response.reason) == (202, "Thanks")
            assert requests(router, request.call_id) == ["MESSAGE"]
            assert statuses(router, request.call_id, "MESSAGE") == [202]

    async def test_one_of_60_kb_goes_by_tcp(self, router: Kamailio, bob: Line, near: RunningService) -> None:
        """Over the sender's connection, and to a contact on UDP over one that Kamailio opens (RFC 3261 §18.1.1)."""
        carol = add(near, router, "carol", transport="tcp")
        try:
            async with sipprofile.use("carol", url=near.url, timeout=LIMIT) as line:
                text = "x" * 60_000
                sending = asyncio.create_task(line.message(router.aor("bob"), text))
                request = await incoming(bob.requests())
                assert request.text == text
                await request.respond(200)
                assert (await sending).status == 200
            proven, answered = router.routed("MESSAGE")[-1], router.replied("MESSAGE")[-1]
            assert (proven.transport, proven.size, proven.call_id) == ("tcp", 60_000, request.call_id)
            assert (answered.transport, answered.status, answered.call_id) == ("tcp", 200, request.call_id)
            (contact,) = router.bindings(router.aor("bob"))
            assert "transport" not in contact.contact
        finally:
            leave(carol)

    async def test_a_refusal_is_the_receivers(self, router: Kamailio, alice: Line, bob: Line) -> None:
        sending = asyncio.create_task(alice.message(router.aor("bob"), "spam"))
        request = await incoming(bob.requests())
        await request.respond(403, headers=[("X-Reason", "no")])
        response = await sending
        assert (response.status, response.header("x-reason")) == (403, "no")

    async def test_nobody_there(self, router: Kamailio, alice: Line, far: RunningService) -> None:
        response = await alice.message(router.aor("bob"), "anybody?")
        assert response.status == 480
        assert (await alice.message(router.aor("carol"), "you?")).status == 480  # Kamailio's own


class TestCalls:
    """RFC 3261 §12 to §15, RFC 3262, RFC 3311."""

    async def test_a_whole_call(self, router: Kamailio, alice: Line, bob: Line) -> None:
        """407, a provisional with a body, re-INVITE and UPDATE from both sides; the caller hangs up."""
        await asyncio.sleep(NONCE_ENDS + 1.1)  # Kamailio counts whole seconds
        call = await alice.invite(router.aor("bob"), body=OFFER)
        request = await incoming(bob.requests())
        await request.ringing(body=ANSWER, content_type=TYPE)
        async with asyncio.timeout(LIMIT):
            async for provisional in call.provisionals:
                if provisional.status == 183:
                    break
        assert provisional.text == ANSWER
        theirs = await request.accept(body=ANSWER)
        ours = await call.answered(LIMIT)
        async with asyncio.timeout(LIMIT):
            await theirs.acknowledged()
        for one, other in ((ours, theirs), (theirs, ours)):
            for change in (one.reinvite, one.update):
                changing = asyncio.create_task(change(body=OFFER, content_type=TYPE))
                await (await incoming(other.requests())).respond(200, body=ANSWER, content_type=TYPE)
                response = await changing
                assert (response.status, response.text) == (200, ANSWER)
        await ours.bye()
        bye = await incoming(theirs.requests())
        assert (bye.method, bye.answered) == ("BYE", True)
        await seen(router, lambda: bool(statuses(router, request.call_id, "BYE")), "the BYE is answered")
        assert {method for method, _ in challenged(router, request.call_id)} == {"INVITE"}
        assert requests(router, request.call_id) == [
            *("INVITE", "ACK"),
            *("INVITE", "ACK", "UPDATE"),
            *("INVITE", "ACK", "UPDATE"),
            "BYE",
        ]
        assert [status for status in statuses(router, request.call_id, "INVITE") if status > 100] == [183, 200]
        early = next(one for one in router.replied("INVITE") if one.call_id == request.call_id and one.status == 183)
        assert early.size == len(ANSWER)

    async def test_the_called_hangs_up(self, router: Kamailio, alice: Line, bob: Line) -> None:
        ours, theirs, call_id = await talk(alice, bob, router.aor("bob"))
        await theirs.bye()
        async with asyncio.timeout(LIMIT):
            assert (await ours.ended()).code == "dialog_ended"
        bye = next(one for one in router.routed("BYE") if one.call_id == call_id)
        assert (bye.caller, bye.called) == ("bob", "alice")
        await seen(router, lambda: statuses(router, call_id, "BYE") == [200], "the BYE is answered")

    async def test_a_dialled_number_is_in_to(self, router: Kamailio, alice: Line, bob: Line) -> None:
        call = await alice.invite("sip:+4930123@example.test", body=OFFER)
        request = await incoming(bob.requests())
        assert "sip:+4930123@example.test" in request.to
        (contact,) = router.bindings(router.aor("bob"))
        assert request.uri == contact.contact
        await request.respond(486)
        with pytest.raises(sipprofile.RequestRefused):
            await call.answered(LIMIT)
        assert statuses(router, request.call_id, "INVITE")[-1] == 486

    async def test_a_reliable_provisional(self, router: Kamailio, alice: Line, bob: Line) -> None:
        """RFC 3262."""
        call = await alice.invite(router.aor("bob"), body=OFFER)
        request = await incoming(bob.requests())
        await request.ringing(body=ANSWER, content_type=TYPE, reliable=True)
        await seen(router, lambda: statuses(router, request.call_id, "PRACK") == [200], "the PRACK is answered")
        theirs = await request.accept()
        ours = await call.answered(LIMIT)
        async with asyncio.timeout(LIMIT):
            await theirs.acknowledged()
        await ours.bye()
        assert requests(router, request.call_id)[:3] == ["INVITE", "PRACK", "ACK"]

    async def test_a_call_is_cancelled(self, router: Kamailio, alice: Line, bob: Line) -> None:
        call = await alice.invite(router.aor("bob"), body=OFFER)
        request = await incoming(bob.requests())
        await request.ringing()
        async with asyncio.timeout(LIMIT):
            async for _ in call.provisionals:
                break
        await call.cancel()
        with pytest.raises(sipprofile.RequestRefused) as refused:
            await call.answered(LIMIT)
        assert refused.value.response.status == 487
        async with asyncio.timeout(LIMIT):
            assert (await request.until_withdrawn()).code == "cancelled"
        assert "CANCEL" in requests(router, request.call_id)
        await seen(router, lambda: 487 in statuses(router, request.call_id, "INVITE"), "the INVITE is answered 487")

    async def test_two_contacts_ring_and_one_answers(
        self, router: Kamailio, alice: Line, bob: Line, near: RunningService
    ) -> None:
        desk = add(near, router, "bob", "desk")
        try:
            async with sipprofile.use("desk", url=near.url, timeout=LIMIT, claims=["INVITE"]) as other:
                call = await alice.invite(router.aor("bob"), body=OFFER)
                at_desk, at_bob = await incoming(other.requests()), await incoming(bob.requests())
                assert at_desk.call_id == at_bob.call_id
                await at_desk.ringing()
                await at_bob.ringing()
                theirs = await at_bob.accept(body=ANSWER)
                ours = await call.answered(LIMIT)
                async with asyncio.timeout(LIMIT):
                    assert (await at_desk.until_withdrawn()).code == "cancelled"
                    await theirs.acknowledged()
                await ours.bye()
                contacts = {one.uri for one in router.sent("INVITE") if one.call_id == at_bob.call_id}
                assert contacts == {binding.contact for binding in router.bindings(router.aor("bob"))}
                assert len(contacts) == 2
                await seen(
                    router,
                    lambda: {200, 487} <= set(statuses(router, at_bob.call_id, "INVITE")),
                    "one answers and one is cancelled",
                )
        finally:
            leave(desk)

    async def test_a_program_that_gives_the_profile_back_hangs_up(
        self, router: Kamailio, alice: Line, far: RunningService
    ) -> None:
        async with sipprofile.use("bob", url=far.url, timeout=LIMIT, claims=["INVITE"]) as bob:
            ours, _, call_id = await talk(alice, bob, router.aor("bob"))
        async with asyncio.timeout(LIMIT):
            await ours.ended()
        await seen(router, lambda: statuses(router, call_id, "BYE") == [200], "the BYE is answered")


class TestAProgramThatIsKilled:
    """With SIGKILL: it says goodbye to nobody."""

    @pytest.fixture
    def program(self, far: RunningService) -> Iterator[subprocess.Popen[str]]:
        """It answers each call of bob's, and no MESSAGE."""
        command = [sys.executable, str(Path(__file__).with_name("answering.py")), far.url, "bob"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield program
            program.kill()

    async def test_its_call_ends_and_its_request_gets_an_answer(
        self, router: Kamailio, alice: Line, program: subprocess.Popen[str]
    ) -> None:
        call = await alice.invite(router.aor("bob"), body=OFFER)
        ours = await call.answered(LIMIT)
        sending = asyncio.create_task(alice.message(router.aor("bob"), "are you there?"))
        assert program.stdout is not None
        said = [await asyncio.to_thread(program.stdout.readline) for _ in range(2)]
        assert said == ["INVITE\n", "MESSAGE\n"]
        begin = time.monotonic()
        program.kill()
        async with asyncio.timeout(LIMIT):
            assert (await sending).status == 480
            assert (await ours.ended()).code == "dialog_ended"
        assert time.monotonic() - begin < 2.0
        call_id = router.sent("INVITE")[-1].call_id
        await seen(router, lambda: statuses(router, call_id, "BYE") == [200], "the BYE is answered")
        assert next(one.caller for one in router.routed("BYE") if one.call_id == call_id) == "bob"

    async def test_the_others_notice_nothing(
        self, router: Kamailio, alice: Line, program: subprocess.Popen[str], far: RunningService
    ) -> None:
        async with sipprofile.use("bob", url=far.url, timeout=LIMIT, claims=["OPTIONS"]) as other:
            program.kill()
            connection = await alice.connection()
            asking = asyncio.create_task(connection.request("OPTIONS", router.aor("bob")))
            await (await incoming(other.requests())).respond(200, headers=[("X-Here", "yes")])
            assert (await asking).header("x-here") == "yes"
            assert other.profile.registered


class TestBaresip:
    """A soft phone, user of the same registrar."""

    @pytest.fixture
    def phone(self, router: Kamailio, tmp_path: Path) -> Iterator[Baresip]:
        require(Baresip.program(), "baresip", "baresip-core")
        with Baresip(tmp_path / "baresip", router, "dora", correspondent=router.aor("alice")) as phone:
            router.wait_until(lambda: bool(router.bindings(router.aor("dora"))), LIMIT, "it is registered")
            yield phone

    async def test_it_calls_a_program(self, router: Kamailio, alice: Line, phone: Baresip) -> None:
        phone.command("dial", router.aor("alice"))
        request = await incoming(alice.requests())
        await request.ringing()
        dialog = await request.accept(body=ANSWER)
        await asyncio.to_thread(phone.wait_for, "CALL_ESTABLISHED")
        async with asyncio.timeout(LIMIT):
            await dialog.acknowledged()
        phone.command("hangup")
        async with asyncio.timeout(LIMIT):
            await dialog.ended()
        assert [one.caller for one in router.routed("BYE") if one.call_id == request.call_id] == ["dora"]

    async def test_a_program_calls_it(self, router: Kamailio, alice: Line, phone: Baresip) -> None:
        call = await alice.invite(router.aor("dora"), body=OFFER)
        await asyncio.to_thread(phone.wait_for, "CALL_INCOMING")
        phone.command("accept")
        dialog = await call.answered(LIMIT)
        await asyncio.to_thread(phone.wait_for, "CALL_ESTABLISHED")
        assert dialog.answer is not None
        assert "m=audio" in dialog.answer.text
        await dialog.bye()
        await asyncio.to_thread(phone.wait_for, "CALL_CLOSED")

    async def test_texts_both_ways(self, router: Kamailio, alice: Line, phone: Baresip) -> None:
        sending = asyncio.create_task(asyncio.to_thread(phone.message, "from the phone"))
        request = await incoming(alice.requests())
        assert request.text == "from the phone"
        await request.respond(200)
        await sending
        await seen(router, lambda: statuses(router, request.call_id, "MESSAGE") == [200], "it is answered")
        assert (await alice.message(router.aor("dora"), "to the phone")).status in (200, 202)
        await seen(router, lambda: "to the phone" in phone.shown(), "the phone shows it")


class TestReferrals:
    """RFC 3515."""

    async def test_in_a_call(self, router: Kamailio, alice: Line, bob: Line) -> None:
        ours, theirs, call_id = await talk(alice, bob, router.aor("bob"))
        referring = asyncio.create_task(ours.refer(router.aor("carol")))
        refer = await incoming(theirs.requests())
        assert (refer.method, dict(refer.headers)["Refer-To"]) == ("REFER", "<sip:carol@example.test>")
        notifier = await refer.accept_subscription(status=202)
        referral = await referring
        await notifier.notify("SIP/2.0 180 Ringing", "message/sipfrag")
        await notifier.notify("SIP/2.0 200 OK", "message/sipfrag", state="terminated")
        async with asyncio.timeout(LIMIT):
            told = [notification.sipfrag_status async for notification in referral]
        assert [status for status in told if status != 100] == [180, 200]
        await ours.bye()
        assert statuses(router, call_id, "REFER") == [202]
        assert set(statuses(router, call_id, "NOTIFY")) == {200}

    async def test_outside_of_calls(self, router: Kamailio, alice: Line, bob: Line) -> None:
        connection = await alice.connection()
        referring = asyncio.create_task(connection.refer(router.aor("bob"), router.aor("carol")))
        refer = await incoming(bob.requests())
        notifier = await refer.accept_subscription(status=202)
        referral = await referring
        await notifier.notify("SIP/2.0 503 Service Unavailable", "message/sipfrag", state="terminated")
        async with asyncio.timeout(LIMIT):
            told = [notification.sipfrag_status async for notification in referral]
        assert told[-1] == 503
        assert statuses(router, refer.call_id, "REFER") == [202]


class TestSubscriptions:
    """RFC 6665."""

    async def test_between_two_programs(self, router: Kamailio, alice: Line, bob: Line) -> None:
        subscribing = asyncio.create_task(alice.subscribe("presence", router.aor("bob"), expires=600))
        request = await incoming(bob.requests())
        notifier = await request.accept_subscription(expires=300)
        subscription = await subscribing
        assert subscription.expires == 300
        for text in ("open", "closed"):
            await notifier.notify(text, "text/plain")
        async with asyncio.timeout(LIMIT):
            told = []
            async for notification in subscription:
                told.append(notification.text)
                if len(told) == 2:
                    break
        assert told == ["open", "closed"]
        await subscription.unsubscribe()
        await seen(
            router, lambda: requests(router, request.call_id).count("SUBSCRIBE") == 2, "the subscription is given back"
        )
        assert set(statuses(router, request.call_id, "NOTIFY")) == {200}

    async def test_one_that_the_notifier_has_lost_begins_anew(self, router: Kamailio, alice: Line) -> None:
        """A refresh is answered 481 (§4.1.2.2); then the notifier asks for a pause (probation, §4.1.3)."""
        async with SipPeerServer("carol") as carol:
            carol.peer.script["SUBSCRIBE"] = []
            router.bind("carol", carol.uri)
            subscribing = asyncio.create_task(alice.subscribe("presence", router.aor("carol"), expires=12))
            first = await carol.wait_for("SUBSCRIBE")
            carol.answer(first, Scripted(200))
            await self.notify(carol, 0, "active;expires=12")
            subscription = await subscribing
            refresh = await carol.wait_for("SUBSCRIBE", 2, PATIENCE)
            assert refresh.header("call-id") == first.header("call-id")
            carol.answer(refresh, Scripted(481))
            again = await carol.wait_for("SUBSCRIBE", 3, PATIENCE)
            assert again.header("call-id") != first.header("call-id")
            carol.answer(again, Scripted(200))
            await self.notify(carol, 1, "terminated;reason=probation;retry-after=1")
            after = await carol.wait_for("SUBSCRIBE", 4, PATIENCE)
            carol.answer(after, Scripted(200))
            await self.notify(carol, 2, "active;expires=600")
            async with asyncio.timeout(LIMIT):
                async for notification in subscription:
                    if notification.expires == 600:
                        break
            calls = [one.header("call-id") or "" for one in (first, again, after)]
            assert statuses(router, calls[0], "SUBSCRIBE") == [200, 481]
            times = [one.at for one in router.routed("SUBSCRIBE") if one.call_id in calls[1:]]
            assert times[-1] - times[0] > 0.9

    async def notify(self, carol: SipPeerServer, dialog: int, state: str) -> None:
        headers = [("Event", "presence"), ("Subscription-State", state)]
        assert (await carol.send("NOTIFY", dialog=carol.peer.dialogs[dialog], headers=headers)).status == 200
