"""Whatever anybody does to what the compiled quick path works on, or inside of what it calls: memory stays whole, an
exception comes out, and Python decides what becomes of what is out of the ordinary. With the sanitizers:
``make native-check``."""

from __future__ import annotations

import copy
import gc
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf, nan
from random import Random
from types import MemberDescriptorType
from typing import Any

import msgspec
import pytest
from machine_driver import a_profile
from registrar_formats import kamailio, opensips
from twins import Twins, differs

from sipprofile.agents.base import Plan, uniform
from sipprofile.agents.ietf import IetfAgent
from sipprofile.records import FlowRecord, NonceRecord, ProfileRecord
from sipprofile.registration import native, plain
from sipprofile.registration.actions import OpenTransport
from sipprofile.registration.changes import bound_as, sent_as
from sipprofile.registration.registration import QUEUED, Flow
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.registration.timers import Timers
from sipprofile.sip.message import Request, parse

pytestmark = pytest.mark.skipif(native.module is None, reason="the quick path is not compiled, or turned off")

UNHURRIED = RegistrationSettings(udp_keepalive=0.0, t2=4000.0, rate=1000.0, burst=1000.0)
SOURCE = ("192.0.2.1", 5060)
BEYOND = 10**30


class Strange(str):
    __slots__ = ()


class StrangeNumber(int):
    pass


STRANGE = (
    None,
    b"bytes",
    [],
    (),
    {},
    -1,
    BEYOND,
    1.5,
    True,
    "é\udc80",
    '"quoted"',
    Strange("text"),
    StrangeNumber(7),
    2**63 - 1,
)


def learnt(twins: Twins, answer: Any = kamailio, many: int = 40) -> None:
    """Registrations are under way, and the forms of challenges and grants are known."""
    twins.short.quick = native.module
    for number in range(1, many + 1):
        twins.add(number, expires=600)
    for _ in range(2):
        for place, (key, request) in enumerate(twins.open_requests()):
            twins.receive(answer(request, f"n{place}", None), key)
    assert twins.short.forms[SOURCE].challenges
    assert twins.short.forms[SOURCE].grants


@pytest.fixture
def twins() -> Twins:
    return Twins(settings=UNHURRIED)


class TestOfStrangers:
    def test_an_answer_may_have_more_lines_than_a_form_has_parts(self, twins: Twins) -> None:
        for number in range(1, 41):
            twins.add(number, expires=600)
        for _ in range(2):
            for place, (key, request) in enumerate(twins.open_requests()):
                data = kamailio(request, f"n{place}", None)
                twins.receive(data.replace(b"\r\nContent-Length", b"\r\nk: a" * 140 + b"\r\nContent-Length"), key)
        assert {twins.short.state(number).status for number in twins.profiles} == {"registered"}

    @pytest.mark.parametrize("seed", range(4))
    def test_spoilt_answers_are_understood_alike(self, seed: int, twins: Twins) -> None:
        random = Random(seed)
        answer = (kamailio, opensips)[seed % 2]
        learnt(twins, answer)
        for number in range(101, 161):
            twins.add(number, expires=600)
            for _ in range(2):
                for key, request in twins.open_requests()[-1:]:
                    data = answer(request, f"n{random.random()}", random.choice((None, 0, 1, 10**8, 10**12)))
                    for spoilt in (spoil(data, random) for _ in range(6)):
                        twins.receive(spoilt, key)
                    twins.receive(data, key)


def spoil(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    kind = random.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + random.randbytes(random.randrange(1, 4)) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at : at + 20] * random.randrange(1, 60) + data[at:]
    if kind == 3:
        return data[:at] + data[at + random.randrange(1, 40) :]
    if kind == 4:
        return data.replace(random.choice((b"z9hG4bK", b"expires=", b"sip:", b"nonce=")), b"z9hG4bKffffffffffff.", 1)
    return data.replace(random.choice((b"\r\n", b'"', b"=", b";")), random.choice((b"\n", b"", b"\0", b"\xff")), 1)


