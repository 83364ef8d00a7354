"""A user agent, its registered profile, and the server that its requests go to: a scripted peer and a given clock."""

from __future__ import annotations

from typing import Any

from machine_driver import UDP, Driver, reply, server

from sipprofile.registration.actions import TransportKey
from sipprofile.registration.profile_line import ProfileLine
from sipprofile.sip.message import Request, Response, build_request, parse
from sipprofile.useragent import client
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Draft
from sipprofile.useragent.incoming import Incoming
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.outgoing import Outgoing
from sipprofile.useragent.profile_line import profile_line

BOB = "sip:bob@example.test"
OFFER = b"v=0\r\n"


class FakeOwner:
    """Keeps what it is told, in order."""

    def __init__(self, label: str = "app") -> None:
        self.label = label
        self.told: list[tuple[Any, ...]] = []
        """``("responded", outgoing, status, leg)``, ``("failed", outgoing, code)``, ``("leg_changed", leg, code)``,
        ``("requested", incoming)``, ``("withdrawn", incoming, code)``, ``("acknowledged", incoming, ack)``,
        ``("provisionally_acknowledged", incoming, rseq)``."""
        self.responses: list[Response] = []

    def requested(self, incoming: Incoming, now: float) -> None:
        self.told.append(("requested", incoming))

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        self.told.append(("withdrawn", incoming, code))

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        self.told.append(("acknowledged", incoming, ack))

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        self.told.append(("provisionally_acknowledged", incoming, rseq))

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        self.responses.append(response)
        self.told.append(("responded", outgoing, response.status, leg))

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        self.told.append(("failed", outgoing, code))

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        self.told.append(("leg_changed", leg, code))

    @property
    def heard(self) -> list[Any]:
        """Statuses and codes since the last question, in order."""
        told, self.told = self.told, []
        return [entry[2] if len(entry) > 2 else entry[0] for entry in told]


class UserAgentWorld(Driver):
    """One registered profile of alice (number 1), and a peer that answers only when a test says so."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.acks: list[Request] = []
        """ACKs as they were sent, each time."""
        self.wire: list[tuple[TransportKey, Request]] = []
        """Every request but REGISTER with its way, retransmissions left out."""
        self._cancels: set[bytes] = set()
        self.registered(**changes)
        self.others = self._remember
        self.delivered: list[Incoming] = []
        self.user_agent = UserAgent(
            self.registrations, lambda incoming, now: self.delivered.append(incoming), b"secret"
        )
        self.owner = FakeOwner()

    @property
    def line(self) -> ProfileLine:
        return profile_line(self.user_agent, 1)

    def _remember(self, request: Request, key: TransportKey) -> None:
        self.wire.append((key, request))

    def _send(self, key: TransportKey, data: bytes) -> None:
        if not data.startswith((b"ACK ", b"CANCEL ")):
            super()._send(key, data)
            return
        request = parse(data)  # it may have its INVITE's branch
        assert isinstance(request, Request)
        if request.method == "ACK":
            self.acks.append(request)
        elif data in self._cancels:
            self.retransmissions.append((self.now, request))
        else:
            self._cancels.add(data)
            self.requests.append(request)
            self.wire.append((key, request))

    # -- what a test does

    def send(
        self, method: str = "MESSAGE", *, leg: Leg | None = None, owner: FakeOwner | None = None, **draft: Any
    ) -> Outgoing:
        """Send a request, to bob unless a leg or something else is named."""
        if leg is None:
            draft.setdefault("uri", BOB)
        outgoing = client.send(self.user_agent, owner or self.owner, self.line, Draft(method, **draft), self.now, leg)
        self.settle()
        return outgoing

    def invite(self, **draft: Any) -> Outgoing:
        draft.setdefault("body", OFFER)
        if draft["body"]:
            draft.setdefault("content_type", "application/sdp")
        return self.send("INVITE", **draft)

    def respond(self, status: int, *headers: str, tag: str = "", to: Request | None = None, contact: str = "") -> None:
        """The peer answers a request, the last one unless another is named; ``tag`` goes into its To."""
        request = to or self.requests[-1]
        if contact:
            headers = (*headers, f"Contact: <{contact}>")
        data = reply(request, status, *headers)
        line = f"To: {request.header('to')}"
        if tag and ";tag=" not in line:
            data = data.replace(line.encode(), f"{line};tag={tag}".encode())
        self.receive(data)

    def receive(self, data: bytes, key: TransportKey = UDP) -> Request | None:
        """A message comes in; a request is returned."""
        request = self.registrations.received(data, (key.host, key.port), key, self.now)
        self.settle()
        return request

    def request_in(self, leg: Leg, method: str, cseq: int, *headers: tuple[str, str], body: bytes = b"") -> bytes:
        """What the other side of a leg would send."""
        dialog = leg.dialog
        lines = [
            ("Via", f"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKpeer{cseq}{method}"),
            ("From", dialog.to_value),
            ("To", dialog.from_value),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{cseq} {method}"),
            *headers,
        ]
        return build_request(method, self.flow().contact, lines, body)

    def call(self, tag: str = "bob", **draft: Any) -> Leg:
        """An INVITE that bob has answered."""
        self.invite(**draft)
        self.respond(200, tag=tag, contact="sip:bob@203.0.113.7")
        (leg,) = [entry[3] for entry in self.owner.told if entry[0] == "responded" and entry[2] == 200]
        self.owner.told.clear()
        return leg

    @property
    def last(self) -> Request:
        """The last request that was sent."""
        return self.requests[-1]

    def assert_nothing_left(self) -> None:
        """After a minute nothing of what was sent is remembered."""
        self.run(300)
        requests = self.registrations.requests
        assert (requests.outstanding, requests.by_key, requests.refusals) == ({}, {}, {})
        assert (requests.cancels, requests.opening, self.user_agent.outgoing) == ({}, {}, {})


__all__ = ["BOB", "OFFER", "FakeOwner", "UserAgentWorld", "server"]
