"""Answers of the service for its profiles while nobody takes requests (RFC 3261 §8.2)."""

from __future__ import annotations

import pytest
from service_requests import SOURCE, TCP, UDP, request
from service_world import World

from sipprofile.registration.actions import Send, TransportKey
from sipprofile.service.settings import ServiceSettings
from sipprofile.sip.message import Response, parse


def world(**settings: int) -> World:
    """A service with one profile, whose contact has the user part ``token-1``."""
    made = World(settings=ServiceSettings(**settings))
    made.create(contact_user="token-1")
    made.actions.clear()
    return made


def sent(data: bytes, key: TransportKey = UDP, in_world: World | None = None) -> Send | None:
    service = in_world or world()
    before = len(service.actions)
    service.service.received(data, SOURCE, key, service.now)
    service.perform()
    sends = [action for action in service.actions[before:] if isinstance(action, Send)]
    assert len(sends) < 2
    return sends[0] if sends else None


def answer(data: bytes, in_world: World | None = None) -> Response:
    send = sent(data, in_world=in_world)
    assert send is not None
    response = parse(send.data)
    assert isinstance(response, Response)
    return response


class TestStatus:
    @pytest.mark.parametrize(
        ("method", "status"),
        [
            ("OPTIONS", 200),
            ("INVITE", 480),
            ("MESSAGE", 480),
            ("REFER", 480),
            ("INFO", 480),
            ("SUBSCRIBE", 489),
            ("NOTIFY", 481),
            ("CANCEL", 481),
            ("BYE", 481),
            ("PRACK", 481),
            ("UPDATE", 481),
            ("REGISTER", 405),
            ("DANCE", 405),
            ("options", 405),
        ],
    )
    def test_for_a_profile_of_ours(self, method: str, status: int) -> None:
        assert answer(request(method)).status == status

    def test_ack_is_never_answered(self) -> None:
        assert sent(request("ACK")) is None
        assert sent(request("ACK", "sip:nobody@192.0.2.10", "Require: x")) is None

    def test_nobody_of_that_name(self) -> None:
        assert answer(request("INVITE", "sip:nobody@192.0.2.10")).status == 404
        assert answer(request("OPTIONS", "sip:nobody@192.0.2.10")).status == 404
        assert answer(request("MESSAGE", "sip:192.0.2.10")).status == 404

    def test_a_keepalive_without_user(self) -> None:
        assert answer(request("OPTIONS", "sip:192.0.2.10:5060")).status == 200

    @pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "INFO", "NOTIFY", "MESSAGE"])
    def test_in_a_dialog_that_does_not_exist(self, method: str) -> None:
        assert answer(request(method, to="<sip:trunk@registrar.test>;tag=t")).status == 481  # §12.2.2

    def test_an_event_nobody_understands(self) -> None:
        response = answer(request("NOTIFY", "sip:token-1@192.0.2.10", "Event: message-summary"))
        assert (response.status, response.header("allow-events")) == (489, "")

    def test_extensions_that_are_required(self) -> None:
        response = answer(request("INVITE", "sip:token-1@192.0.2.10", "Require: 100rel, sec-agree", "Require: path"))
        assert (response.status, response.header("unsupported")) == (420, "sec-agree, path")
        assert answer(request("CANCEL", "sip:token-1@192.0.2.10", "Require: x")).status == 481

    def test_no_hops_left(self) -> None:
        """An endpoint takes Max-Forwards 0 (RFC 4475 §3.3.11 names the difference); a hop would answer 483."""
        assert answer(request("OPTIONS", "sip:token-1@192.0.2.10", "Max-Forwards: 0")).status == 200
        assert answer(request("INVITE", "sip:nobody@192.0.2.10", "Max-Forwards: 0")).status == 483
        assert answer(request("INVITE", "sip:nobody@192.0.2.10", "Max-Forwards: 1")).status == 404

    def test_what_is_malformed(self) -> None:
        assert answer(request("OPTIONS", "tel:+1234")).status == 416
        assert (
            answer(request().replace(b"OPTIONS sip:token-1@192.0.2.10:5060 SIP/2.0", b"OPTIONS sip:x SIP/7.0")).status
            == 505
        )
        assert answer(request().replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE")).status == 400
        assert answer(request(to="<<")).status == 400


class TestHeaders:
    def test_options_says_what_we_understand(self) -> None:
        response = answer(request())
        assert "INVITE" in (response.header("allow") or "")
        assert "REGISTER" not in (response.header("allow") or "")
        assert response.header("accept") == "application/sdp"
        assert response.header("supported") == "100rel"

    def test_405_says_what_is_allowed(self) -> None:
        assert "OPTIONS" in (answer(request("DANCE")).header("allow") or "")

    def test_a_retransmission_gets_the_same_tag_and_others_another(self) -> None:
        """RFC 3261 §8.2.7: a stateless answer."""
        one_world = world()
        one, again = answer(request(), one_world), answer(request(), one_world)
        other = answer(request(via="SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK2"), one_world)
        assert one.header("to") == again.header("to") != other.header("to")
        assert ";tag=" in (one.header("to") or "")


class TestReturnPath:
    """RFC 3261 §18.2.2 and RFC 3581 §4."""

    @pytest.mark.parametrize(
        ("via", "port"),
        [
            ("SIP/2.0/UDP 192.0.2.1:5099;branch=z9hG4bK1", 5099),
            ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", 5060),
            ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1;rport", 5060),
            ("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bK1;maddr=203.0.113.9", 5099),
        ],
    )
    def test_udp(self, via: str, port: int) -> None:
        send = sent(request(via=via))
        assert send is not None
        assert send.key == TransportKey("udp", "192.0.2.1", port)

    def test_a_connection(self) -> None:
        send = sent(request(via="SIP/2.0/TCP 10.0.0.1:5099;branch=z9hG4bK1"), TCP)
        assert send is not None
        assert send.key == TCP

    def test_no_way_back(self) -> None:
        assert sent(request(via="nonsense")) is None


def test_the_service_answers_for_its_profiles() -> None:
    assert answer(request("MESSAGE")).header("call-id") == "c1"


def test_a_flood_is_answered_at_a_bounded_rate() -> None:
    one = world(answers=10)
    for _ in range(2):
        answers = [sent(request("MESSAGE"), in_world=one) for _ in range(50)]
        assert sum(answer is not None for answer in answers) == 10
        one.now += 1
    assert one.service.counts()["requests_unanswered"] == 80


def test_long_headers_cost_as_much_as_they_are_long() -> None:
    one = world(answers=40)
    long, short = (request("OPTIONS", "sip:192.0.2.1" + more) for more in (";a=" + "b" * 20_000, ""))
    answers = [sent(long, in_world=one) for _ in range(50)]
    assert sum(answer is not None for answer in answers) == 1
    assert all(sent(short, in_world=one) for _ in range(39)), "others are starved"
