"""The shell around the service core: inputs go in with the time, effects come out and are performed.

No decision is taken here. After every input the effects are performed until there are none, and one timer is set for
the core's next deadline.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from ..errors import SipProfileError
from ..events import Event
from ..net.network import NetworkMonitor
from ..net.resolver import Resolver
from ..net.transports import Transports
from ..records import FlowRecord, PutProfile, RuntimeWrite
from ..registration.actions import (
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
from ..service.effects import (
    Activate,
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
from ..service.operations import Operation, StatusReport, Types
from ..service.policy import Actor
from ..service.service import Service
from ..store.store import Store
from ..store.writer import Writer
from . import allocator, clock, loading, sip_sockets, tls_settings
from .activation import Activations
from .completions import Completions
from .configuration import TokenSource
from .logging import RateBound
from .lookups import Lookups
from .sharing_sections import ActivateSection
from .transport_effects import TransportEffects
from .webhooks import Webhooks

CHECK_INTERVAL = 2.0  # seconds between looks at the clocks
SLEEP = 1.0  # seconds of suspend that count as one; the two clocks are not read at the same moment
WALL_JUMP = 2.0  # seconds; a smaller step of the wall clock does not matter to a lease
TIMER_SLACK = 0.0005  # seconds; uvloop rounds to milliseconds, and must not fire too early again and again
LATE = 0.01  # seconds; a timer that fires later than this shows that the loop is congested
SOON = 0.001  # seconds; not 0, which would be before the sockets are looked at
LONGEST_DEFERRAL = 4.0  # seconds for which a congested loop reads answers before it looks at its timers
PAUSE_AFTER_MISTAKE = 1.0  # seconds until a timer that failed is tried again
AT_ONCE = (StatusReport, Types)
"""Operations that are answered while everything is loaded."""


class SessionEnd(Protocol):
    """The sending half of a session, as the daemon sees it."""

    def wake(self) -> None:
        """Frames are waiting in the core."""

    def end(self, error: SipProfileError) -> None:
        """The core has ended the session."""


class Daemon:
    """Drives one :class:`Service` with sockets, resolver, store and clock.

    ``publish`` gets every event once, with the time, and ``audit`` every line of the audit log.
    :attr:`stopping` is set when a stop was asked for,
    :attr:`stopped` when the core has nothing outstanding.
    """

    writer: Writer | None = None
    """While everything is loaded there is none."""

    def __init__(
        self,
        service: Service,
        *,
        store: Store,
        resolver: Resolver,
        log: Any,
        publish: Callable[[Event, float], None],
        audit: Callable[[Audit, float], None] = lambda *_: None,
        wall_offset: float,
        token_sources: Mapping[str, TokenSource] | None = None,
        webhooks: Webhooks | None = None,
        activate: Mapping[str, ActivateSection] | None = None,
        url: str = "",
    ) -> None:
        """``url`` is where applications that are started find the service."""
        self.service = service
        self.stopping = asyncio.Event()
        self.stopped = asyncio.Event()
        self._store = store
        self._loading = False
        self._loaded = asyncio.Event()
        self._unsaved: list[RuntimeWrite] = []
        """Rows that wait for the writer."""
        self._resolver = resolver
        self.webhooks = webhooks
        self._log = log
        self._publish = publish
        self._audit = audit
        self._wall_offset = wall_offset
        self._slept = clock.slept()
        self._network: NetworkMonitor | None = None
        self._loop = asyncio.get_running_loop()
        self._completions = Completions(self._loop)
        self._mistakes = RateBound(log, 10)
        self._tokens = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._sessions: dict[int, SessionEnd] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._performing = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._heard = False
        self._heard_at: float | None = None
        """The time of all that is received until it is acted on."""
        self._deferred_since: float | None = None
        self._check: asyncio.TimerHandle | None = None
        lookups = Lookups(service, resolver, token_sources or {}, log, self._begin, self._input)
        self._sip = TransportEffects(service, log, self._input)
        told = (partial(self._input, service.activation_ended), partial(self._input, service.activation_failed))
        applications = Activations(activate or {}, url, log, self._begin, *told)
        self._perform: dict[type, Callable[[Any], None]] = {
            Reply: self._reply,
            Commit: self._commit,
            ReadProfiles: self._read_profiles,
            ReadHistory: self._read_history,
            Wake: self._wake,
            EndSession: self._end_session,
            Publish: lambda effect: self._publish(effect.event, clock.now()),
            Audit: lambda effect: self._audit(effect, clock.now()),
            Stopped: lambda _: self.stopped.set(),
            Resolve: lookups.resolve,
            OpenTransport: self._sip.open,
            CloseTransport: self._sip.close,
            FetchToken: lookups.fetch_token,
            Activate: applications.activate,
            Probe: self._sip.probe,
            ForgetNames: lambda _: self._resolver.forget(),
            Listen: self._sip.listen,
            StopListening: self._sip.stop_listening,
        }
        if webhooks is not None:
            self._perform.update(webhooks.serve(service, self._input))

    @property
    def transports(self) -> Transports | None:
        """The SIP sockets, once they are open."""
        return self._sip.transports

    # Start and end

    async def open_sockets(self, bind: Sequence[str], port: int, *, accept: bool = True) -> None:
        """Open the SIP sockets; see :func:`~.sip_sockets.open_sockets`."""

        def made(port: int, accept: sip_sockets.Accept) -> Transports:
            inputs: Any = {"received": self._received, "opened": self._opened, "failed": self._failed}
            return Transports(bind=bind, port=port, flush=self._flush, accept=accept, **inputs)

        transports = await sip_sockets.open_sockets(made, self._store, self._log, bind, port, accept)
        self._sip.transports = transports
        if transports.not_accepting:
            self._begin(sip_sockets.accept_later(transports, self._log))

    async def load(self) -> None:
        """Take in everything stored, and begin; the store belongs to the writer's threads from here on.

        The loop runs meanwhile. Who asks about profiles waits (:meth:`until_loaded`). A stop ends it, unless the
        bindings are to be given back: those of profiles that are not loaded could not be.
        """
        self._loading = True
        try:
            self._store.reserve()
            await loading.take_in(self.service, self._store, self._log, self._flush, self.stopped.is_set)
        except BaseException:
            self._input(self.service.stop, False)
            self._loaded.set()
            raise
        self._loading = False
        self.writer = Writer(self._store, self._saved, allocator.trim)
        self._save(self._unsaved)
        if self.stopping.is_set():
            self._input(self.service.stop, not self.stopped.is_set())
            self._loaded.set()
            return
        self._input(self.service.loaded)
        self._loaded.set()
        self._look_at_clocks()
        self._network = NetworkMonitor(self._network_changed)
        if not self._network.told:
            self._log.warning("the kernel does not tell of address changes; they are looked for now and then")
        self._begin(loading.begin(self.service, self._log, self._flush))

    async def until_loaded(self) -> None:
        """Wait until everything stored is known."""
        await self._loaded.wait()

    @property
    def store_failing(self) -> str | None:
        """Why nothing can be written at the moment, ``None`` when it can."""
        return None if self.writer is None else self.writer.failing

    def stop(self, *, deregister: bool) -> None:
        """Begin to end; a second call ends at once."""
        if self.stopping.is_set():
            self.stopped.set()
            return
        self._log.info("stopping", deregister=deregister)
        self.stopping.set()
        if not self._loading:
            self._input(self.service.stop, deregister)
        if not deregister:
            self.stopped.set()

    async def close(self) -> None:
        """Let go of timers, sockets and lookups; what the store still has to write is written."""
        for handle in (self._timer, self._check):
            if handle is not None:
                handle.cancel()
        if self._network is not None:
            self._network.close()
        for task in self._tasks:
            task.cancel()
        if self.transports is not None:
            await self.transports.stop()
        await self._loop.run_in_executor(None, self._store.close if self.writer is None else self.writer.stop)
        if self.store_failing:
            self._log.error("some leases are not on disk", reason=self.store_failing)

    # What the HTTP interface calls

    async def ask(self, actor: Actor, operation: Operation) -> Any:
        """The result of ``operation``; raises the error that the service answers."""
        if not isinstance(operation, AT_ONCE):
            await self.until_loaded()
        token = next(self._tokens)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._replies[token] = future
        try:
            if not self._input(self.service.request, token, actor, operation):
                raise SipProfileError("internal")
            return await future
        finally:
            self._replies.pop(token, None)

    def open_session(self, actor: Actor, session: SessionEnd) -> int:
        """A new session; raises ``too_many_sessions``, ``permission_denied`` or ``shutting_down``."""
        number = self.service.open_session(actor, clock.now())
        self._sessions[number] = session
        self._flush()
        return number

    def close_session(self, number: int) -> None:
        """The session's connection is closed or lost."""
        self._sessions.pop(number, None)
        self._input(self.service.close_session, number)

    def frame(self, number: int, data: bytes) -> None:
        """A frame came in."""
        self._input(self.service.frame, number, data)

    def frames(self, number: int) -> list[bytes]:
        """Frames to send; empty when there are none now."""
        return self.service.frames(number)

    def congested(self, number: int) -> bool:
        """Whether to leave the session's next frames unread for now."""
        return self.service.congested(number)

    # Inputs

    def _input(self, function: Callable[..., None], *arguments: Any, **more: Any) -> bool:
        """Give the core an input with the time, and perform what follows; false when it made a mistake."""
        try:
            function(*arguments, clock.now(), **more)
        except Exception:
            self._mistake(function.__name__)
            return False
        finally:
            self._flush()
        return True

    def _received(self, data: bytes, source: tuple[str, int], key: TransportKey) -> None:
        """One of many: the transports call for the effects when they have no more.

        All of them have come by the time of the first, and one object for it is less to keep for each.
        """
        self._heard = True
        now = self._heard_at
        if now is None:
            now = self._heard_at = clock.now()
        try:
            self.service.received(data, source, key, now)
        except Exception:  # one message must not stop the others
            self._mistake("received")

    def _opened(self, key: TransportKey, local: tuple[str, int], mtu: int = 0) -> None:
        self._input(self.service.transport_opened, key, local, mtu=mtu)

    def _failed(self, key: TransportKey, code: str, text: str) -> None:
        self._input(self.service.transport_failed, key, code, text)

    def _timer_fired(self) -> None:
        now = clock.now()
        if self._answers_first(now):
            self._timer = self._loop.call_later(SOON, self._timer_fired)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None
        if not self._input(self.service.timer):
            self._arm(clock.now() + PAUSE_AFTER_MISTAKE)
        if self._due is None or self._due > now:  # nothing is left that was due
            self._deferred_since = None

    def _answers_first(self, now: float) -> bool:
        """Whether to read what has come in before the timers: in a congested loop most retransmissions (RFC 3261
        §17.1.2.2) would repeat requests whose answers wait in the socket, and make the congestion worse.
        """
        if not self._heard or self._due is None or now - self._due < LATE:
            return False
        self._heard = False
        if self._deferred_since is None:
            self._deferred_since = now
        return now - self._deferred_since < LONGEST_DEFERRAL

    def _look_at_clocks(self) -> None:
        """A suspend stops the loop's timers but not CLOCK_BOOTTIME; a set wall clock voids what is stored."""
        self._check = self._loop.call_later(CHECK_INTERVAL, self._look_at_clocks)
        offset = clock.wall_offset()
        if abs(offset - self._wall_offset) > WALL_JUMP:
            self._log.warning("the wall clock was set", seconds=round(offset - self._wall_offset, 3))
            self._wall_offset = offset
            self._input(self.service.clock_jumped, offset)
        before, self._slept = self._slept, clock.slept()
        slept = self._slept - before
        if slept > SLEEP:
            self._log.info("the machine was suspended", seconds=round(slept, 1))
            self._input(self.service.resumed, slept)
        due = self.service.next_timer()
        if due is not None and due <= clock.now():
            self._timer_fired()

    def _network_changed(self, addresses: frozenset[str] | None) -> None:
        self._input(self.service.network_changed, addresses)

    # Effects

    def _flush(self) -> None:
        """Perform effects until there are none, then set the timer; an effect may be answered while it is performed."""
        self._heard_at = None
        if self._performing:
            return
        self._performing = True
        send = self._sip.send
        try:
            while effects := self._take():
                rows: list[RuntimeWrite] = []
                pressing = False
                for effect in effects:
                    try:
                        if isinstance(effect, Send):
                            send(effect)
                        elif isinstance(effect, Save):
                            rows.extend(effect.rows)
                            pressing |= effect.pressing
                        else:
                            self._perform[type(effect)](effect)
                    except Exception:  # the other effects belong to other profiles
                        self._mistake(type(effect).__name__)
                try:
                    self._sip.send_registers()
                except Exception:
                    self._mistake("send_registers")
                if rows:
                    self._save(rows, pressing)
        finally:
            self._performing = False
        self._set_timer()

    def _take(self) -> list[Effect]:
        try:
            return self.service.take()
        except Exception:
            self._mistake("take")
            return []

    def _set_timer(self) -> None:
        due = self.service.next_timer()
        if due is None or self._loading:
            return
        if self._due is None or due < self._due:  # one that is set fires early at worst, and sets itself again
            self._arm(due)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        delay = due - clock.now()
        self._timer = self._loop.call_later(delay + TIMER_SLACK if delay > 0 else 0, self._timer_fired)

    def _save(self, rows: list[RuntimeWrite], pressing: bool = True) -> None:
        if self.writer is None:
            self._unsaved.extend(rows)
            return
        self.writer.save(rows, pressing)

    def _saved(self, rows: list[FlowRecord]) -> None:
        self._completions.post(self._input, self.service.saved, rows)

    def _commit(self, effect: Commit) -> None:
        token = effect.token
        for write in effect.writes:
            if isinstance(write, PutProfile) and (problem := tls_settings.problem(write.profile)) is not None:
                self._loop.call_soon(self._input, self.service.committed, token, problem)
                return
        assert self.writer is not None  # who changes something has waited for it
        self.writer.submit(
            effect.writes,
            lambda error: self._completions.post(self._input, self.service.committed, token, error),
        )

    def _read_profiles(self, effect: ReadProfiles) -> None:
        token, query = effect.token, effect.query
        assert self.writer is not None
        self.writer.read(
            lambda store: store.read(query),
            lambda result: self._completions.post(self._input, self.service.read_done, token, result),
        )

    def _read_history(self, effect: ReadHistory) -> None:
        token, profile = effect.token, effect.profile
        assert self.writer is not None
        self.writer.read(
            lambda store: store.history(profile),
            lambda result: self._completions.post(self._input, self.service.read_done, token, result),
        )

    def _reply(self, effect: Reply) -> None:
        future = self._replies.pop(effect.token, None)
        if future is None or future.done():
            return  # the client has gone
        if isinstance(effect.result, SipProfileError):
            future.set_exception(effect.result)
        else:
            future.set_result(effect.result)

    def _wake(self, effect: Wake) -> None:
        session = self._sessions.get(effect.session)
        if session is not None:
            session.wake()

    def _end_session(self, effect: EndSession) -> None:
        session = self._sessions.pop(effect.session, None)
        if session is not None:
            session.end(effect.error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _mistake(self, where: str) -> None:
        """Log the exception being handled: it is ours, and it must not take the daemon down."""
        if self._mistakes.passes(clock.now()):
            self._log.exception("mistake", where=where)
