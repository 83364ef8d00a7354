"""The shell around the core: effects in order, one timer, clocks that jump, mistakes that stay where they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.events import Event
from sipprofile.net.resolver import Resolution, ResolveFailed
from sipprofile.records import FlowRecord
from sipprofile.registration.actions import ForgetNames, Probe, Resolve, Send, TransportKey
from sipprofile.server import clock
from sipprofile.server.completions import Completions
from sipprofile.server.daemon import LONGEST_DEFERRAL, Daemon
from sipprofile.service.effects import Commit, EndSession, Publish, Reply, Save, Stopped, Wake
from sipprofile.service.operations import Types
from sipprofile.service.policy import Actor
from sipprofile.sip.locating import Question

ACTOR = Actor("test", frozenset())
KEY = TransportKey("udp", "192.0.2.1", 5060)


class Core:
    """Stands in for the service: notes its inputs, and answers each with the effects it is told."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Any, ...]] = []
        self.answers: dict[str, Callable[..., list[Any]]] = {}
        self.due: float | None = None
        self.called = asyncio.Event()
        self._effects: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def given(*arguments: Any, **_: Any) -> Any:
            self.inputs.append((name, *arguments))
            self.called.set()
            answer: Callable[..., list[Any]] = self.answers.get(name, nothing)
            self._effects.extend(answer(*arguments))
            return len(self.inputs)

        given.__name__ = name
        return given

    def take(self) -> list[Any]:
        taken, self._effects = self._effects, []
        return taken

    def next_timer(self) -> float | None:
        return self.due

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [given[1:] for given in self.inputs if given[0] == name]


class Writer:
    """Answers as the real one does: from another thread."""

    failing = None

    def __init__(self) -> None:
        self.saved: list[list[Any]] = []

    def save(self, rows: list[Any], pressing: bool = True) -> None:
        self.saved.append(rows)

    def submit(self, writes: Any, done: Callable[[SipProfileError | None], None]) -> None:
        threading.Thread(target=done, args=(None,)).start()


class Transports:
    def __init__(self) -> None:
        self.sent: list[tuple[TransportKey, bytes]] = []
        self.ways: dict[TransportKey, Any] = {}

    def probe(self, key: TransportKey) -> Any:
        return self.ways[key]

    def send(self, key: TransportKey, data: bytes) -> None:
        if data == b"bad":
            raise ValueError("a mistake")
        self.sent.append((key, data))


class Resolver:
    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    async def resolve(self, question: Question) -> Resolution:
        if question.name == "none.test":
            raise ResolveFailed("resolve_not_found", "no", 60.0)
        return Resolution(("192.0.2.7",), 30.0)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **members: self.lines.append((event, members))


class Shell:
    """A daemon between stand-ins."""

    def __init__(self) -> None:
        self.core = Core()
        self.writer = Writer()
        self.transports = Transports()
        self.log = Log()
        self.published: list[Event] = []
        core: Any = self.core
        store: Any = None
        resolver: Any = Resolver()
        self.resolver = resolver
        self.daemon = Daemon(
            core,
            store=store,
            resolver=resolver,
            log=self.log,
            publish=lambda event, _: self.published.append(event),
            wall_offset=clock.wall_offset(),
        )
        self.daemon.writer = self.writer  # type: ignore[assignment]
        self.daemon._sip.transports = self.transports  # type: ignore[assignment]

    async def until(self, name: str) -> tuple[Any, ...]:
        """The arguments of the first input of this name."""
        async with asyncio.timeout(5):
            while not (given := self.core.named(name)):
                self.core.called.clear()
                await self.core.called.wait()
        return given[0]


def nothing(*_: Any) -> list[Any]:
    return []


def fail(*_: Any) -> list[Any]:
    raise KeyError("a mistake")


@pytest.fixture
async def shell() -> Shell:
    return Shell()


