"""Requests of owners inside dialogs, and subscriptions (RFC 3261 §12.2.1, §14.1, §15.1.1)."""

from __future__ import annotations

import pytest
from useragent_world import BOB, OFFER, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.useragent import client
from sipprofile.useragent.leg import Leg


@pytest.fixture
def world() -> UserAgentWorld:
    return UserAgentWorld()


def legs_of(world: UserAgentWorld) -> list[Leg]:
    return list(world.user_agent.legs.values())


class TestInsideADialog:
    def test_it_goes_to_the_target_by_the_route_set(self, world: UserAgentWorld) -> None:
        world.invite()
        world.respond(200, "Record-Route: <sip:a.test;lr>, <sip:b.test;lr>", tag="bob", contact="sip:bob@203.0.113.7")
        (leg,) = legs_of(world)
        outgoing = world.send("INFO", leg=leg, body=b"x", content_type="text/plain")
        assert (world.last.uri, world.last.header("cseq")) == ("sip:bob@203.0.113.7", "2 INFO")
        assert world.last.headers("route") == ["<sip:b.test;lr>", "<sip:a.test;lr>"]
        assert world.last.header("contact") is None
        world.owner.told.clear()
        world.respond(200)
        assert world.owner.told == [("responded", outgoing, 200, leg)]

    @pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
    def test_the_target_is_renewed(self, world: UserAgentWorld, method: str) -> None:
        leg = world.call()
        world.send(method, leg=leg, body=OFFER, content_type="application/sdp")
        assert world.last.header("contact") == f"<{world.flow().contact}>"
        world.respond(200, "Session-Expires: 1800;refresher=uac", contact="sip:bob@203.0.113.99")
        assert leg.dialog.target == "sip:bob@203.0.113.99"
        assert world.owner.responses[-1].header("session-expires") == "1800;refresher=uac"
        if method == "INVITE":
            assert (world.acks[-1].uri, world.acks[-1].header("cseq")) == ("sip:bob@203.0.113.99", "2 ACK")
            world.respond(200, contact="sip:bob@203.0.113.99")
            assert len(world.acks) == 3
            assert len(world.owner.told) == 1

    def test_an_info_does_not_renew_it(self, world: UserAgentWorld) -> None:
        leg = world.call()
        world.send("INFO", leg=leg)
        world.respond(200, contact="sip:elsewhere@203.0.113.99")
        assert leg.dialog.target == "sip:bob@203.0.113.7"

    def test_a_2xx_of_before_a_re_invite_is_not_taken_for_one_of_now(self, world: UserAgentWorld) -> None:
        leg = world.call()
        first = world.last
        world.send("INVITE", leg=leg, body=OFFER, content_type="application/sdp")
        world.respond(200, contact=BOB)
        world.owner.told.clear()
        world.respond(200, tag="bob", contact=BOB, to=first)
        assert world.owner.told == []
        assert len(world.acks) == 2

    def test_one_invite_at_a_time(self, world: UserAgentWorld) -> None:
        """RFC 3261 §14.1."""
        leg = world.call()
        world.send("INVITE", leg=leg)
        with pytest.raises(SipProfileError) as raised:
            world.send("INVITE", leg=leg)
        assert raised.value.code == "invalid_state"
        world.respond(491)
        assert (world.owner.heard, leg.state) == ([491], "confirmed")
        world.send("INVITE", leg=leg)

    def test_a_re_invite_is_cancelled(self, world: UserAgentWorld) -> None:
        leg = world.call()
        outgoing = world.send("INVITE", leg=leg)
        re_invite = world.last
        world.respond(180)
        client.cancel(world.user_agent, outgoing, world.now)
        world.settle()
        assert world.last.method == "CANCEL"
        world.respond(487, to=re_invite)
        assert (world.owner.heard, leg.state) == ([180, 487], "confirmed")

    def test_the_bye(self, world: UserAgentWorld) -> None:
        leg = world.call()
        outgoing = world.send("BYE", leg=leg)
        world.respond(200)
        assert world.owner.told == [("responded", outgoing, 200, leg), ("leg_changed", leg, "dialog_ended")]
        assert legs_of(world) == []
        with pytest.raises(SipProfileError) as raised:
            world.send("INFO", leg=leg)
        assert raised.value.code == "invalid_state"

    def test_a_bye_that_nobody_answers_ends_it_too(self, world: UserAgentWorld) -> None:
        leg = world.call()
        world.send("BYE", leg=leg)
        world.run(33)
        assert world.owner.heard == ["timeout", "dialog_ended"]
        assert leg.state == "terminated"

    def test_a_bye_is_authenticated(self, world: UserAgentWorld) -> None:
        leg = world.call()
        world.send("BYE", leg=leg)
        world.respond(407, 'Proxy-Authenticate: Digest realm="192.0.2.1", nonce="n"')
        assert (world.last.method, world.last.header("cseq")) == ("BYE", "3 BYE")
        world.respond(200)
        assert leg.state == "terminated"

    def test_an_early_dialog_may_be_ended_by_its_caller(self, world: UserAgentWorld) -> None:
        world.invite()
        invite = world.last
        world.respond(180, tag="bob", contact=BOB)
        (leg,) = legs_of(world)
        world.send("BYE", leg=leg)
        world.respond(200)
        assert leg.state == "terminated"
        world.respond(200, tag="bob", contact=BOB, to=invite)  # it crossed the BYE
        assert (len(world.acks), world.last.method) == (1, "BYE")
        assert world.owner.heard == [180, 200, "dialog_ended"]

    @pytest.mark.parametrize("status", [408, 481])
    def test_who_does_not_know_the_dialog_has_ended_it(self, world: UserAgentWorld, status: int) -> None:
        """RFC 3261 §12.2.1.2."""
        leg = world.call()
        world.send("INFO", leg=leg)
        world.respond(status)
        assert world.owner.heard == [status, "dialog_ended"]
        assert (leg.state, world.last.method) == ("terminated", "BYE")

    def test_it_stays_on_its_flow(self, world: UserAgentWorld) -> None:
        leg = world.call()
        assert leg.dialog.flow == world.flow().id


