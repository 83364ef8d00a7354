"""A world around the registrations for their tests: registrars without sockets, names without DNS, a given clock."""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

from sipprofile.agents.base import Agent
from sipprofile.agents.ietf import IetfAgent
from sipprofile.events import RegistrationState, StateChanged
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import FlowRecord, ProfileRecord, RuntimeWrite
from sipprofile.registration.actions import Action, OpenTransport, Resolve, Send, TransportKey
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request, parse
from sipprofile.testing.registrar import Binding, Registrar

LOCAL = ("192.0.2.10", 5060)
LATENCY = 0.01  # seconds, one way
AOR = "sip:alice@example.test"
REGISTRAR = "192.0.2.1"
WALL_OFFSET = 1_700_000_000.0


class World:
    """One set of registrations and the network it sees."""

    def __init__(
        self, *, seed: int = 1, settings: RegistrationSettings | None = None, agent: Agent | None = None
    ) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.agent = agent or IetfAgent()
        self.registrars: dict[str, Registrar] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.refused: set[str] = set()
        """Addresses whose port is closed."""
        self.events: list[StateChanged] = []
        self.sent: list[tuple[float, TransportKey, bytes]] = []
        self.rows: list[RuntimeWrite] = []
        self._actions: list[Action] = []
        self._saves: list[FlowRecord] = []
        self._arrivals: list[tuple[float, int, TransportKey, bytes, bool]] = []
        self._count = 0
        self.profiles: dict[int, Profile] = {}
        self.registrar = self.add_registrar(REGISTRAR)
        self.registrations = Registrations(
            settings=settings or RegistrationSettings(),
            random=Random(seed + 1),
            emit=lambda change: self.events.append(change.kept()),
            save=self._save,
            act=self._actions.append,
            wall_offset=WALL_OFFSET,
            boot_id="boot",
        )

    def add_registrar(self, address: str) -> Registrar:
        """Another registrar, with the same user, at this address."""
        self.registrars[address] = Registrar("example.test", {"alice": "secret"}, random=self.random)
        return self.registrars[address]

    # What a test does

    def add(self, number: int = 1, *, wanted: bool = True, **changes: Any) -> int:
        """Add a profile of alice at REGISTRAR."""
        self.profiles[number] = profile = a_profile(number, **changes)
        self.agent.validate(profile)
        record = ProfileRecord(profile, 1, flows=(self.registrations.new_flow(number),))
        self.registrations.add(record, self.agent, self.now, wanted=wanted, waiting=wanted)
        self.settle()
        return number

    def want(self, wanted: bool, number: int = 1) -> None:
        self.registrations.want(number, wanted, self.now, waiting=wanted)
        self.settle()

    def update(self, number: int = 1, **changes: Any) -> None:
        """Save the profile with these fields changed."""
        old = self.profiles[number]
        values = {name: getattr(old, name) for name in Profile.__struct_fields__}
        self.profiles[number] = new = Profile(**{**values, **changes})
        self.registrations.update(old, ProfileRecord(new, 2), self.agent, self.now)
        self.settle()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            timer = self.registrations.next_timer()
            arrival = self._arrivals[0][0] if self._arrivals else None
            times = [time for time in (timer, arrival) if time is not None and time <= end]
            if not times:
                break
            self.now = max(self.now, min(times))
            while self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, key, data, outward = heapq.heappop(self._arrivals)
                self._arrive(key, data, outward)
                self.settle()
            if timer is not None and timer <= self.now:
                self.registrations.timer(self.now)
                self.settle()
        self.now = end

    def settle(self) -> None:
        """Do everything that was asked for."""
        while self._actions or self._saves:
            saves, self._saves = self._saves, []
            for row in saves:
                self.registrations.saved(row, self.now)
            actions, self._actions[:] = self._actions[:], []
            for action in actions:
                self._perform(action)

    # What a test asks

    def state(self, number: int = 1) -> RegistrationState:
        return self.registrations.state(number)

    @property
    def status(self) -> str:
        return self.state().status

    def bindings(self, registrar: Registrar | None = None) -> list[Binding]:
        return (registrar or self.registrar).bindings(AOR, self.now)

    def registers(self) -> list[tuple[float, TransportKey, bytes]]:
        """What was sent but keepalives."""
        return [sent for sent in self.sent if sent[2].strip()]

    def requests(self) -> list[Request]:
        """Every message sent, retransmissions included."""
        parsed = [parse(data) for _, _, data in self.registers()]
        return [message for message in parsed if isinstance(message, Request)]

    def answers(self, registrar: Registrar | None = None) -> list[int]:
        """The status of every answer to a REGISTER that was no retransmission."""
        return [seen.status for seen in (registrar or self.registrar).log if not seen.retransmission]

    def names_of_events(self) -> list[str]:
        return [event.event for event in self.events]

    # The network

    def _save(self, row: RuntimeWrite) -> None:
        self.rows.append(row)
        if isinstance(row, FlowRecord):
            self._saves.append(row)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Resolve):
            question = action.question
            addresses = self.names.get(question.name) if question.kind == "ADDRESS" else None
            if addresses is None:
                self.registrations.resolve_failed(question, "resolve_not_found", 60.0, self.now)
            else:
                self.registrations.resolved(question, addresses, 300.0, self.now)
        elif isinstance(action, OpenTransport):
            self.registrations.transport_opened(action.key, LOCAL, self.now)
        elif isinstance(action, Send):
            self.sent.append((self.now, action.key, action.data))
            if action.key.host in self.refused:
                self.registrations.transport_failed(action.key, "transport_refused", "Connection refused.", self.now)
            else:
                self._later(LATENCY, action.key, action.data, outward=True)

    def _later(self, delay: float, key: TransportKey, data: bytes, *, outward: bool) -> None:
        self._count += 1
        heapq.heappush(self._arrivals, (self.now + delay, self._count, key, data, outward))

    def _arrive(self, key: TransportKey, data: bytes, outward: bool) -> None:
        if not outward:
            self.registrations.received(data, (key.host, key.port), key, self.now)
            return
        registrar = self.registrars.get(key.host)
        if registrar is not None:
            for reply in registrar.receive(data, LOCAL, self.now):
                self._later(LATENCY + reply.delay, key, reply.data, outward=False)


def a_profile(number: int = 1, **changes: Any) -> Profile:
    """A profile of alice at REGISTRAR."""
    values: dict[str, Any] = {
        "id": number,
        "name": f"profile{number}",
        "aor": AOR,
        "registrar": server(),
        "instance_id": "00000000-0000-4000-8000-000000000001",
    }
    return Profile(**{**values, **changes})


def server(address: str = REGISTRAR, password: str | None = "secret", **more: Any) -> ServerParameters:
    return ServerParameters(uri=f"sip:{address}", password=password, **more)
