"""Callers, an application and time do what they like, in any order: nothing raises, and nothing is left over.

Both sides at once, because what one of them begins the other ends. A failing seed is the parameter of the test.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

import pytest
from server_world import PROXY, TCP, UDP, Application, World, request

from sipprofile.errors import SipProfileError
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request, Response, build_response, parse
from sipprofile.useragent import client, ending
from sipprofile.useragent.draft import Draft
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.profile_line import profile_line

SEEDS = 60
STEPS = 40
LONGEST = 8_000.0  # seconds in which everything has ended: back-offs of what is refreshed among them
MOST_TIMERS = 20_000  # that come up in that time
SDP = {"body": b"v=0\r\n", "content_type": "application/sdp"}


class Caller:
    """What the other side knows of one dialog that it has begun, or tried to."""

    def __init__(self, method: str, number: int) -> None:
        self.method = method
        self.call_id = f"c{number}"
        self.branch = f"z9hG4bK{number}"
        self.to = "<sip:alice@example.test>"
        self.cseq = 1
        self.rseq = "1"
        self.key = UDP


class Chaos:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(answers=100_000)
        self.app: Application = self.world.owner
        self.callers: list[Caller] = []
        self.asked: list[Request] = []
        """Requests that we have sent."""
        self._seen = 0
        self._number = 0

    def step(self) -> None:
        """Something happens."""
        steps = (
            *(self.begin, self.go_on, self.respond) * 5,
            *(self.send, self.answer, self.wait) * 3,
            *(self.end, self.lose, self.come_back, self.die),
        )
        self._number += 1
        with contextlib.suppress(SipProfileError):
            self.random.choice(steps)()
        self._look()

    def begin(self) -> None:
        """A request outside of dialogs comes in; at times nobody is there."""
        choose = self.random.choice
        caller = Caller(choose(("INVITE", "INVITE", "INVITE", "SUBSCRIBE", "REFER", "MESSAGE", "NOTIFY")), self._number)
        caller.key = choose((UDP, UDP, TCP))
        self.callers.append(caller)
        self.world.application = None if self.random.random() < 0.1 else self.app
        self.app.at_once = choose((0, 0, 0, 200, 486))
        self._receive(caller, caller.method, caller.branch)
        self.app.at_once, self.world.application = 0, self.app

    def go_on(self) -> None:
        """One inside of a dialog, or what its sender takes for one."""
        if not self.callers:
            return
        caller = self.random.choice(self.callers)
        methods = ["ACK", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INVITE", "INFO", "SUBSCRIBE", "NOTIFY", "REFER"]
        method = self.random.choice(methods)
        if method not in ("ACK", "CANCEL"):
            caller.cseq += 1
        self._receive(caller, method, caller.branch if method == "CANCEL" else f"z9hG4bK{self._number}")

    def respond(self) -> None:
        """The application answers, perhaps too late or twice."""
        if self.app.incoming:
            status = self.random.choice((180, 183, 183, 200, 200, 202, 302, 486, 603))
            more: dict[str, Any] = self.random.choice(({}, SDP))
            reliable, manual = status < 200 and self._perhaps(), self.random.random() < 0.1
            self.world.respond(status, self._recent(self.app.incoming), reliable=reliable, manual=manual, **more)

    def send(self) -> None:
        """The application sends something, in a dialog or outside of them."""
        choose = self.random.choice
        legs = [*self.world.agent.legs.values(), None]
        leg: Leg | None = choose(legs)
        method = choose(["INVITE", "SUBSCRIBE", "REFER", "PUBLISH", "BYE", "UPDATE", "INFO", "NOTIFY", "PRACK"])
        headers = [("Refer-To", "<sip:c@d.test>")] if method == "REFER" else [("Event", choose(("presence", "refer")))]
        if method == "NOTIFY" and self._perhaps():
            headers.append(("Subscription-State", choose(("active", "terminated"))))
        if method == "PUBLISH" and self._perhaps():
            headers.append(("SIP-If-Match", f"e{self.random.randrange(STEPS)}"))
        more: dict[str, Any] = {**choose(({}, SDP)), "manual": self.random.random() < 0.2}
        if method in ("SUBSCRIBE", "PUBLISH"):
            more["refresh"] = choose((0, 60))
        draft = Draft(method, uri="" if leg else "sip:bob@example.test", headers=tuple(headers), **more)
        client.send(
            self.world.agent, self.app, profile_line(self.world.agent, self.world.profile), draft, self.now, leg
        )

    def answer(self) -> None:
        """The other side answers one of our requests, perhaps too late or twice."""
        if not self.asked:
            return
        choose, request = self.random.choice, self._recent(self.asked)
        headers = [("Contact", "<sip:bob@192.0.2.7>"), ("Expires", choose(("0", "5", "60"))), ("Min-Expires", "100")]
        headers.append(("SIP-ETag", f"e{self._number}"))
        if self._perhaps():
            headers += [("Require", "100rel"), ("RSeq", choose(["1", "2", "5"]))]
        status = choose((100, 180, 183, 200, 200, 200, 202, 401, 408, 412, 423, 481, 487, 491, 503))
        data = build_response(request, status, to_tag=choose(("t1", "t1", "t2")), headers=headers)
        self.world.room.received(data, PROXY, UDP, self.now)

    def wait(self) -> None:
        """Time passes."""
        self._pass(self.random.choice((0.1, 1.0, 5.0, 33.0, 70.0, 200.0)))

    def end(self) -> None:
        """The application ends a dialog."""
        if self.world.agent.legs:
            ending.end_leg(self.world.agent, self.random.choice(list(self.world.agent.legs.values())), self.now, "none")

    def lose(self) -> None:
        """The registration is lost, or an operator ends it."""
        if self._perhaps():
            ending.lines_lost(self.world.agent, {self.world.profile: "timeout"}, self.now)
        else:
            ending.profile_gone(self.world.agent, self.world.profile, "paused", self.now)

    def come_back(self) -> None:
        """The profile is registered again."""
        ending.line_changed(self.world.agent, self.world.profile, self.now)

    def die(self) -> None:
        """The application is gone."""
        ending.owners_gone(self.world.agent, [self.app], self.now)

    @property
    def now(self) -> float:
        return self.world.now

    def assert_nothing_left(self) -> None:
        """Without the application everything ends, in time and with a bounded number of timers."""
        self._pass(LONGEST)
        world = self.world
        agent, requests = world.agent, world.room.requests
        left = {
            "incoming": agent.incoming,
            "outgoing": agent.outgoing,
            "legs": agent.legs,
            "legs_by_dialog": agent.legs_by_dialog,
            "transactions": agent.server.by_key,
            "merged": agent.server.merged,
            "unacknowledged": agent.server.unacknowledged,
            "publications": agent.publications.by_number,
            "publishing": agent.publications.by_request,
            "subscriptions": agent.subscriptions.by_profile,
            "subscribing": agent.subscriptions.by_request,
            "usages": agent.subscriptions.by_usage,
            "early": agent.subscriptions.early,
            "notifiers": agent.notifiers.by_usage,
            "notifying": agent.notifiers.by_request,
            "outstanding": requests.outstanding,
            "by_key": requests.by_key,
            "refusals": requests.refusals,
            "cancels": requests.cancels,
        }
        assert {name: dict(table) for name, table in left.items() if table} == {}
        assert agent.server.open == 0

    def _receive(self, caller: Caller, method: str, branch: str) -> None:
        choose = self.random.choice
        more = {
            "INVITE": [choose(("Supported: 100rel", "Require: 100rel", "Supported: timer"))],
            "PRACK": [f"RAck: {caller.rseq} 1 INVITE"],
            "REFER": ["Refer-To: <sip:c@d.test>", choose(("Refer-Sub: false", "Refer-Sub: true"))],
            "SUBSCRIBE": ["Event: presence", choose(("Expires: 0", "Expires: 60"))],
            "NOTIFY": ["Event: presence", choose(("Subscription-State: active", "Subscription-State: terminated"))],
        }.get(method, [])
        cseq = 1 if method in ("ACK", "CANCEL") else caller.cseq
        to = "<sip:alice@example.test>" if method == "CANCEL" else caller.to
        body = choose((b"", b"v=0\r\n"))
        data = request(method, *more, call_id=caller.call_id, branch=branch, to=to, cseq=cseq, body=body)
        self.world.receive(data, caller.key)

    def _pass(self, seconds: float) -> None:
        world, end = self.world, self.now + seconds
        for _ in range(MOST_TIMERS):
            at = world.room.next_timer()
            if at is None or at > end:
                world.registrations.now = end
                return
            world.registrations.now = max(world.now, at)
            world.room.timer(world.now)
        pytest.fail(f"timers never end: it is {world.now}")

    def _look(self) -> None:
        """What has been sent is seen by the other side."""
        for _, _, data in self.world.sent[self._seen :]:
            message = parse(data)
            if isinstance(message, Request):
                if message.method not in ("ACK", "REGISTER"):
                    self.asked.append(message)
                continue
            for caller in self.callers:
                if caller.call_id == message.header("call-id") and tag_of(message.header("to")):
                    self._heard(caller, message)
        self._seen = len(self.world.sent)

    def _heard(self, caller: Caller, response: Response) -> None:
        caller.to = response.header("to") or ""
        caller.rseq = response.header("rseq") or caller.rseq

    def _recent(self, many: list[Any]) -> Any:
        return self.random.choice(many[-8:])

    def _perhaps(self) -> bool:
        return self.random.random() < 0.5


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_raises_and_nothing_is_left(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(STEPS):
        chaos.step()
    chaos.die()
    chaos.assert_nothing_left()