HOOKS = ("act", "save", "emit", "random")
INSIDE: dict[str, Callable[[Registrations], object]] = {
    "raise": lambda room: 1 // 0,
    "transports": lambda room: room.transports.clear(),
    "health": lambda room: room.health.clear(),
    "pacers": lambda room: room.pacers.clear(),
    "forms": lambda room: room.forms.clear(),
    "forms_within": lambda room: [forms.__init__() for forms in room.forms.values()],  # type: ignore[misc]
    "keepalives": lambda room: room.keepalives.clear(),
    "flows": lambda room: room.flows.clear(),
    "profiles": lambda room: room.by_profile.clear(),
    "removed": lambda room: [room.remove(profile, 1000.0) for profile in list(room.by_profile)],
    "disabled": lambda room: [room.want(profile, False, 1000.0) for profile in list(room.by_profile)],
    "nonces": lambda room: each_flow(room, nonces=()),
    "strings": lambda room: each_flow(
        room, branch="", contact_token="", place="", middle=b"", call=b"", outstanding=b""
    ),
    "numbers": lambda room: each_flow(
        room, id=2**61, cseq=2**61, phase=0, lease_end=0.0, retransmit_at=0.0, wake_at=0.0
    ),
    "rubbish": lambda room: each_flow(
        room, id=-1, cseq=BEYOND, nonces=None, place=None, call=None, key=None, branch=b""
    ),
    "transport": lambda room: each_transport(room, local=None, active=set(), waiting=set(), heads={}, heads_show=None),
    "no_transport": lambda room: each_transport(
        room, local=1, active=None, waiting=None, heads=None, key=None, limit=None
    ),
    "plans": lambda room: each_registration(room, plan=None, agent=None, reason=None, flows=()),
    "other_plans": lambda room: each_registration(room, plan=copies(room), revision=2**62, since=None),
    "timers": lambda room: setattr(room, "_timers", Timers()),
    "room": lambda room: [
        setattr(room, name, type(getattr(room, name))()) for name in ("kinds", "addresses", "network")
    ],
    "pacer": lambda room: [setattr(pacer, "queue", []) for pacer in room.pacers.values()],
    "timer": lambda room: room.timer(5000.0),
    "nothing": lambda room: None,
    "collect": lambda room: gc.collect(0),
    "cnonce": lambda room: setattr(room, "cnonce", "é"),
    "no_room": lambda room: [setattr(room, name, None) for name in ("flows", "kinds", "addresses", "_timers")],
    "refreshes": lambda room: each_flow(room, refresh_at=5000.5, lease_end=6000.5),
    "emptied_room": lambda room: [
        delattr(room, name) for name in ("flows", "kinds", "addresses", "_timers", "reachabilities")
    ],
    "emptied": lambda room: [
        delattr(each, name)
        for each in [*room.flows.values(), *room.by_profile.values()]
        for name in type(each).__struct_fields__
    ],
}


def each_flow(room: Registrations, **values: Any) -> None:
    for flow in list(room.flows.values()):
        for name, value in values.items():
            setattr(flow, name, value)


def each_transport(room: Registrations, **values: Any) -> None:
    for transport in list(room.transports.values()):
        for name, value in values.items():
            setattr(transport, name, value)


def each_registration(room: Registrations, **values: Any) -> None:
    for registration in list(room.by_profile.values()):
        for name, value in values.items():
            setattr(registration, name, value)


def copies(room: Registrations) -> Any:
    return msgspec.structs.replace(next(iter(room.by_profile.values())).plan)


