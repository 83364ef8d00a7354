"""``POST /v1/profiles/{id}/message``: one MESSAGE without a session, and its final response."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.events import Reason, RegistrationState
from sipprofile.service import message
from sipprofile.service.audit import Auditor
from sipprofile.service.message import ANSWER_LIMIT, AT_ONCE, REGISTER_LIMIT, Messages
from sipprofile.service.operations import SendMessage
from sipprofile.service.policy import Actor, needed
from sipprofile.service.settings import ServiceSettings
from sipprofile.service.steps import Runner
from sipprofile.service.timers import Timers
from sipprofile.sip.message import Response, parse

ACTOR = Actor("uid 1000", frozenset({"use"}), 1000)
HELLO = {"uri": "sip:bob@example.test", "text": "grüße"}


def response(status: int, reason: str) -> Response:
    found = parse(
        f"SIP/2.0 {status} {reason}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKq1\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nX-One: 1\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(found, Response)
    return found


class World:
    """The operation with a registration and a user agent under the test's control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.state = RegistrationState("registered")
        self.borrowed = 0
        self.sent: list[Any] = []
        self.owners: list[Any] = []
        self.abandoned: list[Any] = []
        self.refusal: SipProfileError | None = None
        self.audit: list[Any] = []
        self.answers: list[Any] = []
        self.there = True
        self.entry: Any = SimpleNamespace(id=7, name="trunk", held="")
        self.timers = Timers()
        self.runner = Runner(lambda _: None, self.timers)
        registry: Any = SimpleNamespace(
            settings=ServiceSettings(),
            find=lambda _: self.entry,
            check_served=lambda _: None,
            check_there=self._check_there,
            state=lambda _: self.state,
        )
        usage: Any = SimpleNamespace(borrow=self._borrow, give_back=self._give_back)
        monkeypatch.setattr(message.client, "send", self._send, raising=False)
        monkeypatch.setattr(message.client, "abandon", lambda *call: self.abandoned.append(call[1]), raising=False)
        monkeypatch.setattr(message, "profile_line", lambda _, profile: f"line of {profile}")
        auditor = Auditor(self.audit.append, lambda: 0.0)
        agent: Any = SimpleNamespace()
        self.messages = Messages(registry, usage, agent, auditor)

    def _check_there(self, _: Any) -> None:
        if not self.there:
            raise SipProfileError("not_found", "The profile was removed.")

    def _borrow(self, *_: Any) -> None:
        self.borrowed += 1

    def _give_back(self, *_: Any) -> None:
        self.borrowed -= 1

    def _send(self, agent: Any, owner: Any, line: Any, draft: Any, now: float) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(draft)
        self.owners.append(owner)
        return SimpleNamespace(number=len(self.sent), method=draft.method)

    def post(self, actor: Actor = ACTOR, **document: Any) -> None:
        """Begin; an error, at once or later, is an answer too."""
        try:
            steps = self.messages.send(SendMessage(7, document or HELLO), actor, self.now)
        except SipProfileError as error:
            self.answers.append(error)
            return
        self.runner.run(steps, lambda answer, _: self.answers.append(answer), self.now)

    def become(self, status: Any, event: str = "status", code: str = "none") -> None:
        self.state = RegistrationState(status, reason=Reason.of(code))
        change = SimpleNamespace(event=event, status=status, state=self.state)
        self.runner.happened(("changed", 7), change, self.now)

    def respond(self, answer: Response, number: int = -1) -> None:
        self.owners[number].responded(SimpleNamespace(number=1), answer, None, self.now)
        self.settle()

    def settle(self) -> None:
        while self.messages.ended:
            topic, what = self.messages.ended.popleft()
            self.runner.happened(topic, what, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.timers.run(self.now)

    def error(self) -> SipProfileError:
        (answer,) = self.answers
        assert isinstance(answer, SipProfileError)
        assert self.borrowed == 0
        return answer


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


class TestAnswer:
    @pytest.mark.parametrize(("status", "reason"), [(200, "OK"), (202, "Accepted"), (486, "Busy Here")])
    def test_the_final_response_whatever_it_is(self, world: World, status: int, reason: str) -> None:
        world.post()
        world.respond(response(100, "Trying"))
        assert (world.answers, world.borrowed) == ([], 1)
        world.respond(response(status, reason))
        (answer,) = world.answers
        assert (answer["status"], answer["reason"]) == (status, reason)
        assert ["X-One", "1"] in answer["headers"]
        assert world.borrowed == 0
        (line,) = world.audit
        assert (line.who, line.profile, line.direction, line.method) == ("uid 1000", 7, "out", "MESSAGE")
        assert (line.uri, line.status, line.code) == ("sip:bob@example.test", status, "")

    def test_each_gets_its_own(self, world: World) -> None:
        for _ in range(2):
            world.post()
        world.respond(response(486, "Busy Here"), 1)
        world.respond(response(200, "OK"), 0)
        assert [answer["status"] for answer in world.answers] == [486, 200]

    def test_the_capability(self) -> None:
        assert needed(SendMessage(7, HELLO)) == "use"


class TestDocument:
    def test_text(self, world: World) -> None:
        world.post()
        (draft,) = world.sent
        assert (draft.method, draft.uri, draft.body) == ("MESSAGE", "sip:bob@example.test", "grüße".encode())
        assert draft.content_type == "text/plain;charset=UTF-8"

    def test_everything(self, world: World) -> None:
        headers = [["Subject", "one"]]
        world.post(uri="sip:b@c", base64="AQI=", content_type="image/png", headers=headers, **{"from": "sip:d@e"})
        (draft,) = world.sent
        assert (draft.body, draft.content_type, draft.identity) == (b"\1\2", "image/png", "sip:d@e")
        assert draft.headers == (("Subject", "one"),)

    @pytest.mark.parametrize(
        ("document", "code", "field"),
        [
            ({"text": "a"}, "missing_field", "uri"),
            ({"uri": "sip:b@c"}, "invalid_value", "text"),
            ({"uri": "sip:b@c", "text": "a", "base64": "AQI="}, "invalid_value", "text"),
            ({"uri": 3, "text": "a"}, "invalid_value", "uri"),
            ({"uri": "sip:b@c", "text": "a", "subject": "b"}, "unknown_field", "subject"),
        ],
    )
    def test_mistakes(self, world: World, document: dict[str, Any], code: str, field: str | None) -> None:
        world.post(**document)
        assert (world.error().code, world.error().field) == (code, field)
        assert world.sent == []

    def test_what_the_user_agent_refuses(self, world: World) -> None:
        world.refusal = SipProfileError("identity_refused")
        world.post()
        assert world.error().code == "identity_refused"
        assert [line.code for line in world.audit] == ["identity_refused"]


class TestRegistering:
    def test_it_waits_for_the_registration_that_it_causes(self, world: World) -> None:
        world.state = RegistrationState("registering")
        world.post()
        assert (world.borrowed, world.sent) == (1, [])
        world.become("registering")
        world.become("registered", "registered")
        world.respond(response(200, "OK"))
        assert world.answers[0]["status"] == 200

    def test_a_refused_one_is_told_at_once(self, world: World) -> None:
        world.state = RegistrationState("registering")
        world.post()
        world.become("unregistered", "error", "rejected_credentials")
        error = world.error()
        assert (error.code, error.members["reason"]) == ("not_registered", "rejected_credentials")

    def test_it_waits_no_longer_than_its_limit(self, world: World) -> None:
        world.state = RegistrationState("registering")
        world.post()
        world.wait(REGISTER_LIMIT - 0.1)
        assert world.answers == []
        world.wait(0.1)
        assert world.error().code == "not_registered"

    @pytest.mark.parametrize("held", ["paused", "forcibly_disabled"])
    def test_held_down(self, world: World, held: str) -> None:
        world.entry.held = held
        world.post()
        assert world.error().code == held

    def test_removed_meanwhile(self, world: World) -> None:
        world.state = RegistrationState("registering")
        world.post()
        world.there = False
        world.become("unregistered", "destroyed")
        assert world.error().code == "not_found"


class TestNoAnswer:
    @pytest.mark.parametrize(("reason", "code"), [("timeout", "timed_out"), ("transport_closed", "request_failed")])
    def test_a_failure(self, world: World, reason: str, code: str) -> None:
        world.post()
        world.owners[0].failed(SimpleNamespace(number=1), reason, world.now)
        world.settle()
        error = world.error()
        assert (error.code, error.members["reason"]) == (code, reason)
        assert [line.code for line in world.audit] == [reason]

    def test_its_own_limit(self, world: World) -> None:
        world.post()
        world.wait(ANSWER_LIMIT)
        assert world.error().code == "timed_out"
        assert len(world.abandoned) == 1

    def test_the_service_stops(self, world: World) -> None:
        world.post()
        world.runner.give_up(SipProfileError("shutting_down"), world.now)
        assert world.error().code == "shutting_down"


class TestQuota:
    def test_one_asker_may_send_what_a_session_may(self, world: World) -> None:
        for _ in range(200):
            world.post()
        world.post()
        assert [answer.code for answer in world.answers] == ["quota_exceeded"]
        world.post(Actor("uid 1001", frozenset({"use"}), 1001))
        assert len(world.sent) == 201

    def test_all_of_them_have_a_limit(self, world: World) -> None:
        for number in range(AT_ONCE + 1):
            world.post(Actor(f"token {number}", frozenset({"use"})))
        assert [answer.code for answer in world.answers] == ["quota_exceeded"]
        assert len(world.sent) == AT_ONCE
        world.respond(response(200, "OK"))
        world.post(Actor("another", frozenset({"use"})))
        assert len(world.sent) == AT_ONCE + 1