class TestEffects:
    async def test_reply(self, shell: Shell) -> None:
        shell.core.answers["request"] = lambda token, *_: [Reply(token, {"types": []})]
        assert await shell.daemon.ask(ACTOR, Types()) == {"types": []}

    async def test_error(self, shell: Shell) -> None:
        shell.core.answers["request"] = lambda token, *_: [Reply(token, SipProfileError("in_use", users=2))]
        with pytest.raises(SipProfileError) as caught:
            await shell.daemon.ask(ACTOR, Types())
        assert caught.value.members == {"users": 2}

    async def test_reply_to_somebody_who_has_gone(self, shell: Shell) -> None:
        asking = asyncio.create_task(shell.daemon.ask(ACTOR, Types()))
        await shell.until("request")
        asking.cancel()
        await asyncio.wait([asking])
        shell.core.answers["frame"] = lambda *_: [Reply(shell.core.named("request")[0][0], {})]
        shell.daemon.frame(1, b"")
        assert shell.log.lines == []

    async def test_commit_is_answered_in_the_loop(self, shell: Shell) -> None:
        shell.core.answers["frame"] = lambda *_: [Commit(7, ())]
        shell.daemon.frame(1, b"")
        assert (await shell.until("committed"))[:2] == (7, None)

    async def test_rows_of_one_turn_are_saved_together(self, shell: Shell) -> None:
        rows = [FlowRecord(number) for number in range(4)]
        shell.core.answers["frame"] = lambda *_: [Save((rows[0], rows[1])), Send(KEY, b"x"), Save((rows[2], rows[3]))]
        shell.daemon.frame(1, b"")
        assert shell.writer.saved == [rows]

    async def test_rows_that_are_on_disk_are_told_in_the_loop(self, shell: Shell) -> None:
        rows = [FlowRecord(1, leaving=True)]
        threading.Thread(target=shell.daemon._saved, args=(rows,)).start()
        assert (await shell.until("saved"))[0] == rows

    async def test_lookups(self, shell: Shell) -> None:
        shell.core.answers["frame"] = lambda *_: [Resolve(Question("some.test")), Resolve(Question("none.test"))]
        shell.daemon.frame(1, b"")
        assert (await shell.until("resolved"))[:3] == (Question("some.test"), ("192.0.2.7",), 30.0)
        assert (await shell.until("resolve_failed"))[:3] == (Question("none.test"), "resolve_not_found", 60.0)

    async def test_sessions(self, shell: Shell) -> None:
        told: list[Any] = []

        class Session:
            def wake(self) -> None:
                told.append("wake")

            def end(self, error: SipProfileError) -> None:
                told.append(error.code)

        number = shell.daemon.open_session(ACTOR, Session())
        shell.core.answers["frame"] = lambda *_: [Wake(number), Wake(99)]
        shell.daemon.frame(number, b"")
        shell.core.answers["frame"] = lambda *_: [EndSession(number, SipProfileError("slow_consumer")), Wake(number)]
        shell.daemon.frame(number, b"")
        assert told == ["wake", "slow_consumer"]

    async def test_answer_given_while_performing_is_performed_too(self, shell: Shell) -> None:
        shell.core.answers["frame"] = lambda *_: [Wake(1)]
        shell.core.answers["close_session"] = lambda *_: [Publish(Event("created", 1))]

        class Session:
            def wake(self) -> None:
                shell.daemon.close_session(1)

            def end(self, error: SipProfileError) -> None: ...

        assert shell.daemon.open_session(ACTOR, Session()) == 1
        shell.daemon.frame(1, b"")
        assert shell.published == [Event("created", 1)]


