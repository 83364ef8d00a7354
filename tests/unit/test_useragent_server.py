"""Requests that come in, seen from the caller and from the application (RFC 3261 §8.2, §9.2, §12, §13.3, §15)."""

from __future__ import annotations

from typing import Any

import pytest
from server_world import PROXY, TCP, UDP, World, answered, called, request

from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import Request, build_response, parse
from sipprofile.useragent import client, server, server_transactions
from sipprofile.useragent.draft import Draft

STRANGER = "<sip:x@elsewhere.test>"


@pytest.fixture
def world() -> World:
    return World()


class TestMessage:
    def test_goes_to_the_owner_and_its_answer_to_the_sender(self, world: World) -> None:
        assert world.receive(request(body=b"hi")) == []
        assert world.respond(202, reason="Got It", headers=(("X-Note", "1"),)) is None
        (response,) = world.responses()
        assert (response.status, response.reason, response.header("x-note")) == (202, "Got It", "1")
        assert ";tag=" in (response.header("to") or "")
        assert world.owner.heard == [("requested", "MESSAGE", 0)]
        assert world.agent.incoming == {}

    def test_a_retransmission_gets_the_same_answer_again(self, world: World) -> None:
        world.owner.at_once = 200
        assert world.receive(request()) != []
        assert world.receive(request()) != []
        assert len({data for _, _, data in world.sent}) == 1
        assert len(world.owner.heard) == 1

    def test_a_retransmission_before_the_answer_is_absorbed(self, world: World) -> None:
        world.receive(request())
        assert world.receive(request()) == []
        assert len(world.owner.heard) == 1

    def test_the_answer_is_kept_for_64_t1_by_udp(self, world: World) -> None:
        world.owner.at_once = 200
        world.receive(request())
        world.run(31.9)
        world.receive(request())
        assert len(world.owner.heard) == 1
        world.run(1.0)
        assert world.agent.server.by_key == {}
        assert world.agent.server.merged == {}
        world.receive(request())
        assert len(world.owner.heard) == 2

    def test_nothing_is_kept_for_retransmissions_on_a_connection(self, world: World) -> None:
        world.owner.at_once = 200
        world.receive(request(), TCP)
        assert world.agent.server.by_key == {}
        assert world.agent.server.open == 0

    def test_the_answer_goes_where_via_says(self, world: World) -> None:
        world.owner.at_once = 200
        world.receive(request(via="SIP/2.0/UDP 192.0.2.1:5099;branch=z9hG4bK1"))
        world.receive(request(via="SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK2", call_id="c2"), UDP, ("192.0.2.1", 7777))
        world.receive(request(via="SIP/2.0/TCP 10.0.0.1:5099;branch=z9hG4bK3", call_id="c3"), TCP)
        keys = [key for _, key, _ in world.sent]
        assert keys == [TransportKey("udp", "192.0.2.1", 5099), TransportKey("udp", "192.0.2.1", 7777), TCP]

    def test_100_once_the_sender_is_slow_to_repeat_it(self, world: World) -> None:
        """RFC 4320 §4.1: not before timer E has come to T2."""
        world.receive(request())
        assert world.run(3.4) == []
        assert world.run(1.0) == [(pytest.approx(0.1), 100)]

    def test_480_before_the_sender_gives_up(self, world: World) -> None:
        """RFC 4320 §4.2: never 408."""
        world.receive(request())
        assert world.run(60.0)[-1] == (pytest.approx(28.8, abs=0.2), 480)
        assert world.owner.heard[-1] == ("withdrawn", "MESSAGE", "timed_out")
        with pytest.raises(SipProfileError, match="final answer"):
            world.respond(200)

    @pytest.mark.parametrize("status", [183, 408, 99, 700])
    def test_statuses_that_are_not_sent(self, world: World, status: int) -> None:
        world.receive(request())
        with pytest.raises(SipProfileError) as caught:
            world.respond(status)
        assert (caught.value.code, caught.value.field) == ("invalid_value", "status")
        assert world.sent == []
        world.respond(200)

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            ({"headers": (("Via", "x"),)}, "header_refused"),
            ({"headers": (("v", "x"),)}, "header_refused"),
            ({"headers": (("Contact", "<sip:x@y>"),)}, "header_refused"),
            ({"headers": (("X-A", "b\r\nVia: c"),)}, "header_refused"),
            ({"headers": (("X A", "b"),)}, "invalid_value"),
            ({"headers": (("RSeq", "1"),)}, "header_refused"),
            ({"reason": "OK\r\nX: y"}, "header_refused"),
            ({"body": b"x", "content_type": "a/b\n"}, "invalid_value"),
            ({"body": b"x"}, "missing_field"),
            ({"body": b"x" * 65_537, "content_type": "text/plain"}, "too_large"),
            ({"contact_params": ";expires=5"}, "invalid_value"),
            ({"contact_params": ";a,<sip:evil@x>"}, "invalid_value"),
            ({"reliable": True}, "invalid_value"),
        ],
    )
    def test_what_an_owner_may_not_say(self, world: World, answer: dict[str, Any], code: str) -> None:
        world.receive(request())
        with pytest.raises(SipProfileError) as caught:
            world.respond(200, **answer)
        assert caught.value.code == code
        assert world.sent == []

    def test_a_redirection_has_the_owners_contact(self, world: World) -> None:
        world.receive(request())
        world.respond(302, headers=(("Contact", "<sip:alice@elsewhere.test>"),))
        assert world.responses()[0].headers("contact") == ["<sip:alice@elsewhere.test>"]

    @pytest.mark.parametrize(("size", "statuses"), [(65_536, []), (65_537, [513])])
    def test_the_largest_body(self, world: World, size: int, statuses: list[int]) -> None:
        """As large as one that goes out may be; over a connection, for no datagram holds it."""
        (data,) = StreamFramer().feed(request(body=b"x" * size))
        assert [answer.status for answer in world.receive(data, TCP)] == statuses
        assert len(world.owner.incoming) == 1 - len(statuses)