class HookedRandom(Random):
    """One that does something before it says anything."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def random(self) -> float:
        self.before()
        return super().random()

    def getrandbits(self, bits: int) -> int:
        self.before()
        return super().getrandbits(bits)


def hook(room: Registrations, where: str, does: Callable[[Registrations], object]) -> list[str]:
    """Do ``does`` once, the next time that ``where`` is called; the list that is returned then has something in it."""
    called: list[str] = []

    def once() -> None:
        if not called:
            called.append(where)
            does(room)

    if where == "random":
        random = HookedRandom(1)
        random.before = once  # type: ignore[method-assign]
        room.random = random
    else:
        before = getattr(room, where)

        def hooked(argument: Any) -> None:
            once()
            before(argument)

        setattr(room, where, hooked)
    return called


def stored(number: int, agent: Any = None, **changes: Any) -> ProfileRecord:
    """A profile with a live lease."""
    profile, token = a_profile(number, expires=600), f"{number:030x}"
    plan = (agent or IetfAgent()).plan(profile, token)
    row = FlowRecord(
        number,
        call_id=f"{number:032x}",
        cseq_reserved=512,
        contact_token=token,
        lease_ends=1.7e9 + 2000.0,
        refresh_at=1.7e9 + 1500.0,
        expires_granted=600,
        boot_id="boot",
        wall_offset=1.7e9,
        protocol="udp",
        local_host="198.51.100.1",
        local_port=5060,
        target_host="192.0.2.1",
        target_port=5060,
        contact=f"sip:{token}@198.51.100.1:5060",
        registered_aors=(plan.aor,),
        nonces=(NonceRecord("reg.test", f"nonce{number}", "MD5", qop="auth", count_reserved=16),),
        since=1.7e9 + 500.0,
        bound_as=bound_as(plan),
        sent_as=sent_as(plan),
    )
    return ProfileRecord(profile, 1, "", (msgspec.structs.replace(row, **changes),))


class Room:
    """Registrations of their own, which know the forms of answers, and the inputs that the quick path deals with."""

    _forms: dict[Any, plain.Forms] = {}  # noqa: RUF012

    def __init__(self, agent: Any = None, quick: Any = native.module) -> None:
        self.now = 1000.0
        self.said: list[Any] = []
        self.room = Registrations(
            settings=UNHURRIED,
            random=Random(1),
            emit=self.said.append,
            save=self.said.append,
            act=self.said.append,
            wall_offset=1.7e9,
            boot_id="boot",
        )
        self.room.quick = quick
        self.agent = agent = agent or IetfAgent()
        for number in (1, 2, 3):
            profile = a_profile(number, expires=600)
            record = ProfileRecord(profile, 1, "", (self.room.new_flow(number),))
            self.room.add(record, agent, self.now, wanted=False)
            self.room.want(number, True, self.now)
            self.perform()
        self.room.health_of(next(iter(self.room.transports))).answered_at = self.now
        self.room.forms = self.forms()

    @classmethod
    def loaded(cls, agent: Any = None, quick: Any = native.module) -> Room:
        """One in which the next stored profile has one before it that is like it."""
        own = cls(agent, quick)
        own.load(stored(11, agent))
        own.said.clear()
        return own

    @classmethod
    def forms(cls) -> dict[Any, plain.Forms]:
        if not cls._forms:
            twins = Twins(settings=UNHURRIED)
            learnt(twins)
            cls._forms = twins.short.forms
        forms = copy.copy(cls._forms[SOURCE])
        forms.challenges = [copy.copy(form) for form in forms.challenges]
        forms.grants = [copy.copy(form) for form in forms.grants]
        return {SOURCE: forms}

    def perform(self) -> None:
        while self.said:
            each = self.said.pop(0)
            if isinstance(each, OpenTransport):
                self.room.transport_opened(each.key, ("198.51.100.1", 5060), self.now)
            elif isinstance(each, FlowRecord):
                self.room.saved(each, self.now)

    def load(self, record: ProfileRecord) -> None:
        """As at the start of the service."""
        self.room.add(record, self.agent, self.now, wanted=False)

    def flow(self, number: int) -> Flow:
        return self.room.by_profile[number].flows[0]

    def answer(self, number: int) -> bytes:
        """To what it has sent."""
        request = parse(self.flow(number).outstanding)
        assert isinstance(request, Request)
        return kamailio(request, "nonce", None)

    def stage(self, name: str) -> Callable[[], Any]:
        """Make registrations ready for one of ``STAGES``; what is returned goes there."""
        room, now, quick = self.room, self.now, native.module
        if name == "load":
            self.load(stored(11))
            (kept,) = room.keepalives.values()
            kept.due_at, kept.sent_at = 2000.0, 0.0  # so that the next one sends something
            record, known = stored(12), room.alike.forms
            return lambda: quick.load(known, room, record, self.agent, now)
        if name == "transmit":
            return lambda: quick.transmit(room, room.by_profile[1], self.flow(1), now)
        if name == "challenged":
            data = self.answer(1)
            return lambda: quick.answered(room, data, SOURCE, now)
        assert quick.answered(room, self.answer(1), SOURCE, now)
        if name == "granted":
            data = self.answer(1)
            return lambda: quick.answered(room, data, SOURCE, now)
        room.received(self.answer(1), SOURCE, self.flow(1).key, now)  # type: ignore[arg-type]
        if name == "begin":
            return lambda: quick.begin(room, room.by_profile[1], self.flow(1), now, 0)
        if name == "draw":
            flow, pacer = self.flow(2), next(iter(room.pacers.values()))
            flow.phase, flow.queue_class = QUEUED, 2
            pacer.queue = [(2, 0.0, flow.id), (2, 1.0, flow.id), (2, 2.0, BEYOND)]
            return lambda: quick.draw(room, pacer, now)
        assert name == "timer"
        flow = self.flow(1)
        return lambda: quick.timer(room, 100, flow.refresh_at)


STAGES = ("begin", "transmit", "challenged", "granted", "draw", "timer", "load")


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_done_by_it(stage: str) -> None:
    assert Room().stage(stage)() is True


@pytest.mark.parametrize("where", HOOKS)
@pytest.mark.parametrize("stage", STAGES)
def test_whatever_is_done_inside_of_what_it_calls(stage: str, where: str) -> None:
    """Nothing is freed that is still used, and whatever is raised comes out."""
    for name, does in INSIDE.items():
        for cnonce in ("", "0123456789abcdef"):
            own = Room()
            done = own.stage(stage)
            own.room.cnonce = cnonce
            called = hook(own.room, where, does)
            try:
                outcome = done()
            except ZeroDivisionError:
                assert name == "raise"
                outcome = None
            except SystemError as error:
                raise AssertionError(name) from error
            except Exception:  # as Python itself finds something missing
                outcome = None
            else:
                assert name != "raise" or not called
            assert outcome is True or name not in ("nothing", "collect")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("value", [None, -1, BEYOND, Strange("text")], ids=repr)
def test_slots_with_anything_in_them(stage: str, value: Any) -> None:
    def attempt(own: Room, done: Callable[[], Any]) -> None:
        try:
            done()
        except SystemError as error:
            raise AssertionError from error
        except Exception:
            pass

    def owners(own: Room) -> list[Any]:
        room = own.room
        return [
            own.flow(1), own.room.by_profile[1], *room.transports.values(), *room.health.values(), room, room._timers,
            *room.pacers.values(), *own.flow(1).nonces, room.kinds, room.addresses, room.locations, room.forms[SOURCE],
            *room.forms[SOURCE].grants, *room.forms[SOURCE].challenges, *room.keepalives.values(),
        ]  # fmt: skip

    for place in range(len(owners(Room()))):
        own = Room()
        done = own.stage(stage)
        if place >= len(owners(own)):
            continue
        owner = owners(own)[place]
        kind = type(owner)
        for name in getattr(kind, "__struct_fields__", None) or kind.__slots__:
            if not isinstance(getattr(kind, name), MemberDescriptorType):
                continue
            own = Room()
            done = own.stage(stage)
            setattr(owners(own)[place], name, value)
            attempt(own, done)


def test_a_slot_with_nothing_in_it() -> None:
    for stage in STAGES:
        for name in Registrations.__slots__:
            own = Room()
            done = own.stage(stage)
            delattr(own.room, name)
            with suppress(AttributeError):
                done()
        for name in Flow.__struct_fields__:
            own = Room()
            done = own.stage(stage)
            with suppress(AttributeError):
                delattr(own.flow(1), name)
            with suppress(AttributeError):
                done()


@pytest.mark.parametrize("owner", ["addresses", "kinds", "keepalive", "transport", "profile", "server"])
def test_a_slot_with_nothing_in_it_when_profiles_are_loaded(owner: str) -> None:
    def found(own: Room, record: ProfileRecord) -> Any:
        room, profile = own.room, record.profile
        return {
            "addresses": room.addresses,
            "kinds": room.kinds,
            "keepalive": next(iter(room.keepalives.values())),
            "transport": next(iter(room.transports.values())),
            "profile": profile,
            "server": profile.registrar,
        }[owner]

    kind: Any = type(found(Room.loaded(), stored(12)))
    for name in getattr(kind, "__struct_fields__", None) or kind.__slots__:
        own, record = Room.loaded(), stored(12)
        delattr(found(own, record), name)
        with suppress(AttributeError):
            own.load(record)


def test_rows_with_anything_in_them_become_the_same_as_in_python() -> None:
    for name in FlowRecord.__struct_fields__:
        both = [Room.loaded(quick=quick) for quick in (native.module, None)]
        for number, value in enumerate((*STRANGE, 0, 1.0, False, nan, -inf, "boot", Strange("boot")), start=12):
            ended: list[Any] = []
            for own in both:
                try:
                    own.load(stored(number, **{name: value}))
                except SystemError as error:
                    raise AssertionError(value) from error
                except Exception as error:
                    ended.append(type(error))
                else:
                    ended.append(told(own.said))
                own.said.clear()
            assert ended[0] == ended[1], (name, value)
            short, long = (told([own.room.by_profile.get(number)]) for own in both)
            assert short == long, (name, value)


@pytest.mark.parametrize("name", ["username", "private_identity"])
@pytest.mark.parametrize("value", [Strange("text"), b"bytes", 7, ""], ids=repr)
def test_names_with_anything_in_them_become_the_same_as_in_python(name: str, value: Any) -> None:
    users: list[Any] = []
    for quick in (native.module, None):
        own, record = Room.loaded(quick=quick), stored(12)
        setattr(record.profile.registrar if name == "username" else record.profile, name, value)
        own.load(record)
        credentials = own.room.by_profile[12].plan.credentials
        assert credentials is not None
        users.append(credentials.username)
    assert users[0] == users[1]
    assert type(users[0]) is type(users[1])


def test_plans_of_others_whose_hops_are_no_tuple_are_loaded_by_python() -> None:
    class Listed(IetfAgent):
        @uniform
        def plan(self, profile: Any, contact_token: str) -> Plan:
            found = super().plan(profile, contact_token)
            return msgspec.structs.replace(found, hops=list(found.hops))  # type: ignore[arg-type]

    agent = Listed()
    both = [Room.loaded(agent, quick) for quick in (native.module, None)]
    for own in both:
        for number in range(12, 20):
            own.load(stored(number, agent))
    differs(both[0].room, both[1].room)


def test_another_kind_of_room_is_loaded_by_python() -> None:
    class Own(Registrations):
        __slots__ = ()

    own = Room()
    given = {name: getattr(own.room, name) for name in ("settings", "random", "emit", "save", "act")}
    room = Own(**given, wall_offset=1.7e9, boot_id="boot")
    for number in (11, 12):
        room.add(stored(number), own.agent, own.now, wanted=False)
    assert set(room.by_profile) == {11, 12}


class OfOthers(IetfAgent):
    """An agent of others, whose plans have anything in them."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.values = values

    def plan(self, profile: Any, contact_user: str) -> Plan:
        return msgspec.structs.replace(super().plan(profile, contact_user), **self.values)


