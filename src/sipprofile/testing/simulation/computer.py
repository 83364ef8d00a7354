"""The computer the service runs on: it starts it from the store, performs its effects, and kills it anywhere.

It does what :class:`sipprofile.server.daemon.Daemon` does, in virtual time. A kill throws the service away in the
middle of its effects; all that is left is what the store has committed.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sipprofile.agents.base import Agent
from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.records import ProfileRecord, RuntimeWrite
from sipprofile.registration.actions import (
    CloseTransport,
    FetchToken,
    ForgetNames,
    Listen,
    OpenTransport,
    Probe,
    Resolve,
    Send,
    StopListening,
    TransportKey,
)
from sipprofile.service.effects import (
    Audit,
    Commit,
    Effect,
    EndSession,
    Publish,
    ReadHistory,
    ReadProfiles,
    Reply,
    Save,
    Stopped,
    Wake,
)
from sipprofile.service.operations import Operation
from sipprofile.service.policy import Actor
from sipprofile.service.service import Service
from sipprofile.service.settings import ServiceSettings
from sipprofile.sip.locating import Question
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.simulation.writer import VirtualWriter
from sipprofile.testing.virtual import ComputerClock, SuspendableClock
from sipprofile.testing.virtual_links import ETHERNET
from sipprofile.testing.virtual_names import Looked
from sipprofile.testing.virtual_network import VirtualHost, VirtualNetwork
from sipprofile.testing.virtual_transports import VirtualTransports

HOST = "203.0.113.9"
ELSEWHERE = "203.0.113.77"
"""The other address that the computer may have."""
EVERYTHING = Actor("operator", frozenset(("read", "write", "use", "control")), 0)
STOP_LIMIT = 5.0  # seconds that de-registering may take at a stop
TIMER_SLACK = 1e-5  # seconds; the two clocks round differently, and a timer must not fire too early again and again
MOST_WAKES = 20_000  # in one second
FUSE_LIMIT = 20.0  # seconds after which a planned kill comes even if no point was passed

_encode = msgspec.json.encode


class Killed(Exception):
    """The process is gone, here and now."""


class Watcher(Protocol):
    """Who checks what the service does."""

    def started(self, records: list[ProfileRecord], service: Service) -> None:
        """The service is about to load ``records``."""

    def sent(self, key: TransportKey, data: bytes) -> None:
        """A message goes out."""

    def received(self, data: bytes, key: TransportKey) -> None:
        """A message has come in."""

    def published(self, effect: Publish) -> None:
        """An event is told."""


class SessionEnd(Protocol):
    """An application's end of a session."""

    def wake(self) -> None:
        """Frames wait."""

    def lost(self, error: SipProfileError | None) -> None:
        """The session is gone; ``error`` is the reason if one was given."""