class TestMerged:
    """RFC 3261 §8.2.2.2: the copies of a request that was forked."""

    @pytest.mark.parametrize("key", [UDP, TCP])
    def test_a_copy_is_refused(self, world: World, key: TransportKey) -> None:
        world.owner.at_once = 200
        world.receive(request(), key)
        (response,) = world.receive(request(branch="z9hG4bK2"), key)
        assert response.status == 482
        assert len(world.owner.heard) == 1

    def test_another_profile_is_another_user_agent(self, world: World) -> None:
        world.registrations.add(2, contact_user="second")
        world.owner.at_once = 200
        assert world.receive(request())[0].status == 200
        assert world.receive(request(branch="z9hG4bK2", uri="sip:second@192.0.2.10"))[0].status == 200


class TestCalls:
    def test_the_answer_makes_a_dialog(self, world: World) -> None:
        world.receive(request("INVITE", "Record-Route: <sip:p2;lr>, <sip:p1;lr>", "Record-Route: <sip:p0;lr>"))
        leg = world.respond(200, body=b"v=0", content_type="application/sdp", contact_params=";+sip.x")
        assert leg is not None
        assert (leg.state, leg.initiator, leg.method) == ("confirmed", False, "INVITE")
        assert leg.dialog.route_set == ("<sip:p2;lr>", "<sip:p1;lr>", "<sip:p0;lr>")
        assert (leg.dialog.target, leg.dialog.remote_tag) == ("sip:bob@192.0.2.7", "f")
        (ok,) = world.responses()
        assert ok.headers("record-route") == ["<sip:p2;lr>, <sip:p1;lr>", "<sip:p0;lr>"]
        assert ok.header("contact") == "<sip:token@192.0.2.10:5060>;+sip.x"
        assert leg.dialog.local_tag in (ok.header("to") or "")
        assert ok.body == b"v=0"

    def test_100_if_nothing_else_comes_for_200_ms(self, world: World) -> None:
        world.receive(request("INVITE"))
        assert world.run(1.0) == [(0.2, 100)]
        assert ";tag=" not in (world.responses()[0].header("to") or "")

    def test_no_100_after_180(self, world: World) -> None:
        world.receive(request("INVITE"))
        leg = world.respond(180)
        assert leg is not None
        assert leg.state == "early"
        assert world.run(1.0) == []
        assert world.respond(200) is leg
        assert leg.state == "confirmed"
        tags = {response.header("to") for response in world.responses()}
        assert len(tags) == 1

    @pytest.mark.parametrize("key", [UDP, TCP])
    def test_2xx_is_repeated_until_the_ack(self, world: World, key: TransportKey) -> None:
        """RFC 3261 §13.3.1.4: over connections too."""
        world.receive(request("INVITE"), key)
        world.respond(200)
        to = world.responses()[0].header("to") or ""
        assert world.run(8.0) == [(0.5, 200), (1.5, 200), (3.5, 200), (7.5, 200)]
        world.receive(request("ACK", to=to, branch="z9hG4bKack", body=b"sdp"), key)
        assert world.owner.heard[-1] == ("acknowledged", b"sdp")
        assert world.run(60.0) == []
        assert (world.agent.incoming, world.agent.server.unacknowledged) == ({}, {})
        assert (world.agent.server.open, world.agent.server.by_key, world.agent.server.merged) == (0, {}, {})
        world.receive(request("ACK", to=to, branch="z9hG4bKack"), key)
        assert [event for event in world.owner.heard if event[0] == "acknowledged"] == [("acknowledged", b"sdp")]

    def test_without_an_ack_the_dialog_ends(self, world: World) -> None:
        answered(world)
        times = [at for at, _ in world.run(60.0)]
        assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert world.owner.heard[1:] == [("acknowledged", None), ("leg_changed", "terminated", "no_ack")]
        assert world.agent.legs == {}

    def test_a_call_that_ended_otherwise_is_not_ended_again_for_want_of_an_ack(self, world: World) -> None:
        """Its other side knows nothing of it (RFC 3261 §12.2.1.2): nothing of it is repeated any more."""
        answered(world)
        (leg,) = world.agent.legs.values()
        before = len(world.sent)
        client.send(world.agent, world.owner, leg.line, Draft("INFO"), world.now, leg)
        (info,) = [parse(data) for _, _, data in world.sent[before:]]
        assert isinstance(info, Request)
        world.room.received(build_response(info, 481, to_tag=""), PROXY, UDP, world.now)
        assert leg.state == "terminated"
        assert world.run(60.0) == []
        assert ("acknowledged", None) not in world.owner.heard

    def test_an_invite_again_after_the_2xx_is_absorbed(self, world: World) -> None:
        """RFC 6026 §7.1."""
        to = called(world)
        assert world.receive(request("INVITE")) == []
        world.run(31.0)
        assert world.receive(request("INVITE")) == []
        assert world.owner.heard == []
        assert to

    def test_a_refusal_is_repeated_until_the_ack(self, world: World) -> None:
        world.receive(request("INVITE"))
        world.respond(486)
        assert world.run(4.0) == [(0.5, 486), (1.5, 486), (3.5, 486)]
        to = world.responses()[0].header("to") or ""
        world.receive(request("ACK", to=to))
        assert world.run(40.0) == []
        assert world.owner.heard == [("requested", "INVITE", 0)]
        assert (world.agent.incoming, world.agent.legs, world.agent.server.by_key) == ({}, {}, {})

    def test_a_refusal_on_a_connection_is_sent_once(self, world: World) -> None:
        world.receive(request("INVITE"), TCP)
        world.respond(486)
        assert world.run(40.0) == []
        assert world.agent.server.open == 0

    def test_a_refusal_ends_the_early_dialog(self, world: World) -> None:
        world.receive(request("INVITE"))
        leg = world.respond(183)
        assert leg is not None
        world.respond(486)
        assert (leg.state, world.agent.legs, world.agent.legs_by_dialog) == ("terminated", {}, {})

    def test_ringing_goes_out_every_minute_and_ends_after_three(self, world: World) -> None:
        """RFC 3261 §13.3.1.1."""
        world.receive(request("INVITE"))
        world.respond(180)
        assert world.run(400.0)[:3] == [(60.0, 180), (120.0, 180), (180.0, 480)]
        assert world.owner.heard[-1] == ("withdrawn", "INVITE", "timed_out")

    def test_whoever_goes_on_saying_so_may_ring_longer(self, world: World) -> None:
        world.receive(request("INVITE"))
        world.respond(180)
        world.run(170.0)
        world.respond(183)
        assert 480 not in [status for _, status in world.run(170.0)]

    def test_no_contact(self, world: World) -> None:
        assert [r.status for r in world.receive(request("INVITE", contact=""))] == [400]