def told(said: list[Any]) -> list[str]:
    return [re.sub("0x[0-9a-f]+", "", repr(each)) for each in said]


@pytest.mark.parametrize("name", Plan.__struct_fields__)
def test_a_plan_of_others_means_the_same(name: str) -> None:
    """Both ways send the same, or raise the same."""
    hop = msgspec.structs.replace
    for value in (*STRANGE, 0, 600, 600.0, 10**9, False, "sip:x", "sip:éx@y", "x" * 5000, ["a"], ("X-A: b",)):
        agent = OfOthers(**{name: value})
        if name == "hops":
            agent = IetfAgent()
            agent.plan = lambda *given, value=value: (  # type: ignore[method-assign]
                lambda plan: hop(plan, hops=(hop(plan.hops[0], route=value),))
            )(IetfAgent().plan(*given))
        ended: list[Any] = []
        for quick in (native.module, None):
            said: list[Any] = []
            try:
                own = Room(agent, quick)
                said = own.said
                own.room.act = lambda action, said=said: said.append(action)
                for _ in range(2):
                    if own.flow(1).outstanding:
                        own.room.received(own.answer(1), SOURCE, own.flow(1).key, own.now)  # type: ignore[arg-type]
                own.room.timer(own.now + 599.0)
            except SystemError as error:
                raise AssertionError(value) from error
            except Exception as error:
                ended.append((type(error), told(said)))
            else:
                ended.append((told(said), [flow.outstanding for flow in own.room.flows.values()]))
        assert ended[0] == ended[1], value


