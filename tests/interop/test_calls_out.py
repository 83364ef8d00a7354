"""The core's client side on real sockets: calls and messages through Kamailio to SIPp, which judges them itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sipprofile.testing.peer import SDP, Scripted
from sipprofile.testing.peer_server import SipPeerServer

from .kamailio import Kamailio
from .sipp import Sipp
from .sipp_peer import (
    CALLED_HANGS_UP,
    CALLER_HANGS_UP,
    CANCELLED,
    CHANGED_BY_CALLER,
    RELIABLE,
    Step,
    answers,
    begins,
    gets,
    says,
    write,
)
from .user_agent import CoreUserAgent

USERS = {"alice": "secret", "bob": "another"}
OFFER = {"body": SDP, "content_type": "application/sdp"}


@pytest.fixture
def router(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    """A Kamailio that routes between alice and bob and asks for passwords; +4930123 is bob's number."""
    return start_kamailio(routes=True, users=USERS, numbers={"+4930123": "bob"})


@pytest.fixture
def sipp(router: Kamailio, start_sipp: Callable[..., Sipp], tmp_path: Path) -> Callable[..., Sipp]:
    def start(*steps: Step) -> Sipp:
        sipp = start_sipp(write(tmp_path / "peer.xml", *steps), {}, limit=15)
        router.bind("bob", f"sip:bob@{sipp.host}:{sipp.port}")
        return sipp

    return start


def alice(router: Kamailio) -> CoreUserAgent:
    return CoreUserAgent(router.aor("alice"), router.uri)


async def verdict(peer: Sipp) -> None:
    found = await asyncio.to_thread(peer.wait)
    assert (found.exit_code, found.successful_calls, found.errors) == (0, 1, "")


class TestInvite:
    """RFC 3261 §13.2, behind a 407."""

    @pytest.mark.parametrize("steps", [CALLER_HANGS_UP, RELIABLE], ids=["early media", "100rel"])
    async def test_a_call(self, router: Kamailio, sipp: Callable[..., Sipp], steps: tuple[Step, ...]) -> None:
        peer = sipp(*steps)
        async with alice(router) as agent:
            call = agent.send("INVITE", "sip:+4930123@example.test", **OFFER)
            assert await agent.final(call) == 200
            assert 183 in agent.owner.statuses[call.number]
            (leg,) = agent.owner.legs
            await asyncio.sleep(0.1)
            assert await agent.final(agent.send("BYE", leg=leg)) == 200
            await verdict(peer)
            assert agent.owner.ended == [(leg.number, "dialog_ended")]
        assert [one.method for one in router.routed()][:2] == ["INVITE", "INVITE"]
        assert {one.called for one in router.routed("INVITE")} == {"+4930123"}

    async def test_who_is_called_hangs_up(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(*CALLED_HANGS_UP)
        async with alice(router) as agent:
            assert await agent.final(agent.send("INVITE", router.aor("bob"), **OFFER)) == 200
            await agent.until(lambda: bool(agent.owner.ended), "the BYE")
            await verdict(peer)

    async def test_it_is_changed(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        """A re-INVITE and an UPDATE."""
        peer = sipp(*CHANGED_BY_CALLER)
        async with alice(router) as agent:
            assert await agent.final(agent.send("INVITE", router.aor("bob"), **OFFER)) == 200
            (leg,) = agent.owner.legs
            for method in ("INVITE", "UPDATE"):
                assert await agent.final(agent.send(method, leg=leg, **OFFER)) == 200
            assert await agent.final(agent.send("BYE", leg=leg)) == 200
            await verdict(peer)

    async def test_a_delayed_offer(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(begins("INVITE"), says(200, sdp=True), gets("ACK"), gets("BYE"), answers())
        async with alice(router) as agent:
            assert await agent.final(agent.send("INVITE", router.aor("bob"))) == 200
            (leg,) = agent.owner.legs
            agent.acknowledge(leg, SDP, "application/sdp")
            await asyncio.sleep(0.1)
            assert await agent.final(agent.send("BYE", leg=leg)) == 200
            await verdict(peer)
        assert "m=audio" in peer.messages().rpartition("ACK sip:")[2].partition("BYE ")[0]

    async def test_it_is_cancelled(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(*CANCELLED)
        async with alice(router) as agent:
            call = agent.send("INVITE", router.aor("bob"), **OFFER)
            await agent.until(lambda: 180 in agent.owner.statuses.get(call.number, ()), "it rings")
            agent.cancel(call)
            assert await agent.final(call) == 487
            await verdict(peer)

    async def test_two_contacts_ring_and_one_answers(self, router: Kamailio) -> None:
        async with alice(router) as agent, SipPeerServer("b") as desk, SipPeerServer("b") as cell:
            cell.peer.script["INVITE"] = [Scripted(180)]
            desk.peer.script["INVITE"] = [Scripted(180), Scripted(200, delay=0.2)]
            for peer in (desk, cell):
                router.bind("bob", peer.uri)
            call = agent.send("INVITE", router.aor("bob"), **OFFER)
            assert await agent.final(call) == 200
            await cell.wait_for("CANCEL")
            await desk.wait_for("ACK")
            assert len(call.legs) == 2
            assert sorted(leg.state for leg in call.legs.values()) == ["confirmed", "early"]


class TestMessages:
    async def test_one_is_challenged_and_arrives(self, router: Kamailio, sipp: Callable[..., Sipp]) -> None:
        peer = sipp(begins("MESSAGE"), says(200))
        async with alice(router) as agent:
            message = agent.send("MESSAGE", router.aor("bob"), body=b"hi", content_type="text/plain")
            assert await agent.final(message) == 200
            found = await asyncio.to_thread(peer.wait)
            assert (found.exit_code, found.successful_calls) == (0, 1)  # it logs that MESSAGE has no Contact

    async def test_one_of_60_kb_goes_by_tcp(self, router: Kamailio) -> None:
        async with alice(router) as agent, CoreUserAgent(router.aor("bob"), router.uri, "another") as bob:
            (transport,) = agent.registrations.transports.values()
            transport.limit = 1300  # that of a path with an MTU of 1500 bytes; loopback's is 65,536
            message = agent.send("MESSAGE", router.aor("bob"), body=b"x" * 60_000, content_type="text/plain")
            assert await agent.final(message) == 200
            assert [len(request.body) for request in bob.owner.requests] == [60_000]
        routed = router.routed("MESSAGE")
        assert {(one.transport.lower(), one.size) for one in routed} == {("tcp", 60_000)}

    async def test_who_is_away(self, router: Kamailio) -> None:
        async with alice(router) as agent:
            assert await agent.final(agent.send("MESSAGE", router.aor("bob"))) == 480

    async def test_the_bindings(self, router: Kamailio) -> None:
        """RFC 3261 §10.2.3: the registrar lists ours, and changes nothing."""
        async with alice(router) as agent:
            before = router.bindings(router.aor("alice"))
            fetched = agent.fetch_bindings()
            assert await agent.final(fetched) == 200
            response = agent.owner.responses[fetched.number][-1]
            assert agent.registrations.by_profile[1].first.contact in (response.header("contact") or "")
            (after,) = router.bindings(router.aor("alice"))
            assert [(one.call_id, one.cseq) for one in before] == [(after.call_id, after.cseq)]