class TestMistakes:
    """A mistake concerns one profile or message, and the others go on."""

    async def test_in_an_effect(self, shell: Shell) -> None:
        shell.core.answers["frame"] = lambda *_: [Send(KEY, b"bad"), Send(KEY, b"good")]
        shell.daemon.frame(1, b"")
        assert shell.transports.sent == [(KEY, b"good")]
        assert shell.log.lines[0] == ("mistake", {"where": "Send"})

    async def test_in_the_core(self, shell: Shell) -> None:
        def fail_late(*_: Any) -> list[Any]:
            shell.core._effects.append(Publish(Event("created", 1)))
            raise KeyError("profile")

        shell.core.answers["frame"] = fail_late
        shell.daemon.frame(1, b"")
        assert shell.published == [Event("created", 1)]
        assert shell.log.lines[0] == ("mistake", {"where": "frame"})

    async def test_in_a_request(self, shell: Shell) -> None:
        shell.core.answers["request"] = fail
        with pytest.raises(SipProfileError) as caught:
            await shell.daemon.ask(ACTOR, Types())
        assert caught.value.code == "internal"

    async def test_timer_that_fails_is_not_tried_without_a_pause(self, shell: Shell) -> None:
        shell.core.answers["timer"] = fail
        shell.core.due = clock.now() - 1
        shell.daemon.frame(1, b"")
        await shell.until("timer")
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(shell.core.named("timer")) == 1


