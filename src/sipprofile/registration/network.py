"""The network beneath the registrations changes: addresses and routes come and go, the machine sleeps.

A change is acted upon when it has settled. Then every way in use is looked at again (:class:`.actions.Probe`): where
the local address is the one that is registered nothing is sent; where it is another, or the machine slept long, the
flow registers once more, the new contact first, and the old one goes. Connections cannot change their address: another
is opened beside (the same :class:`.actions.TransportKey` with the next ``generation``) and the old one closes when its
last flow has left it. One whose address is gone is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..events import Reason
from . import attempt, failures, health, keepalive, size, turns
from .actions import CloseTransport, ForgetNames, Probe, TransportKey
from .pacing import REFRESH
from .registration import IDLE, WAITING, Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations
    from .transport import Transport

QUIET = 1.0
"""Seconds without a change after which a change has settled; up to as much again at random."""
PATIENCE = 5.0
"""Seconds after which it is acted upon even if the changes do not end."""
LONG_SLEEP = 30.0
"""Seconds of sleep after which NAT bindings (RFC 5626 §4.4.2 reckons with 30 s) and connections are taken for gone."""


class Network:
    """What is known about the network, and the change under way."""

    __slots__ = (
        "addresses",
        "afresh",
        "before",
        "bound",
        "due_at",
        "elsewhere",
        "generations",
        "known",
        "slept",
        "sources",
        "until",
    )

    def __init__(self) -> None:
        self.addresses: frozenset[str] | None = None
        """Those of the last change; ``None`` = not known."""
        self.known: frozenset[str] | None = None
        """Those of the last change that settled."""
        self.slept = False
        """The machine slept long before the change under way."""
        self.due_at = 0.0
        """When the change under way has settled; 0 = there is none."""
        self.until = 0.0
        """When that is acted upon at the latest, :data:`PATIENCE` after it began."""
        self.afresh = False
        """The machine slept before the change that settled last: everything registers once more."""
        self.elsewhere = False
        """Names are looked up again since the change that settled last."""
        self.bound: dict[TransportKey, list[int]] = {}
        """Flows by where their binding is, until that is looked at."""
        self.sources: dict[str, str] = {}
        """The local address that leads to a host, empty when none did."""
        self.before: dict[str, str] = {}
        """The same before the change that settled last."""
        self.generations: dict[TransportKey, int] = {}
        """The generation to use, where it is not 0."""

    def current(self, key: TransportKey) -> TransportKey:
        """``key``, or the connection that took its place: the one to use."""
        if not (self.generations or key.generation):
            return key
        return msgspec.structs.replace(key, generation=self.generations.get(_first(key), 0))


def changed(room: Registrations, addresses: frozenset[str] | None, now: float) -> None:
    """Addresses or routes have changed; nothing happens before that has settled."""
    room.network.addresses = addresses
    _await(room, now)


def resumed(room: Registrations, slept: float, now: float) -> None:
    """The machine was suspended for ``slept`` seconds; address changes usually follow, and are awaited."""
    room.network.slept = room.network.slept or slept > LONG_SLEEP
    _await(room, now)


def _await(room: Registrations, now: float) -> None:
    network = room.network
    begins = network.due_at == 0.0
    if begins:
        network.until = now + PATIENCE
    network.due_at = min(now + QUIET * (1.0 + room.random.random()), network.until)
    if begins:
        room.call_at(network.due_at, partial(_due, room))


def _due(room: Registrations, now: float) -> None:
    network = room.network
    if now < network.due_at:
        room.call_at(network.due_at, partial(_due, room))
        return
    network.due_at = 0.0
    if not room.stopping:
        _settled(room, now)


def _settled(room: Registrations, now: float) -> None:
    """Look at every way in use; :func:`probed` gets the answers."""
    network = room.network
    network.afresh, network.slept = network.slept, False
    elsewhere = network.afresh or network.addresses != network.known
    network.elsewhere = False
    network.known = network.addresses
    network.before, network.sources = network.sources, {}
    network.bound = {}
    unresolved = []
    for flow in room.flows.values():
        if flow.bound is not None:
            network.bound.setdefault(flow.bound, []).append(flow.id)
        if elsewhere and flow.phase == WAITING and _not_begun(flow):
            unresolved.append(flow.id)
    used = {_first(key) for key in room.transports}
    network.generations = {key: generation for key, generation in network.generations.items() if key in used}
    if elsewhere:
        _forget_names(room, now)
        room.random.shuffle(unresolved)
        turns.each(room, unresolved, partial(_each, room, _due_again), now)
    keys = dict.fromkeys((*network.bound, *room.transports, *(key for key, each in room.health.items() if each.down)))
    # Connections first: what UDP has no room for is not to go over one that is dead.
    ordered = sorted(keys, key=lambda key: key.protocol == "udp")
    turns.each(room, ordered, lambda key, _: room.act(Probe(key)), now)


def _not_begun(flow: Flow) -> bool:
    """Whether it waits for want of something that had to be got before the request."""
    return flow.reason.code.startswith(("resolve_", "token_"))  # a source of access tokens may be far away, too


def _forget_names(room: Registrations, now: float) -> None:
    """Names may lead elsewhere from here: they are looked up again before they are used next."""
    if not room.network.elsewhere:
        room.network.elsewhere = True
        room.act(ForgetNames())
        room.locations.forget(now)


def opened(room: Registrations, key: TransportKey, local: tuple[str, int]) -> None:
    """Remember which address leads to a host; that of a WebSocket (port 0) is made up."""
    if local[1]:
        room.network.sources[key.host] = local[0]


def probed(
    room: Registrations, key: TransportKey, local: tuple[str, int] | None, used: str | None, mtu: int, now: float
) -> None:
    """The answer to :class:`Probe`."""
    network = room.network
    flows = network.bound.pop(key, [])
    source = "" if local is None else local[0]
    network.sources[key.host] = source
    another = network.before.get(key.host) != source
    transport = room.transports.get(key)
    if key.protocol == "udp":
        _way(room, key, local, mtu, flows, now)
    elif transport is not None and (used == "" or (transport.local is None and another and key.host in network.before)):
        room.act(CloseTransport(key))
        room.transport_failed(key, "address_lost", "", now)
    elif transport is not None and transport.local is not None and used is not None and source:
        moved = another and source != used
        if moved or network.afresh:
            _replace(room, key, flows, now)
    if source and (another or network.afresh):
        waiting = health.forgive(room, key)
        turns.each(room, waiting, partial(_each, room, _due_again), now)


def _way(
    room: Registrations, key: TransportKey, local: tuple[str, int] | None, mtu: int, flows: list[int], now: float
) -> None:
    """UDP: what changed is the local address, or whether there is any way at all."""
    transport = room.transports.get(key)
    if local is None:
        room.transport_failed(key, "transport_unreachable", "", now)
        turns.each(room, flows, partial(_each, room, partial(_unreachable, key)), now)
        return
    if transport is not None and transport.local is not None:
        if transport.local != local:
            _forget_names(room, now)
            transport.public = None  # learned for an address that we have no longer
            transport.moves = 0
        transport.local = local
        transport.limit = size.limit_of(mtu)
    keepalive.again(room, key, room.network.until - PATIENCE, now)
    if not room.network.afresh:
        known = room.flows
        flows = [identity for identity in flows if identity in known and known[identity].bound_local != local]
    turns.each(room, flows, partial(_each, room, _register), now)


def _replace(room: Registrations, key: TransportKey, flows: list[int], now: float) -> None:
    """Have the flows of a connection register over another one that is opened beside it."""
    network = room.network
    if network.current(key) == key:
        network.generations[_first(key)] = key.generation + 1
        _forget_names(room, now)
        turns.each(room, flows, partial(_each, room, _register), now)


def not_opened(room: Registrations, key: TransportKey, transport: Transport) -> None:
    """A connection is lost; one that was to replace another and did not open leaves the place to it."""
    if not key.generation or transport.local is not None:
        return
    before = msgspec.structs.replace(key, generation=key.generation - 1)
    older = room.transports.get(before)
    if older is not None and older.local is not None and room.network.current(key) == key:
        room.network.generations[_first(key)] = before.generation


def outdated(room: Registrations, flow: Flow) -> bool:
    """Whether what was just registered is not the way to go any more: it changed while the request was on the wire."""
    key = flow.key
    assert key is not None
    if key.protocol == "udp":
        return flow.local != room.transports[key].local
    return room.network.current(key) != key


def _first(key: TransportKey) -> TransportKey:
    return msgspec.structs.replace(key, generation=0) if key.generation else key


def _register(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Once more, from where we are. What is on the wire is waited for; see :func:`outdated`."""
    if flow.lease_end > 0 and flow.phase in (IDLE, WAITING) and registration.should_register:
        flow.failures = 0
        attempt.begin(room, registration, flow, now, REFRESH)


def _unreachable(key: TransportKey, room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """There is no way to where the binding is: another target, or a failure while the lease lasts."""
    if flow.bound != key or flow.phase != IDLE or not flow.lease_end or not registration.should_register:
        return
    flow.key = key
    attempt.afresh(flow, REFRESH)
    reason = Reason.of("transport_unreachable")
    health.failed(room, key, flow, now, now, reason)
    failures.next_target(room, registration, flow, now, reason)


def _due_again(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """What it waited for may be over."""
    if attempt.waits(registration, flow):
        flow.failures = 0
        attempt.target_back(room, registration, flow, now)


def _each(
    room: Registrations,
    act: Callable[[Registrations, Registration, Flow, float], None],
    identity: int,
    now: float,
) -> None:
    flow = room.flows.get(identity)
    if flow is not None and not room.stopping:
        act(room, room.owner(flow), flow, now)
