"""The Kamailio between users does what the tests of calls take for granted, seen with scripted peers at both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipprofile.sip.dialog import Dialog
from sipprofile.testing.peer import SDP, Scripted
from sipprofile.testing.peer_server import SipPeerServer

from .kamailio import Kamailio
from .sipp import Sipp
from .sipp_peer import CALLER_HANGS_UP, CANCELLED, CHANGED_BY_CALLED, REFERRED, RELIABLE, Step, write

Start = Callable[..., Kamailio]
USERS = {"alice": "secret", "bob": "another"}


@pytest.fixture
def router(start_kamailio: Start) -> Kamailio:
    """A Kamailio that routes between alice and bob; +4930123 is bob's number."""
    return start_kamailio(routes=True, users=USERS, numbers={"+4930123": "bob"})


def caller(router: Kamailio, password: str = "secret") -> SipPeerServer:
    next_hop = (router.host, router.port)
    return SipPeerServer("a", aor=router.aor("alice"), next_hop=next_hop, credentials=("alice", password))


async def test_a_call_is_challenged_routed_and_stays_in_its_path(router: Kamailio) -> None:
    async with caller(router) as alice, SipPeerServer("b", next_hop=(router.host, router.port)) as bob:
        router.bind("bob", bob.uri)
        invite = alice.begin("INVITE", "sip:+4930123@example.test", body=SDP, content_type="application/sdp")
        assert (await alice.final(invite)).status == 200
        received = await bob.wait_for("INVITE")
        assert received.header("to") == "<sip:+4930123@example.test>"
        assert received.uri == bob.uri
        assert received.header("proxy-authorization") is None
        await bob.wait_for("ACK")
        assert (await bob.send("BYE", dialog=bob.peer.dialogs[0])).status == 200
    assert [(one.method, one.caller) for one in router.routed()] == [
        ("INVITE", "alice"),
        ("INVITE", "alice"),  # its ACK of the 407 ends at the hop that gave it
        ("ACK", "alice"),
        ("BYE", "+4930123"),
    ]
    assert [one.status for one in router.replied("INVITE")] == [180, 200]
    assert router.routed("INVITE")[1].size == len(SDP)


async def test_all_contacts_ring_and_the_others_are_cancelled(router: Kamailio) -> None:
    async with caller(router) as alice, SipPeerServer("b") as desk, SipPeerServer("b") as cell:
        cell.peer.script["INVITE"] = [Scripted(180)]
        desk.peer.script["INVITE"] = [Scripted(180), Scripted(200, delay=0.2)]
        for peer in (desk, cell):
            router.bind("bob", peer.uri)
        assert (await alice.send("INVITE", router.aor("bob"))).status == 200
        await cell.wait_for("CANCEL")
        await desk.wait_for("ACK")
    assert sorted(one.uri for one in router.sent("INVITE")) == sorted((desk.uri, cell.uri))


async def test_a_callers_cancel_is_passed(router: Kamailio) -> None:
    async with caller(router) as alice, SipPeerServer("b") as bob:
        router.bind("bob", bob.uri)
        bob.peer.script["INVITE"] = [Scripted(180)]
        invite = alice.begin("INVITE", router.aor("bob"))
        await alice.until(lambda: bool(invite.dialogs))
        alice.cancel(invite)
        assert (await alice.final(invite)).status == 487
        await bob.wait_for("CANCEL")


class TestSipp:
    """SIPp as who is called, with a scripted peer as caller."""

    @pytest.fixture
    def sipp(self, router: Kamailio, start_sipp: Callable[..., Sipp], tmp_path: Path) -> Callable[..., Sipp]:
        def start(*steps: Step) -> Sipp:
            sipp = start_sipp(write(tmp_path / "peer.xml", *steps), {}, limit=10)
            router.bind("bob", f"sip:bob@{sipp.host}:{sipp.port}")
            return sipp

        return start

    async def call(self, alice: SipPeerServer, router: Kamailio) -> Dialog:
        invite = alice.begin("INVITE", router.aor("bob"), body=SDP, content_type="application/sdp")
        assert (await alice.final(invite)).status == 200
        assert 183 in [response.status for response in invite.responses]
        [dialog] = invite.dialogs.values()
        return dialog

    @pytest.mark.parametrize("steps", [CALLER_HANGS_UP, RELIABLE], ids=["plain", "100rel"])
    async def test_the_caller_hangs_up(self, router: Kamailio, sipp: Callable[..., Sipp], steps: Any) -> None:
        peer = sipp(*steps)
        async with caller(router) as alice:
            dialog = await self.call(alice, router)
            await asyncio.sleep(0.1)
            assert (await alice.send("BYE", dialog=dialog)).status == 200
            assert (await asyncio.to_thread(peer.wait)).exit_code == 0

    async def test_the_called_changes_the_call_and_hangs_up(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(*CHANGED_BY_CALLED)
        async with caller(router) as alice:
            alice.peer.script["INVITE"] = [Scripted(200, body=SDP, content_type="application/sdp")]
            await self.call(alice, router)
            await alice.wait_for("BYE")
            assert (await asyncio.to_thread(peer.wait)).exit_code == 0
        assert [request.method for request in alice.peer.requests] == ["INVITE", "ACK", "UPDATE", "BYE"]

    async def test_it_is_cancelled(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(*CANCELLED)
        async with caller(router) as alice:
            invite = alice.begin("INVITE", router.aor("bob"))
            await alice.until(lambda: bool(invite.dialogs))
            alice.cancel(invite)
            assert (await alice.final(invite)).status == 487
            assert (await asyncio.to_thread(peer.wait)).exit_code == 0

    async def test_it_takes_a_refer(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(*REFERRED)
        async with caller(router) as alice:
            refer = [("Refer-To", "<sip:carol@example.test>")]
            assert (await alice.send("REFER", router.aor("bob"), headers=refer)).status == 202
            assert (await alice.wait_for("NOTIFY", 2)).body.strip() == b"SIP/2.0 200 OK"
            assert (await asyncio.to_thread(peer.wait)).exit_code == 0


async def test_who_cannot_prove_it_is_refused(router: Kamailio) -> None:
    async with caller(router, "wrong") as alice, SipPeerServer("b") as bob:
        router.bind("bob", bob.uri)
        assert (await alice.send("MESSAGE", router.aor("bob"))).status == 407
        assert bob.peer.requests == []


async def test_a_user_who_is_away(router: Kamailio) -> None:
    async with caller(router) as alice:
        assert (await alice.send("MESSAGE", router.aor("bob"))).status == 480
        assert (await alice.send("MESSAGE", "sip:carol@example.test")).status == 404
