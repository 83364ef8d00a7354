"""Requests of the other side inside dialogs: calls and subscriptions (RFC 3261 §12.2.2, §14.2, §15.1.2, RFC 3311)."""

from __future__ import annotations

import pytest
from server_world import UDP, World, answered, called, request

from sipprofile.sip.message import Request, parse
from sipprofile.useragent import client
from sipprofile.useragent.draft import Draft


@pytest.fixture
def world() -> World:
    return World()


class TestDialogs:
    def test_requests_go_to_its_owner(self, world: World) -> None:
        to = called(world)
        assert world.receive(request("INFO", to=to, cseq=2, branch="z9hG4bK2")) == []
        incoming = world.owner.incoming[-1]
        assert incoming.leg is not None
        world.respond(200)
        assert world.statuses() == [200]

    def test_an_unknown_dialog(self, world: World) -> None:
        to = called(world)
        for change in ({"to": to + "x"}, {"to": to, "call_id": "c9"}, {"to": to, "sender": "<sip:bob@x>;tag=g"}):
            (response,) = world.receive(request("INFO", cseq=2, branch="z9hG4bK2", **change))
            assert response.status == 481

    def test_out_of_order(self, world: World) -> None:
        """RFC 3261 §12.2.2."""
        to = called(world)
        world.receive(request("INFO", to=to, cseq=5, branch="z9hG4bK2"))
        (response,) = world.receive(request("INFO", to=to, cseq=4, branch="z9hG4bK3"))
        assert response.status == 500
        assert [event[1] for event in world.owner.heard] == ["INFO"]

    def test_a_new_target(self, world: World) -> None:
        """RFC 3261 §12.2.2; INFO does not refresh it."""
        to = called(world)
        (leg,) = world.agent.legs.values()
        world.receive(request("INFO", to=to, cseq=2, branch="z9hG4bK2", contact="<sip:bob@192.0.2.8>"))
        assert leg.dialog.target == "sip:bob@192.0.2.7"
        world.receive(request("INVITE", to=to, cseq=3, branch="z9hG4bK3", contact="<sip:bob@192.0.2.9>"))
        assert leg.dialog.target == "sip:bob@192.0.2.9"

    def test_a_refused_reinvite_leaves_the_call(self, world: World) -> None:
        to = called(world)
        world.receive(request("INVITE", to=to, cseq=2, branch="z9hG4bK2"))
        world.respond(488)
        (leg,) = world.agent.legs.values()
        assert leg.state == "confirmed"

    def test_a_reinvite_is_acknowledged(self, world: World) -> None:
        to = called(world)
        world.receive(request("INVITE", to=to, cseq=2, branch="z9hG4bK2"))
        (leg,) = world.agent.legs.values()
        assert world.respond(200) is leg
        assert world.run(1.0) == [(0.5, 200)]
        world.receive(request("ACK", to=to, cseq=1, branch="z9hG4bKa"))
        assert world.run(1.0) == [(0.5, 200)]
        world.receive(request("ACK", to=to, cseq=2, branch="z9hG4bKb"))
        assert world.run(9.0) == []
        assert world.owner.heard[-1] == ("acknowledged", b"")

    def test_a_second_reinvite_before_the_first_is_answered(self, world: World) -> None:
        """RFC 3261 §14.2."""
        to = called(world)
        world.receive(request("INVITE", to=to, cseq=2, branch="z9hG4bK2"))
        (response,) = world.receive(request("INVITE", to=to, cseq=3, branch="z9hG4bK3"))
        assert response.status == 500
        assert 0 <= int(response.header("retry-after") or "-1") <= 10

    @pytest.mark.parametrize(("offer", "answered", "status"), [(b"o", False, 500), (b"o", True, 0), (b"", False, 0)])
    def test_update_while_an_offer_waits(self, world: World, offer: bytes, answered: bool, status: int) -> None:
        """RFC 3311 §5.2."""
        world.receive(request("INVITE", "Supported: 100rel", body=offer))
        world.respond(183, reliable=answered, body=b"a", content_type="application/sdp")
        to = world.responses()[-1].header("to") or ""
        before = len(world.sent)
        world.receive(request("UPDATE", to=to, cseq=2, branch="z9hG4bK2", body=b"o2"))
        assert world.statuses(before) == ([status] if status else [])

    @pytest.mark.parametrize(
        ("ours", "theirs", "body", "status"),
        [
            ("INVITE", "INVITE", b"", 491),
            ("INVITE", "UPDATE", b"o", 491),
            ("UPDATE", "UPDATE", b"o", 491),
            ("INVITE", "UPDATE", b"", 0),
            ("UPDATE", "INVITE", b"o", 0),
            ("INFO", "INVITE", b"o", 0),
        ],
    )
    def test_a_request_that_crosses_ours(self, world: World, ours: str, theirs: str, body: bytes, status: int) -> None:
        """RFC 3261 §14.2, RFC 3311 §5.2."""
        to = called(world)
        (leg,) = world.agent.legs.values()
        draft = Draft(ours, body=b"v=0", content_type="application/sdp")
        client.send(world.agent, world.owner, leg.line, draft, world.now, leg)
        responses = world.receive(request(theirs, to=to, cseq=2, branch="z9hG4bK2", body=body))
        assert [response.status for response in responses] == ([status] if status else [])

    @pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
    def test_its_copy_is_refused_too_though_ours_is_over(self, world: World, method: str) -> None:
        """Who has heard 491 does not expect that the call was changed all the same."""
        to = called(world)
        (leg,) = world.agent.legs.values()
        draft = Draft("INVITE", body=b"v=0", content_type="application/sdp")
        outgoing = client.send(world.agent, world.owner, leg.line, draft, world.now, leg)
        theirs = request(method, to=to, cseq=2, branch="z9hG4bK2", body=b"o")
        (refused,) = world.receive(theirs)
        assert refused.status == 491
        world.agent.outgoing.pop(outgoing.number)  # it was answered
        (again,) = world.receive(theirs)
        assert (again.status, again.header("to")) == (491, refused.header("to"))
        assert method not in [event[1] for event in world.owner.heard[1:]]
        world.receive(request("ACK", to=to, cseq=2, branch="z9hG4bK2"))
        world.run(6.0)
        assert leg.state == "confirmed"
        world.receive(request(method, to=to, cseq=3, branch="z9hG4bK3", body=b"o"))
        assert world.owner.heard[-1][1] == method

    def test_our_requests_take_the_way_that_theirs_came(self, world: World) -> None:
        """RFC 3261 §12.1.1: target, route set and tags; RFC 5626 §5.3: the flow."""
        world.receive(request("INVITE", "Record-Route: <sip:p2;lr>, <sip:p1;lr>"))
        leg = world.respond(200)
        assert leg is not None
        assert leg.dialog.flow == world.room.by_profile[1].first.id
        world.sent.clear()
        client.send(world.agent, world.owner, leg.line, Draft("BYE"), world.now, leg)
        ((_, key, data),) = world.sent
        bye = parse(data)
        assert isinstance(bye, Request)
        assert (key, bye.uri, bye.headers("route")) == (UDP, "sip:bob@192.0.2.7", ["<sip:p2;lr>", "<sip:p1;lr>"])
        assert bye.header("to") == "<sip:bob@example.test>;tag=f"
        assert bye.header("from") == f"<sip:alice@example.test>;tag={leg.dialog.local_tag}"