class Computer:
    """Runs one service after the other on the same store."""

    def __init__(
        self,
        *,
        clock: SuspendableClock,
        network: VirtualNetwork,
        random: random.Random,
        path: Path,
        keys: KeyRing,
        settings: ServiceSettings,
        trace: Trace,
        watcher: Watcher,
    ) -> None:
        self.clocks = ComputerClock(clock)
        self.clock = clock
        self.host = VirtualHost(network, (HOST,))
        self.service: Service | None = None
        self.writer: VirtualWriter
        self.port = 5060
        self.starts = 0
        self.kills = 0
        self.disk_full = False
        self.resumed_at = -math.inf
        """CLOCK_BOOTTIME at the end of the last suspension."""
        self.disturbed_at = 0.0
        """When the service was last started, the computer woke up or its addresses changed; simulated time."""
        self._asleep_since = 0.0
        self.down: Callable[[], None] = lambda: None
        """Called when the service has ended."""
        self.up: Callable[[], None] = lambda: None
        self._network = network
        self._random = random
        self.path = path
        self._keys = keys
        self.settings = settings
        self._trace = trace
        self._watcher = watcher
        self._agents: dict[str, Agent] = {"ietf": IetfAgent()}
        self._store: Store
        self._transports: VirtualTransports
        self._performing = False
        self._due: float | None = None
        self._waking_since = 0.0
        self._wakes = 0
        self._fuse = 0
        self._token = 0
        self._replies: dict[int, Callable[[Any], None]] = {}
        self._sessions: dict[int, SessionEnd] = {}
        self.stopping = False
        self._perform: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            Reply: self._reply,
            Commit: self._commit,
            ReadProfiles: self._read_profiles,
            ReadHistory: self._read_history,
            Wake: self._wake,
            EndSession: self._end_session,
            Publish: self._published,
            Audit: lambda effect: self._trace.note(f"audit {effect.method} {effect.status}", _encode(effect)),
            Stopped: lambda _: self.clock.after(0.0, self._finish, self.starts),
            Resolve: self._resolve,
            OpenTransport: lambda effect: self._transports.open(effect.key),
            CloseTransport: lambda effect: self._transports.close(effect.key),
            Probe: lambda effect: self.input("transport_probed", effect.key, *self._transports.probe(effect.key)),
            ForgetNames: lambda _: None,  # the virtual name server is asked every time
            Listen: self._listen,
            StopListening: lambda effect: self._transports.stop_listening(effect.port),
            FetchToken: lambda effect: self._answer(self.starts, "token_not_fetched", effect.source),
        }

    # Life and death

    def start(self) -> None:
        """Start the service from what is stored."""
        self.starts += 1
        self.disturbed_at = self.clock.now
        clocks = self.clocks
        self._trace.note(f"start {self.starts} port {self.port} {clocks.boot_id}")
        self._store = store = Store.open(self.path, self._keys, synchronous="OFF")
        service = Service(
            agents=self._agents,
            settings=self.settings,
            random=random.Random(self._random.getrandbits(64)),
            now=clocks.now,
            wall_offset=clocks.wall_offset,
            boot_id=clocks.boot_id,
            next_profile_id=store.next_profile_id(),
        )
        self._transports = VirtualTransports(
            self._network,
            (HOST, self.port),
            received=lambda *arguments: self.clock.run(self._received, *arguments),
            opened=lambda *arguments: self.clock.run(self._opened, *arguments),
            failed=lambda *arguments: self.clock.run(self.input, "transport_failed", *arguments),
            host=self.host,
        )
        start = self.starts
        store.reserve()
        saved = functools.partial(self._answer, start, "saved")
        self.writer = VirtualWriter(
            store, self.clock, self._random, saved, point=self._point, guard=lambda event: self._guard(start, event)
        )
        self.writer.full = self.disk_full
        self.service = service
        self.stopping = False
        self._due = None
        records = list(store.load())
        self._watcher.started(records, service)
        self._run(service.load, records)
        self.up()

    @property
    def at_work(self) -> bool:
        """Whether the service runs and is not about to end."""
        return self.service is not None and not self.stopping and not self.clock.suspended

    @property
    def doomed(self) -> bool:
        """Whether a kill is near."""
        return self._fuse > 0

    def light_fuse(self, points: int) -> None:
        """Kill the service at the ``points``-th place from now where it can happen."""
        self._fuse = points
        self.clock.after(FUSE_LIMIT, self._guard, self.starts, self._burn_down)

    def stop(self, deregister: bool) -> None:
        """End the service in an orderly way."""
        if self.service is None or self.stopping:
            return
        self._trace.note(f"stop deregister={deregister}")
        self.stopping = True
        start = self.starts
        self.input("stop", deregister)
        self.clock.after(STOP_LIMIT if deregister else 0.0, self._finish, start)

    def fill_disk(self, full: bool) -> None:
        """Have every write fail, or no longer."""
        self._trace.note(f"disk full={full}")
        self.disk_full = self.writer.full = full

    def set_wall(self, by: float) -> None:
        """Set the wall clock."""
        self._trace.note(f"wall clock {by:+.1f}")
        self.clocks.set_wall(by)
        self.input("clock_jumped", self.clocks.wall_offset)

    def change_addresses(self, *addresses: str) -> None:
        """Have these addresses from now on, the one of the default route first; the service is told at once."""
        self._trace.note(f"addresses {', '.join(addresses) or 'none'}")
        self.disturbed_at = self.clock.now
        for address in self.host.addresses[:]:
            self.host.remove(address)
        for address in addresses:
            self.host.add(address, preferred=False)
        self.clock.run(self.input, "network_changed", frozenset(addresses))

    def suspend(self, seconds: float) -> None:
        """Have every program on this computer stand still; CLOCK_BOOTTIME and the rest of the world go on."""
        self._trace.note(f"suspended for {seconds:.0f} s")
        self._asleep_since = self.clocks.now
        self.host.asleep = True
        self.clock.suspend(seconds)
        self.clock.run(self._resumed)

    def _resumed(self) -> None:
        self.resumed_at = self.clocks.now
        self.disturbed_at = self.clock.now
        self.host.asleep = False
        self._trace.note("resumed")
        self.input("resumed", self.clocks.now - self._asleep_since)

    def _burn_down(self) -> None:
        if self._fuse:
            self._fuse = 0
            raise Killed("in peace")

    def _point(self, name: str) -> None:
        if self._fuse:
            self._fuse -= 1
            if not self._fuse:
                raise Killed(name)

    def _finish(self, start: int) -> None:
        if start == self.starts and self.service is not None:
            self._fuse = 0
            self.writer.finish()
            self._end()

    def _die(self, where: str) -> None:
        self._trace.note(f"killed {where}")
        self.kills += 1
        self._fuse = 0
        self._end()

    def _end(self) -> None:
        self.service = None
        self._transports.stop()
        self._store.close()
        self._replies, replies = {}, self._replies
        self._sessions, sessions = {}, self._sessions
        for done in replies.values():
            done(None)
        for session in sessions.values():
            session.lost(None)
        self.down()

    # What programs on the computer call

    def ask(self, operation: Operation, done: Callable[[Any], None], actor: Actor = EVERYTHING) -> None:
        """``done(result or error)``; with ``None`` when the service died before it answered."""
        self._token += 1
        self._replies[self._token] = done
        self.input("request", self._token, actor, operation)

    def open_session(self, actor: Actor, session: SessionEnd) -> int:
        """A new session; raises what the service raises."""
        assert self.service is not None
        number = self.service.open_session(actor, self.clocks.now)
        self._sessions[number] = session
        return number

    def close_session(self, number: int) -> None:
        """The application closed its connection, or died."""
        self._sessions.pop(number, None)
        self.input("close_session", number)

    def frame(self, number: int, data: bytes) -> None:
        """A frame of an application."""
        self.input("frame", number, data)

    def frames(self, number: int) -> list[bytes]:
        """Frames for an application."""
        found = [] if self.service is None else self.service.frames(number)
        for frame in found:
            self._trace.note(f"frame {number}", frame)
        return found

    # Inputs

    def input(self, name: str, *arguments: Any) -> None:
        """Give the service an input with the time, and perform what follows."""
        if self.service is not None:
            self._run(getattr(self.service, name), *arguments)

    def _run(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments, self.clocks.now)
            self._flush()
        except Killed as killed:
            if self._performing:
                raise  # an effect caused this input: its performer dies too
            self._die(str(killed))

    def _guard(self, start: int, event: Callable[[], None]) -> None:
        """Run an event of the loop, if the service that it belongs to still runs."""
        if start == self.starts and self.service is not None:
            try:
                event()
            except Killed as killed:
                self._die(str(killed))

    def _received(self, data: bytes, source: tuple[str, int], key: TransportKey) -> None:
        self._watcher.received(data, key)
        self.input("received", data, source, key)

    def _opened(self, key: TransportKey, local: tuple[str, int]) -> None:
        if self.service is not None:
            opened = self.service.transport_opened
            mtu = ETHERNET if key.protocol == "udp" else 0
            self._run(lambda now: opened(key, local, now, mtu))

    def _timer(self) -> None:
        self._due = None
        assert self.service is not None
        if self.clock.now > self._waking_since + 1.0:
            self._waking_since, self._wakes = self.clock.now, 0
        self._wakes += 1
        if self._wakes > MOST_WAKES:
            raise Violation(Promise.NO_SPINNING, f"the timer was due {self._wakes} times since {self._waking_since}")
        self._run(self.service.timer)

    # Effects

    def _flush(self) -> None:
        if self._performing:
            return
        service = self.service
        assert service is not None
        self._performing = True
        try:
            while effects := service.take():
                rows: list[RuntimeWrite] = []
                for effect in effects:
                    self._point(f"before {type(effect).__name__}")
                    if isinstance(effect, Save):
                        rows.extend(effect.rows)
                    else:
                        self._perform[type(effect)](effect)
                if rows:
                    self.writer.save(rows)
        finally:
            self._performing = False
        due = service.next_timer()
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            self.clock.at(self.clocks.real(due) + TIMER_SLACK, self._timer_fired, self.starts, due)

    def _timer_fired(self, start: int, due: float) -> None:
        if self._due == due:
            self._guard(start, self._timer)

    def _answer(self, start: int, name: str, *arguments: Any) -> None:
        """Post an answer to the loop, as another thread does."""
        self.clock.after(0.0, self._guard, start, lambda: self.input(name, *arguments))

    def _send(self, effect: Send) -> None:
        self._watcher.sent(effect.key, effect.data)
        self._transports.send(effect.key, effect.data)

    def _reply(self, effect: Reply) -> None:
        result = effect.result
        if isinstance(result, SipProfileError):
            self._trace.note(f"reply {effect.token} {result.code}", _encode(result.problem()))
        else:
            self._trace.note(f"reply {effect.token}", _encode(result))
        self._replies.pop(effect.token)(result)

    def _commit(self, effect: Commit) -> None:
        start, token = self.starts, effect.token
        self.writer.submit(effect.writes, lambda error: self._answer(start, "committed", token, error))

    def _read_profiles(self, effect: ReadProfiles) -> None:
        self._read(effect.token, lambda: self._store.read(effect.query))

    def _read_history(self, effect: ReadHistory) -> None:
        self._read(effect.token, lambda: self._store.history(effect.profile))

    def _read(self, token: int, read: Callable[[], Any]) -> None:
        delay = 0.01 * self._random.random()
        self.clock.after(delay, self._guard, self.starts, lambda: self.input("read_done", token, read()))

    def _wake(self, effect: Wake) -> None:
        session = self._sessions.get(effect.session)
        if session is not None:
            session.wake()

    def _end_session(self, effect: EndSession) -> None:
        session = self._sessions.pop(effect.session, None)
        if session is not None:
            self._trace.note(f"end session {effect.session} {effect.error.code}", _encode(effect.error.problem()))
            session.lost(effect.error)

    def _published(self, effect: Publish) -> None:
        event = effect.event
        state = "" if event.state is None else f"{event.state.status} {event.state.reason.code}"
        self._trace.note(f"event {event.event} {event.profile} {state}", _encode(event))
        self._watcher.published(effect)

    def _listen(self, effect: Listen) -> None:
        try:
            port = self._transports.listen(effect.host, effect.port)
        except OSError:
            self._answer(self.starts, "not_listening", effect.profile, "address_in_use")
        else:
            self._answer(self.starts, "listening", effect.profile, port)

    def _resolve(self, effect: Resolve) -> None:
        looked = self._network.names.look_up(effect.question)
        delay = looked.delay + 0.05 * self._random.random()
        self.clock.after(delay, self._guard, self.starts, lambda: self._resolved(effect.question, looked))

    def _resolved(self, question: Question, looked: Looked) -> None:
        if looked.failure:
            self.input("resolve_failed", question, looked.failure, looked.ttl)
        else:
            self.input("resolved", question, looked.records, looked.ttl)


__all__ = ["ELSEWHERE", "EVERYTHING", "HOST", "Computer", "Effect", "Killed", "SessionEnd", "Watcher"]