class TestCancel:
    """RFC 3261 §9.2."""

    def test_ends_an_invite(self, world: World) -> None:
        world.receive(request("INVITE"))
        world.respond(180)
        cancelled = world.receive(request("CANCEL", contact=""))
        assert [(r.status, (r.header("cseq") or "")[2:]) for r in cancelled] == [(200, "CANCEL"), (487, "INVITE")]
        assert len({r.header("to") for r in world.responses()}) == 1
        assert world.owner.heard[-1] == ("withdrawn", "INVITE", "cancelled")
        with pytest.raises(SipProfileError) as caught:
            world.respond(200)
        assert caught.value.code == "invalid_state"
        assert world.agent.legs == {}

    def test_comes_too_late(self, world: World) -> None:
        answered(world)
        assert [r.status for r in world.receive(request("CANCEL", contact=""))] == [200]
        assert world.owner.heard == [("requested", "INVITE", 0)]
        assert len(world.agent.legs) == 1

    def test_of_nothing(self, world: World) -> None:
        world.receive(request("INVITE"))
        (response,) = world.receive(request("CANCEL", branch="z9hG4bKother", contact=""))
        assert response.status == 481

    def test_of_an_rfc_2543_client(self, world: World) -> None:
        world.receive(request("INVITE", branch="1"))
        statuses = [r.status for r in world.receive(request("CANCEL", branch="1", contact=""))]
        assert statuses == [200, 487]
        assert world.receive(request("ACK", branch="1", contact="", to="<sip:alice@example.test>;tag=1")) == []
        assert world.run(10.0) == []