class TestBye:
    """RFC 3261 §15.1.2."""

    def test_is_answered_at_once_and_told(self, world: World) -> None:
        to = called(world)
        (response,) = world.receive(request("BYE", to=to, cseq=2, branch="z9hG4bK2", contact=""))
        assert response.status == 200
        assert world.owner.heard == [("requested", "BYE", 200), ("leg_changed", "terminated", "dialog_ended")]
        assert (world.agent.legs, world.agent.legs_by_dialog, world.agent.incoming) == ({}, {}, {})
        assert world.receive(request("BYE", to=to, cseq=3, branch="z9hG4bK3", contact=""))[0].status == 481

    def test_ends_what_is_pending(self, world: World) -> None:
        to = called(world)
        world.receive(request("INFO", to=to, cseq=2, branch="z9hG4bK2"))
        statuses = [r.status for r in world.receive(request("BYE", to=to, cseq=3, branch="z9hG4bK3", contact=""))]
        assert statuses == [487, 200]
        assert ("withdrawn", "INFO", "dialog_ended") in world.owner.heard

    def test_of_a_call_that_is_not_answered(self, world: World) -> None:
        world.receive(request("INVITE"))
        world.respond(180)
        to = world.responses()[0].header("to") or ""
        statuses = [r.status for r in world.receive(request("BYE", to=to, cseq=2, branch="z9hG4bK2", contact=""))]
        assert statuses == [487, 200]
        assert ("withdrawn", "INVITE", "dialog_ended") in world.owner.heard
        assert world.agent.legs == {}

    def test_before_the_ack(self, world: World) -> None:
        (ok,) = answered(world)
        world.receive(request("BYE", to=ok.header("to") or "", cseq=2, branch="z9hG4bK2", contact=""))
        assert world.run(60.0) == []
        assert world.agent.incoming == {}

    def test_a_manual_owner_answers_it(self, world: World) -> None:
        to = called(world, manual=True)
        assert world.receive(request("BYE", to=to, cseq=2, branch="z9hG4bK2", contact="")) == []
        assert world.owner.heard == [("requested", "BYE", 0)]
        world.respond(200)
        assert world.owner.heard[-1] == ("leg_changed", "terminated", "dialog_ended")
        assert world.agent.legs == {}


class TestSubscribe:
    def test_2xx_makes_a_dialog(self, world: World) -> None:
        world.receive(request("SUBSCRIBE", "Event: presence", "Expires: 60"))
        leg = world.respond(200, headers=(("Expires", "60"),))
        assert leg is not None
        assert (leg.state, leg.method, leg.invite) == ("confirmed", "SUBSCRIBE", 0)
        assert world.responses()[0].header("contact")

    def test_a_refusal_makes_none(self, world: World) -> None:
        world.receive(request("SUBSCRIBE", "Event: presence"))
        assert world.respond(489) is None
        assert world.agent.legs == {}

    def test_refer_without_subscription(self, world: World) -> None:
        """RFC 4488 §4."""
        world.receive(request("REFER", "Refer-To: <sip:x@y>", "Refer-Sub: false"))
        assert world.respond(202, headers=(("Refer-Sub", "false"),)) is None
        world.receive(request("REFER", "Refer-To: <sip:x@y>", call_id="c2", branch="z9hG4bK2"))
        assert world.respond(202) is not None

    def test_it_is_no_call(self, world: World) -> None:
        """RFC 5057 §4.1: a call of its own begins outside of it."""
        world.receive(request("SUBSCRIBE", "Event: presence", "Expires: 60"))
        world.respond(200)
        to = world.responses()[0].header("to") or ""
        for number, method in enumerate(("INVITE", "UPDATE", "BYE"), 2):
            (answer,) = world.receive(request(method, to=to, cseq=number, branch=f"z9hG4bK{number}", body=b"v=0\r\n"))
            assert answer.status == 481
