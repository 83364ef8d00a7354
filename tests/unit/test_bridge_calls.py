"""Calls through a bridge, from both sides (RFC 7092, RFC 3261 §13-15, RFC 3262, RFC 3311, RFC 3515, RFC 3891)."""

from __future__ import annotations

import pytest
from bridge_world import OFFER, World, last, methods, statuses

from sipprofile.sip.dialog import tag_of
from sipprofile.testing.peer import Scripted, SipPeer
from sipprofile.testing.reply import Reply

ANSWER = b"v=0\r\no=answer\r\n"
Sides = tuple[World, SipPeer, SipPeer]


@pytest.fixture(params=["from the program", "from the provider"])
def sides(request: pytest.FixtureRequest) -> Sides:
    """The world, who calls and who is called."""
    world = World()
    if request.param == "from the program":
        return world, world.program, world.provider
    return world, world.provider, world.program


class TestACall:
    def test_each_side_has_a_dialog_of_its_own(self, sides: Sides) -> None:
        world, caller, callee = sides
        call = world.call(caller)
        assert statuses(call) == [100, 180, 200] or statuses(call) == [180, 200]
        assert methods(callee) == ["INVITE", "ACK"]
        there = last(callee, "INVITE")
        assert there.body == OFFER
        assert call.final is not None
        assert call.final.body.startswith(b"v=0")
        assert there.header("call-id") != call.dialog.call_id
        assert tag_of(there.header("from")) != call.dialog.local_tag
        assert there.header("via").count(",") == 0
        assert there.header("max-forwards") == "69"
        assert call.final.header("record-route") is None
        assert len(world.agent.legs) == 2

    def test_it_is_counted(self, sides: Sides) -> None:
        world, caller, callee = sides
        callee.script["INVITE"] = []
        world.call(caller)
        assert (world.bridge.requests, world.bridge.legs) == (1, 0)
        world.answer(callee, 200)
        assert (world.bridge.requests, world.bridge.legs) == (0, 2)
        assert world.agent.transactions() == {"server": 1, "client": 1}, "a 200 may come again"
        world.run(40)
        assert world.agent.transactions() == {"server": 0, "client": 0}

    @pytest.mark.parametrize("by", ["caller", "callee"])
    def test_a_bye_ends_both(self, sides: Sides, by: str) -> None:
        world, caller, callee = sides
        call = world.call(caller)
        reason = ("Reason", "Q.850;cause=16")
        if by == "caller":
            (dialog,) = call.dialogs.values() or [call.dialog]
            bye = world.send(caller, "BYE", dialog=dialog, headers=[reason])
            other = callee
        else:
            bye = world.send(callee, "BYE", dialog=callee.dialogs[0], headers=[reason])
            other = caller
        assert statuses(bye) == [200]
        assert last(other, "BYE").header("reason") == "Q.850;cause=16"
        world.run(40)
        assert world.agent.legs == {}
        assert len(world.bridge) == 0

    @pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "MESSAGE"])
    def test_requests_inside_reach_the_other_side(self, sides: Sides, method: str) -> None:
        world, caller, callee = sides
        world.call(caller)
        caller.script[method] = [Scripted(200, body=ANSWER, content_type="application/sdp")]
        inside = world.send(callee, method, dialog=callee.dialogs[0], body=b"again", content_type="application/sdp")
        assert last(caller, method).body == b"again"
        assert inside.final is not None
        assert inside.final.body == ANSWER
        assert methods(caller).count("ACK") == (method == "INVITE")

    def test_a_delayed_offer_is_answered_in_the_ack(self, sides: Sides) -> None:
        world, caller, callee = sides
        world.call(caller, body=b"", content_type=None)
        assert last(callee, "INVITE").body == b""
        assert methods(callee) == ["INVITE", "ACK"]

    def test_a_refusal_with_its_headers(self, sides: Sides) -> None:
        world, caller, callee = sides
        callee.script["INVITE"] = [Scripted(180), Scripted(486, headers=(("Retry-After", "60"), ("X-Why", "lunch")))]
        call = world.call(caller)
        assert call.final is not None
        assert (call.final.status, call.final.header("x-why")) == (486, "lunch")
        world.run(40)
        assert world.agent.legs == {}
        assert len(world.bridge) == 0

    def test_cancel(self, sides: Sides) -> None:
        world, caller, callee = sides
        callee.script["INVITE"] = [Scripted(180)]
        call = world.call(caller)
        world.cancel(caller, call)
        assert methods(callee) == ["INVITE", "CANCEL", "ACK"]
        assert statuses(call)[-1] == 487
        world.run(40)
        assert world.agent.legs == {}
        assert len(world.bridge) == 0

    def test_a_cancel_that_crosses_the_answer(self, sides: Sides) -> None:
        """RFC 3261 §9.1: the call is answered all the same; nobody wants it, so it is ended."""
        world, caller, callee = sides
        callee.script["INVITE"] = [Scripted(180)]
        callee.script["CANCEL"] = [Scripted(200)]
        callee._cancelled = lambda cancel: []
        call = world.call(caller)
        world.cancel(caller, call)
        world.answer(callee, 200, body=ANSWER)
        assert methods(callee)[-2:] == ["ACK", "BYE"]
        assert statuses(call)[-1] == 487
        world.run(40)
        assert world.agent.legs == {}

    def test_a_caller_that_never_acknowledges(self, sides: Sides) -> None:
        world, caller, callee = sides
        caller._acknowledge = lambda *_: Reply(b"\r\n\r\n", ("", 0))
        world.call(caller)
        world.run(40)
        assert methods(callee)[-2:] == ["ACK", "BYE"]
        assert "BYE" in methods(caller)
        assert world.agent.legs == {}

    @pytest.mark.parametrize("crosses", [False, True])
    def test_a_caller_that_hangs_up_before_the_answer(self, sides: Sides, crosses: bool) -> None:
        """RFC 3261 §15: who is called hears a CANCEL, and a BYE only if its answer has crossed that."""
        world, caller, callee = sides
        callee.script["INVITE"] = []
        call = world.call(caller)
        world.answer(callee, 180)
        (dialog,) = call.dialogs.values()
        bye, replies = caller.request("BYE", dialog=dialog)
        world.carry(caller, replies)
        if crosses:
            world.answer(callee, 200)
        world.run(40)
        assert (statuses(bye), statuses(call)[-1]) == ([200], 487)
        assert [method for method in methods(callee) if method != "CANCEL"] == (
            ["INVITE", "ACK", "BYE"] if crosses else ["INVITE", "ACK"]
        )
        assert "CANCEL" in methods(callee)
        assert world.agent.legs == {}
        assert len(world.bridge) == 0

    def test_a_bye_whose_ack_was_lost(self, sides: Sides) -> None:
        world, caller, callee = sides
        caller._acknowledge = lambda *_: Reply(b"\r\n\r\n", ("", 0))
        call = world.call(caller)
        (dialog,) = call.dialogs.values()
        world.send(caller, "BYE", dialog=dialog)
        assert methods(callee) == ["INVITE", "ACK", "BYE"]

    def test_a_reinvite_that_is_cancelled_leaves_the_call(self, sides: Sides) -> None:
        world, caller, callee = sides
        world.call(caller)
        caller.script["INVITE"] = []
        again = world.send(callee, "INVITE", dialog=callee.dialogs[0], body=OFFER, content_type="application/sdp")
        world.answer(caller, 180)
        world.cancel(callee, again)
        assert statuses(again)[-1] == 487
        assert "CANCEL" in methods(caller)
        world.run(40)
        assert len(world.agent.legs) == 2
        assert len(world.bridge) == 2, "the two legs, and nothing under way"

    @pytest.mark.parametrize("status", [481, 0])
    def test_the_other_end_knows_nothing_of_the_call_or_is_gone(self, sides: Sides, status: int) -> None:
        """RFC 5057 §5.1."""
        world, caller, callee = sides
        world.call(caller)
        caller.script["INFO"] = [Scripted(481)] if status else []
        info = world.send(callee, "INFO", dialog=callee.dialogs[0])
        world.run(40)
        assert statuses(info)[-1] == (status or 480)
        assert last(callee, "BYE")
        world.run(40)
        assert world.agent.legs == {}


