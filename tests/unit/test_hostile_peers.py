"""Strangers, callees and notifiers that mean no good: what they can have sent, kept and done is little, and nobody else
notices (RFC 3261 §26.1.5)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from server_world import TCP, UDP, World, request
from subscription_world import World as SubscriptionWorld
from useragent_world import UserAgentWorld

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.requests import LARGEST_DATAGRAM
from sipprofile.useragent import acknowledging, client, in_dialog, notifying, reliable, server_transactions

STRANGER = TransportKey("udp", "203.0.113.9", 5060)


class TestStrangers:
    """Whoever can reach our port by UDP, perhaps with somebody else's address."""

    def test_the_registrar_is_answered_while_one_floods(self) -> None:
        world = World(answers=10)
        world.application = None
        for number in range(1000):
            world.receive(
                request("OPTIONS", uri="sip:100@192.0.2.10", branch=f"z9hG4bK{number}"), STRANGER, ("203.0.113.9", 5060)
            )
        assert len(world.sent) == 10
        assert [response.status for response in world.receive(request("OPTIONS"))] == [480]
        alive = request("OPTIONS", uri="sip:192.0.2.10", to="<sip:192.0.2.10>")
        assert [response.status for response in world.receive(alive)] == [200]

    @pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "BYE", "REGISTER"])
    def test_no_answer_is_larger_than_a_datagram(self, method: str) -> None:
        """The kernel would report it as a failure of where it goes, which may be the registrar's address."""
        world = World()
        world.owner.at_once = 486
        via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK" + "a" * (LARGEST_DATAGRAM - 500)
        data = request(method, via=via, contact="")
        assert len(data) <= LARGEST_DATAGRAM
        world.receive(data)
        world.run(40.0)
        assert all(len(data) <= LARGEST_DATAGRAM for _, _, data in world.sent)

    def test_an_answer_that_cannot_be_sent_is_refused(self) -> None:
        world = World()
        world.receive(request())
        with pytest.raises(SipProfileError) as caught:
            world.respond(200, body=b"x" * 65_500, content_type="text/plain")
        assert caught.value.code == "too_large"
        world.respond(200)
        world.receive(request(branch="z9hG4bK2", call_id="c2"), TCP)
        world.respond(200, body=b"x" * 65_500, content_type="text/plain")

    @pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
    def test_one_answer_is_not_sent_for_ever(self, method: str) -> None:
        """A long answer to short requests that pretend to come from a victim."""
        world = World()
        world.receive(request(method))
        world.respond(486, body=b"x" * 10_000, content_type="text/plain")
        before = len(world.sent)
        for _ in range(1000):
            world.receive(request(method))
        assert len(world.sent) - before == server_transactions.MAXIMUM_AGAIN
        assert server_transactions.MAXIMUM_AGAIN > 10, "timer E repeats a request ten times"

    def test_what_is_kept_of_unanswered_requests_has_a_size(self) -> None:
        world = World()
        for number in range(2000):
            world.receive(request(branch=f"z9hG4bK{number}", call_id=f"c{number}", body=b"x" * 60_000), TCP)
        kept = sum(len(incoming.request.body) for incoming in world.agent.incoming.values())
        assert 30 << 20 < kept <= server_transactions.MAXIMUM_HELD // 2
        assert world.statuses()[-1] == 503
        assert world.receive(request(branch="z9hG4bKsmall", call_id="small"), TCP) == [], "a small one is taken"
        for incoming in list(world.agent.incoming.values()):
            world.respond(200, incoming)
        assert (world.agent.server.held, world.agent.server.open) == (0, 0)
        world.receive(request(branch="z9hG4bKx", call_id="cx", body=b"x" * 60_000), TCP)
        assert len(world.agent.incoming) == 1

    def test_the_size_is_given_back_however_it_ends(self) -> None:
        world = World()
        for number, method in enumerate(("INVITE", "INVITE", "INVITE", "MESSAGE", "SUBSCRIBE", "REFER")):
            more = ("Event: x", "Refer-To: <sip:a@b>")
            for key in (UDP, TCP):
                tell = f"{number}{key.protocol}"
                world.receive(request(method, *more, branch=f"z9hG4bK{tell}", call_id=tell), key)
                if number in (1, 3):
                    world.respond(486)
                if number == 2:
                    world.respond(200)
        world.application = None
        world.receive(request("MESSAGE", branch="z9hG4bKd", call_id="d"))
        world.run(4000.0)
        assert (world.agent.server.held, world.agent.server.open) == (0, 0)


