"""What owners send, and what comes of it (RFC 3261 §8.1, §9.1, §12.2, §13.2; RFC 3262)."""

from __future__ import annotations

import pytest
from machine_driver import TCP, challenge, digest, reply, server
from useragent_world import BOB, OFFER, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.registration.size import OPEN_LIMIT
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request, parse
from sipprofile.useragent import client
from sipprofile.useragent.leg import Leg


@pytest.fixture
def world() -> UserAgentWorld:
    return UserAgentWorld()


def legs_of(world: UserAgentWorld) -> list[Leg]:
    return list(world.user_agent.legs.values())


def text(world: UserAgentWorld, size: int = 2) -> object:
    return world.send(body=b"x" * size, content_type="text/plain")


class TestMessage:
    def test_what_is_sent_and_what_is_told(self, world: UserAgentWorld) -> None:
        outgoing = text(world)
        assert (world.last.method, world.last.uri, world.last.body) == ("MESSAGE", BOB, b"xx")
        assert world.last.header("content-type") == "text/plain"
        assert world.last.header("contact") is None  # RFC 3428 §4
        assert (world.last.header("from") or "").startswith("<sip:alice1@192.0.2.1>;tag=")
        world.respond(100)
        world.respond(202)
        assert world.owner.told == [("responded", outgoing, 202, None)]
        world.respond(202)
        assert len(world.owner.told) == 1
        world.assert_nothing_left()

    def test_nobody_answers(self, world: UserAgentWorld) -> None:
        text(world)
        world.run(33)
        assert world.owner.heard == ["timeout"]
        world.assert_nothing_left()

    def test_the_profile_is_not_registered(self, world: UserAgentWorld) -> None:
        world.disable()
        world.run(1)
        with pytest.raises(SipProfileError) as raised:
            text(world)
        assert raised.value.code == "not_registered"
        assert world.user_agent.outgoing == {}

    def test_nobody_wants_to_know_any_more(self, world: UserAgentWorld) -> None:
        outgoing = world.send()
        client.abandon(world.user_agent, outgoing, world.now)
        world.respond(200)
        assert world.owner.told == []
        world.assert_nothing_left()

    def test_a_message_is_not_cancelled(self, world: UserAgentWorld) -> None:
        with pytest.raises(SipProfileError, match="Only an INVITE"):
            client.cancel(world.user_agent, world.send(), world.now)

    def test_too_many(self, world: UserAgentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.registration.requests.MAXIMUM_OUTSTANDING", 1)
        world.send()
        with pytest.raises(SipProfileError) as raised:
            world.send()
        assert raised.value.code == "quota_exceeded"

    def test_no_memory_and_no_timer_is_left_of_what_was_answered(self, world: UserAgentWorld) -> None:
        """One entry in a heap each, and it goes by itself."""
        before = len(world.registrations._calls)
        for _ in range(50):
            world.send()
            world.respond(200)
        assert world.registrations.requests.outstanding == {}
        assert len(world.registrations._calls) <= before + 1
        assert len(world.registrations.requests.deadlines) == 50
        world.run(1)
        assert len(world.registrations.requests.deadlines) == 0


class TestChallenges:
    def test_two_requests_that_get_the_same_nonce_are_both_answered(self, world: UserAgentWorld) -> None:
        """A nonce that another request brought was not tried by this one."""
        first, second = world.send(), world.send()
        one, two = world.requests
        headers = ('WWW-Authenticate: Digest realm="192.0.2.1", nonce="n", qop="auth"',)
        world.respond(401, *headers, to=one)
        world.respond(401, *headers, to=two)
        assert world.owner.told == []
        again = world.requests[2:]
        assert ['nonce="n"' in (request.header("authorization") or "") for request in again] == [True, True]
        for request in again:
            world.respond(200, to=request)
        assert [entry[1] for entry in world.owner.told] == [first, second]

    def test_a_callee_gets_no_digest_that_the_registrar_wanted(self) -> None:
        """Proxies pass Authorization on; it is sent once somebody has asked for it, and then at once."""
        world = UserAgentWorld()
        world.answers.append(challenge("n1", "192.0.2.1"))
        world.run(3600)
        assert [nonce.challenge.nonce for nonce in world.flow().nonces] == ["n1"]
        world.send()
        assert world.last.header("authorization") is None
        world.respond(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="n1", qop="auth"')
        assert 'nonce="n1"' in (world.last.header("authorization") or "")
        world.respond(200)
        world.send()
        assert 'nonce="n1"' in (world.last.header("authorization") or "")

    def test_a_refused_password_is_told_as_the_final_response(self, world: UserAgentWorld) -> None:
        world.send()
        for _ in range(2):
            world.respond(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="n", qop="auth"')
        assert world.owner.heard == [401]
        assert world.owner.responses[0].header("www-authenticate")

    def test_a_strangers_challenge_is_the_applications(self, world: UserAgentWorld) -> None:
        world.send()
        world.respond(407, 'Proxy-Authenticate: Digest realm="elsewhere.test", nonce="n"')
        assert world.owner.heard == [407]
        assert len(world.requests) == 1

    def test_a_realm_met_while_registering_is_known_with_another_password_too(self, world: UserAgentWorld) -> None:
        """That alone sends nothing, and whoever calls next is asked for it."""
        world.answers.append(challenge(realm="asterisk"))
        world.run(3600)
        world.update(registrar=server(password="new"))
        world.send()
        world.respond(407, 'Proxy-Authenticate: Digest realm="asterisk", nonce="n2"')
        assert 'realm="asterisk"' in (world.last.header("proxy-authorization") or "")
        world.respond(200)
        assert world.owner.heard == [200]

    def test_an_invite_is_acknowledged_and_sent_again_with_another_branch(self, world: UserAgentWorld) -> None:
        world.invite()
        first = world.last
        world.respond(407, 'Proxy-Authenticate: Digest realm="192.0.2.1", nonce="n"', tag="proxy")
        (ack,) = world.acks
        assert (ack.branch(), ack.uri, ack.header("to")) == (first.branch(), first.uri, f"<{BOB}>;tag=proxy")
        assert ack.header("cseq") == "1 ACK"
        second = world.last
        assert second.header("proxy-authorization")
        assert second.header("cseq") == "2 INVITE"
        assert second.branch() != first.branch()
        assert second.header("from") == first.header("from")
        world.respond(407, tag="proxy", to=first)  # our ACK was lost
        assert len(world.acks) == 2
        world.respond(486, tag="bob")
        assert world.owner.heard == [486]
        assert world.acks[-1].branch() == second.branch()
        world.assert_nothing_left()

    def test_the_ack_of_a_2xx_has_the_credentials_of_its_invite(self, world: UserAgentWorld) -> None:
        """RFC 3261 §13.2.2.4."""
        world.invite()
        world.respond(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="n"', tag="x")
        world.respond(200, tag="bob", contact=BOB)
        assert world.acks[-1].header("authorization") == world.last.header("authorization")

    def test_after_a_cancel_no_challenge_is_answered(self, world: UserAgentWorld) -> None:
        outgoing = world.invite()
        world.respond(180, tag="bob")
        client.cancel(world.user_agent, outgoing, world.now)
        world.respond(401, 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="n"', to=world.requests[0])
        assert [request.method for request in world.requests] == ["INVITE", "CANCEL"]
        assert 401 in world.owner.heard


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


class TestLargeRequests:
    """RFC 3261 §18.1.1."""

    def test_one_of_60_kb_goes_by_a_connection(self, world: UserAgentWorld) -> None:
        text(world, 60_000)
        ((key, request),) = world.wire
        assert key == TCP
        assert len(request.body) == 60_000
        assert (request.header("via") or "").startswith("SIP/2.0/TCP 198.51.100.1:40001;rport;branch=z9hG4bKq")
        world.receive(reply(request, 200), TCP)
        assert world.owner.heard == [200]
        assert TCP in world.open
        world.assert_nothing_left()
        assert TCP not in world.open

    def test_the_connection_serves_the_next_one(self, world: UserAgentWorld) -> None:
        text(world, 5_000)
        text(world, 5_000)
        assert [key for key, _ in world.wire] == [TCP, TCP]
        text(world)
        assert world.wire[-1][0].protocol == "udp"

    def test_where_none_opens_it_goes_by_udp(self, world: UserAgentWorld) -> None:
        world.refused.add(TCP)
        text(world, 5_000)
        ((key, request),) = world.wire
        assert key.protocol == "udp"
        assert (request.header("via") or "").startswith("SIP/2.0/UDP 198.51.100.1:5060;")

    def test_where_none_opens_in_time_it_goes_by_udp(self, world: UserAgentWorld) -> None:
        world.unopened.add(TCP)
        text(world, 5_000)
        assert world.wire == []
        world.run(OPEN_LIMIT + 0.1)
        ((key, _),) = world.wire
        assert key.protocol == "udp"
        world.respond(200)
        assert world.owner.heard == [200]
        world.assert_nothing_left()

    def test_the_connection_breaks(self, world: UserAgentWorld) -> None:
        text(world, 5_000)
        world.fail(TCP)
        assert world.owner.heard == ["transport_closed"]

    def test_a_challenge_to_it_is_answered_by_the_same_way(self, world: UserAgentWorld) -> None:
        text(world, 5_000)
        challenge_ = 'WWW-Authenticate: Digest realm="192.0.2.1", nonce="n"'
        world.receive(reply(world.last, 401, challenge_), TCP)
        assert [key for key, _ in world.wire] == [TCP, TCP]
        assert world.last.header("authorization")

    def test_an_invite_waits_for_its_connection_and_is_cancelled(self, world: UserAgentWorld) -> None:
        world.unopened.add(TCP)
        outgoing = world.invite(body=b"v" * 5_000)
        client.cancel(world.user_agent, outgoing, world.now)
        assert world.owner.heard == ["cancelled"]
        assert world.wire == []
        world.assert_nothing_left()


class TestFetchBindings:
    """RFC 3261 §10.2.3."""

    def test_a_register_without_contact_beside_the_registration(self, world: UserAgentWorld) -> None:
        before = world.flow().cseq
        outgoing = client.fetch_bindings(world.user_agent, world.owner, world.line, world.now)
        world.always = lambda request, _: reply(request, 200, "Contact: <sip:a@x>;expires=5, <sip:b@y>")
        world.run(1)
        request = world.sent_register()
        assert request.headers("contact") == []
        assert request.header("expires") is None
        assert request.uri == "sip:192.0.2.1"
        assert request.header("call-id") != world.flow().call_id
        assert world.owner.told == [("responded", outgoing, 200, None)]
        assert world.owner.responses[0].header("contact") == "<sip:a@x>;expires=5, <sip:b@y>"
        assert world.flow().cseq == before
        world.assert_status("registered")
        assert world.user_agent.outgoing == {}

    def test_it_waits_for_its_turn(self, world: UserAgentWorld) -> None:
        pacer = world.registrations.pacer("192.0.2.1:5060", world.now)
        while pacer.try_draw(world.now):
            pass
        client.fetch_bindings(world.user_agent, world.owner, world.line, world.now)
        world.run(0)
        world.assert_quiet()
        world.run(1)
        world.sent_register()

    def test_it_is_authenticated(self, world: UserAgentWorld) -> None:
        world.always = digest()
        client.fetch_bindings(world.user_agent, world.owner, world.line, world.now)
        world.answers.append(challenge(realm="192.0.2.1"))
        world.run(1)
        assert len(world.sent()) == 2

    def test_without_a_registration(self, world: UserAgentWorld) -> None:
        world.disable()
        world.run(1)
        with pytest.raises(SipProfileError) as raised:
            client.fetch_bindings(world.user_agent, world.owner, world.line, world.now)
        assert raised.value.code == "not_registered"


def test_service_route_is_not_for_register() -> None:
    world = UserAgentWorld(proxies=[server("sip:192.0.2.9")])
    flow = world.flow()
    flow.service_route = ("<sip:home.test;lr>",)
    client.fetch_bindings(world.user_agent, world.owner, world.line, world.now)
    world.send()
    assert world.last.headers("route") == ["<sip:192.0.2.9;lr>", "<sip:home.test;lr>"]
    world.run(1)
    assert world.sent_register().headers("route") == ["<sip:192.0.2.9;lr>"]


def test_what_is_given_back_is_what_was_received(world: UserAgentWorld) -> None:
    world.send()
    data = reply(world.last, 200, 'X-Odd: a;b="c"')
    world.receive(data)
    message = parse(data)
    assert not isinstance(message, Request)
    assert world.owner.responses[0].header("x-odd") == 'a;b="c"'
