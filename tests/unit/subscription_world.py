"""A registered profile, an application, and a peer that notifies, subscribes and calls; the clock is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from machine_driver import reply
from registration_world import World as RegistrationWorld
from server_world import PROXY, UDP, request

from sipprofile.registration.actions import Action, Send
from sipprofile.sip.message import Request, Response, parse
from sipprofile.useragent import client, server
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Answer, Draft
from sipprofile.useragent.incoming import Incoming
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.outgoing import Outgoing
from sipprofile.useragent.profile_line import profile_line

PEER = "sip:notifier@192.0.2.7"
LATENCY = 0.01

Peer = Callable[[Request], bytes | None]


class Application:
    """An owner that notes what it is told: ``(what, number of the request or leg, status or code)``."""

    def __init__(self, world: World, label: str = "app") -> None:
        self.world = world
        self.label = label
        self.told: list[tuple[Any, ...]] = []
        self.legs: list[Leg] = []
        """Each leg that was mentioned, as it was mentioned."""
        self.incoming: list[Incoming] = []
        self.answers: dict[str, int] = {}
        """By method: what it answers at once."""

    def requested(self, incoming: Incoming, now: float) -> None:
        self.incoming.append(incoming)
        self.told.append(("requested", incoming.leg.number if incoming.leg else 0, incoming.request.method))
        status = self.answers.get(incoming.request.method)
        if status and not incoming.final:
            server.respond(self.world.agent, incoming, Answer(status), now)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        self.told.append(("withdrawn", incoming.number, code))

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        self.told.append(("acknowledged", incoming.number, ack is not None))

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        self.told.append(("provisionally_acknowledged", incoming.number, rseq))

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        if leg is not None:
            self.legs.append(leg)
        self.told.append(("responded", outgoing.number, response.status))

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        self.told.append(("failed", outgoing.number, code))

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        self.legs.append(leg)
        self.told.append(("leg_changed", leg.number, code))

    def news(self) -> list[tuple[Any, ...]]:
        """What it was told since the last question."""
        told, self.told = self.told, []
        return told

    def codes(self) -> list[Any]:
        """Statuses, methods and codes since the last question."""
        return [entry[-1] for entry in self.news()]


class World:
    """Requests of the profile go to ``peer``; when that gives nothing they stay unanswered."""

    def __init__(self, **profile: Any) -> None:
        self.registrations = RegistrationWorld()
        self.registrations.add(contact_user="token", **profile)
        self.registrations.run(1)
        self.room = self.registrations.registrations
        self.agent = UserAgent(self.room, self._deliver, b"secret")
        self.line = profile_line(self.agent, 1)
        self.app = Application(self)
        self.sent: list[Request] = []
        """Requests other than REGISTER and retransmissions."""
        self.times: list[float] = []
        """When each of them was sent."""
        self.answered: list[Response] = []
        self.peer: Peer = lambda request: None
        self._branches: set[str | None] = set()
        self._count = 0
        self._seen = 0
        self._act, self.room.act = self.room.act, self._perform  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        return self.registrations.now

    def _deliver(self, incoming: Incoming, now: float) -> None:
        incoming.owner = self.app
        self.app.requested(incoming, now)

    def _perform(self, action: Action) -> None:
        if not isinstance(action, Send) or action.data.startswith(b"REGISTER ") or not action.data.strip():
            self._act(action)
            return
        message = parse(action.data)
        if isinstance(message, Response):
            self.answered.append(message)
            return
        if message.method != "ACK" and message.branch() in self._branches and message.method != "CANCEL":
            return
        self._branches.add(message.branch())
        self.sent.append(message)
        self.times.append(self.now)
        answer = self.peer(message)
        if answer is not None:
            self.later(answer)

    def later(self, data: bytes) -> None:
        """Let a response come in a moment."""
        self.room.call_at(self.now + LATENCY, lambda now: self.hear(data) and None)

    # -- what a test does

    def run(self, seconds: float) -> None:
        self.registrations.run(seconds)

    def until_sent(self, within: float = 4000) -> Request:
        """Let time pass until something is sent, and return it."""
        count, end = len(self.sent), self.now + within
        while len(self.sent) == count:
            at = self.room.next_timer()
            assert at is not None, "nothing will ever be sent"
            assert at <= end, f"nothing is sent within {within} s"
            self.run(max(0.0, at - self.now))
        return self.sent[-1]

    def settle(self) -> None:
        self.run(10 * LATENCY)

    def hear(self, data: bytes) -> None:
        """A response comes in."""
        assert self.room.received(data, PROXY, UDP, self.now) is None

    def answer(self, status: int, *headers: str, to: Request | None = None, tag: str = "peer") -> None:
        """The peer answers a request, the last one unless another is named."""
        self.hear(answered(to or self.sent[-1], status, *headers, tag=tag))

    def send(self, method: str, *headers: tuple[str, str], app: Application | None = None, **draft: Any) -> Outgoing:
        leg = draft.pop("leg", None)
        if leg is None:
            draft.setdefault("uri", "sip:bob@example.test")
        return client.send(
            self.agent, app or self.app, self.line, Draft(method, headers=headers, **draft), self.now, leg=leg
        )

    def subscribe(self, event: str = "presence", *headers: tuple[str, str], refresh: int = 3600, **draft: Any) -> int:
        """Send a SUBSCRIBE; the number of the request."""
        return self.send("SUBSCRIBE", ("Event", event), *headers, refresh=refresh, **draft).number

    def subscribed(self, event: str = "presence", seconds: int = 3600, **draft: Any) -> Leg:
        """A subscription that was granted, and whose first NOTIFY has come."""
        self.subscribe(event, **{"refresh": seconds, **draft})
        self.answer(200, f"Expires: {seconds}")
        self.notify(f"active;expires={seconds}", event)
        self.run(0)
        (leg,) = {each.number: each for each in self.app.legs[-1:]}.values()
        self.app.news()
        return leg

    def receive(self, data: bytes) -> int:
        """A request comes in; the status that it was answered with at once, 0 = none."""
        request = parse(data)
        assert isinstance(request, Request)
        before = len(self.answered)
        server.received(self.agent, request, PROXY, UDP, self.now)
        return self.answered[-1].status if len(self.answered) > before else 0

    def notify(
        self,
        state: str | None = "active;expires=3600",
        event: str = "presence",
        *headers: str,
        of: Request | None = None,
        tag: str = "peer",
    ) -> int:
        """The peer notifies, in the dialog of the last SUBSCRIBE or REFER unless another is named."""
        origin = of or [each for each in self.sent if each.method in ("SUBSCRIBE", "REFER", "INVITE")][-1]
        more = (f"Event: {event}",) if event else ()
        more += (f"Subscription-State: {state}",) if state is not None else ()
        return self.receive(self.within(origin, "NOTIFY", *more, *headers, tag=tag))

    def within(self, origin: Request, method: str, *headers: str, tag: str = "peer", cseq: int = 0) -> bytes:
        """A request of the peer in the dialog that ``origin``, which we sent, has made."""
        self._count += 1
        to = (origin.header("to") or "").partition(";tag=")[0]
        return request(
            method,
            *headers,
            branch=f"z9hG4bKp{self._count}",
            to=origin.header("from") or "",
            sender=f"{to};tag={tag}",
            call_id=origin.header("call-id") or "",
            cseq=cseq or self._count,
            contact=f"<{PEER}>",
        )

    def fresh(self, method: str | None = None) -> list[Request]:
        """What was sent since the last question."""
        new = [each for each in self.sent[self._seen :] if method in (None, each.method)]
        self._seen = len(self.sent)
        return new

    def methods(self) -> list[str]:
        """The methods of what was sent since the last question."""
        return [each.method for each in self.fresh()]

    def assert_nothing_left(self) -> None:
        """Nothing of subscriptions, publications, dialogs and requests is remembered."""
        self.run(200)
        agent = self.agent
        assert (agent.legs, agent.legs_by_dialog, agent.outgoing, agent.incoming) == ({}, {}, {}, {})
        table = agent.subscriptions
        assert (table.by_request, table.by_usage, table.early, table.by_profile, len(table)) == ({}, {}, {}, {}, 0)
        assert table._by_leg == {}
        assert (agent.publications.by_number, agent.publications.by_request) == ({}, {})
        assert (agent.notifiers.by_usage, agent.notifiers.by_request) == ({}, {})


def answered(request: Request, status: int, *headers: str, tag: str = "peer") -> bytes:
    """A response of the peer, with its tag and Contact."""
    data = reply(request, status, f"Contact: <{PEER}>", *headers)
    to = request.header("to") or ""
    return data if ";tag=" in to else data.replace(f"To: {to}".encode(), f"To: {to};tag={tag}".encode())
