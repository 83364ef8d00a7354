"""All registrations of the service: inputs come in here, timers, targets, pacing and transports are shared here.

What one registration does with an input is in :mod:`sipprofile.registration.machine`. Nothing here performs I/O:
``now`` is CLOCK_BOOTTIME in seconds, randomness is an argument, what is to be done leaves through ``act``, ``save``
and ``emit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..agents.base import Agent
from ..events import RegistrationState, StateChanged
from ..profile import Profile
from ..records import RESERVED_BLOCK, FlowRecord, Held, ProfileRecord, RuntimeWrite
from ..sip.locating import Question, Record
from ..sip.message import Request
from . import (
    attempt,
    bearer,
    ghosts,
    keepalive,
    machine,
    native,
    network,
    notified,
    outbound,
    plain,
    quick,
    reachability,
    receiving,
    regevent,
    restart,
    size,
    transactions,
    turns,
)
from .actions import Action, CloseTransport, OpenTransport, Send, TransportKey
from .addresses import Addresses
from .alike import Alike
from .bearer import AccessToken
from .changes import consequence
from .counts import Counts
from .ending import Ending
from .health import Health
from .identities import Identities
from .locations import Locations
from .network import Network
from .pacing import AUTOMATIC, AWAITED, Pacer, QueueStatus
from .reachability import Reachabilities
from .refresh_times import RefreshTimes
from .regevent import RegEvents
from .registration import BEYOND_PROFILES, DEREGISTER, Flow, Registration
from .requests import LARGEST_DATAGRAM
from .settings import RegistrationSettings
from .state import reserved_by, state_of, store_lease
from .timers import Timers
from .transport import FLOW_FAILED, Transport

if TYPE_CHECKING:
    from random import Random

HEALTH_KEPT = 10_000
"""Addresses remembered; beyond it those that are up are forgotten."""


class Registrations:
    """Every registration, by profile id; see the inputs below."""

    # fmt: off
    __slots__ = (
        "_calls", "_ending", "_last_time", "_next_call", "_next_flow", "_timers", "access_tokens", "act",
        "addresses", "alike", "boot_id", "by_profile", "cnonce", "emit", "flows", "forms", "ghosts", "health",
        "identities", "keepalive_failures", "keepalives", "keepalives_sent", "kinds", "locations", "network",
        "pacers", "pressing", "quick", "random", "reachabilities", "refresh_times", "reg_events",
        "register_retransmitted", "register_sent",
        "requests", "save", "settings", "stopping", "stun_requests", "transports", "wall_offset",
    )
    # fmt: on

    def __init__(
        self,
        *,
        settings: RegistrationSettings,
        random: Random,
        emit: Callable[[StateChanged], None],
        save: Callable[[RuntimeWrite], None],
        act: Callable[[Action], None],
        wall_offset: float,
        boot_id: str,
    ) -> None:
        self.settings = settings
        self.quick = native.module
        """The compiled quick path, or None."""
        self.random = random
        self.cnonce = ""
        self.emit = emit
        self.save = save
        self.act = act
        self.wall_offset = wall_offset
        self.boot_id = boot_id
        self.register_sent = 0
        """REGISTER requests sent, retransmissions not counted."""
        self.register_retransmitted = 0
        self.keepalives_sent = 0
        """CRLF pings and STUN requests, retransmissions not counted."""
        self.keepalive_failures = 0
        """Transports whose flows failed by a keepalive."""
        self.stopping = False
        self.pressing = False
        """A row was saved that is not that of a refresh."""
        self.by_profile: dict[int, Registration] = {}
        self.ghosts: dict[int, Registration] = {}
        self.flows: dict[int, Flow] = {}
        self.addresses = Addresses()
        self.locations = Locations(act, settings.resolve_limit)
        self.health: dict[TransportKey, Health] = {}
        self.transports: dict[TransportKey, Transport] = {}
        self.keepalives: dict[TransportKey, keepalive.Keepalive] = {}
        self.stun_requests: dict[bytes, keepalive.Keepalive] = {}
        self.network = Network()
        self.pacers: dict[str, Pacer] = {}
        self.identities = Identities()
        self.access_tokens: dict[str, AccessToken] = {}
        self.requests = transactions.begin(self)
        """Requests other than REGISTER that are under way."""
        self.reg_events = RegEvents()
        """Subscriptions to our own registrations."""
        self.reachabilities = Reachabilities()
        self.forms: dict[tuple[str, int], plain.Forms] = {}
        """Of answers that are alike, by the address that they come from."""
        self.alike = Alike()
        """Of stored profiles, for those that come next."""
        self.kinds = Counts()
        self._ending = Ending()
        self.refresh_times = RefreshTimes(settings)
        self._timers = Timers()
        self._last_time = 0.0
        self._calls: dict[int, Callable[[float], None]] = {}
        self._next_flow = BEYOND_PROFILES
        self._next_call = 0

    # -- profiles ------------------------------------------------------------------------------------------------

    def new_flow(self, profile: int) -> FlowRecord:
        """A new profile's Call-ID, contact token and first block of CSeq numbers, to be stored before its first use."""
        bits = self.random.getrandbits
        return FlowRecord(
            profile=profile,
            call_id=f"{bits(128):032x}",
            contact_token=f"{bits(120):030x}",
            cseq_reserved=RESERVED_BLOCK,
        )

    def add(self, record: ProfileRecord, agent: Agent, now: float, *, wanted: bool, waiting: bool = False) -> None:
        """Take a stored profile. Without a live lease nothing happens before it is wanted.

        A profile that is not wanted keeps a live lease until ``want(…, False)`` says that nobody came back.
        """
        if wanted or not self.alike.add(self, record, agent, now):
            restart.add(self, record, agent, now, wanted=wanted, waiting=waiting)

    def want(self, profile: int, wanted: bool, now: float, *, waiting: bool = False, reason: str = "disabled") -> None:
        """Say whether a binding is wanted; ``waiting``: somebody waits for it."""
        registration = self.by_profile[profile]
        registration.wanted = wanted
        registration.kept = False
        kind = AWAITED if waiting else AUTOMATIC
        for flow in reversed(registration.flows):  # the first says what it has come to
            if wanted:
                machine.wanted(self, registration, flow, now, kind)
            else:
                machine.unwanted(self, registration, flow, now, reason)

    def update(self, old: Profile, record: ProfileRecord, agent: Agent, now: float) -> None:
        """The profile was changed from ``old`` to ``record``; only what must go on the wire does."""
        registration = self.by_profile[record.profile.id]
        before = registration.plan
        after = self.identities.shared(agent.plan(record.profile, registration.first.contact_token))
        self.addresses.remove(registration)
        registration.agent = agent
        regevent.updated(self, registration, before, after, now)
        outbound.updated(self, registration, after, consequence(before, after), now)
        self.addresses.add(registration)
        reachability.changed(self, registration, now)

    def remove(self, profile: int, now: float) -> None:
        """Forget the profile; a binding that exists or may exist is removed in the background."""
        registration = self.by_profile.pop(profile)
        self.addresses.remove(registration)
        self.kinds.leave(registration)
        for flow in registration.flows:
            ghosts.haunt(self, registration, flow, now)
        regevent.forget(self, profile)
        reachability.forget(self, profile)

    def hold(self, profile: int, held: Held, now: float) -> None:
        """An operator's word: ``paused`` de-registers, ``forcibly_disabled`` drops without SIP, '' ends either."""
        registration = self.by_profile[profile]
        registration.held = held
        for flow in reversed(registration.flows):  # the first tells, when the others are done
            machine.held(self, registration, flow, now)

    def retry_now(self, profile: int, now: float, *, operator: bool = True) -> None:
        """Do not wait any longer: try now, whatever the back-off or the breaker says (original ``RefreshEnableL``)."""
        registration = self.by_profile[profile]
        if operator:
            registration.lacking = ()
        for flow in registration.flows:
            machine.retry_now(self, registration, flow, now, operator=operator)

    def probe(self, profile: int, now: float) -> None:
        """Find out whether requests to the address-of-record arrive here; the outcome is a change of state."""
        reachability.probe(self, self.by_profile[profile], now)

    def state(self, profile: int) -> RegistrationState:
        """What users see of it; ``users`` is filled in by the service."""
        return state_of(self, self.by_profile[profile])

    def held(self, profile: int) -> str:
        """The operator's word that is in force."""
        return self.by_profile[profile].held

    def wanted(self, profile: int) -> bool:
        """Whether a binding is wanted."""
        return self.by_profile[profile].wanted

    def has_binding(self, profile: int) -> bool:
        """Whether the registrar holds a binding of ours, as far as we know."""
        return any(flow.lease_end > 0 or flow.rare.unknown_until > 0 for flow in self.by_profile[profile].flows)

    def profile_of_contact(self, user: str) -> int | None:
        """The profile whose Contact has this user part."""
        return self.addresses.tokens.get(user)

    # -- answers of the outside ----------------------------------------------------------------------------------

    def received(self, data: bytes, source: tuple[str, int], key: TransportKey, now: float) -> Request | None:
        """A message came in. Answers are taken here; a request is returned, somebody else must answer it.

        What cannot be parsed is dropped: a request that deserves an answer is parsed and judged by its reader.
        """
        if self.forms and self.quick is not None and self.quick.answered(self, data, source, now):
            return None
        return receiving.received(self, data, source, key, now)

    def requested(self, request: Request, now: float) -> notified.Answer | None:
        """A request came in and is well-formed. Its answer, when it is for a subscription of our own."""
        if request.method == "NOTIFY":
            return notified.notified(self, request, now)
        if request.method == "OPTIONS" and self.reachabilities.calls:
            reachability.arrived(self, request, now)
        return None

    def resolved(self, question: Question, records: tuple[Record, ...], ttl: float, now: float) -> None:
        """The answer to :class:`~sipprofile.registration.actions.Resolve`; ``ttl`` in seconds."""
        self.located(self.locations.answered(question, records, ttl, now), now)

    def resolve_failed(self, question: Question, code: str, retry_after: float, now: float) -> None:
        """:class:`~sipprofile.registration.actions.Resolve` failed, and would again for ``retry_after`` seconds."""
        self.located(self.locations.failed(question, code, retry_after, now), now)

    def located(self, flows: Iterable[int], now: float) -> None:
        """Servers that ``flows`` wait for are found, or are known not to be."""
        turns.each_flow(self, sorted(flows), attempt.located, now)

    def token_fetched(self, source: str, token: str, lifetime: float | None, now: float) -> None:
        """The answer to :class:`~sipprofile.registration.actions.FetchToken`; ``lifetime`` in seconds, if known."""
        bearer.fetched(self, source, token, lifetime, now)

    def token_not_fetched(self, source: str, now: float) -> None:
        """:class:`~sipprofile.registration.actions.FetchToken` failed."""
        bearer.not_fetched(self, source, now)

    def transport_opened(self, key: TransportKey, local: tuple[str, int], now: float, mtu: int = 0) -> None:
        """:class:`OpenTransport` succeeded, or what it told has changed; ``local`` is the address that a Contact must
        show, ``mtu`` that of a path for UDP in bytes, 0 when it is not known."""
        transport = self.transports.get(key)
        if transport is None:
            self.act(CloseTransport(key))
            return
        transport.local = local
        if key.protocol == "udp":
            transport.limit = size.limit_of(mtu)
        network.opened(self, key, local)
        transactions.opened(self, key, now)

        def go_on(_: Registrations, registration: Registration, flow: Flow, later: float) -> None:
            if transport.local is not None and self.transports.get(key) is transport:  # it may have failed meanwhile
                attempt.opened(self, registration, flow, key, later)

        turns.each_flow(self, sorted(transport.waiting), go_on, now)

    def transport_failed(self, key: TransportKey, code: str, text: str, now: float) -> None:
        """A transport could not be opened, was lost, or (UDP) an ICMP error named its destination."""
        transport = self.transports.pop(key, None)
        if transport is None:
            return
        if code in FLOW_FAILED:
            self.health_of(key).losses.add(now, self.settings)
        transactions.transport_lost(self, key, code, now)
        network.not_opened(self, key, transport)
        for identity in sorted(transport.waiting | transport.active | transport.bound):
            flow = self.flows.get(identity)
            if flow is not None:
                machine.transport_lost(self, self.owner(flow), flow, key, code, now)
        if code == "transport_refused" and key.protocol == "udp" and transport.local is not None:
            self.transport(key)  # a closed port ends no binding, and what lives on it must be able to send

    def transport_timed_out(self, key: TransportKey, now: float) -> None:
        """:class:`OpenTransport` got no answer: whatever is still under way is called off."""
        self.act(CloseTransport(key))
        self.transport_failed(key, "transport_timeout", "", now)

    def saved(self, row: FlowRecord, now: float) -> None:
        """A row is on disk: the CSeq numbers it reserves may be used, the lease it gives up may be removed."""
        registration = self.by_profile.get(row.profile)
        if registration is None:
            return
        for flow in registration.flows:
            if flow.number != row.number or flow.call_id != row.call_id:
                continue
            if row.leaving and flow.purpose == DEREGISTER:
                flow.leaving = True
            if row.leaving or row.cseq_reserved > flow.cseq_reserved:
                reserved_by(flow, row)
                attempt.reserved(self, registration, flow, now)

    def network_changed(self, addresses: frozenset[str] | None, now: float) -> None:
        """Addresses or routes have changed; ``addresses`` are the local ones now, ``None`` when nobody can tell."""
        network.changed(self, addresses, now)

    def resumed(self, slept: float, now: float) -> None:
        """The machine was suspended for ``slept`` seconds."""
        network.resumed(self, slept, now)

    def transport_probed(
        self, key: TransportKey, local: tuple[str, int] | None, used: str | None, mtu: int, now: float
    ) -> None:
        """The answer to :class:`~sipprofile.registration.actions.Probe`. ``local``: the address and port that would be
        used now, ``None`` when there is no way. ``used``: the address that the open connection has, empty when that
        address is gone, ``None`` when no connection is open or none is needed. ``mtu``: of the path, 0 = not known."""
        network.probed(self, key, local, used, mtu, now)

    def clock_jumped(self, wall_offset: float, now: float) -> None:
        """The wall clock was set. Running leases count in CLOCK_BOOTTIME and do not care; stored ones are rewritten."""
        self.wall_offset = wall_offset
        turns.each_flow(self, [flow.id for each in self.by_profile.values() for flow in each.flows], store_lease, now)

    # -- time ----------------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When :meth:`timer` is to be called next; in the past when more is due than is done at once."""
        return self._timers.next()

    def timer(self, now: float) -> None:
        """Do what is due, but no more than :data:`~.turns.AT_ONCE` of it: call it again after a look at the sockets."""
        if self.quick is not None and self.quick.timer(self, turns.AT_ONCE, now):
            return
        timers = self._timers
        left = turns.AT_ONCE
        while left and (due := timers.pop(now)) is not None:
            at, identity = due
            if identity < 0:
                left -= 1
                self._calls.pop(identity)(now)
                continue
            flow = self.flows.get(identity)
            if flow is None or flow.wake_at != at:
                continue
            flow.wake_at = 0.0
            left -= 1
            machine.due(self, self.owner(flow), flow, now)

    def arm(self, flow: Flow, at: float) -> None:
        """Wake ``flow`` at ``at`` or earlier."""
        if flow.wake_at == 0.0 or at < flow.wake_at:
            flow.wake_at = at
            self._timers.set(at, flow.id)

    def same(self, at: float) -> float:
        """``at``, as the object that the flow before has for it: many are granted at one time."""
        if at != self._last_time:
            self._last_time = at
        return self._last_time

    def call_at(self, at: float, due: Callable[[float], None]) -> None:
        """Have ``due`` called with the time at ``at``: for what belongs to no flow but to all, a target or a bucket."""
        self._next_call -= 1
        self._calls[self._next_call] = due
        self._timers.set(at, self._next_call)

    # -- what is shared ------------------------------------------------------------------------------------------

    def pacer(self, registrar: str, now: float) -> Pacer:
        """The bucket of ``registrar``."""
        pacer = self.pacers.get(registrar)
        if pacer is None:
            pacer = self.pacers[registrar] = Pacer(self.settings.rate, self.settings.burst, now)
        return pacer

    def queues(self) -> list[QueueStatus]:
        """The queue of every registrar that anybody registers at."""
        return [pacer.status(registrar) for registrar, pacer in self.pacers.items()]

    def transport(self, key: TransportKey) -> Transport:
        """The transport ``key``, which is opened if it is not."""
        transport = self.transports.get(key)
        if transport is None:
            transport = self.transports[key] = Transport(key)
            self.act(OpenTransport(key))
        return transport

    def send(self, key: TransportKey, data: bytes) -> None:
        """Put ``data`` on the wire. What no datagram can hold, as a stranger may bring about with long headers, is not
        sent: it would look like a failure of its destination, and of all that goes there."""
        if len(data) <= LARGEST_DATAGRAM or key.protocol != "udp":
            self.act(Send(key, data))

    # -- targets -------------------------------------------------------------------------------------------------

    def health_of(self, key: TransportKey) -> Health:
        """The health of a target."""
        known = self.health.get(key)
        if known is None:
            if len(self.health) >= HEALTH_KEPT:
                self.health = {other: entry for other, entry in self.health.items() if entry.down}
            known = self.health[key] = Health()
        return known

    # -- all of them ---------------------------------------------------------------------------------------------

    def stop(self, deregister: bool, now: float) -> None:
        """Begin no new registration; with ``deregister`` give back every binding."""
        self.stopping = True
        if deregister:
            self._ending.give_back(self, now)

    @property
    def stopped(self) -> bool:
        """Whether nothing is under way any more."""
        return self._ending.is_over(self)

    def counts(self) -> dict[tuple[str, str, str], int]:
        """How many profiles are in each (status, reason code, registrar)."""
        return self.kinds.by_kind

    def changed(self, registration: Registration, event: StateChanged, now: float) -> None:
        """Count the new state and tell the service."""
        self.kinds.count(registration)
        self.emit(event)
        if registration.plan.reg_event:
            regevent.changed(self, registration, now)
        if registration.plan.reachable_interval or registration.profile in self.reachabilities.by_profile:
            reachability.changed(self, registration, now)

    def owner(self, flow: Flow) -> Registration:
        """The registration that ``flow`` belongs to."""
        ghost = self.ghosts.get(flow.id)
        return ghost if ghost is not None else self.by_profile[flow.profile]

    def new_identity(self) -> int:
        """A number for a new flow, never used again while the service runs."""
        self._next_flow += 1
        return self._next_flow


quick.bind(Registrations)
