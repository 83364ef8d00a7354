"""Drives the registration machine by hand: a scripted registrar, a given clock, invariants checked after every step."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec

from sipprofile.agents.base import Agent
from sipprofile.agents.ietf import IetfAgent
from sipprofile.events import RegistrationState, StateChanged
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import RESERVED_BLOCK, FlowRecord, ProfileRecord, TransitionRecord
from sipprofile.registration.actions import (
    Action,
    CloseTransport,
    FetchToken,
    ForgetNames,
    OpenTransport,
    Probe,
    Resolve,
    Send,
    TransportKey,
)
from sipprofile.registration.registration import (
    DEREGISTER,
    FETCHING,
    IDLE,
    OPENING,
    QUEUED,
    RESERVING,
    RESOLVING,
    SENT,
    WAITING,
    Flow,
    Registration,
)
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.registration.state import status_of
from sipprofile.sip import stun
from sipprofile.sip.digest import ha1, verify
from sipprofile.sip.locating import Question, Record
from sipprofile.sip.message import Request, parse

LATENCY = 0.01  # seconds, there and back
FEW = 20  # flows that are all looked at after each input; with more of them, each is after as many inputs as it takes
WALL = 1_700_000_000.0
UDP = TransportKey("udp", "192.0.2.1", 5060)
TCP = TransportKey("tcp", "192.0.2.1", 5060)

Answer = Callable[[Request, TransportKey], bytes | None]
StunAnswer = Callable[[bytes], bytes | None]
"""From the transaction id of a Binding request to the answer."""


def reply(request: Request, status: int, *headers: str, phrase: str = "Phrase") -> bytes:
    """A response with the headers that RFC 3261 §8.2.6.2 asks for."""
    lines = [f"SIP/2.0 {status} {phrase}"]
    lines += [f"{name}: {request.header(name.lower())}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
    lines += [*headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def answer(status: int, *headers: str, phrase: str = "Phrase") -> Answer:
    return lambda request, _: reply(request, status, *headers, phrase=phrase)


def silence(request: Request, key: TransportKey) -> None:
    """No answer at all."""


def ok(grant: int | None = None, *others: str) -> Answer:
    """A 200 that lists our contact (unless it was removed) with ``grant`` or what was asked for, after ``others``."""

    def respond(request: Request, _: TransportKey) -> bytes:
        contacts = list(others)
        expires = request.header("expires")
        for contact in request.headers("contact"):
            if "expires=0" not in contact:
                contacts.append(f"{contact};expires={grant if grant is not None else expires}")
        return reply(request, 200, *(f"Contact: {contact}" for contact in contacts))

    return respond


def challenge(nonce: str = "n1", realm: str = "example.test", more: str = ', qop="auth"', status: int = 401) -> Answer:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return answer(status, f'{name}: Digest realm="{realm}", nonce="{nonce}"{more}')


def digest(password: str = "secret", more: str = ', qop="auth"', grant: int | None = None) -> Answer:
    """A registrar that wants this password."""

    def respond(request: Request, key: TransportKey) -> bytes | None:
        value = request.header("authorization")
        good = value is not None and verify(
            value, method="REGISTER", ha1=lambda user, realm, algorithm: ha1(algorithm, user, realm, password)
        )
        return (ok(grant) if good else challenge(more=more))(request, key)

    return respond


def subscribed(expires: int | None = None, tag: str = "notifier") -> Answer:
    """A 200 that grants a subscription; anything else gets 200 as well."""

    def respond(request: Request, _: TransportKey) -> bytes:
        granted = request.header("expires") if expires is None else str(expires)
        to = request.header("to") or ""
        data = reply(request, 200, f"Expires: {granted}", "Contact: <sip:notifier@192.0.2.1>")
        return data if ";tag=" in to else data.replace(f"To: {to}".encode(), f"To: {to};tag={tag}".encode())

    return respond


class Driver:
    """Registrations, and the world around them. ``answers`` come first, then ``always``; they may be set per host."""

    def __init__(
        self,
        *,
        settings: RegistrationSettings | None = None,
        agent: Agent | None = None,
        seed: int = 1,
        now: float = 1000.0,
        boot_id: str = "boot",
        wall_offset: float = WALL,
    ) -> None:
        self.now = now
        self.agent = agent or IetfAgent()
        self.settings = settings or RegistrationSettings()
        self.seed = seed
        self.answers: deque[Answer] = deque()
        self.always: Answer = ok()
        self.hosts: dict[str, Answer] = {}
        """By address: what it always answers."""
        self.names: dict[str, tuple[str, ...]] = {}
        self.records: dict[Question, tuple[Record, ...]] = {}
        """SRV and NAPTR records."""
        self.ttl = 300.0
        self.unanswered_names: set[str] = set()
        self.refused: set[str | TransportKey] = set()
        """Addresses, or connections."""
        self.unopened: set[str | TransportKey] = set()
        self.mtu = 0
        """Of every path."""
        self.local = {"udp": ("198.51.100.1", 5060), "tcp": ("198.51.100.1", 40000)}
        self.cut_off = False
        """There is no network at all."""
        self.out_of_reach: set[str] = set()
        """Hosts to which there is no way."""
        self.gone: set[str] = set()
        """Local addresses that connections had and the machine has no longer."""
        self.used: dict[TransportKey, str] = {}
        """The local address of each connection."""
        self.probes: list[TransportKey] = []
        self.forgotten = 0
        """How often kept answers of name servers were dropped."""
        self.saving = True
        self.profiles: dict[int, Profile] = {}
        self.rows: dict[int, FlowRecord] = {}
        """The first flow of each profile, as it is on disk."""
        self.further_rows: dict[tuple[int, int], FlowRecord] = {}
        """Other flows, by profile and reg-id."""
        self.reserved: dict[int, int] = {}
        """The highest CSeq number reserved on disk for the first flow of each profile."""
        self.history: list[TransitionRecord] = []
        self.changes: list[StateChanged] = []
        self.sends: list[tuple[float, TransportKey, Request]] = []
        """Every REGISTER but retransmissions."""
        self.requests: list[Request] = []
        """Every other request but retransmissions."""
        self.others: Answer = subscribed()
        """What answers those."""
        self.retransmissions: list[tuple[float, Request]] = []
        self.keepalives: list[tuple[float, TransportKey]] = []
        """CRLF pings."""
        self.pongs = False
        """Whether pings on connections are answered."""
        self.stun_requests: list[tuple[float, bytes]] = []
        """With their transaction ids, retransmissions included."""
        self.stun: StunAnswer = lambda transaction: None
        self.asked: list[Question] = []
        self.token: tuple[str, float | None] | None = None
        """What a source of access tokens gives, and for how long; ``None``: nothing."""
        self.silent_source = False
        self.fetches: list[float] = []
        """When a token was asked for."""
        self.open: set[TransportKey] = set()
        self.closed: list[TransportKey] = []
        self._seen = 0
        self._unchecked = 0
        """Inputs since everything was looked at, times :data:`FEW`."""
        self._seen_changes = 0
        self._actions: list[Action] = []
        self._unsaved: list[FlowRecord] = []
        self._arrivals: list[tuple[float, int, TransportKey, bytes]] = []
        self._arrived = 0
        self._branches: dict[str, bytes | None] = {}
        self._cseq: dict[tuple[str | None, ...], int] = {}
        self.registrations = self._registrations(boot_id, wall_offset)

    def _registrations(self, boot_id: str, wall_offset: float) -> Registrations:
        return Registrations(
            settings=self.settings,
            random=Random(self.seed),
            emit=lambda change: self.changes.append(change.kept()),
            save=self._save,
            act=self._actions.append,
            wall_offset=wall_offset,
            boot_id=boot_id,
        )

    # -- what a test does --------------------------------------------------------------------------------------------

    def add(self, number: int = 1, *, wanted: bool = True, **changes: Any) -> None:
        """Add a profile; with ``wanted`` somebody waits for it."""
        self.profiles[number] = profile = a_profile(number, **changes)
        self.agent.validate(profile)
        flow = self.registrations.new_flow(number)
        self.rows[number] = flow
        self.reserved[number] = flow.cseq_reserved
        self.registrations.add(ProfileRecord(profile, 1, "", (flow,)), self.agent, self.now, wanted=False)
        if wanted:
            self.want(number)
        self.settle()

    def registered(self, number: int = 1, **changes: Any) -> None:
        """Add a profile and have it registered."""
        self.add(number, **changes)
        self.run(1)
        self.assert_status("registered", number=number)
        self.sent()
        self.events()

    def want(self, number: int = 1, wanted: bool = True, *, waiting: bool = True) -> None:
        self.registrations.want(number, wanted, self.now, waiting=waiting)
        self.settle()

    def disable(self, number: int = 1) -> None:
        self.want(number, False)

    def update(self, number: int = 1, **changes: Any) -> None:
        old = self.profiles[number]
        self.profiles[number] = new = msgspec.structs.replace(old, **changes)
        self.agent.validate(new)
        self.registrations.update(old, ProfileRecord(new, 2), self.agent, self.now)
        self.settle()

    def remove(self, number: int = 1) -> None:
        del self.profiles[number], self.rows[number]
        self.further_rows = {key: row for key, row in self.further_rows.items() if key[0] != number}
        self.registrations.remove(number, self.now)
        self.settle()

    def hold(self, held: Any, number: int = 1) -> None:
        self.registrations.hold(number, held, self.now)
        self.settle()

    def retry_now(self, number: int = 1) -> None:
        self.registrations.retry_now(number, self.now)
        self.settle()

    def stop(self, *, deregister: bool) -> None:
        self.registrations.stop(deregister, self.now)
        self.settle()

    def fail(self, key: TransportKey, code: str = "transport_closed") -> None:
        """The transport ``key`` is lost."""
        self.open.discard(key)
        self.registrations.transport_failed(key, code, "", self.now)
        self.settle()

    def unreachable(self, host: str) -> bool:
        """Whether no local address leads to ``host``."""
        return self.cut_off or host in self.out_of_reach

    def move(self, host: str, *addresses: str) -> None:
        """The way out is from ``host`` now; it and ``addresses`` are the local ones."""
        for protocol, (before, port) in self.local.items():
            if port and before != host:
                self.local[protocol] = (host, port)
        self.change_network(host, *addresses)

    def change_network(self, *addresses: str) -> None:
        """The system tells of a change; the local addresses are ``addresses`` now."""
        self.registrations.network_changed(frozenset(addresses), self.now)
        self.settle()

    def resume(self, slept: float) -> None:
        """The machine wakes up."""
        self.now += slept
        self.registrations.resumed(slept, self.now)
        self.registrations.timer(self.now)
        self.settle()

    def save_now(self) -> None:
        """Everything that waits for the disk is on it."""
        self._write()
        self.settle()

    def _write(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        for row in unsaved:
            awaited = row.number > 1 or row.leaving  # the store tells of no others, see Journal.append()
            if row.profile in self.profiles and row.number == 1:
                self.rows[row.profile] = row
                before = self.reserved[row.profile]
                awaited = awaited or row.cseq_reserved != before
                self.reserved[row.profile] = max(before, row.cseq_reserved)
            elif row.profile in self.profiles:
                self.further_rows[row.profile, row.number] = row
            if awaited:
                self.registrations.saved(row, self.now)

    def crash(self, down: float = 1.0, *, boot_id: str = "boot", wall_offset: float = WALL, held: Any = "") -> None:
        """Kill and start again; only what is on disk survives, and the store raises the reserved CSeq numbers."""
        self._actions.clear()
        self._unsaved.clear()
        self._arrivals.clear()
        self.open.clear()
        self.now += down
        self.seed += 1
        self.registrations = self._registrations(boot_id, wall_offset)
        for number, profile in self.profiles.items():
            row = self.rows[number]
            rows = [row, *(other for key, other in sorted(self.further_rows.items()) if key[0] == number)]
            rows = [msgspec.structs.replace(row, cseq_reserved=row.cseq_reserved + RESERVED_BLOCK) for row in rows]
            self.rows[number] = rows[0]
            self.reserved[number] += RESERVED_BLOCK
            self.further_rows.update({(number, row.number): row for row in rows[1:]})
            self.registrations.add(ProfileRecord(profile, 1, held, tuple(rows)), self.agent, self.now, wanted=False)
        self.settle()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(1_000_000):
            timer = self.registrations.next_timer()
            times = [at for at in (timer, self._arrivals[0][0] if self._arrivals else None) if at is not None]
            if not times or min(times) > end:
                if self._unchecked:
                    self._check()
                self.now = end
                return
            self.now = max(self.now, min(times))
            while self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, key, data = heapq.heappop(self._arrivals)
                self.registrations.received(data, (key.host, key.port), key, self.now)
                self.settle()
            if timer is not None and timer <= self.now:
                self.registrations.timer(self.now)
                self.settle()
        raise AssertionError("the machine never rests")

    def run_to_register(self, within: float = 7200) -> float:
        """Let time pass until the next REGISTER is sent, and answered if it is at all; how long that took."""
        start, known = self.now, len(self.sends)
        while len(self.sends) == known:
            timer = self.registrations.next_timer()
            assert timer is not None, "nothing will ever be sent"
            assert timer - start <= within, f"nothing is sent within {within} s"
            self.run(max(timer - self.now, 0))
        waited = self.sends[known][0] - start
        self.run(10 * LATENCY)
        return waited

    def answer_after_all(self, respond: Answer) -> None:
        """The last request was unanswered so far; its next retransmission is answered."""
        _, key, request = self.sends[-1]
        branch = request.branch()
        assert branch is not None
        self._branches[branch] = respond(request, key)

    def come_back(self, respond: Answer) -> None:
        """From now on everything is answered, retransmissions of what was not answered too."""
        self.always = respond
        for _, key, request in self.sends:
            branch = request.branch()
            assert branch is not None
            if self._branches[branch] is None:
                self._branches[branch] = respond(request, key)

    def settle(self) -> None:
        """Do what was asked for, then check that nothing is broken."""
        while self._actions or (self.saving and self._unsaved):
            actions, self._actions[:] = self._actions[:], []
            for action in actions:
                self._perform(action)
            if self.saving and self._unsaved:
                self._write()
        self._unchecked += FEW
        if self._unchecked >= len(self.registrations.flows):
            self._check()

    def _check(self) -> None:
        check(self.registrations, self.now)
        self._unchecked = 0

    def deliver(self, data: bytes) -> Any:
        """A request comes in; the answer to it when it is for the registrations themselves."""
        message = self.registrations.received(data, (UDP.host, UDP.port), UDP, self.now)
        assert message is not None
        answer = self.registrations.requested(message, self.now)
        self.run(0)
        return answer

    # -- what a test asks --------------------------------------------------------------------------------------------

    def state(self, number: int = 1) -> RegistrationState:
        return self.registrations.state(number)

    def flow(self, number: int = 1, reg_id: int = 1) -> Flow:
        (found,) = (flow for flow in self.registrations.by_profile[number].flows if flow.number == reg_id)
        return found

    def sent(self) -> list[Request]:
        """The REGISTERs since the last question, retransmissions aside."""
        new = [request for _, _, request in self.sends[self._seen :]]
        self._seen = len(self.sends)
        return new

    def sent_register(self) -> Request:
        """The one REGISTER since the last question."""
        sent = self.sent()
        assert len(sent) == 1, f"{len(sent)} REGISTERs were sent"
        return sent[0]

    def assert_quiet(self) -> None:
        assert not self.sent()

    def events(self, number: int = 1) -> list[str]:
        """The names of the events since the last question."""
        new = self.changes[self._seen_changes :]
        self._seen_changes = len(self.changes)
        return [change.event for change in new if change.profile == number]

    def assert_status(
        self, status: str, code: str | None = None, *, error: str | None = None, number: int = 1
    ) -> RegistrationState:
        """``code`` is that of the reason, ``error`` that of the last failure under a living lease."""
        state = self.state(number)
        assert state.status == status, state
        if code is not None:
            assert state.reason.code == code, state
        if error is not None:
            assert state.last_error is not None, state
            assert state.last_error.code == error, state
        return state

    def next_try(self, number: int = 1) -> float:
        """Seconds until the next try."""
        at = self.state(number).next_try
        assert at is not None, "there is no next try"
        return at - self.registrations.wall_offset - self.now

    # -- the world ---------------------------------------------------------------------------------------------------

    def _save(self, row: Any) -> None:
        if isinstance(row, FlowRecord):
            self._unsaved.append(row)
        else:
            self.history.append(row)

    def _perform(self, action: Action) -> None:
        machine = self.registrations
        if isinstance(action, Resolve):
            question = action.question
            self.asked.append(question)
            if question.kind == "ADDRESS":
                records: tuple[Record, ...] | None = self.names.get(question.name)
            else:
                records = self.records.get(question)
            if question.name in self.unanswered_names:
                return
            if records is None:
                machine.resolve_failed(question, "resolve_not_found", 60.0, self.now)
            else:
                machine.resolved(question, records, self.ttl, self.now)
        elif isinstance(action, OpenTransport):
            if action.key.host in self.unopened or action.key in self.unopened:
                return
            protocol = action.key.protocol
            if protocol != "udp":
                if action.key.host in self.refused or action.key in self.refused:
                    machine.transport_failed(action.key, "transport_refused", "", self.now)
                    return
                if self.unreachable(action.key.host):
                    machine.transport_failed(action.key, "transport_unreachable", "", self.now)
                    return
                self.open.add(action.key)
                self.used[action.key] = self.local[protocol][0]
                host, port = self.local[protocol]
                self.local[protocol] = (host, port + 1 if port else 0)
            elif self.unreachable(action.key.host):
                machine.transport_failed(action.key, "transport_unreachable", "", self.now)
                return
            mtu = self.mtu if protocol == "udp" else 0
            machine.transport_opened(action.key, self.local[protocol], self.now, mtu)
        elif isinstance(action, FetchToken):
            self.fetches.append(self.now)
            if self.silent_source:
                return
            if self.token is None:
                machine.token_not_fetched(action.source, self.now)
            else:
                machine.token_fetched(action.source, *self.token, self.now)
        elif isinstance(action, Probe):
            self._probe(action.key)
        elif isinstance(action, ForgetNames):
            self.forgotten += 1
        elif isinstance(action, CloseTransport):
            self.open.discard(action.key)
            self.closed.append(action.key)
        elif isinstance(action, Send):
            self._send(action.key, action.data)

    def _probe(self, key: TransportKey) -> None:
        self.probes.append(key)
        host, port = self.local[key.protocol]
        local = None if self.unreachable(key.host) else (host, port if key.protocol == "udp" else 0)
        used = self.used[key] if key in self.open else None
        if used in self.gone:
            used = ""
        self.registrations.transport_probed(key, local, used, self.mtu, self.now)

    def _send(self, key: TransportKey, data: bytes) -> None:
        if not data.strip():
            self.keepalives.append((self.now, key))
            if self.pongs and key.protocol != "udp":
                self._arrive(key, b"\r\n")
            return
        if stun.is_stun(data):
            self.stun_requests.append((self.now, data[8:20]))
            response = self.stun(data[8:20])
            if response is not None:
                self._arrive(key, response)
            return
        request = parse(data)
        assert isinstance(request, Request)
        branch = request.branch()
        assert branch is not None
        if branch in self._branches:
            self.retransmissions.append((self.now, request))
            response = self._branches[branch]
        elif request.method != "REGISTER":
            self.requests.append(request)
            response = self._branches[branch] = self.others(request, key)
        else:
            self.sends.append((self.now, key, request))
            number, _ = request.cseq()
            contact = (request.header("contact") or "").partition(">")[0]
            binding = (request.header("call-id"), request.header("to"), request.uri, contact)  # RFC 3261 §10.3 step 7
            assert number > self._cseq.get(binding, 0), f"CSeq {number} goes back"
            self._cseq[binding] = number
            respond = self.hosts.get(key.host) or (self.answers.popleft() if self.answers else self.always)
            response = self._branches[branch] = respond(request, key)
        if key.protocol == "udp" and key.host in self.refused:
            self.registrations.transport_failed(key, "transport_refused", "", self.now)
        elif response is not None:
            self._arrive(key, response)

    def _arrive(self, key: TransportKey, data: bytes) -> None:
        self._arrived += 1
        heapq.heappush(self._arrivals, (self.now + LATENCY, self._arrived, key, data))


def a_profile(number: int = 1, **changes: Any) -> Profile:
    """A profile whose registrar is at :data:`UDP`."""
    values: dict[str, Any] = {
        "id": number,
        "name": f"p{number}",
        "aor": f"sip:alice{number}@192.0.2.1",
        "registrar": server(),
        "instance_id": f"00000000-0000-4000-8000-{number:012x}",
    }
    return Profile(**{**values, **changes})


def server(uri: str = "sip:192.0.2.1", password: str | None = "secret", **more: Any) -> ServerParameters:
    return ServerParameters(uri=uri, password=password, **more)


def check(machine: Registrations, now: float) -> None:
    """What must be true after every input: nothing is stuck, leaked or told wrongly."""
    timers = set(machine._timers)
    queued = {entry[2] for pacer in machine.pacers.values() for entry in pacer.queue}
    for pacer in machine.pacers.values():
        assert not pacer.queue or pacer.timer, "a queue that nobody looks at"
    for flow in machine.flows.values():
        _check_flow(machine, machine.owner(flow), flow, now, timers, queued)
    live = {flow.id for registration in machine.by_profile.values() for flow in registration.flows}
    predecessors = {flow.predecessor for flow in machine.flows.values()}
    for identity, ghost in machine.ghosts.items():
        assert identity not in live
        (flow,) = ghost.flows
        assert machine.flows.get(identity) is flow
        assert flow.phase != IDLE or identity in predecessors, "a ghost that nobody lays"
    assert set(machine.flows) == live | set(machine.ghosts), "a flow without an owner"
    for registration in machine.by_profile.values():
        assert registration.status == status_of(registration), (registration.status, registration.flows)
        numbers = [flow.number for flow in registration.flows]
        assert numbers[0] == 1
        if len(numbers) == 1:
            continue
        assert numbers == sorted(set(numbers)), "two flows with one reg-id"
        assert all(flow.pinned >= 0 for flow in registration.flows), "a flow without a hop"
        pinned = [flow.pinned for flow in registration.flows]
        assert len(pinned) == len(set(pinned)), "two flows for one hop"
        keys = [flow.bound for flow in registration.flows if flow.lease_end]
        assert len(keys) == len(set(keys)), "two flows to one address"
    assert _count(r.counted for r in machine.by_profile.values()) == machine.counts()
    for key, transport in machine.transports.items():
        for identity in transport.active:
            assert machine.flows[identity].phase == SENT
            assert key in (machine.flows[identity].key, machine.flows[identity].carrier)
        for identity in transport.bound:
            assert machine.flows[identity].bound == key
        for identity in transport.waiting:
            assert machine.flows[identity].phase in (OPENING, QUEUED, RESERVING, RESOLVING, FETCHING)
            assert key in (machine.flows[identity].key, machine.flows[identity].carrier)
        if key.protocol != "udp" and not transport.kept_until >= now:
            users = transport.active | transport.bound | transport.waiting
            users |= {flow.id for flow in machine.flows.values() if flow.phase == RESOLVING and flow.key == key}
            assert users, "a connection that nobody uses"
    kept = _count(flow.bound for flow in machine.flows.values() if flow.keepalive)
    assert None not in kept
    if not machine.stopping:
        assert kept == {key: each.bindings for key, each in machine.keepalives.items()}, "a keepalive for nobody"
    assert all(each.transaction == key for key, each in machine.stun_requests.items())
    for health in machine.health.values():
        assert not health.down or health.canary_at >= now, "a target that nobody tries"


def _count(values: Iterable[Any]) -> dict[Any, int]:
    """How often each is there; for a few of them in a quarter of the time that a Counter takes."""
    count: dict[Any, int] = {}
    for value in values:
        count[value] = count.get(value, 0) + 1
    return count


def _check_flow(
    machine: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    timers: set[tuple[float, int]],
    queued: set[int],
) -> None:
    def wakes_by(at: float) -> bool:
        return 0 < flow.wake_at <= max(at, now) and (flow.wake_at, flow.id) in timers

    if flow.phase in (RESOLVING, OPENING, RESERVING, SENT, FETCHING):
        assert flow.ends_at, "no deadline"
        assert wakes_by(flow.ends_at)
    elif flow.phase == QUEUED:
        assert flow.id in queued or (flow.ends_at and wakes_by(flow.ends_at))
    elif flow.phase == WAITING and not machine.stopping:
        assert registration.should_register
        if flow.next_try:
            assert wakes_by(flow.next_try)
        else:
            assert flow.breaker_open
            assert not machine.settings.probe_interval
    if flow.lease_end:
        assert wakes_by(flow.lease_end), "a lease without an end"
    if flow.phase == IDLE and not registration.ghost and not machine.stopping:
        assert bool(flow.lease_end) == registration.should_register, "a binding nobody wants, or a wish nobody hears"
        assert not flow.lease_end or wakes_by(flow.refresh_at)
    if flow.phase == SENT:
        assert flow.key in machine.transports
    if flow.phase == OPENING:
        assert flow.key is not None
        assert flow.id in machine.transports[flow.key].waiting
    if flow.carrier is not None:
        assert flow.phase in (OPENING, SENT, RESOLVING)
        assert flow.key is not None
        assert flow.key.protocol == "udp"
        connection = machine.transports[flow.carrier]
        assert flow.id in (connection.active if flow.phase == SENT else connection.waiting)
    if flow.purpose == DEREGISTER and flow.phase != IDLE:
        assert flow.phase in (RESOLVING, OPENING, RESERVING, SENT, FETCHING)