class TestLimits:
    def test_nobody_wants_it(self, world: World) -> None:
        """Answered without memory, at a bounded rate (RFC 3261 §8.2.7)."""
        world = World(answers=10)
        world.application = None
        for number in range(50):
            world.receive(request("INVITE", call_id=f"c{number}", branch=f"z9hG4bK{number}"))
        assert world.statuses() == [480] * 10
        assert (world.agent.incoming, world.agent.server.by_key, world.agent.server.open) == ({}, {}, 0)
        assert world.run(40.0) == []
        assert world.agent.server.unclaimed.refused == 40

    def test_an_invite_that_nobody_wants_is_not_waited_for(self, world: World) -> None:
        world.application = None
        waiting = len(world.room._calls)
        for number in range(50):
            world.receive(request("INVITE", call_id=f"c{number}", branch=f"z9hG4bK{number}"))
        world.run(1.0)
        assert len(world.room._calls) <= waiting + 1
        assert world.run(400.0) == []

    @pytest.mark.parametrize("key", [UDP, TCP], ids=["udp", "tcp"])
    @pytest.mark.parametrize("status", [0, 180, 200, 486])
    def test_nothing_of_a_call_is_looked_at_for_ever(self, world: World, status: int, key: TransportKey) -> None:
        """Whatever becomes of it: the timers of an INVITE end."""
        waiting = len(world.room._calls)
        world.receive(request("INVITE"), key)
        if status:
            world.respond(status)
        world.run(600.0)
        assert (world.agent.incoming, world.agent.server.by_key, world.agent.server.open) == ({}, {}, 0)
        assert len(world.room._calls) <= waiting + 1

    @pytest.mark.parametrize("key", [UDP, TCP], ids=["udp", "tcp"])
    def test_an_answered_invite_does_not_wait_for_the_end_of_its_ringing(self, world: World, key: TransportKey) -> None:
        """64·T1 after the answer nothing remembers it, though it might have rung for three minutes."""
        world.run(1.0)
        waiting = len(world.room._calls)
        for number in range(20):
            world.receive(request("INVITE", call_id=f"c{number}", branch=f"z9hG4bKn{number}"), key)
            world.respond(180)
            world.respond(486)
        assert len(world.agent.server.ringing) == 0
        world.run(33.0)
        assert len(world.room._calls) <= waiting + 1, "one timer looks at all that ring"

    def test_too_many_at_once(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_transactions, "MAXIMUM_OPEN", 3)
        for number in range(4):
            world.receive(request(call_id=f"c{number}", branch=f"z9hG4bK{number}"))
        assert world.statuses() == [503]
        assert len(world.agent.incoming) == 3

    def test_too_many_a_second(self) -> None:
        world = World(requests=5)
        world.owner.at_once = 200
        for number in range(8):
            world.receive(request(call_id=f"c{number}", branch=f"z9hG4bK{number}"))
        assert world.statuses() == [200] * 5 + [503] * 3

    def test_answers_that_are_kept(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_transactions, "MAXIMUM_ANSWERED", 3)
        world.owner.at_once = 200
        for number in range(10):
            world.receive(request(call_id=f"c{number}", branch=f"z9hG4bK{number}"))
        assert len(world.agent.server.by_key) == len(world.agent.server.merged) == 3

    def test_an_owner_is_gone(self, world: World) -> None:
        world.receive(request("INVITE"))
        server.give_up(world.agent, world.owner.incoming[0], 480, world.now)
        assert world.statuses() == [480]
        assert world.owner.heard == [("requested", "INVITE", 0)]


