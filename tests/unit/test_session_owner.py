"""What a session is told of its requests and dialogs: frames as docs/session-protocol.md has them."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from sipprofile.service.audit import Auditor
from sipprofile.service.effects import Audit
from sipprofile.service.hub import Outbox
from sipprofile.service.policy import Actor
from sipprofile.service.session_owner import SessionOwner
from sipprofile.service.sessions import Session
from sipprofile.sip.message import Request, Response, parse

WALL_OFFSET = 1_700_000_000.0
PROFILE = 7


def request(method: str = "MESSAGE", body: bytes = b"hi", kind: str = "text/plain", extra: str = "") -> Request:
    text = (
        f"{method} sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n"
        f'From: "Bob" <sip:bob@example.test>;tag=1\r\nTo: <sip:alice@example.test>\r\nCall-ID: call-1\r\n'
        f"CSeq: 1 {method}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    found = parse(text.encode("utf-8", "surrogateescape") + body)
    assert isinstance(found, Request)
    return found


def response(status: int, reason: str = "OK", body: bytes = b"") -> Response:
    text = (
        f"SIP/2.0 {status} {reason}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKq1\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    found = parse(text.encode() + body)
    assert isinstance(found, Response)
    return found


def incoming(number: int = 5, status: int = 0, leg: Any = None, claim: int = 0, **of_request: Any) -> Any:
    return SimpleNamespace(
        number=number,
        claim=claim,
        request=request(**of_request),
        leg=leg,
        status=status,
        final=status >= 200,
        received_at=10.0,
    )


def outgoing(number: int = 9, method: str = "MESSAGE") -> Any:
    return SimpleNamespace(number=number, method=method)


class World:
    """An owner, the frames it was told, the lines of the audit log."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.lines: list[Audit] = []
        self.session = Session(1, Actor("uid 1000", frozenset({"use"}), 1000), Outbox(1), "token")
        self.session.app = "com.example.bot"
        self.auditor = Auditor(self.lines.append, lambda: WALL_OFFSET)  # type: ignore[arg-type]
        self.owner = SessionOwner(
            self.session,
            PROFILE,
            lambda _, frame, __: self.frames.append(json.loads(frame)),
            lambda *_: False,
            self.auditor,
            lambda: WALL_OFFSET,
        )

    def leg(self, number: int = 2, state: str = "confirmed", owner: Any = None, **more: Any) -> Any:
        values = {"method": "INVITE", "usages": (), "text": "", "replaces": 0, **more}
        return SimpleNamespace(number=number, state=state, owner=owner or self.owner, **values)

    def told(self) -> dict[str, Any]:
        """The only frame since the last look."""
        (frame,) = self.frames
        self.frames.clear()
        return frame

    def audited(self) -> list[tuple[str, str, str, int, str]]:
        """(direction, method, uri, status, code) of each line since the last look."""
        found = [(line.direction, line.method, line.uri, line.status, line.code) for line in self.lines]
        self.lines.clear()
        return found


@pytest.fixture
def world() -> World:
    return World()


class TestRequest:
    def test_the_whole_frame(self, world: World) -> None:
        world.owner.requested(incoming(claim=3), 11.0)
        frame = world.told()
        headers = frame.pop("headers")
        assert ["Content-Type", "text/plain"] in headers
        assert frame == {
            "event": "request",
            "profile": PROFILE,
            "request": 5,
            "dialog": None,
            "claim": 3,
            "method": "MESSAGE",
            "uri": "sip:alice@192.0.2.1",
            "from": '"Bob" <sip:bob@example.test>;tag=1',
            "to": "<sip:alice@example.test>",
            "call_id": "call-1",
            "body": {"text": "hi"},
            "content_type": "text/plain",
            "answered": False,
            "at": WALL_OFFSET + 10.0,
        }

    def test_in_a_dialog_no_claim_counts(self, world: World) -> None:
        world.owner.requested(incoming(leg=world.leg()), 11.0)
        frame = world.told()
        assert (frame["dialog"], frame["claim"]) == (2, None)

    def test_one_that_the_service_has_answered(self, world: World) -> None:
        world.owner.requested(incoming(status=200, method="BYE", leg=world.leg(state="terminated")), 11.0)
        assert world.told()["answered"] is True
        assert world.audited() == [("in", "BYE", '"Bob" <sip:bob@example.test>;tag=1', 200, "")]
        assert world.owner.dialogs() == []

    def test_undecodable_bytes_do_no_harm(self, world: World) -> None:
        world.owner.requested(incoming(extra="Subject: \udce9\r\n"), 11.0)
        assert ["Subject", "\ufffd"] in world.told()["headers"]

    def test_credentials_stay_here(self, world: World) -> None:
        world.owner.requested(incoming(extra='Authorization: Digest response="deadbeef"\r\n'), 11.0)
        assert "deadbeef" not in json.dumps(world.told())

    @pytest.mark.parametrize("code", ["cancelled", "answered_elsewhere", "timed_out", "dialog_ended"])
    def test_withdrawn(self, world: World, code: str) -> None:
        world.owner.withdrawn(incoming(), code, 12.0)
        assert world.told() == {"event": "withdrawn", "profile": PROFILE, "request": 5, "code": code}
        assert len(world.audited()) == (code != "answered_elsewhere")  # whoever did answer has a line

    def test_acknowledged_with_the_body_of_a_delayed_offer(self, world: World) -> None:
        ack = request("ACK", b"v=0", "application/sdp")
        world.owner.acknowledged(incoming(leg=world.leg()), ack, 12.0)
        frame = world.told()
        assert (frame["event"], frame["request"], frame["dialog"], frame["code"]) == ("acknowledged", 5, 2, "none")
        assert frame["body"] == {"text": "v=0"}

    def test_never_acknowledged(self, world: World) -> None:
        world.owner.acknowledged(incoming(leg=world.leg()), None, 12.0)
        frame = world.told()
        assert (frame["code"], frame["body"], frame["headers"]) == ("no_ack", None, [])

    def test_a_prack(self, world: World) -> None:
        world.owner.provisionally_acknowledged(incoming(), 42, 12.0)
        assert world.told() == {
            "event": "provisionally-acknowledged",
            "profile": PROFILE,
            "request": 5,
            "rseq": 42,
        }


