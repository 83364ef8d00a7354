"""Requests that a standing claim gives to a webhook: what it is asked, and what its answer becomes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from claims_world import World

from sipprofile.agents.claim_fields import standing_problems
from sipprofile.claims import Claim, StandingClaim
from sipprofile.service import webhooks
from sipprofile.service.audit import Auditor
from sipprofile.service.effects import PostWebhook, WebhookUnusable
from sipprofile.service.webhooks import Webhooks
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.incoming import Incoming


class Hooked(World):
    """A world in which ``webhook:desk`` has claimed MESSAGE, NOTIFY and OPTIONS."""

    def __init__(self) -> None:
        super().__init__()
        self.audit: list[Any] = []
        auditor = Auditor(self.audit.append, lambda: 1e9)
        self.hooks = Webhooks(self.delivery.respond, self.effects.append, lambda _: "line", lambda: 1e9, auditor)
        self.desk = self.hooks.owner(1, "desk")
        self.claims.claim(self.desk, 1, Claim(methods=["MESSAGE", "NOTIFY", "OPTIONS"]), None, self.now)

    def say(self, incoming: Incoming, **members: Any) -> Answer:
        """The webhook answers; the response that goes out."""
        self.hooks.answered(incoming.number, json.dumps(members).encode() if members else b"", self.now)
        return self.sent[incoming.number][-1]


@pytest.fixture
def world() -> Hooked:
    return Hooked()


class TestAudit:
    """Who answered what kind of request: one line each."""

    def test_each_request_has_a_line_at_its_end(self, world: Hooked) -> None:
        answered, failed, useless = (world.receive("MESSAGE") for _ in range(3))
        assert world.audit == []
        world.say(answered, status=202)
        world.hooks.failed(failed.number, world.now)
        world.hooks.answered(useless.number, b"?", world.now)
        lines = [(line.who, line.direction, line.method, line.uri, line.status) for line in world.audit]
        sender = "<sip:bob@registrar.test>;tag=f"
        assert lines == [("webhook:desk", "in", "MESSAGE", sender, status) for status in (202, 480, 480)]

    def test_one_that_is_withdrawn_has_too(self, world: Hooked) -> None:
        incoming = world.receive("MESSAGE")
        world.desk.withdrawn(incoming, "timed_out", world.now)
        world.hooks.answered(incoming.number, b"", world.now)
        assert [(line.status, line.code) for line in world.audit] == [(0, "timed_out")]


class TestQuestions:
    def test_it_is_told_what_sessions_are_told(self, world: Hooked) -> None:
        incoming = world.receive("MESSAGE", "Subject: lunch", body="hello", content_type="text/plain")
        [effect] = world.effects
        assert isinstance(effect, PostWebhook)
        assert (effect.token, effect.name) == (incoming.number, "desk")
        asked = json.loads(effect.payload)
        assert ["Subject", "lunch"] in asked.pop("headers")
        assert asked == {
            "name": "line",
            "event": "request",
            "profile": 1,
            "request": incoming.number,
            "dialog": None,
            "claim": 1,
            "method": "MESSAGE",
            "uri": "sip:token-1@192.0.2.10:5060",
            "from": "<sip:bob@registrar.test>;tag=f",
            "to": "<sip:alice@registrar.test>",
            "call_id": "c1",
            "body": {"text": "hello"},
            "content_type": "text/plain",
            "answered": False,
            "at": 1e9,
        }
        assert world.statuses(incoming) == []

    def test_of_one_that_is_answered_already_it_is_only_told(self, world: Hooked) -> None:
        """A NOTIFY that several have claimed."""
        world.claims.owner_gone(world.desk, world.now)
        for owner in (world.desk, world.owner("session")):
            world.claims.claim(owner, 1, Claim(methods=["NOTIFY"], exclusive=False), None, world.now)
        incoming = world.receive("NOTIFY", "Event: message-summary")
        assert json.loads(world.effects[0].payload)["answered"] is True
        world.hooks.answered(incoming.number, b'{"status": 486}', world.now)
        assert world.statuses(incoming) == [200]
        assert len(world.hooks) == 0

    def test_no_more_than_a_number_wait(self, world: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks, "MAXIMUM_PENDING", 2)
        first, _, third = (world.receive() for _ in range(3))
        assert (world.statuses(first), world.statuses(third)) == ([], [480])
        assert len(world.effects) == 2
        world.say(first)
        assert world.statuses(world.receive()) == []


class TestAnswers:
    def test_nothing_is_200(self, world: Hooked) -> None:
        assert world.say(world.receive()) == Answer(200)

    def test_what_it_says_is_sent(self, world: Hooked) -> None:
        answer = world.say(world.receive(), status=486, reason="At Lunch", headers=[["Retry-After", "60"]])
        assert answer == Answer(486, "At Lunch", (("Retry-After", "60"),))

    @pytest.mark.parametrize(
        ("members", "body", "content_type"),
        [
            ({"text": "grüß"}, "grüß".encode(), "text/plain;charset=UTF-8"),
            ({"text": "<a/>", "content_type": "text/html"}, b"<a/>", "text/html"),
            ({"base64": "AAE="}, b"\0\1", "application/octet-stream"),
            ({"content_type": "text/html"}, b"", None),
        ],
    )
    def test_bodies(self, world: Hooked, members: Any, body: bytes, content_type: str | None) -> None:
        assert world.say(world.receive(), **members) == Answer(200, body=body, content_type=content_type)

    def test_none_is_480_with_a_time_to_come_back(self, world: Hooked) -> None:
        incoming = world.receive()
        world.hooks.failed(incoming.number, world.now)
        assert world.sent[incoming.number] == [Answer(480, headers=(("Retry-After", "30"),))]

    @pytest.mark.parametrize(
        "body",
        [
            b"hello",
            b"[]",
            b'{"status": 180}',
            b'{"status": 700}',
            b'{"status": "200"}',
            b'{"text": "a", "base64": "AA=="}',
            b'{"base64": "!"}',
            b'{"headers": [["Via", "x"]]}',
            b"\xff",
            b"[" * 100_000,
        ],
    )
    def test_what_cannot_be_sent_is_480_and_told(self, world: Hooked, body: bytes) -> None:
        incoming = world.receive()
        world.hooks.answered(incoming.number, body, world.now)
        assert world.statuses(incoming) == [480]
        assert isinstance(world.effects[-1], WebhookUnusable)
        assert world.effects[-1].name == "desk"

    def test_one_that_comes_too_late_is_nothing(self, world: Hooked) -> None:
        incoming = world.receive()
        world.desk.withdrawn(incoming, "timed_out", world.now)
        world.hooks.answered(incoming.number, b"", world.now)
        world.hooks.failed(incoming.number, world.now)
        assert world.statuses(incoming) == []
        assert len(world.hooks) == 0

    def test_one_for_what_has_been_answered_is_nothing(self, world: Hooked) -> None:
        incoming = world.receive()
        incoming.status = 408
        world.hooks.answered(incoming.number, b"", world.now)
        assert world.statuses(incoming) == []
        assert not any(isinstance(effect, WebhookUnusable) for effect in world.effects)

    def test_each_question_has_one(self, world: Hooked) -> None:
        one, two = world.receive(), world.receive()
        world.say(two, status=404)
        world.say(one, status=200)
        world.hooks.answered(one.number, b'{"status": 500}', world.now)
        assert (world.statuses(one), world.statuses(two)) == ([200], [404])


class TestOwners:
    def test_one_for_each_profile_and_name(self, world: Hooked) -> None:
        assert world.hooks.owner(1, "desk") == world.desk
        assert world.hooks.owner(2, "desk") != world.desk
        assert world.hooks.owner(1, "door") != world.desk
        assert world.desk.label == "webhook:desk"
        assert world.claims.of_owner(world.hooks.owner(1, "desk"), 1) == [1]


class TestClaims:
    """What one answer over HTTP cannot do is refused when the profile is saved."""

    @pytest.mark.parametrize("methods", [["INVITE"], ["MESSAGE", "SUBSCRIBE"], []])
    def test_refused(self, methods: list[str]) -> None:
        claim = StandingClaim(methods=methods, default=not methods, to="webhook:desk")
        [problem] = standing_problems([claim])
        assert (problem.code, problem.field) == ("not_supported", "claims[0].methods")
        msgspec.json.encode(problem)

    def test_taken(self) -> None:
        claim = StandingClaim(methods=["MESSAGE", "NOTIFY", "OPTIONS"], events=["message-summary"], to="webhook:desk")
        assert list(standing_problems([claim])) == []
