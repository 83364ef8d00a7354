"""The service without its sockets, disk and clock: inputs with the time go in, effects come out.

After every input call :meth:`Service.take` and perform what it returns. ``now`` is a clock that never goes back and
counts while the machine sleeps (CLOCK_BOOTTIME), in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..agents.base import Agent
from ..errors import SipProfileError
from ..events import StateChanged
from ..records import FlowRecord, ProfileRecord, RuntimeWrite
from ..registration.actions import TransportKey
from ..registration.registrations import Registrations
from ..sip.locating import Question, Record
from ..sip.message import Request
from ..useragent import server
from .audit import Auditor
from .bridge.bridges import Bridges
from .changes import Changes
from .commands import Commands
from .connection_commands import ConnectionCommands
from .connection_state import ConnectionStates
from .connections import Connections
from .control import Controls
from .effects import Effect, Reply, Save, Stopped
from .explanation import Explanation
from .hub import Hub
from .loading import Loading
from .message import Messages
from .operations import (
    Control,
    Create,
    Get,
    History,
    List,
    Operation,
    Patch,
    Remove,
    Replace,
    SendMessage,
    StatusReport,
    Test,
    Types,
)
from .policy import Actor, needed, require
from .reading import Reading
from .registry import Listens, Registry
from .sessions import Sessions
from .settings import ServiceSettings
from .sharing import Sharing
from .steps import Runner, Steps
from .timers import Timers
from .usage import Usage

if TYPE_CHECKING:
    from random import Random

EARLY = 100
"""SIP requests kept for the end of the loading; beyond it they are not answered."""
AT_ONCE = 1000  # profiles


class Service:
    """Profiles, registrations and sessions together.

    ``wall_offset`` is UTC minus ``now``; ``boot_id`` tells the clocks of two boots apart; ``random`` makes ids,
    tokens and jitter, so give one that cannot be predicted. ``listens`` is asked about each change of a registration's
    state that no session is told of, at that moment: there is no :class:`~.effects.Publish` of one that nobody wants.
    """

    def __init__(
        self,
        *,
        agents: Mapping[str, Agent],
        settings: ServiceSettings,
        random: Random,
        now: float,
        wall_offset: float,
        boot_id: str,
        next_profile_id: int,
        listens: Listens = lambda *_: True,
    ) -> None:
        self._effects: list[Effect] = []
        self._rows: list[RuntimeWrite] = []
        self._changes_awaited: list[StateChanged] = []
        self._overrun: list[int] = []
        self._stopping = False
        self._early: list[tuple[Request, tuple[str, int], TransportKey]] = []
        self._told_stopped = False
        act = self._effect = self._effects.append  # no call of Python's for each: there are several to a request
        self._timers = Timers()
        self._runner = Runner(act, self._timers)
        self._hub = Hub(act, lambda session: self._overrun.append(session), settings.unread, settings.unread_size)
        self._registry = registry = Registry(
            agents=agents,
            settings=settings,
            random=random,
            hub=self._hub,
            listens=listens,
            wall_offset=wall_offset,
            next_profile_id=next_profile_id,
        )
        registry.now = now
        self._registrations = registry.registrations = Registrations(
            settings=settings.registration,
            random=random,
            emit=registry.changed,
            save=self._rows.append,
            act=act,
            wall_offset=wall_offset,
            boot_id=boot_id,
        )
        registry.on_change = self._changed
        self._usage = Usage(registry, self._timers)
        self._sessions = Sessions(registry, self._usage, self._hub, act)
        auditor = self._auditor = Auditor(act, lambda: registry.wall_offset)
        self._sharing = sharing = Sharing(registry, self._timers, act, random, auditor)
        self._agent, self._claims, self._delivery = sharing.agent, sharing.claims, sharing.delivery
        bridges = Bridges(registry, sharing.agent, sharing.delivery, act, self._timers, auditor)
        self._bridges = registry.bridges = bridges
        sharing.standing.targets["bridge"] = self._bridges.owner
        self._loading = Loading(registry, self._usage, bridges, sharing.standing)
        self._changes = Changes(registry, self._usage, self._sessions.dismiss, sharing.standing)
        self._controls = Controls(registry, self._usage, self._changes, self._sessions.detach)
        states = self._connection_states = ConnectionStates(registry.registrations, self._hub)
        connections = Connections(registry, self._hub, sharing.agent, sharing.delivery, states, auditor)
        self._sessions.let_go = connections.let_go
        registry.on_gone = connections.profile_gone
        of_connections = ConnectionCommands(sharing.agent, sharing.claims, sharing.delivery, connections, states)
        self._commands = Commands(registry, self._sessions, self._controls, self._hub, self._runner, of_connections)
        self._messages = Messages(registry, self._usage, sharing.agent, auditor)
        self._reading = Reading(registry, now)
        self._explanation = Explanation(registry, self._usage, act)

    def load(self, records: Iterable[ProfileRecord], now: float) -> list[tuple[str, str]]:
        """Everything stored, in order of id, at once: :meth:`take_in`, :meth:`loaded` and :meth:`begin` in one."""
        refused = self.take_in(records, now)
        self.loaded(now)
        while self.begin(AT_ONCE, now):
            pass
        return refused

    def take_in(self, records: Iterable[ProfileRecord], now: float) -> list[tuple[str, str]]:
        """Some of the stored profiles, in order of id. Leases that live are kept, and nothing new begins.

        Returns the name of each profile that its agent could not take, with the kind of mistake.
        """
        self._registry.now = now
        return self._loading.take_in(records, now)

    def loaded(self, now: float) -> None:
        """Everything stored has been taken in. Requests that came meanwhile are answered."""
        self._registry.now = now
        self._loading.end(now)
        early, self._early = self._early, []
        for request, source, key in early:
            self._requested(request, source, key, now)

    def begin(self, most: int, now: float) -> bool:
        """Begin with at most ``most`` of the profiles that are always registered; whether others are left."""
        self._registry.now = now
        return self._loading.begin(most, now)

    def request(self, token: int, actor: Actor, operation: Operation, now: float) -> None:
        """Do ``operation``; exactly one ``Reply(token, …)`` follows."""
        self._registry.now = now
        try:
            if self._stopping:
                raise SipProfileError("shutting_down")
            require(actor, needed(operation))
            result = self._begin(actor, operation, now)
        except SipProfileError as error:
            self._effect(Reply(token, error))
            return
        if isinstance(result, dict):
            self._effect(Reply(token, result))
        else:
            self._runner.run(result, lambda answer, _: self._effect(Reply(token, answer)), now)

    def _begin(self, actor: Actor, operation: Operation, now: float) -> Steps | dict[str, Any]:
        match operation:
            case Create():
                return self._changes.create(operation)
            case Replace():
                return self._changes.replace(operation)
            case Patch():
                return self._changes.patch(operation)
            case Remove():
                return self._changes.remove(operation)
            case Control():
                return self._controls.control(operation)
            case Get():
                return self._reading.get(operation)
            case List():
                return self._reading.list(operation)
            case History():
                return self._reading.history(operation)
            case Test():
                return self._explanation.test(operation, actor)
            case SendMessage():
                return self._messages.send(operation, actor, now)
            case Types():
                return self._reading.types()
            case StatusReport():
                return self._reading.status(now, self.ready, len(self._sessions))

    @property
    def ready(self) -> bool:
        """Whether everything stored is loaded and nobody has asked to stop."""
        return self._loading.over and not self._stopping

    # Sessions

    def open_session(self, actor: Actor, now: float) -> int:
        """A new session; raises ``too_many_sessions``, ``permission_denied`` or ``shutting_down``."""
        self._registry.now = now
        if self._stopping:
            raise SipProfileError("shutting_down")
        return self._sessions.open(actor)

    def close_session(self, session: int, now: float) -> None:
        """The session's connection was closed or lost."""
        self._registry.now = now
        self._sessions.close(session, now)

    def frame(self, session: int, data: bytes, now: float) -> None:
        """A frame came in on a session."""
        self._registry.now = now
        self._commands.frame(session, data, now)

    def frames(self, session: int, limit: int = 64) -> list[bytes]:
        """The next frames to send on a session; after a :class:`Wake` call it until it returns none."""
        outbox = self._hub.outboxes.get(session)
        return [] if outbox is None else outbox.frames(limit)

    def congested(self, session: int) -> bool:
        """Whether to stop reading from a session until it has been sent some of what waits for it."""
        return self._commands.congested(session)

    # Answers of the outside

    def received(self, data: bytes, source: tuple[str, int], key: TransportKey, now: float) -> None:
        """A SIP message came in over ``key`` from ``source``."""
        self._registry.now = now
        request = self._registrations.received(data, source, key, now)
        if request is None:
            return
        if self._loading.over:
            self._requested(request, source, key, now)
        elif len(self._early) < EARLY:  # whom it is for is not known yet; UDP peers send what is left unanswered again
            self._early.append((request, source, key))

    def _requested(self, request: Request, source: tuple[str, int], key: TransportKey, now: float) -> None:
        if key.local_port and not self._bridges.admits(key):
            server.refuse(self._agent, request, source, key, 403, (), now)
        else:
            server.received(self._agent, request, source, key, now)

    def resolved(self, question: Question, records: tuple[Record, ...], ttl: float, now: float) -> None:
        """The answer to ``Resolve``: addresses, or the records of the kind that was asked for."""
        self._registry.now = now
        self._registrations.resolved(question, records, ttl, now)
        self._runner.happened(("resolved", question), records, now)

    def resolve_failed(self, question: Question, code: str, retry_after: float, now: float) -> None:
        """``Resolve`` failed; ``code`` is a reason code that begins with ``resolve_``."""
        self._registry.now = now
        self._registrations.resolve_failed(question, code, retry_after, now)
        self._runner.happened(("resolved", question), code, now)

    def token_fetched(self, source: str, token: str, lifetime: float | None, now: float) -> None:
        """:class:`~sipprofile.registration.actions.FetchToken` succeeded; ``lifetime`` in seconds, if it is known."""
        self._registry.now = now
        self._registrations.token_fetched(source, token, lifetime, now)

    def token_not_fetched(self, source: str, now: float) -> None:
        """:class:`~sipprofile.registration.actions.FetchToken` failed."""
        self._registry.now = now
        self._registrations.token_not_fetched(source, now)

    def activation_ended(self, name: str, now: float) -> None:
        """The application ``name``, which :class:`~.effects.Activate` has started, has ended."""
        self._registry.now = now
        self._sharing.activation.ended(name, now)

    def activation_failed(self, name: str, now: float) -> None:
        """:class:`~.effects.Activate` failed: the application ``name`` will not come."""
        self._registry.now = now
        self._sharing.activation.failed(name, now)

    def webhook_answered(self, token: int, body: bytes, now: float) -> None:
        """``PostWebhook`` was answered with a 2xx."""
        self._registry.now = now
        self._sharing.webhooks.answered(token, body, now)

    def webhook_failed(self, token: int, now: float) -> None:
        """``PostWebhook`` was not answered, or refused."""
        self._registry.now = now
        self._sharing.webhooks.failed(token, now)

    def transport_opened(self, key: TransportKey, local: tuple[str, int], now: float, mtu: int = 0) -> None:
        """``OpenTransport`` succeeded, or what it told has changed; ``local`` is the address others see, ``mtu`` that
        of a path for UDP, 0 when it is not known."""
        self._registry.now = now
        self._registrations.transport_opened(key, local, now, mtu)
        self._connection_states.transport_changed(key)

    def transport_failed(self, key: TransportKey, code: str, text: str, now: float) -> None:
        """A transport could not be opened or was lost."""
        self._registry.now = now
        if key.local_port:
            self._bridges.unreachable(key, code, now)
        else:
            self._registrations.transport_failed(key, code, text, now)
        self._connection_states.transport_changed(key)

    def listening(self, profile: int, port: int, now: float) -> None:
        """``Listen`` succeeded: the profile's local program finds us at ``port``."""
        self._registry.now = now
        self._bridges.listening(profile, port, now)

    def not_listening(self, profile: int, code: str, now: float) -> None:
        """``Listen`` failed; it is tried again."""
        self._registry.now = now
        self._bridges.not_listening(profile, now)

    def committed(self, token: int, error: SipProfileError | None, now: float) -> None:
        """The answer to ``Commit``."""
        self._registry.now = now
        self._runner.answered(token, error, now)

    def saved(self, rows: Sequence[RuntimeWrite], now: float) -> None:
        """The rows of a ``Save`` are on disk."""
        self._registry.now = now
        for row in rows:
            if isinstance(row, FlowRecord):
                self._registrations.saved(row, now)

    def read_done(self, token: int, result: Any, now: float) -> None:
        """The answer to ``ReadProfiles`` or ``ReadHistory``, or the error that came instead."""
        self._registry.now = now
        self._runner.answered(token, result, now)

    def store_reports(self, failing: str | None) -> None:
        """Why the store cannot write at the moment; ``None`` when it can. Shown in the status report."""
        self._reading.store_failing = failing

    def network_changed(self, addresses: frozenset[str] | None, now: float) -> None:
        """Addresses or routes have changed; ``addresses`` are the local ones now, ``None`` when nobody can tell."""
        self._registry.now = now
        self._registrations.network_changed(addresses, now)

    def resumed(self, slept: float, now: float) -> None:
        """The machine was suspended for ``slept`` seconds."""
        self._registry.now = now
        self._registrations.resumed(slept, now)

    def transport_probed(
        self, key: TransportKey, local: tuple[str, int] | None, used: str | None, mtu: int, now: float
    ) -> None:
        """The answer to ``Probe``: from where ``key`` would be reached, and where its open connection comes from."""
        self._registry.now = now
        self._registrations.transport_probed(key, local, used, mtu, now)

    def clock_jumped(self, wall_offset: float, now: float) -> None:
        """The wall clock was set."""
        self._registry.now = now
        self._registry.wall_offset = wall_offset
        self._registrations.clock_jumped(wall_offset, now)

    # Time, end and effects

    def timer(self, now: float) -> None:
        """Do everything that is due."""
        self._registry.now = now
        self._timers.run(now)
        self._registrations.timer(now)

    def next_timer(self) -> float | None:
        """When to call :meth:`timer` next."""
        own, other = self._timers.next(), self._registrations.next_timer()
        if own is None or other is None:
            return other if own is None else own
        return min(own, other)

    def stop(self, deregister: bool, now: float) -> None:
        """End the sessions and begin nothing new; with ``deregister`` give every binding back."""
        self._registry.now = now
        if not self._stopping:
            self._stopping = True
            self._loading.give_up()
            self._sessions.end_all(SipProfileError("shutting_down"))
            self._runner.give_up(SipProfileError("shutting_down"), now)
            self._sharing.activation.stop(now)
            self._timers.clear()
        self._registrations.stop(deregister, now)

    @property
    def stopped(self) -> bool:
        """Whether a stop is complete: nothing is under way on the wire or in the store."""
        return self._stopping and not self._runner.outstanding and self._registrations.stopped

    def take(self) -> list[Effect]:
        """Everything to do since the last call, in order."""
        self._settle()
        effects = self._effects.copy()
        self._effects.clear()
        if self._rows:
            registrations = self._registrations
            effects.append(Save(tuple(self._rows), registrations.pressing))
            registrations.pressing = False
            self._rows.clear()
        if self._stopping and not self._told_stopped and self.stopped:
            self._told_stopped = True
            effects.append(Stopped())
        return effects

    def _settle(self) -> None:
        """What must not happen in the middle of an input happens at its end."""
        now = self._registry.now
        lines, states, messages = self._sharing.lines, self._connection_states, self._messages
        while self._overrun or self._changes_awaited or lines.unsettled or messages.ended or states.unsettled:
            lines.settle(now)
            changes, self._changes_awaited = self._changes_awaited, []
            for change in changes:
                self._runner.happened(("changed", change.profile), change, now)
            while messages.ended:
                self._runner.happened(*messages.ended.popleft(), now)
            states.settle()
            overrun, self._overrun = self._overrun, []
            for session in overrun:
                self._sessions.end(session, SipProfileError("slow_consumer"), now)

    def _changed(self, change: StateChanged) -> None:
        self._sharing.lines.changed(change)
        self._connection_states.changed(change.profile)
        if self._runner.awaited(("changed", change.profile)):
            self._changes_awaited.append(change.kept())

    def counts(self) -> dict[str, Any]:
        """Figures for metrics; ``registrations`` is by (status, reason code, registrar)."""
        registrations = self._registrations
        return {
            "profiles": len(self._registry),
            "sessions": len(self._sessions),
            "registrations": dict(registrations.counts()),
            "register_sent": registrations.register_sent,
            "keepalives_sent": registrations.keepalives_sent,
            "keepalive_failures": registrations.keepalive_failures,
            "queues": registrations.queues(),
            "sip_requests": dict(self._auditor.requests),
            "claims": len(self._claims),
            "dialogs": len(self._agent.legs),
            "requests_open": {"in": len(self._agent.incoming), "out": len(self._agent.outgoing)},
            "transactions": self._agent.transactions(),
            "bridges": self._bridges.counts(),
            "requests_unanswered": self._agent.server.refused,
        }