class TestClocks:
    async def test_timer(self, shell: Shell) -> None:
        begin = clock.now()
        shell.core.due = begin + 0.02

        def done(*_: Any) -> list[Any]:
            shell.core.due = None
            return []

        shell.core.answers["timer"] = done
        shell.daemon.frame(1, b"")
        (fired,) = await shell.until("timer")
        assert begin + 0.02 <= fired

    async def test_earlier_deadline_replaces_the_timer(self, shell: Shell) -> None:
        shell.core.due = clock.now() + 3600
        shell.daemon.frame(1, b"")
        shell.core.due = clock.now()
        shell.daemon.frame(1, b"")
        await shell.until("timer")

    async def test_what_comes_together_has_one_time(self, shell: Shell) -> None:
        """One object, which thousands of flows may keep."""
        for _ in range(2):
            shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
        shell.daemon.frame(1, b"")
        shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
        first, second, later = (arguments[-1] for arguments in shell.core.named("received"))
        assert first is second
        assert first < later

    async def test_congested_loop_reads_answers_first(self, shell: Shell) -> None:
        """An answer that waits in the socket makes its request's retransmission needless."""
        shell.core.due = clock.now() - 1
        shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
        shell.daemon._due = shell.core.due
        shell.daemon._timer_fired()
        assert shell.core.named("timer") == []
        shell.daemon._timer_fired()  # nothing has come in since
        assert len(shell.core.named("timer")) == 1

    async def test_answers_do_not_hold_timers_up_for_ever(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = clock.now()
        shell.core.due = shell.daemon._due = begin - 1
        for elapsed in (0.0, 1.0, LONGEST_DEFERRAL):
            monkeypatch.setattr(clock, "now", lambda elapsed=elapsed: begin + elapsed)
            shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
            shell.daemon._timer_fired()
        assert shell.core.named("timer") == [(begin + LONGEST_DEFERRAL,)]

    async def test_what_is_left_for_another_turn_is_not_held_up_as_long_again(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The core does so much of what is due, and leaves the rest for after a look at the sockets."""
        begin = clock.now()
        shell.core.due = shell.daemon._due = begin - 1
        for elapsed in (0.0, LONGEST_DEFERRAL, LONGEST_DEFERRAL + 0.01, LONGEST_DEFERRAL + 0.02):
            monkeypatch.setattr(clock, "now", lambda elapsed=elapsed: begin + elapsed)
            shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
            shell.daemon._timer_fired()
        assert len(shell.core.named("timer")) == 3
        shell.core.due = begin + 3600
        shell.daemon._timer_fired()  # which finds nothing left
        shell.core.due = shell.daemon._due = begin
        shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
        shell.daemon._timer_fired()
        assert len(shell.core.named("timer")) == 4

    async def test_what_is_left_is_done_after_a_look_at_the_sockets(self, shell: Shell) -> None:
        shell.core.due = clock.now() - 1
        shell.daemon.frame(1, b"")
        async with asyncio.timeout(5):
            while len(shell.core.named("timer")) < 3:
                shell.core.called.clear()
                await shell.core.called.wait()
        shell.core.due = None

    async def test_timer_in_time_does_not_wait(self, shell: Shell) -> None:
        shell.core.due = shell.daemon._due = clock.now()
        shell.daemon._received(b"", ("192.0.2.1", 5060), KEY)
        shell.daemon._timer_fired()
        assert len(shell.core.named("timer")) == 1

    async def test_suspend(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        """CLOCK_BOOTTIME went on while the loop's clock stood still."""
        shell.core.due = clock.now() + 3600
        shell.daemon.frame(1, b"")
        now, offset = clock.now() + 4000, clock.wall_offset()
        monkeypatch.setattr(clock, "now", lambda: now)
        monkeypatch.setattr(clock, "wall_offset", lambda: offset)
        shell.daemon._look_at_clocks()
        assert shell.core.named("timer") == [(now,)]

    @pytest.mark.parametrize(("step", "told"), [(1.5, 0), (2.5, 1), (-3600.0, 1)])
    async def test_wall_clock_that_is_set(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, step: float, told: int
    ) -> None:
        offset = clock.wall_offset() + step
        monkeypatch.setattr(clock, "wall_offset", lambda: offset)
        shell.daemon._look_at_clocks()
        shell.daemon._look_at_clocks()
        assert [given[0] for given in shell.core.named("clock_jumped")] == [offset] * told

    @pytest.mark.pain(11)
    @pytest.mark.parametrize(("seconds", "told"), [(0.5, 0), (40.0, 1)])
    async def test_suspend_is_told_once(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, seconds: float, told: int
    ) -> None:
        slept = clock.slept() + seconds
        monkeypatch.setattr(clock, "slept", lambda: slept)
        shell.daemon._look_at_clocks()
        shell.daemon._look_at_clocks()
        resumes = shell.core.named("resumed")
        assert [round(given[0]) for given in resumes] == [round(seconds)] * told


@pytest.mark.pain(11)
class TestNetwork:
    async def test_a_way_is_looked_at(self, shell: Shell) -> None:
        shell.transports.ways[KEY] = (("192.0.2.2", 5060), None, 1500)
        shell.core.answers["network_changed"] = lambda *_: [Probe(KEY)]
        shell.daemon._network_changed(frozenset(("192.0.2.2",)))
        assert shell.core.named("network_changed")[0][0] == {"192.0.2.2"}
        assert shell.core.named("transport_probed")[0][:4] == (KEY, ("192.0.2.2", 5060), None, 1500)

    async def test_names_are_forgotten(self, shell: Shell) -> None:
        shell.core.answers["network_changed"] = lambda *_: [ForgetNames()]
        shell.daemon._network_changed(None)
        assert shell.resolver.forgotten == 1


class TestStop:
    async def test_keeping_leases_is_done_at_once(self, shell: Shell) -> None:
        shell.daemon.stop(deregister=False)
        assert shell.core.named("stop")[0][0] is False
        assert shell.daemon.stopped.is_set()

    async def test_deregistering_waits_for_the_core(self, shell: Shell) -> None:
        shell.daemon.stop(deregister=True)
        assert shell.daemon.stopping.is_set()
        assert not shell.daemon.stopped.is_set()
        shell.core.answers["transport_opened"] = lambda *_: [Stopped()]
        shell.daemon._opened(KEY, ("192.0.2.2", 5060))
        assert shell.daemon.stopped.is_set()

    async def test_second_stop_does_not_wait(self, shell: Shell) -> None:
        shell.daemon.stop(deregister=True)
        shell.daemon.stop(deregister=True)
        assert shell.daemon.stopped.is_set()


class TestCompletions:
    async def test_order_and_one_wake_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        wakes: list[Callable[[], None]] = []
        monkeypatch.setattr(loop, "call_soon_threadsafe", wakes.append)
        completions = Completions(loop)
        seen: list[int] = []
        for number in range(100):
            completions.post(seen.append, number)
        (wake,) = wakes
        wake()
        assert seen == list(range(100))
        completions.post(seen.append, 100)
        assert len(wakes) == 2
