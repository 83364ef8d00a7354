"""One profile's user agent as callers see it: requests go in as bytes, what it sends comes out parsed."""

from __future__ import annotations

from typing import Any

from registration_world import World as RegistrationWorld

from sipprofile.registration.actions import Send, TransportKey
from sipprofile.sip.message import Request, Response, parse
from sipprofile.useragent import server
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.incoming import Incoming
from sipprofile.useragent.leg import Leg

PROXY = ("192.0.2.1", 5060)
UDP = TransportKey("udp", *PROXY)
TCP = TransportKey("tcp", *PROXY)


class Application:
    """An owner that notes what it is told, and may answer at once."""

    label = "test"

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[tuple[Any, ...]] = []
        self.incoming: list[Incoming] = []
        self.at_once: int = 0

    def requested(self, incoming: Incoming, now: float) -> None:
        self.incoming.append(incoming)
        self.heard.append(("requested", incoming.request.method, incoming.status))
        if self.at_once and not incoming.final:
            server.respond(self.world.agent, incoming, Answer(self.at_once), now)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        self.heard.append(("withdrawn", incoming.request.method, code))

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        self.heard.append(("acknowledged", None if ack is None else ack.body))

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        self.heard.append(("provisionally_acknowledged", rseq))

    def responded(self, outgoing: Any, response: Response, leg: Leg | None, now: float) -> None:
        self.heard.append(("responded", response.status))

    def failed(self, outgoing: Any, code: str, now: float) -> None:
        self.heard.append(("failed", code))

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        self.heard.append(("leg_changed", leg.state, code))


class World:
    """A registered profile ``token`` and one application that gets everything."""

    def __init__(self, **limits: int) -> None:
        self.registrations = RegistrationWorld()
        self.profile = self.registrations.add(contact_user="token")
        self.registrations.run(1.0)
        self.room = self.registrations.registrations
        self.agent = UserAgent(self.room, self._deliver, b"secret", **limits)
        self.application: Application | None = Application(self)
        self.sent: list[tuple[float, TransportKey, bytes]] = []
        self.act = self.room.act
        """What the registrations' own world does with actions."""
        self.room.act = self._act  # type: ignore[method-assign]
        self._count = 0

    @property
    def owner(self) -> Application:
        assert self.application is not None
        return self.application

    @property
    def now(self) -> float:
        return self.registrations.now

    def _act(self, action: Any) -> None:
        if isinstance(action, Send) and action.data.strip():  # keepalives are not looked at
            self.sent.append((self.now, action.key, action.data))

    def _deliver(self, incoming: Incoming, now: float) -> None:
        if self.application is None:
            server.decline(self.agent, incoming, 480, (), now)
            return
        incoming.owner = self.application
        self.application.requested(incoming, now)

    def receive(self, data: bytes, key: TransportKey = UDP, source: tuple[str, int] = PROXY) -> list[Response]:
        """Put a request in; what is sent because of it at once."""
        request = parse(data)
        assert isinstance(request, Request)
        before = len(self.sent)
        server.received(self.agent, request, source, key, self.now)
        return self.responses(before)

    def responses(self, since: int = 0) -> list[Response]:
        parsed = [parse(data) for _, _, data in self.sent[since:]]
        return [message for message in parsed if isinstance(message, Response)]

    def statuses(self, since: int = 0) -> list[int]:
        return [response.status for response in self.responses(since)]

    def respond(self, status: int, incoming: Incoming | None = None, **answer: Any) -> Leg | None:
        return server.respond(self.agent, incoming or self.owner.incoming[-1], Answer(status, **answer), self.now)

    def run(self, seconds: float) -> list[tuple[float, int]]:
        """Let time pass; what was answered meanwhile, and after how many seconds."""
        begin, before = self.now, len(self.sent)
        end = begin + seconds
        while (at := self.room.next_timer()) is not None and at <= end:
            self.registrations.now = max(self.now, at)
            self.room.timer(self.now)
        self.registrations.now = end
        found = []
        for at, _, data in self.sent[before:]:
            message = parse(data)
            if isinstance(message, Response):
                found.append((round(at - begin, 3), message.status))
        return found


def request(
    method: str = "MESSAGE",
    *extra: str,
    uri: str = "sip:token@192.0.2.10:5060",
    branch: str = "z9hG4bK1",
    via: str = "",
    to: str = "<sip:alice@example.test>",
    sender: str = "<sip:bob@example.test>;tag=f",
    call_id: str = "c1",
    cseq: int = 1,
    contact: str = "<sip:bob@192.0.2.7>",
    body: bytes = b"",
) -> bytes:
    """A request from bob."""
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via or f'SIP/2.0/UDP 192.0.2.1:5060;branch={branch}'}",
        "Max-Forwards: 70",
        f"From: {sender}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        *((f"Contact: {contact}",) if contact else ()),
        *extra,
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def called(world: World, **answer: Any) -> str:
    """bob's call is answered and acknowledged; our To with its tag."""
    (ok,) = answered(world, **answer)
    to = ok.header("to") or ""
    world.receive(request("ACK", to=to, branch="z9hG4bKack"))
    world.owner.heard.clear()
    world.sent.clear()
    return to


def answered(world: World, **answer: Any) -> list[Response]:
    world.receive(request("INVITE"))
    before = len(world.sent)
    world.respond(200, **answer)
    return world.responses(before)