class TestReliableProvisionals:
    """RFC 3262, end to end: each side acknowledges what the other has sent."""

    def test_early_media_and_its_prack(self, sides: Sides) -> None:
        world, caller, callee = sides
        reliable = (("Require", "100rel"), ("RSeq", "7001"))
        callee.script["INVITE"] = [
            Scripted(183, headers=reliable, body=ANSWER, content_type="application/sdp"),
        ]
        call = world.call(caller, headers=[("Supported", "100rel")])
        (progress,) = [response for response in call.responses if response.status == 183]
        assert progress.body == ANSWER
        assert progress.header("rseq") not in (None, "7001")
        number, _ = last(callee, "INVITE").cseq()
        assert last(callee, "PRACK").header("rack") == f"7001 {number} INVITE"

    def test_a_200_waits_for_the_prack(self, sides: Sides) -> None:
        world, caller, callee = sides
        first = (("Require", "100rel"), ("RSeq", "1"))
        second = (("Require", "100rel"), ("RSeq", "2"))
        callee.script["INVITE"] = [
            Scripted(183, headers=first, body=ANSWER, content_type="application/sdp"),
            Scripted(180, headers=second),
            Scripted(200, delay=0.001),
        ]
        call = world.call(caller, headers=[("Supported", "100rel")])
        assert [status for status in statuses(call) if status > 100] == [183, 180, 200]
        number, _ = last(callee, "INVITE").cseq()
        racks = [one.header("rack") for one in callee.requests if one.method == "PRACK"]
        assert racks == [f"1 {number} INVITE", f"2 {number} INVITE"]

    def test_who_does_not_support_it_gets_a_plain_one(self, sides: Sides) -> None:
        world, caller, callee = sides
        callee.script["INVITE"] = [Scripted(183, headers=(("Require", "100rel"), ("RSeq", "1")))]
        call = world.call(caller)
        assert all(response.header("rseq") is None for response in call.responses)
        assert all(response.header("require") is None for response in call.responses)