MANY = 15
COUNTED = (None, True, False, 0, 1, 2, 5, "", b"", ())


@pytest.mark.parametrize("how", ["done", "random"])
@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_left_behind(stage: str, how: str) -> None:
    """No object stays, and none that always is there is counted more often, however it ends."""

    def once() -> None:
        own = Room()
        room, done = own.room, own.stage(stage)
        if how == "nothing":
            room.stopping = True
            room.by_profile[1].rare = msgspec.structs.replace(room.by_profile[1].rare)
        elif how != "done":
            hook(room, how, INSIDE["raise"])
        with suppress(ZeroDivisionError):
            done()
        # What it knows knows it, and the collector does not see all of that.
        again: Any = room
        again.__init__(settings=room.settings, random=None, emit=None, save=None, act=None, wall_offset=0.0, boot_id="")

    def used() -> list[int]:
        gc.collect()
        return [sys.getallocatedblocks(), *map(sys.getrefcount, COUNTED)]

    once()
    grown: list[int] = []
    for _ in range(8):  # what is kept for others has an end, what is left behind has none
        before = used()
        for _ in range(MANY):
            once()
        grown = [now - then for now, then in zip(used(), before, strict=True)]
        if max(grown[1:]) < MANY // 2 and grown[0] < 2 * MANY:
            break
    assert max(grown[1:]) < MANY // 2, grown
    assert grown[0] < 2 * MANY, grown
    assert min(grown[1:]) > -MANY, grown
