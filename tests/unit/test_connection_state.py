"""The five states of a connection, and who is told of their changes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from sipprofile.events import Reason
from sipprofile.registration.actions import TransportKey
from sipprofile.registration.registration import IDLE, SENT, WAITING
from sipprofile.service.connection_state import ConnectionStates, view_of
from sipprofile.service.hub import Hub
from sipprofile.service.policy import Actor
from sipprofile.service.sessions import Session

KEY = TransportKey("tcp", "192.0.2.9", 5060)
OTHER = TransportKey("udp", "192.0.2.9", 5060)
LOCAL = ("192.0.2.1", 40000)


def flow(**changes: Any) -> Any:
    values = {
        "lease_end": 100.0,
        "bound": KEY,
        "bound_local": LOCAL,
        "failures": 0,
        "rejected": 0,
        "phase": IDLE,
    }
    return SimpleNamespace(**{**values, **changes})


def without_lease(phase: int, **changes: Any) -> Any:
    return flow(lease_end=0.0, bound=None, bound_local=None, phase=phase, **changes)


class World:
    """One profile, number 7, with transports under the test's control, and sessions that watch it."""

    def __init__(self) -> None:
        self.room: Any = SimpleNamespace(by_profile={}, transports={})
        self.registration: Any = SimpleNamespace(held="", status="registered", reason=Reason(), flows=(flow(),))
        self.room.by_profile[7] = self.registration
        self.open(KEY)
        self.hub = Hub(lambda _: None, lambda _: None, 256)
        self.states = ConnectionStates(self.room, self.hub)

    def open(self, key: TransportKey, local: tuple[str, int] | None = LOCAL) -> None:
        self.room.transports[key] = SimpleNamespace(local=local)

    def become(self, status: str, *flows: Any, held: str = "", code: str = "none") -> None:
        self.registration.status, self.registration.held = status, held
        self.registration.flows, self.registration.reason = flows, Reason(code)
        self.states.changed(7)
        self.states.settle()

    def session(self, number: int = 1) -> Session:
        session = Session(number, Actor("user", frozenset({"use"})), self.hub.open(number), "token")
        session.enabled.add(7)
        return session

    def told(self, session: Session) -> list[tuple[str, str | None]]:
        found = [json.loads(frame) for frame in session.outbox.frames(100)]
        session.outbox.awake = False
        assert all((frame["event"], frame["profile"]) == ("connection", 7) for frame in found)
        return [(frame["state"], frame["local_address"]) for frame in found]

    @property
    def state(self) -> str:
        return view_of(self.room, self.registration, None).state


@pytest.fixture
def world() -> World:
    return World()


class TestStates:
    def test_registered_on_an_open_transport_is_active(self, world: World) -> None:
        view = view_of(world.room, world.registration, None)
        assert (view.state, view.local) == ("active", "192.0.2.1:40000")

    def test_an_ipv6_address_has_brackets(self, world: World) -> None:
        world.open(KEY, ("2001:db8::1", 5060))
        assert view_of(world.room, world.registration, None).local == "[2001:db8::1]:5060"

    def test_registered_while_the_transport_is_gone_is_suspended(self, world: World) -> None:
        del world.room.transports[KEY]
        view = view_of(world.room, world.registration, "active")
        assert (view.state, view.local) == ("suspended", "192.0.2.1:40000")

    def test_registered_while_the_transport_is_being_opened_is_suspended(self, world: World) -> None:
        world.open(KEY, None)
        assert world.state == "suspended"

    def test_a_refresh_that_failed_while_the_lease_lives_is_suspended(self, world: World) -> None:
        world.registration.flows = (flow(failures=1, phase=WAITING),)
        assert world.state == "suspended"

    def test_a_refresh_under_way_is_active(self, world: World) -> None:
        world.registration.flows = (flow(phase=SENT),)
        assert world.state == "active"

    def test_one_flow_of_several_is_enough(self, world: World) -> None:
        world.open(OTHER, ("192.0.2.1", 5070))
        world.registration.flows = (flow(failures=1), without_lease(WAITING, failures=3), flow(bound=OTHER))
        view = view_of(world.room, world.registration, None)
        assert (view.state, view.local) == ("active", "192.0.2.1:5070")

    def test_the_first_registering_is_init(self, world: World) -> None:
        world.registration.status, world.registration.flows = "registering", (without_lease(SENT),)
        assert world.state == "init"

    @pytest.mark.parametrize("before", ["active", "suspended", "inactive", "unavailable"])
    def test_registering_again_is_inactive(self, world: World, before: Any) -> None:
        world.registration.status, world.registration.flows = "registering", (without_lease(SENT),)
        assert view_of(world.room, world.registration, before).state == "inactive"

    def test_after_a_first_failure_it_is_inactive(self, world: World) -> None:
        world.registration.status, world.registration.flows = "unregistered", (without_lease(WAITING, failures=1),)
        assert world.state == "inactive"

    def test_giving_back_is_inactive(self, world: World) -> None:
        world.registration.status = "unregistering"
        assert world.state == "inactive"

    @pytest.mark.parametrize("held", ["paused", "forcibly_disabled"])
    def test_held_down_is_unavailable(self, world: World, held: str) -> None:
        world.registration.held = held
        assert world.state == "unavailable"

    def test_removed_is_unavailable(self, world: World) -> None:
        assert view_of(world.room, None, "active").state == "unavailable"