class TestSubscribe:
    def test_a_2xx_makes_the_dialog(self, world: UserAgentWorld) -> None:
        outgoing = world.send("SUBSCRIBE", headers=(("Event", "presence"), ("Expires", "600")))
        assert world.last.header("contact")
        world.respond(200, "Expires: 600", tag="bob", contact="sip:bob@203.0.113.7")
        (leg,) = legs_of(world)
        assert world.owner.told == [("responded", outgoing, 200, leg)]
        assert (leg.method, leg.state, leg.dialog.target) == ("SUBSCRIBE", "confirmed", "sip:bob@203.0.113.7")

    def test_a_refusal_makes_none(self, world: UserAgentWorld) -> None:
        world.send("SUBSCRIBE", headers=(("Event", "presence"),))
        world.respond(489, tag="bob")
        assert (world.owner.heard, legs_of(world)) == ([489], [])

    @pytest.mark.parametrize("method", ["INVITE", "UPDATE", "BYE"])
    def test_it_is_no_call(self, world: UserAgentWorld, method: str) -> None:
        """RFC 5057 §4.1: a call of its own begins outside of it."""
        world.send("SUBSCRIBE", headers=(("Event", "presence"), ("Expires", "600")))
        world.respond(200, "Expires: 600", tag="bob", contact="sip:bob@203.0.113.7")
        (leg,) = legs_of(world)
        with pytest.raises(SipProfileError) as caught:
            world.send(method, leg=leg, body=OFFER, content_type="application/sdp")
        assert (caught.value.code, world.last.method) == ("invalid_state", "SUBSCRIBE")
