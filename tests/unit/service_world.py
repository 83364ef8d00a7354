"""A world around the service core for its tests: a store in memory, registrations under the test's control, a clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

# Before any other module of its package: they know each other.
import sipprofile.registration.registrations  # noqa: F401
from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.events import Event, Reason, RegistrationState, StateChanged
from sipprofile.profile import Profile
from sipprofile.records import (
    FlowRecord,
    ProfileRecord,
    PutProfile,
    Query,
    RemoveProfile,
    SetDefault,
    SetHeld,
)
from sipprofile.registration.requests import Requests
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.service import effects
from sipprofile.service import service as service_module
from sipprofile.service.operations import Create, Operation
from sipprofile.service.policy import Actor
from sipprofile.service.registry import Listens
from sipprofile.service.service import Service
from sipprofile.service.settings import ServiceSettings

EVERYTHING = Actor("root", frozenset(("read", "write", "use", "control")), 0)
USER = Actor("user", frozenset(("read", "use")), 1000)
WALL_OFFSET = 1_700_000_000.0


class FakeRegistrations:
    """Does as the test says and notes what the service asked for."""

    def __init__(self, *, emit: Callable[[StateChanged], None], settings: RegistrationSettings, **_: Any) -> None:
        self.emit = emit
        self.settings = settings
        self.states: dict[int, RegistrationState] = {}
        self.wants: dict[int, bool] = {}
        self.contacts: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.bindings: set[int] = set()
        self.register_sent = 0
        self.keepalives_sent = 0
        self.keepalive_failures = 0
        self.requests = Requests(lambda *_: None)
        self.stopped = True

    def new_flow(self, profile: int) -> FlowRecord:
        return FlowRecord(profile, call_id=f"call-{profile}", contact_token=f"token-{profile}", cseq_reserved=256)

    def add(self, record: ProfileRecord, agent: Any, now: float, *, wanted: bool, waiting: bool = False) -> None:
        number = record.profile.id
        self.states[number] = RegistrationState("unregistered", held=record.held)
        self.wants[number] = wanted
        for flow in record.flows:
            self.contacts[flow.contact_token] = number
            if flow.lease_ends:
                self.bindings.add(number)
        self.calls.append(("add", number, wanted))

    def want(self, profile: int, wanted: bool, now: float, *, waiting: bool = False, reason: str = "disabled") -> None:
        self.calls.append(("want", profile, wanted))
        self.wants[profile] = wanted
        if wanted and self.states[profile].status == "unregistered":
            self.become(profile, "registering", "status")

    def become(self, profile: int, status: Any, event: Any, reason: str = "none") -> None:
        """The registration now has this status."""
        old = self.states[profile]
        self.states[profile] = RegistrationState(
            status=status, reason=Reason.of(reason), held=old.held, revision=old.revision + 1
        )
        self._tell(profile, event)

    def update(self, old: Profile, record: ProfileRecord, agent: Any, now: float) -> None:
        self.calls.append(("update", record.profile.id, old.expires, record.profile.expires))

    def remove(self, profile: int, now: float) -> None:
        self.calls.append(("remove", profile))
        del self.states[profile]

    def hold(self, profile: int, held: Any, now: float) -> None:
        self.calls.append(("hold", profile, held))
        self.states[profile] = msgspec.structs.replace(self.states[profile], held=held)
        if held == "forcibly_disabled":
            self.become(profile, "unregistered", "forcibly_disabled", "forcibly_disabled")

    def retry_now(self, profile: int, now: float, *, operator: bool = True) -> None:
        self.calls.append(("retry_now", profile))

    def state(self, profile: int) -> RegistrationState:
        return self.states[profile]

    @property
    def by_profile(self) -> dict[int, RegistrationState]:
        return self.states

    def wanted(self, profile: int) -> bool:
        return self.wants[profile]

    def has_binding(self, profile: int) -> bool:
        return profile in self.bindings

    def profile_of_contact(self, user: str) -> int | None:
        return self.contacts.get(user)

    def requested(self, request: Any, now: float) -> None: ...

    def probe(self, profile: int, now: float) -> None:
        self.calls.append(("probe", profile))
        state = msgspec.structs.replace(self.states[profile], reachable=True, reachable_at=now + WALL_OFFSET)
        self.states[profile] = state
        self._tell(profile, "status", transition=False)

    def _tell(self, profile: int, event: Any, *, transition: bool = True) -> None:
        state = self.states[profile]
        self.emit(StateChanged(profile, event, state.status, state.reason, self.state, transition))

    def counts(self) -> dict[tuple[str, str, str], int]:
        counts: dict[tuple[str, str, str], int] = {}
        for state in self.states.values():
            key = (state.status, state.reason.code, "registrar.test:5060")
            counts[key] = counts.get(key, 0) + 1
        return counts

    def queues(self) -> list[Any]:
        return []

    def next_timer(self) -> float | None:
        return None

    def timer(self, now: float) -> None: ...

    def stop(self, deregister: bool, now: float) -> None:
        self.calls.append(("stop", deregister))

    def resolved(self, *_: Any) -> None: ...

    resolve_failed = clock_jumped = resolved


class World:
    """One service, its store and its shell. With ``hold_commits`` the test says when a commit is done."""

    def __init__(
        self,
        monkeypatch: Any = None,
        *,
        settings: ServiceSettings | None = None,
        records: tuple[ProfileRecord, ...] = (),
        agents: Any = None,
        seed: int = 1,
        listens: Listens = lambda *_: True,
    ) -> None:
        if monkeypatch is not None:
            monkeypatch.setattr(service_module, "Registrations", FakeRegistrations)
        self.now = 1000.0
        self.records = {record.profile.id: record for record in records}
        self.events: list[Event] = []
        self.replies: dict[int, Any] = {}
        self.ended: dict[int, SipProfileError] = {}
        self.woken: list[int] = []
        self.actions: list[Any] = []
        self.commits: list[effects.Commit] = []
        self.hold_commits = False
        self.fail_commits = False
        self.hold_reads = False
        self.reads: list[effects.ReadProfiles] = []
        self.stopped = False
        self._token = 0
        self.service = Service(
            agents={"ietf": IetfAgent()} if agents is None else agents,
            settings=settings or ServiceSettings(),
            random=Random(seed),
            now=self.now,
            wall_offset=WALL_OFFSET,
            boot_id="boot",
            next_profile_id=1,
            listens=listens,
        )
        self.service.load(list(records), self.now)
        self.perform()

    @property
    def registrations(self) -> Any:
        return self.service._registrations

    # The shell

    def perform(self) -> None:
        """Do what the core asks until it asks for nothing."""
        while batch := self.service.take():
            for effect in batch:
                self._perform_one(effect)

    def perform_actions(self, act: Callable[[Any], None]) -> None:
        """The same, and ``act`` performs what the registrations ask for, until nothing is left."""
        World.perform(self)  # which a world with an ``act`` of its own has replaced
        while self.actions:
            actions, self.actions = self.actions, []
            for action in actions:
                act(action)
                World.perform(self)

    def _perform_one(self, effect: Any) -> None:
        if isinstance(effect, effects.Reply):
            assert effect.token not in self.replies, "answered twice"
            self.replies[effect.token] = effect.result
        elif isinstance(effect, effects.Commit):
            self.commits.append(effect)
            if not self.hold_commits:
                self.commit()
        elif isinstance(effect, effects.ReadProfiles):
            self.reads.append(effect)
            if not self.hold_reads:
                self.read()
        elif isinstance(effect, effects.ReadHistory):
            self.service.read_done(effect.token, [], self.now)
        elif isinstance(effect, effects.Publish):
            self.events.append(effect.event)
        elif isinstance(effect, effects.EndSession):
            self.ended[effect.session] = effect.error
        elif isinstance(effect, effects.Wake):
            self.woken.append(effect.session)
        elif isinstance(effect, effects.Stopped):
            self.stopped = True
        elif isinstance(effect, effects.Save):
            self.service.saved(effect.rows, self.now)
        else:
            self.actions.append(effect)

    def commit(self) -> None:
        """The oldest commit is done."""
        effect = self.commits.pop(0)
        error = SipProfileError("store_failed") if self.fail_commits else None
        if error is None:
            for write in effect.writes:
                self._write(write)
        self.service.committed(effect.token, error, self.now)

    def _write(self, write: Any) -> None:
        if isinstance(write, PutProfile):
            old = self.records.get(write.profile.id)
            profile = msgspec.convert(msgspec.to_builtins(write.profile), Profile)
            profile.default = old is not None and old.profile.default
            flows = write.flows or (old.flows if old is not None else ())
            self.records[profile.id] = ProfileRecord(profile, write.revision, write.held, flows)
        elif isinstance(write, RemoveProfile):
            del self.records[write.profile]
        elif isinstance(write, SetDefault):
            assert write.profile in self.records
            for number, record in self.records.items():
                record.profile.default = number == write.profile
        else:
            assert isinstance(write, SetHeld)
            record = self.records[write.profile]
            self.records[write.profile] = msgspec.structs.replace(record, held=write.held)

    def read(self) -> None:
        """The oldest read is done."""
        effect = self.reads.pop(0)
        self.service.read_done(effect.token, self._matching(effect.query), self.now)

    def _matching(self, query: Query) -> list[ProfileRecord]:
        found = [
            record
            for number, record in sorted(self.records.items())
            if number > query.after
            and (query.ids is None or number in query.ids)
            and (query.type is None or record.profile.type == query.type)
        ]
        return found[: query.limit]

    # What tests ask

    def ask(self, operation: Operation, actor: Actor = EVERYTHING) -> Any:
        """The result of an operation; raises its error."""
        token = self.begin(operation, actor)
        assert token in self.replies, "no answer yet"
        return self.answer(token)

    def begin(self, operation: Operation, actor: Actor = EVERYTHING) -> int:
        """Ask without waiting."""
        self._token += 1
        self.service.request(self._token, actor, operation, self.now)
        self.perform()
        return self._token

    def answer(self, token: int) -> Any:
        result = self.replies[token]
        if isinstance(result, SipProfileError):
            raise result
        return msgspec.json.decode(msgspec.json.encode(result)) if "cursor" in (result or ()) else result

    def create(self, name: str = "trunk", **fields: Any) -> int:
        """A new profile's id."""
        number: int = self.ask(Create(document(name, **fields)))["id"]
        return number

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every timer at its time."""
        end = self.now + seconds
        while (due := self.service.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.service.timer(self.now)
            self.perform()
        self.now = end

    def session(self, actor: Actor = EVERYTHING, resume: str | None = None) -> Client:
        """A session that has said hello."""
        client = Client(self, actor)
        client.hello = client.ask("hello", version=1, app="test", resume=resume)
        return client


class Client:
    """The application at the other end of a session."""

    def __init__(self, world: World, actor: Actor = EVERYTHING) -> None:
        self.world = world
        self.hello: dict[str, Any] = {}
        self.number = world.service.open_session(actor, world.now)
        self._last_id = 0

    def send(self, op: str, **members: Any) -> int:
        """Send a command; the frames it causes stay unread."""
        self._last_id += 1
        frame = json.dumps({"id": self._last_id, "op": op, **members}).encode()
        self.world.service.frame(self.number, frame, self.world.now)
        self.world.perform()
        return self._last_id

    def read(self) -> list[dict[str, Any]]:
        """Every frame that waits."""
        frames: list[dict[str, Any]] = []
        while batch := self.world.service.frames(self.number):
            frames.extend(json.loads(frame) for frame in batch)
        return frames

    def ask(self, op: str, **members: Any) -> Any:
        """Send a command and return its result; events that come before it are dropped. Raises its error."""
        number = self.send(op, **members)
        (reply,) = [frame for frame in self.read() if frame.get("id") == number]
        if "error" in reply:
            raise SipProfileError.from_problem(reply["error"])
        return reply["ok"]

    def events(self) -> list[tuple[str, int]]:
        """(event, profile) of every event that waits."""
        return [(frame["event"], frame["profile"]) for frame in self.read() if "event" in frame]

    def close(self) -> None:
        self.world.service.close_session(self.number, self.world.now)
        self.world.perform()


def document(name: str = "trunk", **fields: Any) -> dict[str, Any]:
    """A valid profile document."""
    return {"name": name, "aor": f"sip:{name}@registrar.test", **fields}


def record(number: int, name: str, *, default: bool = False, held: Any = "", lease: bool = False, **fields: Any) -> Any:
    """A stored profile."""
    profile = Profile(id=number, name=name, aor=f"sip:{name}@registrar.test", default=default, **fields)
    profile.instance_id = f"00000000-0000-4000-8000-{number:012}"
    flow = FlowRecord(number, call_id=f"call-{number}", contact_token=f"token-{number}", cseq_reserved=512)
    if lease:
        flow = msgspec.structs.replace(flow, lease_ends=WALL_OFFSET + 4600, boot_id="boot", wall_offset=WALL_OFFSET)
    return ProfileRecord(profile, 1, held, (flow,))
