"""A bridge between a registered profile and a local program: a scripted peer on either side, the clock is given."""

from __future__ import annotations

from random import Random
from typing import Any

from registration_world import World as RegistrationWorld

from sipprofile.errors import SipProfileError
from sipprofile.profile import Bridge as Settings
from sipprofile.profile import Profile
from sipprofile.registration import transactions
from sipprofile.registration.actions import Action, Send, TransportKey
from sipprofile.service.audit import Auditor
from sipprofile.service.bridge.bridge import Bridge
from sipprofile.service.effects import Audit
from sipprofile.sip.message import Request
from sipprofile.testing.peer import Exchange, Scripted, SipPeer
from sipprofile.testing.reply import Reply
from sipprofile.useragent import server
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Answer
from sipprofile.useragent.incoming import Incoming
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.profile_line import profile_line

PROXY = ("192.0.2.1", 5060)
PROGRAM = ("127.0.0.1", 5062)
PORT = 5080
LATENCY = 0.01
OFFER = b"v=0\r\no=offer\r\n"
SDP = "application/sdp"


class World:
    """``provider`` is the other side of the registration, ``program`` the local one; both answer by their scripts."""

    def __init__(self, **bridge: Any) -> None:
        self.registrations = RegistrationWorld()
        self.registrations.add(contact_user="token")
        self.registrations.run(1)
        self.room = self.registrations.registrations
        self.agent = UserAgent(self.room, self._deliver, b"secret")
        settings = Settings(**{"uri": "sip:box@127.0.0.1:5062", **bridge})
        self.aor = self.room.by_profile[1].plan.aor
        profile = Profile(id=1, aor=self.aor, bridge=settings)
        self.audit: list[Audit] = []
        auditor = Auditor(self.audit.append, lambda: 0.0)  # type: ignore[arg-type]
        self.bridge = Bridge(self.agent, profile, profile_line(self.agent, 1), self._respond, auditor)
        self.bridge.local.port = PORT
        self.agent.local_lines[PORT] = self.bridge.local
        self.provider = SipPeer("sip:bob@192.0.2.1:5060", random=Random(1), next_hop=PROXY)
        self.program = SipPeer("sip:box@127.0.0.1:5062", random=Random(2), next_hop=("127.0.0.1", PORT))
        self.program_gone = False
        self._sent = 0
        self._act, self.room.act = self.room.act, self._perform  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        return self.registrations.now

    def _deliver(self, incoming: Incoming, now: float) -> None:
        incoming.owner = self.bridge
        self.bridge.requested(incoming, now)

    def _respond(self, owner: Bridge, number: int, answer: Answer, now: float) -> Leg | None:
        incoming = self.agent.incoming.get(number)
        if incoming is None:
            raise SipProfileError("invalid_state")
        return server.respond(self.agent, incoming, answer, now)

    def _perform(self, action: Action) -> None:
        if not isinstance(action, Send) or action.data.startswith(b"REGISTER ") or not action.data.strip():
            self._act(action)
        elif not action.key.local_port:
            self.carry(self.provider, self.provider.receive(action.data, PROXY, self.now))
        elif self.program_gone:
            self._later(lambda: transactions.transport_lost(self.room, action.key, "transport_refused", self.now))
        else:
            assert (action.key.host, action.key.port) == PROGRAM
            self.carry(self.program, self.program.receive(action.data, PROGRAM, self.now))

    def carry(self, peer: SipPeer, replies: list[Reply]) -> None:
        """Let what a peer sends come in."""
        key = TransportKey("udp", *PROXY) if peer is self.provider else TransportKey("udp", *PROGRAM, local_port=PORT)
        for reply in replies:
            self._later(lambda data=reply.data: self._arrives(data, key), reply.delay)  # type: ignore[misc]

    def _later(self, what: Any, delay: float = 0.0) -> None:
        self._sent += 1  # what is sent later arrives later
        self.room.call_at(self.now + LATENCY + delay + 1e-6 * self._sent, lambda now: what())

    def _arrives(self, data: bytes, key: TransportKey) -> None:
        request = self.room.received(data, (key.host, key.port), key, self.now)
        if request is not None:
            server.received(self.agent, request, (key.host, key.port), key, self.now)

    # -- what a test does

    def run(self, seconds: float = 1.0) -> None:
        self.registrations.run(seconds)

    def settle(self) -> None:
        self.run(0.3)

    def send(self, peer: SipPeer, method: str, uri: str = "", **more: Any) -> Exchange:
        """A request of a peer, after which all is done that follows."""
        if not uri and "dialog" not in more:
            uri = "sip:token@192.0.2.10:5060" if peer is self.provider else "sip:bob@127.0.0.1:5080"
        exchange, replies = peer.request(method, uri, **more)
        self.carry(peer, replies)
        self.settle()
        return exchange

    def call(self, peer: SipPeer, **more: Any) -> Exchange:
        return self.send(peer, "INVITE", **{"body": OFFER, "content_type": SDP, **more})

    def cancel(self, peer: SipPeer, exchange: Exchange) -> None:
        self.carry(peer, peer.cancel(exchange))
        self.settle()

    def answer(self, peer: SipPeer, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        """The peer answers the request that came last."""
        waiting = [one for one in peer.requests if one.method not in ("ACK", "CANCEL")][-1]
        scripted = Scripted(status, headers=headers, body=body, content_type=SDP if body else None)
        self.carry(peer, peer.answer(waiting, scripted))
        self.settle()


def methods(peer: SipPeer) -> list[str]:
    """What came to a peer, in order."""
    return [request.method for request in peer.requests]


def last(peer: SipPeer, method: str) -> Request:
    return [request for request in peer.requests if request.method == method][-1]


def statuses(exchange: Exchange) -> list[int]:
    return [response.status for response in exchange.responses]
