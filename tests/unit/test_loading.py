"""The start with many stored profiles: in slices, with everything else answered or waiting meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from service_requests import SOURCE, UDP, request, statuses
from service_world import EVERYTHING, WALL_OFFSET, World, record

from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.profile import ServerParameters
from sipprofile.records import FlowRecord, ProfileRecord, PutProfile
from sipprofile.registration import turns
from sipprofile.registration.actions import OpenTransport, Send
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.server import clock
from sipprofile.server.daemon import Daemon
from sipprofile.server.loading import BEGIN, SLICE, TURNS
from sipprofile.service import effects
from sipprofile.service.operations import Get, List, Patch, Remove, StatusReport, Types
from sipprofile.service.service import EARLY, Service
from sipprofile.service.settings import ServiceSettings
from sipprofile.sip.message import Request, parse
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store

LOCAL = ("192.0.2.10", 5060)


def service(**registration: Any) -> Service:
    return Service(
        agents={"ietf": IetfAgent()},
        settings=ServiceSettings(registration=RegistrationSettings(**registration)),
        random=Random(1),
        now=1000.0,
        wall_offset=WALL_OFFSET,
        boot_id="boot",
        next_profile_id=1,
    )


class Unloaded(World):
    """A service to which nothing was given yet."""

    def __init__(self, monkeypatch: Any = None) -> None:
        super().__init__(monkeypatch)
        if monkeypatch is None:
            self.service = service()
        else:
            self.service._loading.over = False

    def take_in(self, *records: ProfileRecord) -> None:
        self.records |= {each.profile.id: each for each in records}
        assert self.service.take_in(records, self.now) == []
        self.perform()

    def loaded(self) -> None:
        self.service.loaded(self.now)
        self.perform()

    def receive(self, number: int = 1, user: str = "token-1") -> None:
        via = f"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}"
        data = request("MESSAGE", f"sip:{user}@192.0.2.10:5060", via=via).replace(b"c1", f"c{number}".encode())
        self.service.received(data, SOURCE, UDP, self.now)
        self.perform()


class TestWhileLoading:
    def test_the_status_tells_how_far_it_is(self) -> None:
        world = Unloaded()
        assert (world.ask(StatusReport())["profiles"], world.ask(StatusReport())["ready"]) == (0, False)
        world.take_in(record(1, "one"), record(2, "two"))
        assert (world.ask(StatusReport())["profiles"], world.ask(StatusReport())["ready"]) == (2, False)
        world.take_in(record(3, "three"))
        world.loaded()
        assert (world.ask(StatusReport())["profiles"], world.ask(StatusReport())["ready"]) == (3, True)

    def test_a_request_waits_for_its_profile(self) -> None:
        world = Unloaded()
        world.take_in(record(1, "one"))
        world.receive(1, "token-1")
        world.receive(2, "token-2")
        assert statuses(world) == []
        world.take_in(record(2, "two"))
        world.loaded()
        assert statuses(world) == [480, 480]
        world.receive(3, "token-3")
        assert statuses(world) == [480, 480, 404]

    def test_so_many_requests_wait(self) -> None:
        world = Unloaded()
        for number in range(EARLY + 10):
            world.receive(number)
        world.take_in(record(1, "one"))
        world.loaded()
        assert statuses(world) == [480] * EARLY

    def test_nothing_begins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = Unloaded(monkeypatch)
        world.take_in(*(record(number, f"p{number}", register="always") for number in (1, 2, 3)))
        assert world.registrations.wants == {1: False, 2: False, 3: False}
        world.loaded()
        assert world.service.begin(2, world.now)
        assert world.registrations.wants == {1: True, 2: True, 3: False}
        assert not world.service.begin(2, world.now)
        assert world.registrations.wants == {1: True, 2: True, 3: True}

    def test_what_was_changed_before_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = Unloaded(monkeypatch)
        world.take_in(*(record(number, f"p{number}", register="always") for number in (1, 2, 3)))
        world.loaded()
        world.ask(Remove(1), EVERYTHING)
        world.ask(Patch(2, {"register": "on-demand"}), EVERYTHING)
        assert not world.service.begin(10, world.now)
        assert world.registrations.wants == {1: False, 2: False, 3: True}

    def test_a_stop_leaves_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = Unloaded(monkeypatch)
        world.take_in(record(1, "one", register="always"))
        world.loaded()
        world.service.stop(False, world.now)
        assert not world.service.begin(10, world.now)
        assert world.registrations.wants == {1: False}


class Log:
    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **members: self.errors.append(members) if level == "error" else None


PROFILES = SLICE * 3 + 1


class Shell:
    """A daemon without sockets, with everything it has to load."""

    def __init__(self, store: Store) -> None:
        self.log = Log()
        self.turns: list[int] = []
        """How many profiles were known in each turn of the loop."""
        resolver: Any = None
        self.service = service()
        self.daemon = Daemon(
            self.service,
            store=store,
            resolver=resolver,
            log=self.log,
            publish=lambda *_: None,
            wall_offset=clock.wall_offset(),
        )

    async def watch(self) -> None:
        """Note what the loop sees, until it is loaded."""
        while not self.service.ready and not self.daemon.stopping.is_set():
            self.turns.append(self.service.counts()["profiles"])
            await asyncio.sleep(0)

    async def until(self, profiles: int) -> None:
        """Some are loaded."""
        while self.service.counts()["profiles"] < profiles:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store", KeyRing.generate(), synchronous="OFF")
    records = (record(number, f"p{number}", default=number == 1) for number in range(1, PROFILES + 1))
    store.commit([PutProfile(each.profile, 1, flows=each.flows) for each in records])
    return store


@pytest.fixture
async def shell(store: Store) -> Any:
    shell = Shell(store)
    yield shell
    await shell.daemon.close()


def test_a_start_imports_nothing_that_only_changes_and_shows_need(store: Store, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "import sipprofile.server.main\n"
        "from sipprofile.store.secrets import KeyRing\n"
        "from sipprofile.store.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), KeyRing.generate())\n"
        "store.reserve()\n"
        "assert store.next_profile_id() == 1 + len(list(store.load()))\n"
        "print(*sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert loaded.isdisjoint({"sqlalchemy", "alembic", "rich", "dns"})


class TestLoop:
    """It turns after each slice."""

    async def test_it_turns_between_slices(self, shell: Shell) -> None:
        watching = asyncio.create_task(shell.watch())
        await shell.daemon.load()
        await watching
        assert max(after - before for before, after in zip(shell.turns, shell.turns[1:], strict=False)) == SLICE
        assert shell.service.ready
        assert shell.service.counts()["profiles"] == PROFILES

    async def test_it_goes_on_while_the_journal_is_read(self, shell: Shell, store: Store, monkeypatch: Any) -> None:
        turned, load = threading.Event(), store.load

        def slowly() -> Iterator[ProfileRecord]:
            assert turned.wait(5)
            yield from load()

        monkeypatch.setattr(store, "load", slowly)
        loading = asyncio.create_task(shell.daemon.load())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(turned.set)
        await loading
        assert shell.service.counts()["profiles"] == PROFILES

    async def test_the_state_of_the_service_is_told_at_once(self, shell: Shell) -> None:
        loading = asyncio.create_task(shell.daemon.load())
        await shell.until(SLICE)
        report = await shell.daemon.ask(EVERYTHING, StatusReport())
        assert (report["ready"], report["profiles"] < PROFILES) == (False, True)
        assert (await shell.daemon.ask(EVERYTHING, Types()))["types"]
        assert shell.daemon.store_failing is None
        assert not loading.done()
        await loading

    async def test_who_asks_for_profiles_waits(self, shell: Shell) -> None:
        asking = asyncio.create_task(shell.daemon.ask(EVERYTHING, Get(PROFILES)))
        listing = asyncio.create_task(shell.daemon.ask(EVERYTHING, List(limit=1000)))
        loading = asyncio.create_task(shell.daemon.load())
        await shell.until(SLICE)
        assert not asking.done()
        await loading
        assert (await asking)["name"] == f"p{PROFILES}"
        assert len((await listing)["profiles"]) == PROFILES

    async def test_a_profile_that_its_agent_refuses_is_told(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = IetfAgent.plan

        def refuse(agent: IetfAgent, profile: Any, token: str) -> Any:
            if profile.id == 5:
                raise KeyError("a mistake of a plug-in")
            return plan(agent, profile, token)

        monkeypatch.setattr(IetfAgent, "plan", refuse)
        await shell.daemon.load()
        assert shell.log.errors == [{"profile": "p5", "problem": "KeyError"}]
        assert shell.service.counts()["profiles"] == PROFILES


class TestBeginning:
    async def test_a_mistake_with_one_profile_does_not_stop_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store.open(tmp_path / "always", KeyRing.generate(), synchronous="OFF")
        records = [record(number, f"p{number}", register="always") for number in range(1, 4 * BEGIN)]
        store.commit([PutProfile(each.profile, 1, flows=each.flows) for each in records])
        begun: list[int] = []

        def want(_: Registrations, profile: int, *__: Any, **___: Any) -> None:
            if profile == 5:
                raise KeyError("a mistake of a plug-in")
            begun.append(profile)

        monkeypatch.setattr(Registrations, "want", want)
        shell = Shell(store)
        await shell.daemon.load()
        while shell.daemon._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert begun == [number for number in range(1, 4 * BEGIN) if number != 5]
        await shell.daemon.close()

    async def test_the_loop_turns_to_answers_and_applications_before_more_begin(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store.open(tmp_path / "turns", KeyRing.generate(), synchronous="OFF")
        records = [record(number, f"p{number}", register="always") for number in range(1, 4 * BEGIN + 1)]
        store.commit([PutProfile(each.profile, 1, flows=each.flows) for each in records])
        begun: list[int] = []
        monkeypatch.setattr(Registrations, "want", lambda _, profile, *__, **___: begun.append(profile))
        shell = Shell(store)
        await shell.daemon.load()
        after: list[int] = []
        while shell.daemon._tasks:
            await asyncio.sleep(0)
            after.append(len(begun))
        assert [after.count(BEGIN * times) for times in (1, 2, 3)] == [TURNS] * 3
        await shell.daemon.close()


class TestStop:
    async def test_it_breaks_the_loading_off(self, shell: Shell) -> None:
        asking = asyncio.create_task(shell.daemon.ask(EVERYTHING, Get(1)))
        loading = asyncio.create_task(shell.daemon.load())
        await shell.until(SLICE)
        shell.daemon.stop(deregister=False)
        await loading
        assert shell.daemon.stopped.is_set()
        assert shell.service.counts()["profiles"] < PROFILES
        with pytest.raises(SipProfileError) as caught:
            await asking
        assert caught.value.code == "shutting_down"

    async def test_what_is_to_be_given_back_is_loaded_first(self, shell: Shell) -> None:
        loading = asyncio.create_task(shell.daemon.load())
        await shell.until(SLICE)
        shell.daemon.stop(deregister=True)
        assert not shell.daemon.stopped.is_set()
        await loading
        assert shell.service.counts()["profiles"] == PROFILES
        assert shell.daemon.stopped.is_set()

    async def test_a_second_one_breaks_that_off_too(self, shell: Shell) -> None:
        loading = asyncio.create_task(shell.daemon.load())
        await shell.until(SLICE)
        shell.daemon.stop(deregister=True)
        shell.daemon.stop(deregister=True)
        await loading
        assert shell.service.counts()["profiles"] < PROFILES

    async def test_a_damaged_store_ends_those_who_wait(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        def damaged(_: Store) -> Iterator[ProfileRecord]:
            yield record(1, "one")
            raise SipProfileError("store_damaged")

        monkeypatch.setattr(Store, "load", damaged)
        asking = asyncio.create_task(shell.daemon.ask(EVERYTHING, Get(1)))
        with pytest.raises(SipProfileError) as caught:
            await shell.daemon.load()
        assert caught.value.code == "store_damaged"
        with pytest.raises(SipProfileError) as caught:
            await asking
        assert caught.value.code == "shutting_down"


def answered(data: bytes) -> bytes:
    """A registrar's 200 to anything."""
    message = parse(data)
    assert isinstance(message, Request)
    kept = [f"{name}: {message.header(name.lower())}" for name in ("Via", "From", "Call-ID", "CSeq")]
    contact = f"Contact: {message.header('contact')};expires={message.header('expires')}"
    lines = ["SIP/2.0 200 OK", *kept, f"To: {message.header('to')};tag=r", contact, "Content-Length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class TestManyLeases:
    """A restart with many leases on UDP sends nothing but a keepalive, and everything is as it was."""

    COUNT = 400

    def perform(self, one: Service, now: float) -> tuple[int, list[FlowRecord]]:
        """The REGISTER requests that were sent and answered, and the rows that are to be stored."""
        sent, rows = 0, []
        while taken := one.take():
            for effect in taken:
                if isinstance(effect, OpenTransport):
                    one.transport_opened(effect.key, LOCAL, now)
                elif isinstance(effect, Send) and effect.data.startswith(b"REGISTER"):
                    sent += 1
                    one.received(answered(effect.data), SOURCE, effect.key, now)
                elif isinstance(effect, effects.Save):
                    rows += [row for row in effect.rows if isinstance(row, FlowRecord)]
        return sent, rows

    def records(self) -> Iterator[ProfileRecord]:
        registrar = ServerParameters(uri="sip:192.0.2.1")
        for number in range(1, self.COUNT + 1):
            yield record(number, f"p{number}", register="always", registrar=registrar)

    def test_nothing_is_sent_and_the_state_is_intact(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "AT_ONCE", self.COUNT)
        before, now = service(rate=1e9, burst=1e9), 1000.0
        stored = {each.profile.id: each for each in self.records()}
        before.load(stored.values(), now)
        sent, rows = self.perform(before, now)
        assert sent == self.COUNT
        for row in rows:
            stored[row.profile] = msgspec.structs.replace(stored[row.profile], flows=(row,))
        states = [self.shown(before, number) for number in stored]

        after, now = service(rate=1e9, burst=1e9), 1010.0
        waiting = iter(stored.values())
        sent = 0
        while some := list(islice(waiting, 64)):
            assert after.take_in(some, now) == []
            sent += self.perform(after, now)[0]
        after.loaded(now)
        while after.begin(64, now):
            sent += self.perform(after, now)[0]
        sent += self.perform(after, now)[0]
        assert sent == 0
        assert after.counts()["registrations"] == {("registered", "none", "192.0.2.1:5060"): self.COUNT}
        assert [self.shown(after, number) for number in stored] == states

        due = min(state["refresh_at"] for state in states) - WALL_OFFSET
        while (at := after.next_timer()) is not None and at < due - 1:
            after.timer(at)
            assert self.perform(after, at)[0] == 0
        assert due > now + 1000

    def shown(self, one: Service, profile: int) -> dict[str, Any]:
        state = msgspec.to_builtins(one._registrations.state(profile))
        del state["revision"]  # which goes up, so that nobody takes what was told before for newer
        return state  # type: ignore[no-any-return]