class TestTelling:
    def test_the_present_state_at_once_then_the_changes(self, world: World) -> None:
        session = world.session()
        world.become("registering", without_lease(SENT))
        assert world.states.watch(session, 7) == {"profile": 7, "state": "init", "local_address": None}
        world.become("registered", flow())
        assert world.told(session) == [("active", "192.0.2.1:40000")]
        world.become("unregistered", without_lease(WAITING, failures=1), code="timeout")
        assert world.told(session) == [("inactive", None)]

    def test_what_is_the_same_is_not_told(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        world.become("registered", flow(phase=SENT))
        assert world.told(session) == []

    def test_another_local_address_is_told(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        world.open(KEY, ("198.51.100.1", 5060))
        world.states.transport_changed(KEY)
        world.states.settle()
        assert world.told(session) == [("active", "198.51.100.1:5060")]

    def test_a_transport_that_is_lost_and_comes_back(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        transport = world.room.transports.pop(KEY)
        world.states.transport_changed(KEY)
        world.states.settle()
        assert world.told(session) == [("suspended", "192.0.2.1:40000")]
        world.room.transports[KEY] = transport
        world.states.transport_changed(KEY)
        world.states.settle()
        assert world.told(session) == [("active", "192.0.2.1:40000")]

    def test_the_transports_of_others_cost_nothing(self, world: World) -> None:
        world.states.watch(world.session(), 7)
        world.states.transport_changed(OTHER)
        assert not world.states.unsettled

    def test_only_the_newest_waits_for_a_slow_reader(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        for failures in (1, 0, 2):
            world.become("registered", flow(failures=failures))
        assert world.told(session) == [("suspended", "192.0.2.1:40000")]

    def test_each_session_and_only_those_that_have_asked(self, world: World) -> None:
        one, two, three = (world.session(number) for number in (1, 2, 3))
        world.states.watch(one, 7)
        world.states.watch(two, 7)
        world.states.leave(one, 7)
        world.become("unregistering", flow())
        assert [len(world.told(session)) for session in (one, two, three)] == [0, 1, 0]

    def test_a_session_that_ends_is_forgotten(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        world.states.leave(session, None)
        world.states.changed(7)
        world.states.transport_changed(KEY)
        assert not world.states.unsettled

    def test_after_a_force_disable_nothing_more_is_told(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        world.states.gone(7)
        assert world.told(session) == [("unavailable", None)]
        world.become("registered", flow())
        assert world.told(session) == []

    def test_a_pause_is_told_and_its_end_too(self, world: World) -> None:
        session = world.session()
        world.states.watch(session, 7)
        world.become("unregistering", flow(), held="paused")
        assert world.told(session) == [("unavailable", None)]
        world.become("registering", without_lease(SENT))
        assert world.told(session) == [("inactive", None)]
        world.become("registered", flow())
        assert world.told(session) == [("active", "192.0.2.1:40000")]
