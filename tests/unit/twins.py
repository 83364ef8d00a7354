"""Registrations twice with the same inputs: one may take short ways, compiled or not, the other never does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import msgspec
from machine_driver import a_profile, subscribed

from sipprofile.agents.base import Agent
from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.profile import Profile
from sipprofile.records import FlowRecord, ProfileRecord
from sipprofile.registration.actions import Action, OpenTransport, Probe, Resolve, Send, TransportKey
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip import stun
from sipprofile.sip.message import Request, parse
from sipprofile.sip.syntax import SipSyntaxError

ADDRESSES = {"reg.test": ("192.0.2.1",), "alias.test": ("192.0.2.1",), "two.test": ("192.0.2.1", "192.0.2.2")}
UNSEEN = frozenset(("forms", "alike", "identities", "quick", "random", "settings", "emit", "save", "act"))
"""Attributes of Registrations that do not tell what it has come to."""
FEW = 10
"""Profiles whose states are looked at after each input."""
PLAIN = frozenset((bool, int, float, str, bytes))


class NothingKept(dict[Any, Any]):
    """Whoever keeps forms of answers here has none."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class Twins:
    """Both, and what they have asked for. ``short`` is the one that may take the short way."""

    def __init__(
        self, *, seed: int = 1, settings: RegistrationSettings | None = None, agent: Agent | None = None
    ) -> None:
        self.now = 1000.0
        self.agent = agent or IetfAgent()
        self.profiles: dict[int, Profile] = {}
        self.said: tuple[list[Any], list[Any]] = ([], [])
        """Actions, rows and events of each, in their order."""
        self.sent: list[tuple[TransportKey, Request]] = []
        """The REGISTERs that were sent, retransmissions included."""
        self.actions: list[Action] = []
        """To be performed."""
        self.rows: list[FlowRecord] = []
        """To be written."""
        self.local = ("198.51.100.1", 5060)
        self.fails = False
        """Whether transports fail to open."""
        self.subscribes = subscribed()
        """What answers a SUBSCRIBE, and an OPTIONS."""
        self.settings = settings or RegistrationSettings(rate=1000.0, burst=1000.0)
        self.seed = seed
        self.stored: dict[int, dict[int, FlowRecord]] = {}
        """The rows of each profile's flows that are on the disk, by their numbers."""
        self.short, self.long = self._made()

    def _made(self) -> list[Registrations]:
        made = [
            Registrations(
                settings=self.settings,
                random=Random(self.seed),
                emit=lambda change, said=said: said.append((change, change.state)),  # type: ignore[misc]
                save=said.append,
                act=said.append,
                wall_offset=1.7e9,
                boot_id="boot",
            )
            for said in self.said
        ]
        long = made[1]
        long.forms = NothingKept()
        long.alike.forms = NothingKept()
        long.quick = None
        return made

    # -- inputs ------------------------------------------------------------------------------------------------------

    def both(self, act: Callable[[Registrations], Any]) -> None:
        """One input to both, and what they ask for in turn; they must be the same after each."""
        act(self.short)
        act(self.long)
        self._compare_said()

    def settle(self) -> None:
        """Do what was asked for, and see that both have come to the same."""
        self._compare_memory()
        self._do()
        self._compare_memory()

    def _do(self) -> None:
        while self.actions or self.rows:
            rows, self.rows = self.rows, []
            for row in rows:
                self.stored.setdefault(row.profile, {})[row.number] = row
                self.both(lambda room, row=row: room.saved(row, self.now))  # type: ignore[misc]
            actions, self.actions = self.actions, []
            for action in actions:
                self._perform(action)

    def add(self, number: int, *, wanted: bool = True, agent: Agent | None = None, **changes: Any) -> bool:
        """Add a profile, if it is a good one."""
        profile = a_profile(number, **changes)
        try:
            self.agent.validate(profile)
        except SipProfileError:
            return False
        self.profiles[number] = profile

        def add(room: Registrations) -> None:
            row = room.new_flow(number)
            self.stored[number] = {row.number: row}
            room.add(
                ProfileRecord(profile, 1, "", (row,)), agent or self.agent, self.now, wanted=wanted, waiting=wanted
            )

        self.both(add)
        self.settle()
        return True

    def restart(self, wanted: Callable[[int], bool]) -> None:
        """Both end at once; others begin with what is on the disk, and want some of the profiles."""
        self.seed += 1
        self.actions.clear()
        self.rows.clear()
        self.sent.clear()
        self.short, self.long = self._made()
        self.load(
            [
                ProfileRecord(profile, 1, "", tuple(self.stored[number].values()))
                for number, profile in self.profiles.items()
                if number in self.stored
            ]
        )
        for number in list(self.profiles):
            if number not in self.short.by_profile:
                del self.profiles[number]
                continue
            self.both(lambda room, number=number: room.want(number, wanted(number), self.now))  # type: ignore[misc]
            self.settle()

    def load(self, records: list[ProfileRecord]) -> None:
        """Take in what is stored, until something is to be done about it."""

        def add(room: Registrations, record: ProfileRecord) -> None:
            with suppress(SipSyntaxError):
                room.add(record, self.agent, self.now, wanted=False)

        for record in records:
            self.profiles[record.profile.id] = record.profile
            self.both(lambda room, record=record: add(room, record))  # type: ignore[misc]
        self.settle()

    def update(self, number: int, **changes: Any) -> None:
        """Change a profile, if it stays a good one."""
        old = self.profiles[number]
        new = msgspec.structs.replace(old, **changes)
        try:
            self.agent.validate(new)
        except SipProfileError:
            return
        self.profiles[number] = new
        self.both(lambda room: room.update(old, ProfileRecord(new, 2), self.agent, self.now))
        self.settle()

    def receive(self, data: bytes, key: TransportKey, source: tuple[str, int] | None = None) -> None:
        """An answer comes in."""
        self.both(lambda room: room.received(data, source or (key.host, key.port), key, self.now))
        self._compare_memory()
        self._do()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every timer at its time."""
        end = self.now + seconds
        for _ in range(2000):
            at = self.short.next_timer()
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.both(lambda room: room.timer(self.now))
            self._do()
        self.now = end
        self._compare_memory()

    def open_requests(self) -> list[tuple[TransportKey, Request]]:
        """The REGISTERs that wait for an answer."""
        branches = {flow.branch for flow in self.short.flows.values()}
        sent = {request.branch(): (key, request) for key, request in self.sent}
        return [found for branch, found in sent.items() if branch in branches]

    def _perform(self, action: Action) -> None:
        now = self.now
        if isinstance(action, OpenTransport):
            key = action.key
            if self.fails:
                self.both(lambda room: room.transport_failed(key, "transport_unreachable", "", now))
            else:
                self.both(lambda room: room.transport_opened(key, self.local, now))
        elif isinstance(action, Resolve):
            question = action.question
            records = ADDRESSES.get(question.name) if question.kind == "ADDRESS" else None
            if records is None:
                self.both(lambda room: room.resolve_failed(question, "resolve_not_found", 60.0, now))
            else:
                self.both(lambda room: room.resolved(question, records, 300.0, now))
        elif isinstance(action, Probe):
            self.both(lambda room: room.transport_probed(action.key, self.local, None, 0, now))
        elif isinstance(action, Send) and action.data.strip() and not stun.is_stun(action.data):
            request = parse(action.data)
            assert isinstance(request, Request)
            if request.method == "REGISTER":
                self.sent.append((action.key, request))
                del self.sent[:-100]
            else:
                data = self.subscribes(request, action.key)
                if data is not None:
                    self.receive(data, action.key)

    # -- what must be the same ---------------------------------------------------------------------------------------

    def _compare_said(self) -> None:
        short, long = self.said
        _compare(short, long, "said", set())
        for each in long:
            if isinstance(each, FlowRecord):
                self.rows.append(each)
            elif isinstance(each, Action):
                self.actions.append(each)
        short.clear()
        long.clear()

    def _compare_memory(self) -> None:
        differs(self.short, self.long)
        assert self.short.random.getstate() == self.long.random.getstate(), "one has drawn more random numbers"
        assert self.short.next_timer() == self.long.next_timer()
        if len(self.short.by_profile) <= FEW:
            self.compare_states()

    def compare_states(self) -> None:
        """See that all states are the same; they are made of the memory, so with many now and then is enough."""
        for profile in self.short.by_profile:
            assert self.short.state(profile) == self.long.state(profile)


def differs(short: Registrations, long: Registrations) -> None:
    """Fail with where in their memory both differ, if they do."""
    seen: set[int] = set()
    for name in Registrations.__slots__:
        if name not in UNSEEN:
            _compare(getattr(short, name), getattr(long, name), name, seen)


def _compare(one: Any, other: Any, where: str, seen: set[int]) -> None:
    if one is other or id(one) in seen:
        return
    kind = type(one)
    if kind in PLAIN:
        assert kind is type(other), where
        assert one == other, where
        return
    if isinstance(one, Registrations):
        return
    if hasattr(one, "__slots__") or hasattr(one, "__dict__"):
        seen.add(id(one))
    assert kind is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        if one != other:
            for key in one:
                _compare(one[key], other[key], f"{where}[{key!r}]", seen)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        if one != other:
            for place, (mine, its) in enumerate(zip(one, other, strict=True)):
                _compare(mine, its, f"{where}[{place}]", seen)
    elif isinstance(one, partial):
        assert one.func.__qualname__ == other.func.__qualname__, where
        _compare(one.args, other.args, f"{where}()", seen)
    elif callable(one):
        assert one.__qualname__ == other.__qualname__, where
    elif isinstance(one, msgspec.Struct):
        if one != other:
            _compare_each(kind.__struct_fields__, one, other, where, seen)
    elif hasattr(one, "__slots__"):
        _compare_each(one.__slots__, one, other, where, seen)
    elif hasattr(one, "__dict__"):
        _compare_each(tuple(vars(one)), one, other, where, seen)
    else:
        assert one == other, where


def _compare_each(names: Iterable[str], one: Any, other: Any, where: str, seen: set[int]) -> None:
    for name in names:
        mine, its = getattr(one, name), getattr(other, name)
        kind = type(mine)
        if mine is not its and (kind not in PLAIN or kind is not type(its) or mine != its):
            _compare(mine, its, f"{where}.{name}", seen)