class TestForks:
    def test_the_first_answer_wins(self) -> None:
        """RFC 3261 §13.2.2.4: another one is acknowledged and ended."""
        world = World()
        world.provider.script["INVITE"] = [Scripted(180)]
        call = world.call(world.program)
        invite = last(world.provider, "INVITE")
        for tag in ("one", "two"):
            world.provider._tags[id(invite)] = tag
            world.answer(world.provider, 183, body=ANSWER)
        for tag in ("two", "one"):
            world.provider._tags[id(invite)] = tag
            world.answer(world.provider, 200, body=tag.encode())
        assert call.final is not None
        assert call.final.body == b"two"
        assert [tag_of(one.header("to")) for one in world.provider.requests if one.method == "BYE"] == ["one"]
        assert [tag_of(one.header("to")) for one in world.provider.requests if one.method == "ACK"] == ["two", "one"]
        world.send(world.program, "BYE", dialog=call.dialogs[tag_of(call.final.header("to"))])
        assert tag_of(last(world.provider, "BYE").header("to")) == "two"
        world.run(40)
        assert world.agent.legs == {}


class TestTransfers:
    def test_refer_and_its_notifications(self, sides: Sides) -> None:
        world, caller, callee = sides
        call = world.call(caller)
        caller.script["REFER"] = [Scripted(202)]
        callee.dialogs[0].local_cseq = 40
        refer = world.send(
            callee, "REFER", dialog=callee.dialogs[0], headers=[("Refer-To", "<sip:carol@example.test>")]
        )
        assert statuses(refer) == [202]
        number, _ = last(caller, "REFER").cseq()
        (dialog,) = call.dialogs.values()
        for state, event in (("active;expires=60", f"refer;id={number}"), ("terminated;reason=noresource", "refer")):
            headers = [("Event", event), ("Subscription-State", state)]
            notify = world.send(
                caller,
                "NOTIFY",
                dialog=dialog,
                headers=headers,
                body=b"SIP/2.0 200 OK",
                content_type="message/sipfrag",
            )
            assert statuses(notify) == [200]
        notified = [one for one in callee.requests if one.method == "NOTIFY"]
        assert notified[0].header("event") == "refer;id=41"
        assert notified[-1].body == b"SIP/2.0 200 OK"

    def test_replaces_names_the_other_leg(self) -> None:
        world = World()
        call = world.call(world.provider)
        assert call.final is not None
        inside = world.program.dialogs[0]
        tag = tag_of(call.final.header("to"))
        replaces = f"{call.dialog.call_id};to-tag={tag};from-tag={call.dialog.local_tag}"
        world.call(world.provider, headers=[("Replaces", replaces)])
        named = last(world.program, "INVITE").header("replaces")
        assert named == f"{inside.call_id};to-tag={inside.local_tag};from-tag={inside.remote_tag}"