class TestResponse:
    def test_provisional_with_a_body_then_the_final(self, world: World) -> None:
        sent = outgoing(method="INVITE")
        world.owner.sent(sent, "sip:bob@example.test")
        leg = world.leg(state="early")
        world.owner.responded(sent, response(183, "Session Progress", b"v=0"), leg, 1.0)
        frame = world.told()
        assert (frame["request"], frame["status"], frame["reason"]) == (9, 183, "Session Progress")
        assert (frame["final"], frame["dialog"], frame["body"]) == (False, 2, {"text": "v=0"})
        assert world.audited() == []
        world.owner.responded(sent, response(200), leg, 2.0)
        frame = world.told()
        assert (frame["status"], frame["final"]) == (200, True)
        assert world.audited() == [("out", "INVITE", "sip:bob@example.test", 200, "")]

    def test_further_2xx_of_forks_are_told_and_audited_once(self, world: World) -> None:
        sent = outgoing(method="INVITE")
        world.owner.sent(sent, "sip:bob@example.test")
        for number in (1, 2):
            world.owner.responded(sent, response(200), world.leg(number), 1.0)
        assert [frame["dialog"] for frame in world.frames] == [1, 2]
        assert len(world.audited()) == 1
        assert len(world.owner.dialogs()) == 2

    def test_failed_with_its_sentence(self, world: World) -> None:
        sent = outgoing()
        world.owner.sent(sent, "sip:bob@example.test")
        world.owner.failed(sent, "timeout", 33.0)
        assert world.told() == {
            "event": "failed",
            "profile": PROFILE,
            "request": 9,
            "code": "timeout",
            "text": "The server did not answer.",
        }
        assert world.audited() == [("out", "MESSAGE", "sip:bob@example.test", 0, "timeout")]
        assert world.owner.pending(9) is None


class TestDialogs:
    def test_a_change_is_told_with_its_reason(self, world: World) -> None:
        leg = world.leg(state="terminated")
        world.owner.leg_changed(leg, "subscription_lost", 1.0)
        assert world.told() == {
            "event": "dialog",
            "profile": PROFILE,
            "dialog": 2,
            "state": "terminated",
            "method": "INVITE",
            "usages": [],
            "code": "subscription_lost",
            "text": "The subscription ended, and could not be renewed.",
            "replaces": None,
        }

    def test_what_the_other_side_said_and_which_dialog_it_replaces(self, world: World) -> None:
        leg = world.leg(state="confirmed", text="481 Gone", replaces=1)
        world.owner.leg_changed(leg, "resubscribed", 1.0)
        told = world.told()
        assert (told["text"], told["replaces"]) == ("481 Gone", 1)

    def test_they_are_counted_while_they_live(self, world: World) -> None:
        leg = world.leg()
        world.owner.answered(incoming(method="INVITE"), 200, leg, 1.0)
        assert world.owner.dialogs() == [leg]
        leg.state = "terminated"
        assert world.owner.dialogs() == []

    def test_one_that_another_session_has_won_does_not_count(self, world: World) -> None:
        leg = world.leg()
        world.owner.answered(incoming(method="INVITE"), 180, leg, 1.0)
        leg.owner = object()
        assert world.owner.dialogs() == []


class TestEnd:
    def test_a_closed_session_is_told_nothing(self, world: World) -> None:
        world.session.open = False
        world.owner.requested(incoming(), 1.0)
        assert world.frames == []

    def test_what_was_under_way_is_in_the_audit_log(self, world: World) -> None:
        world.owner.sent(outgoing(), "sip:bob@example.test")
        world.owner.gone(1.0)
        assert world.audited() == [("out", "MESSAGE", "sip:bob@example.test", 0, "owner_gone")]
        world.owner.gone(1.0)
        assert world.audited() == []


class TestAudit:
    def test_who_through_which_profile_without_a_body(self, world: World) -> None:
        world.owner.answered(incoming(body=b"a secret matter"), 200, None, 1.0)
        (line,) = world.lines
        assert (line.who, line.app, line.profile, line.at) == ("uid 1000", "com.example.bot", PROFILE, WALL_OFFSET + 1)
        assert "secret" not in repr(line)

    def test_requests_are_counted_by_direction_and_method(self, world: World) -> None:
        for method in ("MESSAGE", "MESSAGE", "FROBNICATE", "X" * 1000):
            world.owner.answered(incoming(method=method), 200, None, 1.0)
        assert world.auditor.requests == Counter({("in", "MESSAGE"): 2, ("in", "other"): 2})
        assert max(len(line.method) for line in world.lines) == 32