class TestInDialogs:
    """The other side of a call or subscription."""

    def test_requests_that_nobody_has_answered(self) -> None:
        world = World()
        world.receive(request("INVITE", body=b"v=0"))
        leg = world.respond(200)
        assert leg is not None
        for cseq in range(2, 502):
            to = f"<sip:alice@example.test>;tag={leg.dialog.local_tag}"
            world.receive(request("INFO", to=to, cseq=cseq, branch=f"z9hG4bKi{cseq}"))
        assert len(leg.pending) == in_dialog.MAXIMUM_PENDING
        assert world.statuses()[-1] == 503
        bye = request("BYE", to=to, cseq=600, branch="z9hG4bKbye")
        assert [response.status for response in world.receive(bye)][-1] == 200, "a call can always be ended"

    def test_notifications(self) -> None:
        """They are answered by the service, and queue for the owner."""
        world = SubscriptionWorld()
        world.subscribed()
        world.app.news()
        answers = [world.notify() for _ in range(1000)]
        assert answers.count(200) == in_dialog.MAXIMUM_NOTIFIES - 1
        assert set(answers) == {200, 503, 0}
        world.run(1.1)
        assert world.notify() == 200

    def test_subscriptions(self) -> None:
        world = World()
        world.receive(request("SUBSCRIBE", "Event: x;id=0", "Expires: 3600"))
        leg = world.respond(200)
        assert leg is not None
        to = f"<sip:alice@example.test>;tag={leg.dialog.local_tag}"
        refused = 0
        for number in range(1, 100):
            world.receive(
                request("SUBSCRIBE", f"Event: x;id={number}", to=to, cseq=number + 1, branch=f"z9hG4bKs{number}")
            )
            with suppress(SipProfileError):
                world.respond(200)
                continue
            world.respond(403)
            refused += 1
        assert len(leg.usages) == notifying.MAXIMUM_USAGES
        assert refused == 100 - notifying.MAXIMUM_USAGES
        again = request("SUBSCRIBE", "Event: x;id=5", to=to, cseq=200, branch="z9hG4bKagain")
        world.receive(again)
        assert world.respond(200) is leg, "what is there may be refreshed"


class TestCallees:
    """Whoever is called, and all proxies on the way."""

    def test_thousands_of_answers_to_one_call(self) -> None:
        """Each 2xx with another tag would be one more fork to acknowledge and end."""
        world = UserAgentWorld()
        world.invite()
        invite = world.last
        for number in range(3000):
            world.respond(200, tag=f"t{number}", to=invite, contact="sip:bob@203.0.113.7")
        byes = [sent for _, sent in world.wire if sent.method == "BYE"]
        assert len(byes) == acknowledging.MAXIMUM_ENDED
        assert len(world.acks) == acknowledging.MAXIMUM_ENDED + client.MAXIMUM_FORKS
        assert len(world.user_agent.legs) == client.MAXIMUM_FORKS
        world.respond(200, tag="t0", to=invite, contact="sip:bob@203.0.113.7")
        assert len(world.acks) == acknowledging.MAXIMUM_ENDED + client.MAXIMUM_FORKS + 1, "the first is still served"

    def test_reliable_provisionals_one_after_the_other(self) -> None:
        """Each would cost a PRACK that is repeated ten times."""
        world = UserAgentWorld()
        world.invite()
        invite = world.last
        for number in range(1, 500):
            world.respond(183, "Require: 100rel", f"RSeq: {number}", tag="t", to=invite, contact="sip:bob@203.0.113.7")
        pracks = [sent for _, sent in world.wire if sent.method == "PRACK"]
        assert len(pracks) == reliable.MAXIMUM_PRACKS
        world.respond(200, to=pracks[0])
        number = reliable.MAXIMUM_PRACKS + 1
        world.respond(183, "Require: 100rel", f"RSeq: {number}", tag="t", to=invite, contact="sip:bob@203.0.113.7")
        assert len([sent for _, sent in world.wire if sent.method == "PRACK"]) == number

    def test_provisionals(self) -> None:
        world = UserAgentWorld()
        world.invite()
        for _ in range(1000):
            world.respond(180, tag="t", contact="sip:bob@203.0.113.7")
        assert len(world.owner.responses) == client.MAXIMUM_PROVISIONALS
        world.run(1.1)
        world.respond(180, tag="t", contact="sip:bob@203.0.113.7")
        world.respond(200, tag="t", contact="sip:bob@203.0.113.7")
        assert [response.status for response in world.owner.responses[-2:]] == [180, 200]

    @pytest.mark.parametrize("status", [401, 407])
    def test_a_phone_that_has_rung_gets_no_digest(self, status: int) -> None:
        """Servers that authenticate do so before they pass a call on: this is somebody who has found out the realm."""
        world = UserAgentWorld()
        world.invite()
        invite = world.last
        realm = world.registrations.by_profile[1].plan.domain
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        world.respond(180, tag="t", to=invite, contact="sip:bob@203.0.113.7")
        world.respond(status, f'{name}: Digest realm="{realm}", nonce="chosen"', tag="t", to=invite)
        assert world.requests[-1] is invite
        assert world.owner.heard[-1] in (status, "dialog_ended")
        assert world.owner.responses[-1].status == status

    def test_a_server_that_challenges_first_does(self) -> None:
        world = UserAgentWorld()
        world.invite()
        invite = world.last
        realm = world.registrations.by_profile[1].plan.domain
        world.respond(100, to=invite)
        world.respond(407, f'Proxy-Authenticate: Digest realm="{realm}", nonce="n"', tag="t", to=invite)
        assert world.last.header("proxy-authorization") is not None


class TestNotifiers:
    def test_a_reference_whose_end_is_always_another(self) -> None:
        """A timer for each of these would stay until its time comes, which may be in a century."""
        world = SubscriptionWorld()
        world.send("REFER", ("Refer-To", "<sip:carol@example.test>"))
        world.answer(202)
        world.notify("active;expires=60", "refer")
        before = len(world.room._timers)
        for number in range(500):
            state = f"active;expires={4_000_000_000 - number if number % 2 else 1000 + number}"
            assert world.notify(state, "refer") == 200
            world.run(0.02)
        world.run(60.0)
        assert len(world.room._timers) - before < 10
        world.notify("active;expires=2", "refer")
        world.app.news()
        world.run(10.0)
        assert world.app.codes() == ["dialog_ended"], "the last one counts"
