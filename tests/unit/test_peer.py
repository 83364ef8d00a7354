"""The scripted peer of users' tests: two of them talk to each other, directly and by way of the test registrar."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from sipprofile.sip.message import Request
from sipprofile.testing.peer import SDP, Exchange, Scripted, SipPeer
from sipprofile.testing.peer_server import SipPeerServer
from sipprofile.testing.registrar import Registrar
from sipprofile.testing.reply import Reply
from sipprofile.testing.server import RegistrarServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
ALICE, BOB, PROXY = ("192.0.2.1", 5061), ("192.0.2.2", 5062), ("192.0.2.10", 5060)


class Wire:
    """Delivers what peers and the registrar send each other, at once and in order, until all is quiet."""

    def __init__(self) -> None:
        self.alice = SipPeer("sip:alice@192.0.2.1:5061", random=random.Random(1))
        self.bob = SipPeer("sip:bob@192.0.2.2:5062", random=random.Random(2))
        self.registrar = Registrar(users={"alice": "secret"}, random=random.Random(3))
        self.registrar.address = PROXY
        self.ends = {ALICE: self.alice, BOB: self.bob, PROXY: self.registrar}

    def carry(self, replies: list[Reply], sender: tuple[str, int]) -> None:
        waiting = [(reply, sender) for reply in replies]
        while waiting:
            reply, source = waiting.pop(0)
            more = self.ends[reply.destination].receive(reply.data, source, 1.0)
            waiting += [(each, reply.destination) for each in more]

    def call(self, uri: str = "sip:bob@192.0.2.2:5062", method: str = "INVITE") -> Exchange:
        exchange, replies = self.alice.request(method, uri, body=SDP, content_type="application/sdp")
        self.carry(replies, ALICE)
        return exchange


def heard(peer: SipPeer) -> list[str]:
    return [request.method for request in peer.requests]


@pytest.fixture
def wire() -> Wire:
    return Wire()


class TestCalls:
    """RFC 3261 §12, §13, §15."""

    def test_a_call_rings_is_answered_and_acknowledged(self, wire: Wire) -> None:
        call = wire.call()
        assert [response.status for response in call.responses] == [180, 200]
        assert call.responses[1].body == SDP
        assert heard(wire.bob) == ["INVITE", "ACK"]

    def test_both_sides_can_hang_up(self, wire: Wire) -> None:
        call = wire.call()
        [dialog] = call.dialogs.values()
        bye, replies = wire.alice.request("BYE", dialog=dialog)
        wire.carry(replies, ALICE)
        assert bye.final is not None
        assert bye.final.status == 200
        assert wire.bob.dialogs == []
        wire.call()
        _, replies = wire.bob.request("BYE", dialog=wire.bob.dialogs[0])
        wire.carry(replies, BOB)
        assert heard(wire.alice) == ["BYE"]

    def test_a_call_that_waits_is_cancelled(self, wire: Wire) -> None:
        wire.bob.script["INVITE"] = [Scripted(180)]
        call = wire.call()
        wire.carry(wire.alice.cancel(call), ALICE)
        assert call.final is not None
        assert call.final.status == 487
        assert heard(wire.bob) == ["INVITE", "CANCEL", "ACK"]

    def test_a_refusal_is_acknowledged(self, wire: Wire) -> None:
        wire.bob.script["INVITE"] = [Scripted(486, "Taken", (("Retry-After", "5"),))]
        call = wire.call()
        assert call.final is not None
        assert (call.final.status, call.final.reason, call.final.header("retry-after")) == (486, "Taken", "5")
        assert heard(wire.bob) == ["INVITE", "ACK"]

    def test_a_reliable_provisional_is_acknowledged(self, wire: Wire) -> None:
        """RFC 3262 §4."""
        wire.bob.script["INVITE"] = [Scripted(183, None, (("Require", "100rel"), ("RSeq", "7")))]
        wire.call()
        prack = wire.bob.requests[-1]
        assert (prack.method, prack.header("rack")) == ("PRACK", "7 1 INVITE")

    def test_what_waits_is_answered_when_the_test_says(self, wire: Wire) -> None:
        wire.bob.script["MESSAGE"] = []
        message = wire.call(method="MESSAGE")
        assert message.responses == []
        wire.carry(wire.bob.answer(wire.bob.requests[0], Scripted(202)), BOB)
        assert message.final is not None
        assert message.final.status == 202

    def test_a_retransmission_gets_the_same_answer(self, wire: Wire) -> None:
        _, [message] = wire.alice.request("MESSAGE", "sip:bob@192.0.2.2:5062")
        first, again = (wire.bob.receive(message.data, ALICE) for _ in range(2))
        assert first == again
        assert len(wire.bob.requests) == 1


class TestThroughTheRegistrar:
    """RFC 3261 §16."""

    @pytest.fixture
    def wire(self) -> Wire:
        wire = Wire()
        wire.alice.next_hop = wire.bob.next_hop = PROXY
        wire.alice.aor = "sip:alice@example.test"
        wire.alice.credentials = ("alice", "secret")
        wire.registrar.bind("sip:bob@example.test", wire.bob.uri, BOB, 0)
        return wire

    @pytest.mark.parametrize("record_route", [True, False])
    def test_a_whole_call(self, wire: Wire, record_route: bool) -> None:
        wire.registrar.record_route = record_route
        call = wire.call("sip:bob@example.test")
        _, replies = wire.bob.request("BYE", dialog=wire.bob.dialogs[0])
        wire.carry(replies, BOB)
        assert call.final is not None
        assert heard(wire.bob) == ["INVITE", "ACK"]
        assert heard(wire.alice) == ["BYE"]
        passed = [message.method for message in wire.registrar.passed if isinstance(message, Request)]
        assert passed == ["INVITE", "ACK", "BYE"]

    def test_a_challenge_is_answered(self, wire: Wire) -> None:
        wire.registrar.faults.challenge_requests = True
        call = wire.call("sip:bob@example.test")
        assert [response.status for response in call.responses] == [180, 200]
        assert wire.bob.requests[0].header("cseq") == "2 INVITE"

    def test_what_was_challenged_can_be_cancelled(self, wire: Wire) -> None:
        wire.registrar.faults.challenge_requests = True
        wire.bob.script["INVITE"] = [Scripted(180)]
        call = wire.call("sip:bob@example.test")
        wire.carry(wire.alice.cancel(call), ALICE)
        assert call.final is not None
        assert call.final.status == 487

    def test_a_wrong_password_is_told(self, wire: Wire) -> None:
        wire.registrar.faults.challenge_requests = True
        wire.alice.credentials = ("alice", "wrong")
        call = wire.call("sip:bob@example.test")
        assert call.final is not None
        assert call.final.status == 407


class TestOnSockets:
    async def test_a_call_through_the_registrar_server(self) -> None:
        async with RegistrarServer() as registrar, SipPeerServer("bob") as bob:
            registrar.bind("sip:bob@example.test", bob.uri)
            async with SipPeerServer("alice", next_hop=(registrar.host, registrar.port)) as alice:
                invite = alice.begin("INVITE", "sip:bob@example.test", body=SDP, content_type="application/sdp")
                assert (await alice.final(invite)).status == 200
                await bob.wait_for("ACK")
                [dialog] = invite.dialogs.values()
                assert (await alice.send("BYE", dialog=dialog)).status == 200
                assert len(bob.requests("BYE")) == 1
                with pytest.raises(TimeoutError):
                    await bob.wait_for("MESSAGE", limit=0.01)

    async def test_an_address_without_numbers_is_refused(self) -> None:
        async with RegistrarServer() as registrar:
            with pytest.raises(ValueError, match="no numeric address"):
                registrar.bind("sip:bob@example.test", "sip:bob@phone.example.test")


async def test_the_example_of_the_documentation() -> None:
    """docs/testing.md."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    await names["test_a_call"]()