class TestFailures:
    def test_the_program_is_gone(self) -> None:
        world = World()
        world.program_gone = True
        assert statuses(world.call(world.provider))[-1] == 480

    def test_the_program_does_not_answer(self) -> None:
        world = World()
        world.program.script["INVITE"] = []
        call = world.call(world.provider)
        world.run(40)
        assert statuses(call)[-1] == 480
        assert len(world.bridge) == 0

    def test_the_program_asks_for_a_password(self) -> None:
        world = World()
        world.program.script["INVITE"] = [Scripted(401, headers=(("WWW-Authenticate", 'Digest realm="x", nonce="n"'),))]
        call = world.call(world.provider)
        assert call.final is not None
        assert call.final.status == 480
        assert call.final.header("www-authenticate") is None

    def test_a_redirection_is_passed_on(self) -> None:
        world = World()
        world.provider.uri = "sip:carol@example.test"  # in its Contact
        world.provider.script["INVITE"] = [Scripted(302)]
        call = world.call(world.program)
        assert call.final is not None
        assert (call.final.status, call.final.header("contact")) == (302, "<sip:carol@example.test>")

    def test_a_caller_whose_address_cannot_be_said_again(self) -> None:
        world = World()
        world.provider.aor = "sip:bob:secret@example.test"
        world.call(world.provider)
        assert "secret" not in (last(world.program, "INVITE").header("from") or "")

    def test_a_callee_asks_for_a_password(self) -> None:
        world = World()
        world.provider.script["INVITE"] = [
            Scripted(407, headers=(("Proxy-Authenticate", 'Digest realm="elsewhere", nonce="n", qop="auth"'),))
        ]
        call = world.call(world.program)
        assert call.final is not None
        assert call.final.status == 403
        assert call.final.header("proxy-authenticate") is None

    def test_no_more_hops(self) -> None:
        world = World()
        request, replies = world.program.request("INVITE", "sip:bob@127.0.0.1:5080")
        data = replies[0].data.replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
        world.carry(world.program, [Reply(data, replies[0].destination)])
        world.settle()
        assert statuses(request)[-1] == 483
        assert methods(world.provider) == []


class TestTheProgramRegisters:
    def test_and_gets_calls_at_its_contact(self) -> None:
        world = World(uri="")
        assert statuses(world.call(world.provider))[-1] == 480, "it has not registered"
        contact = [("Contact", "<sip:alice-0x1@127.0.0.1:5062>"), ("Expires", "60")]
        register = world.send(world.program, "REGISTER", "sip:127.0.0.1:5080", headers=contact)
        assert register.final is not None
        assert register.final.header("contact") == "<sip:alice-0x1@127.0.0.1:5062>;expires=60"
        assert statuses(world.call(world.provider))[-1] == 200
        assert last(world.program, "INVITE").uri == "sip:alice-0x1@127.0.0.1:5062"
        world.run(60)
        assert statuses(world.call(world.provider))[-1] == 480, "it is over"

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
    def test_the_bridge_does_not_call_itself(self, host: str) -> None:
        """Each call would come back seventy times."""
        world = World(uri="")
        contact = [("Contact", f"<sip:alice@{host}:5080>"), ("Expires", "60")]
        world.send(world.program, "REGISTER", "sip:127.0.0.1:5080", headers=contact)
        assert statuses(world.call(world.provider))[-1] >= 480
        assert methods(world.program) == []

    def test_the_trunk_is_alive(self) -> None:
        world = World()
        options = world.send(world.program, "OPTIONS", "sip:127.0.0.1:5080")
        assert statuses(options) == [200]
        assert methods(world.provider) == []


class TestTheAuditLog:
    def test_has_every_request_at_its_end(self, sides: Sides) -> None:
        world, caller, callee = sides
        call = world.call(caller)
        (dialog,) = call.dialogs.values()
        world.send(caller, "BYE", dialog=dialog)
        callee.script["INVITE"] = [Scripted(180)]
        world.cancel(caller, world.call(caller))
        direction = "out" if caller is world.program else "in"
        assert [(one.who, one.direction, one.method, one.status, one.code) for one in world.audit] == [
            ("bridge", direction, "INVITE", 200, ""),
            ("bridge", direction, "BYE", 200, ""),
            ("bridge", direction, "INVITE", 0, "cancelled"),
        ]


class TestOutsideOfCalls:
    @pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "PUBLISH"])
    def test_requests_pass(self, sides: Sides, method: str) -> None:
        world, caller, callee = sides
        callee.script[method] = [Scripted(202, headers=(("SIP-ETag", "e1"),))]
        headers = [("Event", "presence")] if method == "PUBLISH" else []
        sent = world.send(caller, method, headers=headers, body=b"hello", content_type="text/plain")
        assert last(callee, method).body == b"hello"
        assert sent.final is not None
        assert (sent.final.status, sent.final.header("sip-etag")) == (202, "e1")
        assert len(world.bridge) == 0

    def test_a_subscription_and_its_notifications(self) -> None:
        world = World()
        subscribe = world.send(world.program, "SUBSCRIBE", headers=[("Event", "presence"), ("Expires", "600")])
        assert statuses(subscribe)[-1] == 200
        headers = [("Event", "presence"), ("Subscription-State", "active;expires=600")]
        notify = world.send(world.provider, "NOTIFY", dialog=world.provider.dialogs[0], headers=headers)
        assert statuses(notify) == [200]
        assert last(world.program, "NOTIFY").header("subscription-state") == "active;expires=600"
