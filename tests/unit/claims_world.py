"""Claims and their delivery without sockets and transactions: owners that note what they are told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

from sipprofile.claims import Claim
from sipprofile.errors import SipProfileError
from sipprofile.registration.actions import TransportKey
from sipprofile.service.activation import Activation
from sipprofile.service.claims import Claims
from sipprofile.service.criteria import Facts
from sipprofile.service.delivery import Delivery
from sipprofile.service.timers import Timers
from sipprofile.sip.message import Request, parse
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.incoming import Incoming

UDP = TransportKey("udp", "192.0.2.1", 5060)


def request(
    method: str = "MESSAGE", *headers: str, body: str = "", content_type: str = "text/plain", to_tag: str = ""
) -> Request:
    """A request for profile 1."""
    lines = [
        f"{method} sip:token-1@192.0.2.10:5060 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "From: <sip:bob@registrar.test>;tag=f",
        f"To: <sip:alice@registrar.test>{to_tag}",
        "Call-ID: c1",
        f"CSeq: 1 {method}",
        *headers,
        *([f"Content-Type: {content_type}"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    found = parse(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    assert isinstance(found, Request)
    return found


def facts(method: str = "MESSAGE", *headers: str, **more: Any) -> Facts:
    return Facts(request(method, *headers, **more))


class Owner:
    """Notes what it is told; ``answers`` is done when a request comes."""

    def __init__(self, label: str, answers: Callable[[Incoming], None] = lambda _: None) -> None:
        self.label = label
        self.told: list[tuple[str, int]] = []
        self.by: list[int] = []
        self.answers = answers

    def __repr__(self) -> str:
        return self.label

    def requested(self, incoming: Incoming, now: float) -> None:
        self.told.append(("requested", incoming.number))
        self.by.append(incoming.claim)
        self.answers(incoming)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        self.told.append((code, incoming.number))

    def acknowledged(self, *_: Any) -> None: ...

    provisionally_acknowledged = responded = failed = leg_changed = acknowledged


class FakeLine:
    profile = 1


class FakeLeg:
    """A dialog as far as delivery looks at it."""

    def __init__(self, owner: Any, profile: int = 1) -> None:
        self.owner = owner
        self.line = FakeLine()
        self.line.profile = profile


class FakeAgent:
    """The tables of the user agent."""

    def __init__(self) -> None:
        self.incoming: dict[int, Incoming] = {}
        self.legs_by_dialog: dict[tuple[str, str, str], Any] = {}


class World:
    """Claims, delivery and activation of one profile. ``sent`` is every response, by the request's number."""

    def __init__(self, activate: dict[str, float] | None = None, **of_claims: Any) -> None:
        self.now = 1000.0
        self.agent = FakeAgent()
        self.timers = Timers()
        self.effects: list[Any] = []
        self.sent: dict[int, list[Answer]] = {}
        self.gone: list[Any] = []
        self.claims = Claims(**of_claims)
        self.activation = Activation(activate or {}, self.claims, self.timers, self.effects.append, self.respond)
        self.delivery = Delivery(
            cast(Any, self.agent),
            self.claims,
            self.activation,
            self.respond,
            self.respond,
            lambda owners, _: self._owners_gone(owners),
        )

    def _owners_gone(self, owners: Collection[Any]) -> None:
        """As the user agent does: what waits for an answer of theirs gets 480."""
        self.gone += owners
        for incoming in self.agent.incoming.values():
            if incoming.owner in owners and not incoming.final:
                self.respond(incoming, Answer(480), self.now)

    def respond(self, incoming: Incoming, answer: Answer, now: float) -> Any:
        if incoming.final:
            raise SipProfileError("invalid_state", "It has a final answer.")
        if any(name.lower() == "via" for name, _ in answer.headers):
            raise SipProfileError("header_refused")
        self.sent.setdefault(incoming.number, []).append(answer)
        incoming.status = answer.status
        if incoming.request.method == "INVITE" and 100 < answer.status < 300 and incoming.leg is None:
            incoming.leg = cast(Any, FakeLeg(incoming.owner))
        return incoming.leg

    def owner(self, label: str, *claims: Claim, answers: Callable[[Incoming], None] = lambda _: None) -> Owner:
        """Somebody with these claims."""
        owner = Owner(label, answers)
        for claim in claims:
            self.claims.claim(owner, 1, claim, None, self.now)
        return owner

    def receive(self, method: str = "MESSAGE", *headers: str, port: int = 0, **more: Any) -> Incoming:
        """A request comes in."""
        key = TransportKey("udp", "127.0.0.1", 5070, local_port=port) if port else UDP
        number = len(self.agent.incoming) + 1
        incoming = Incoming(
            number, cast(Any, FakeLine()), request(method, *headers, **more), ("192.0.2.1", 5060), key, "t"
        )
        self.agent.incoming[number] = incoming
        self.delivery.deliver(incoming, self.now)
        return incoming

    def answer(self, owner: Any, incoming: Incoming, status: int = 200, **more: Any) -> Any:
        return self.delivery.respond(owner, incoming.number, Answer(status, **more), self.now)

    def statuses(self, incoming: Incoming) -> list[int]:
        """Of the responses that went out."""
        return [answer.status for answer in self.sent.get(incoming.number, [])]

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timers.next()) is not None and due <= end:
            self.now = max(due, self.now)
            self.timers.run(self.now)
        self.now = end