class TestForNobody:
    """What the service answers itself, whoever asks."""

    @pytest.mark.parametrize(
        ("method", "uri", "status"),
        [
            ("REGISTER", "sip:token@192.0.2.10", 405),
            ("DANCE", "sip:token@192.0.2.10", 405),
            ("options", "sip:token@192.0.2.10", 405),
            ("BYE", "sip:token@192.0.2.10", 481),
            ("PRACK", "sip:token@192.0.2.10", 481),
            ("UPDATE", "sip:token@192.0.2.10", 481),
            ("INVITE", "sip:nobody@192.0.2.10", 404),
            ("MESSAGE", "sip:192.0.2.10", 404),
            ("OPTIONS", "sip:192.0.2.10", 200),
            ("OPTIONS", "tel:+1234", 416),
        ],
    )
    def test_status(self, world: World, method: str, uri: str, status: int) -> None:
        (response,) = world.receive(request(method, uri=uri, to=STRANGER))
        assert response.status == status
        assert world.owner.heard == []
        assert world.agent.server.by_key == {}

    def test_an_ack_is_never_answered(self, world: World) -> None:
        assert world.receive(request("ACK")) == []
        assert world.receive(request("ACK", "Require: x", uri="sip:nobody@x", to="<<")) == []

    def test_extensions(self, world: World) -> None:
        (response,) = world.receive(request("INVITE", "Require: 100rel, path, sec-agree"))
        assert (response.status, response.header("unsupported")) == (420, "path, sec-agree")

    def test_no_hops_left(self, world: World) -> None:
        """An endpoint takes Max-Forwards 0 (RFC 4475 §3.3.11 names the difference); a hop would answer 483."""
        data = request("MESSAGE", uri="sip:nobody@192.0.2.10", to=STRANGER).replace(
            b"Max-Forwards: 70", b"Max-Forwards: 0"
        )
        assert world.receive(data)[0].status == 483
        assert world.receive(request().replace(b"Max-Forwards: 70", b"Max-Forwards: 0")) == []
        assert world.owner.heard == [("requested", "MESSAGE", 0)]

    def test_malformed(self, world: World) -> None:
        assert world.receive(request().replace(b"CSeq: 1 MESSAGE", b"CSeq: 1 INVITE"))[0].status == 400
        assert world.receive(request(to="<<"))[0].status == 400
        assert world.receive(request().replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia"))[0].status == 505

    def test_a_retransmission_gets_the_same_tag(self, world: World) -> None:
        one, again = (world.receive(request(to=STRANGER, uri="sip:nobody@x"))[0].header("to") for _ in range(2))
        (other,) = world.receive(request(to=STRANGER, uri="sip:nobody@x", branch="z9hG4bK2"))
        assert one == again != other.header("to")

    def test_no_way_back(self, world: World) -> None:
        assert world.receive(request(via="nonsense")) == []

    def test_long_headers_cost_as_much_as_they_are_long(self) -> None:
        world = World(answers=40)
        long, short = (
            request("OPTIONS", to=STRANGER, uri="sip:192.0.2.1" + more) for more in (";a=" + "b" * 20_000, "")
        )
        assert sum(bool(world.receive(long)) for _ in range(50)) == 1
        assert all(world.receive(short) for _ in range(39)), "others are starved"

    def test_from_where(self, world: World) -> None:
        (response,) = world.receive(request("OPTIONS", to=STRANGER, uri="sip:192.0.2.1"), UDP, PROXY)
        assert "INVITE" in (response.header("allow") or "")
