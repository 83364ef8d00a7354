"""What owners send, and what comes of it (RFC 3261 §8.1, §12.2, §18.1.1, §22)."""

from __future__ import annotations

import pytest
from machine_driver import TCP, challenge, digest, reply, server
from useragent_world import BOB, UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.registration.size import OPEN_LIMIT
from sipprofile.sip.message import Request, parse
from sipprofile.useragent import client


@pytest.fixture
def world() -> UserAgentWorld:
    return UserAgentWorld()


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
