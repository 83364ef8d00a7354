"""Calls that owners begin: forking, CANCEL, ACK and PRACK (RFC 3261 §9.1, §13.2; RFC 3262)."""

from __future__ import annotations

import pytest
from useragent_world import BOB, OFFER, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.useragent import client
from sipprofile.useragent.leg import Leg


@pytest.fixture
def world() -> UserAgentWorld:
    return UserAgentWorld()


def legs_of(world: UserAgentWorld) -> list[Leg]:
    return list(world.user_agent.legs.values())


class TestInvite:
    def test_an_answered_call(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        invite = world.last
        assert invite.header("contact") == f"<{world.flow().contact}>"
        assert (invite.header("supported"), bool(invite.header("allow"))) == ("100rel", True)
        world.respond(100)
        world.respond(180, "Record-Route: <sip:early.test;lr>", tag="bob", contact="sip:bob@203.0.113.6")
        (leg,) = legs_of(world)
        assert (leg.state, leg.dialog.target, leg.invite) == ("early", "sip:bob@203.0.113.6", outgoing.number)
        route = "Record-Route: <sip:a.test;lr>, <sip:b.test;lr>"
        world.respond(200, route, tag="bob", contact="sip:bob@203.0.113.7")
        assert [entry[2:] for entry in world.owner.told] == [(180, leg), (200, leg)]
        (ack,) = world.acks
        assert (ack.method, ack.uri) == ("ACK", "sip:bob@203.0.113.7")
        assert ack.headers("route") == ["<sip:b.test;lr>", "<sip:a.test;lr>"]  # RFC 3261 §13.2.2.4
        assert (ack.header("cseq"), ack.header("to")) == ("1 ACK", f"<{BOB}>;tag=bob")
        assert ack.branch() != invite.branch()
        assert leg.state == "confirmed"
        world.assert_nothing_left()
        assert legs_of(world) == [leg]

    def test_a_2xx_that_comes_again_is_acknowledged_again_and_not_told(self, world: UserAgentWorld) -> None:
        world.call()
        world.respond(200, tag="bob", contact=BOB)
        assert [ack.branch() for ack in world.acks] == [world.acks[0].branch()] * 2
        assert world.owner.told == []

    def test_a_refused_call_ends_its_early_dialogs(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        invite = world.last
        world.respond(183, tag="bob")
        (leg,) = legs_of(world)
        world.respond(486, tag="bob")
        assert world.owner.told[1:] == [("responded", outgoing, 486, None), ("leg_changed", leg, "dialog_ended")]
        assert world.acks[0].branch() == invite.branch()
        assert (leg.state, legs_of(world), world.user_agent.legs_by_dialog) == ("terminated", [], {})
        world.respond(486, tag="bob")
        assert len(world.acks) == 2
        world.assert_nothing_left()

    def test_nobody_answers(self, world: UserAgentWorld) -> None:
        world.invite()
        world.run(33)
        assert world.owner.heard == ["timeout"]
        assert len(world.retransmissions) == 6

    def test_what_rings_for_three_minutes_is_cancelled(self, world: UserAgentWorld) -> None:
        world.invite()
        world.respond(180, tag="bob")
        world.run(179)
        assert world.last.method == "INVITE"
        world.run(2)
        assert world.last.method == "CANCEL"
        world.run(40)
        assert world.owner.heard == [180, "timeout", "dialog_ended"]
        world.assert_nothing_left()

    def test_the_number_of_forks_is_bounded(self, world: UserAgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.useragent.client.MAXIMUM_FORKS", 2)
        world.invite()
        invite = world.last
        for tag in ("a", "b", "c"):
            world.respond(180, tag=tag)
        assert [entry[3] is not None for entry in world.owner.told] == [True, True, False]
        world.respond(200, tag="c", contact="sip:c@203.0.113.9", to=invite)
        assert (world.acks[0].uri, world.last.method) == ("sip:c@203.0.113.9", "BYE")


class TestForking:
    """RFC 3261 §13.2.2.4: each 2xx is a dialog of its own."""

    def test_two_phones_answer(self, world: UserAgentWorld) -> None:
        world.invite()
        invite = world.last
        world.respond(180, tag="one", to=invite)
        world.respond(180, tag="two", to=invite)
        world.respond(180, tag="three", to=invite)
        world.respond(200, tag="one", contact="sip:one@203.0.113.1", to=invite)
        world.respond(200, tag="two", contact="sip:two@203.0.113.2", to=invite)
        one, two, three = legs_of(world)
        assert [(ack.uri, tag_of(ack.header("to"))) for ack in world.acks] == [
            ("sip:one@203.0.113.1", "one"),
            ("sip:two@203.0.113.2", "two"),
        ]
        assert [entry[3] for entry in world.owner.told] == [one, two, three, one, two]
        assert (one.state, two.state, three.state) == ("confirmed", "confirmed", "early")
        world.owner.told.clear()
        world.run(33)
        assert world.owner.told == [("leg_changed", three, "dialog_ended")]
        world.respond(200, tag="four", contact=BOB, to=invite)  # too late
        assert legs_of(world) == [one, two]
        world.assert_nothing_left()

    def test_each_leg_has_its_own_sequence(self, world: UserAgentWorld) -> None:
        world.invite()
        invite = world.last
        for tag in ("one", "two"):
            world.respond(200, tag=tag, contact=f"sip:{tag}@203.0.113.1", to=invite)
        one, two = legs_of(world)
        world.send("INFO", leg=one)
        world.send("BYE", leg=two)
        assert [request.header("cseq") for request in world.requests[1:]] == ["2 INFO", "2 BYE"]
        assert [request.uri for request in world.requests[1:]] == ["sip:one@203.0.113.1", "sip:two@203.0.113.1"]


class TestCancel:
    """RFC 3261 §9.1."""

    def test_it_waits_for_a_provisional_response(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        invite = world.last
        client.cancel(world.user_agent, outgoing, world.now)
        world.settle()
        assert world.requests == [invite]
        world.respond(100)
        cancel = world.last
        assert (cancel.method, cancel.uri, cancel.branch()) == ("CANCEL", invite.uri, invite.branch())
        for name in ("via", "from", "to", "call-id"):
            assert cancel.header(name) == invite.header(name)
        assert cancel.header("cseq") == "1 CANCEL"
        assert cancel.headers("route") == invite.headers("route")
        world.respond(200, to=cancel)
        world.respond(487, tag="bob", to=invite)
        assert world.owner.heard == [487]
        world.assert_nothing_left()
        assert not any(request.method == "CANCEL" for _, request in world.retransmissions)

    def test_a_cancel_is_sent_again_until_it_is_answered(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        world.respond(180, tag="bob")
        client.cancel(world.user_agent, outgoing, world.now)
        client.cancel(world.user_agent, outgoing, world.now)
        world.settle()
        world.run(2)
        assert [request.method for request in world.requests] == ["INVITE", "CANCEL"]
        assert {request.method for _, request in world.retransmissions} == {"CANCEL"}
        world.assert_nothing_left()
        assert world.owner.heard == [180, "timeout", "dialog_ended"]

    def test_a_2xx_that_crosses_it_is_a_call(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        invite = world.last
        world.respond(180, tag="bob")
        client.cancel(world.user_agent, outgoing, world.now)
        world.respond(200, tag="bob", contact=BOB, to=invite)
        assert world.owner.heard == [180, 200]
        assert len(world.acks) == 1
        with pytest.raises(SipProfileError) as raised:
            client.cancel(world.user_agent, outgoing, world.now)
        assert raised.value.code == "invalid_state"

    def test_abandoned_it_is_acknowledged_and_ended(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        invite = world.last
        world.respond(180, tag="bob")
        world.owner.told.clear()
        client.abandon(world.user_agent, outgoing, world.now)
        world.settle()
        assert world.last.method == "CANCEL"
        world.respond(200, tag="bob", contact="sip:bob@203.0.113.7", to=invite)
        assert [request.method for request in world.requests] == ["INVITE", "CANCEL", "BYE"]
        assert (world.acks[0].uri, world.last.uri) == ("sip:bob@203.0.113.7", "sip:bob@203.0.113.7")
        assert (world.last.header("cseq"), world.last.header("to")) == ("2 BYE", f"<{BOB}>;tag=bob")
        world.respond(200, tag="bob", contact="sip:bob@203.0.113.7", to=invite)
        assert (len(world.acks), len(world.requests)) == (2, 3)
        assert legs_of(world) == []
        world.assert_nothing_left()

    def test_an_abandoned_invite_that_nobody_has_seen_yet_is_cancelled_when_somebody_has(
        self, world: UserAgentWorld
    ) -> None:
        client.abandon(world.user_agent, world.invite(), world.now)
        world.respond(180, tag="bob")
        assert world.last.method == "CANCEL"
        assert legs_of(world) == []
        assert world.owner.told == []


class TestAcknowledging:
    def test_with_a_delayed_offer_the_ack_is_the_owners(self, world: UserAgentWorld) -> None:
        leg = world.call(body=b"")
        assert world.acks == []
        client.acknowledge(world.user_agent, leg, (("X-A", "b"),), OFFER, "application/sdp", world.now)
        world.settle()
        (ack,) = world.acks
        assert (ack.body, ack.header("content-type"), ack.header("x-a")) == (OFFER, "application/sdp", "b")
        world.respond(200, tag="bob", contact=BOB)
        assert [each.body for each in world.acks] == [OFFER, OFFER]
        with pytest.raises(SipProfileError) as raised:
            client.acknowledge(world.user_agent, leg, (), b"", None, world.now)
        assert raised.value.code == "invalid_state"

    def test_whoever_wants_to_sends_it_by_hand(self, world: UserAgentWorld) -> None:
        leg = world.call(manual=True)
        assert (world.acks, leg.manual) == ([], True)
        client.acknowledge(world.user_agent, leg, (), b"", None, world.now)
        world.settle()
        assert len(world.acks) == 1

    def test_what_is_not_acknowledged_in_time_ends(self, world: UserAgentWorld) -> None:
        leg = world.call(manual=True)
        world.run(33)
        assert world.owner.told == [("leg_changed", leg, "no_ack")]
        assert (len(world.acks), world.last.method) == (1, "BYE")
        assert legs_of(world) == []

    @pytest.mark.parametrize("name", ["Via", "v", "Route", "CSeq", "Authorization"])
    def test_its_headers_are_looked_at(self, world: UserAgentWorld, name: str) -> None:
        leg = world.call(manual=True)
        with pytest.raises(SipProfileError) as raised:
            client.acknowledge(world.user_agent, leg, ((name, "x"),), b"", None, world.now)
        assert raised.value.code == "header_refused"


class TestReliableProvisionals:
    """RFC 3262 §4."""

    def test_each_gets_a_prack(self, world: UserAgentWorld) -> None:
        world.invite()
        invite = world.last
        for rseq in (7, 7, 9, 8):
            world.respond(183, "Require: 100rel", f"RSeq: {rseq}", tag="bob", contact=BOB, to=invite)
        pracks = world.requests[1:]
        assert [(each.method, each.header("rack")) for each in pracks] == [
            ("PRACK", "7 1 INVITE"),
            ("PRACK", "8 1 INVITE"),
        ]
        assert [each.header("cseq") for each in pracks] == ["2 PRACK", "3 PRACK"]
        assert world.owner.heard == [183, 183]

    def test_by_hand(self, world: UserAgentWorld) -> None:
        world.invite(manual=True)
        world.respond(183, "Require: 100rel", "RSeq: 7", tag="bob", contact=BOB)
        assert world.last.method == "INVITE"
        (leg,) = legs_of(world)
        world.send("PRACK", leg=leg)
        assert world.last.header("rack") == "7 1 INVITE"
        world.send("PRACK", leg=leg, headers=(("RAck", "9 1 INVITE"),))
        assert world.last.headers("rack") == ["9 1 INVITE"]

    def test_an_ordinary_one_gets_none(self, world: UserAgentWorld) -> None:
        world.invite()
        world.respond(183, "RSeq: 7", tag="bob", contact=BOB)
        assert world.last.method == "INVITE"
