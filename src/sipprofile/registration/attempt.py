"""One attempt to register: find a target, open the way to it, draw a token, send (RFC 3263 §4, RFC 5626 §4.5).

The life of an attempt is: :func:`begin` → :func:`pursue` a target → :func:`go` there → :func:`pace` →
:func:`~sipprofile.registration.transmit.transmit` → an answer (:mod:`~sipprofile.registration.outcomes`), a time-out
or a lost transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Hop
from ..events import NO_REASON, Reason
from . import departure, detour, failures, health, machine, outbound, queueing, rejection, restart, size
from .actions import TransportKey
from .pacing import REFRESH, RETRY
from .rare import USUAL_FLOW
from .refresh import latest_delay
from .registration import (
    DEREGISTER,
    IDLE,
    OPENING,
    QUEUED,
    REGISTER,
    RESERVING,
    RESOLVING,
    RESUME,
    WAITING,
    Flow,
    Registration,
)
from .state import status_of, tell
from .targets import Target, targets_of
from .transmit import transmit
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations

WANTED_DOWN = frozenset(("disabled", "paused", "stopped", "forcibly_disabled"))
"""Reasons for having been down that are over when an attempt begins."""
STALE_AFTER = 1.8  # seconds that a refresh waits for new addresses before it uses those it has (RFC 8767 §5)


def begin(room: Registrations, registration: Registration, flow: Flow, now: float, kind: int) -> None:
    """Start an attempt at the first target."""
    if room.quick is not None and room.quick.begin(room, registration, flow, now, kind):
        return
    if room.stopping:
        return
    if flow.breaker_open and not 0 < flow.probe_at <= now:
        rejection.hold_back(room, registration, flow, now)
        return
    flow.purpose = REGISTER
    if flow.rare is not USUAL_FLOW:
        afresh(flow, kind)
        flow.again = False
    flow.queue_class = kind
    way = _only_way(room, registration, flow, now)
    if way is None:
        pursue(room, registration, flow, now)
    else:
        flow.key = way.key
        flow.attempt += 1
        flow.rounds = 0
        way.waiting.add(flow.id)
        pace(room, registration, flow, now)
    show(room, registration, now)


def _only_way(room: Registrations, registration: Registration, flow: Flow, now: float) -> Transport | None:
    """The open UDP transport to the only address of the only hop, when that is up: there is nothing to choose.

    It is what :func:`pursue` would come to, as it does each time for most registrations.
    """
    plan = registration.plan
    if flow.rare is not USUAL_FLOW or len(plan.hops) != 1 or len(registration.flows) != 1 or plan.dscp is not None:
        return None
    location = room.locations.of(plan.hops[0].server)
    if location.sole is None or location.expires_at <= now or room.network.generations:
        return None
    way = room.transports.get(location.sole)
    if way is None or way.local is None or not (flow.key is None or flow.key is way.key):
        return None
    return None if room.health_of(way.key).down else way


def afresh(flow: Flow, kind: int) -> None:
    """Forget where the attempt before has been."""
    if flow.rare.tried:
        flow.tried = ()
    if flow.rare.redirect is not None:
        flow.redirect = None
        flow.redirect_uri = ""
        flow.middle = b""
    flow.queue_class = kind


def show(room: Registrations, registration: Registration, now: float) -> None:
    """Tell the status if it has changed."""
    if status_of(registration) != registration.status:
        past = registration.reason.code in WANTED_DOWN and registration.should_register
        tell(room, registration, now, NO_REASON if past else None)


def hops_of(registration: Registration, flow: Flow) -> tuple[Hop, ...]:
    """Where this attempt may go."""
    if flow.rare.redirect is not None:
        return (flow.rare.redirect,)
    return registration.plan.hops if len(registration.flows) == 1 else outbound.hops_of(registration, flow)


def targets_for(room: Registrations, registration: Registration, flow: Flow) -> list[Target]:
    """The known targets of this attempt, in order."""
    targets = targets_of(room, hops_of(registration, flow), registration.plan.dscp)
    return targets if len(registration.flows) == 1 else outbound.own_targets(registration, flow, targets)


def pursue(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Find the next target and go there; names that are not known yet are resolved first."""
    if flow.purpose == DEREGISTER:
        departure.located(room, registration, flow, now)
        return
    hops = hops_of(registration, flow)
    locations = room.locations
    unknown = [hop.server for hop in hops if not locations.known(hop.server, now)]
    if unknown:
        # A name with a short TTL may have to be asked for again; the time limit is that of all of it.
        limit = STALE_AFTER if flow.lease_end > 0 and targets_of(room, hops, None) else room.settings.resolve_limit
        machine.enter(room, flow, RESOLVING, flow.ends_at if flow.phase == RESOLVING else now + limit)
        for server in unknown:
            locations.ask(server, flow.id, now)
    else:
        _aim(room, registration, flow, now)


def _aim(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Go to the next target of those that are known."""
    hops = hops_of(registration, flow)
    targets = targets_for(room, registration, flow)
    if not targets and flow.number > 1 and targets_of(room, hops, None):
        outbound.redundant(room, registration, flow, now)
        tell(room, registration, now, transition=False)
        return
    if not targets:
        nowhere = [room.locations.of(hop.server) for hop in hops]
        code = nowhere[0].failure
        wait = min(location.expires_at for location in nowhere) - now
        failures.give_up(room, registration, flow, now, Reason.of(code), at_least=wait)
        return
    target = _choose(room, flow, targets, now)
    if target is not None:
        go(room, registration, flow, target, now)
    elif all(target.key in flow.tried for target in targets):
        known = flow.redirect is None and flow.reason.code != "none"
        reason = flow.reason if known else health.why_down(room, [target.key for target in targets])
        failures.give_up(room, registration, flow, now, reason)
    else:
        failures.park(room, registration, flow, now, [target.key for target in targets])


def _choose(room: Registrations, flow: Flow, targets: list[Target], now: float) -> Target | None:
    """The first target that was not tried and is not down; a refresh stays where its binding is, a canary goes first
    where it was sent."""
    left = [target for target in targets if target.key not in flow.rare.tried]
    bound = flow.bound
    if bound is not None and len(left) > 1:
        left.sort(key=lambda target: target.key != room.network.current(bound))
    for target in left:
        if room.health_of(target.key).canary == flow.id:
            return target
    for target in left:
        if not room.health_of(target.key).down:
            return target
    return left[0] if left and flow.forced else None


def resolve_limit_reached(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Names that were not resolved in time count as failed, for everybody who waits; what is known is used.

    Who has a binding does not wait as long while older addresses are known: its lease must not end for a name server.
    """
    for hop in hops_of(registration, flow):
        asked_at = room.locations.of(hop.server).asked_at
        if asked_at and now - asked_at >= room.settings.resolve_limit:
            room.located(room.locations.give_up(hop.server, now), now)
    if flow.phase != RESOLVING or now < flow.ends_at:
        return
    if flow.purpose == DEREGISTER:
        departure.located(room, registration, flow, now)
    elif targets_of(room, hops_of(registration, flow), None):
        _aim(room, registration, flow, now)
    else:
        failures.give_up(room, registration, flow, now, Reason.of("resolve_timeout"))


def canary(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Try a target that is down, on behalf of everybody who waits for it."""
    begin(room, registration, flow, now, RETRY)


def target_back(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A target that was down has answered somebody."""
    if waits(registration, flow):
        begin(room, registration, flow, now, REFRESH if flow.lease_end > 0 else RETRY)


def waits(registration: Registration, flow: Flow) -> bool:
    """Whether the flow would use a target that comes back."""
    return flow.phase == WAITING and registration.should_register and not flow.breaker_open


def go(room: Registrations, registration: Registration, flow: Flow, target: Target, now: float) -> None:
    """Use ``target``: open the way to it, then draw a token."""
    if flow.rare.redirect is not None:
        hop = flow.rare.hop
    else:
        hop = target.hop if len(registration.flows) == 1 else outbound.index_of(registration, flow, target.hop)
    use(room, flow, room.transport(target.key).key, hop)
    flow.attempt += 1
    flow.rounds = 0
    open_way(room, registration, flow, now)


def use(room: Registrations, flow: Flow, key: TransportKey, hop: int) -> None:
    """Send to ``key`` from now on, as the plan's ``hop`` wants it."""
    if flow.rare.carrier is not None:
        size.leave(room, flow)
    if flow.key is not None and flow.key != key:
        health.release(room, flow)
        if flow.key.protocol != key.protocol:
            flow.middle = b""
    if flow.rare.hop != hop:
        flow.middle = b""
        flow.hop = hop
    flow.key = key


def open_way(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Have the transport to the flow's target opened, then draw a token."""
    assert flow.key is not None
    transport = room.transport(flow.key)
    transport.waiting.add(flow.id)
    if transport.local is None:
        machine.enter(room, flow, OPENING, now + room.settings.open_limit + 1.0)
    else:
        pace(room, registration, flow, now)


def located(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A server that this flow waited for is found, or is known not to be."""
    if flow.phase == RESOLVING and not any(
        room.locations.of(hop.server).asked_at for hop in hops_of(registration, flow)
    ):
        pursue(room, registration, flow, now)


def opened(room: Registrations, registration: Registration, flow: Flow, key: TransportKey, now: float) -> None:
    """The transport is usable."""
    if flow.phase != OPENING or (flow.rare.carrier or flow.key) != key:
        return
    if flow.rare.carrier is not None:
        detour.opened(room, flow, now)
    elif flow.purpose == RESUME:
        restart.opened(room, registration, flow, now)
    else:
        pace(room, registration, flow, now)


def pace(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Draw a token, or wait for one. A refresh waits no longer than its margin."""
    registrar = registration.plan.registrar
    pacer = room.pacer(registrar, now)
    if flow.purpose != REGISTER:
        pacer.debit(now)
        transmit(room, registration, flow, now)
    elif (flow.lease_end > 0 or not queueing.is_full(room, flow, now)) and pacer.try_draw(now):
        transmit(room, registration, flow, now)
    elif flow.lease_end > 0:
        latest = flow.lease_end - flow.granted + latest_delay(flow.granted)
        flow.queue_class = REFRESH
        machine.enter(room, flow, QUEUED, max(latest, now + 0.05))
        queueing.enqueue(room, registrar, flow, REFRESH, flow.lease_end, now)
    else:
        machine.enter(room, flow, QUEUED, 0.0)
        queueing.enqueue(room, registrar, flow, flow.queue_class, now, now)


def drawn(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """A token was drawn; the target may have gone down or changed while we waited."""
    assert flow.key is not None
    known = room.health.get(flow.key)
    down = known is not None and known.down and known.canary != flow.id and not flow.forced
    transport = room.transports.get(flow.key)
    if down or transport is None or transport.local is None:
        pursue(room, registration, flow, now)
        show(room, registration, now)
    else:
        transmit(room, registration, flow, now)


def once_more(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Send the request again with what was learned, without waiting for a token, unless nobody wants it any more."""
    if flow.purpose == REGISTER and not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
    else:
        room.pacer(registration.plan.registrar, now).debit(now)
        transmit(room, registration, flow, now)


def reserved(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """More CSeq numbers are on disk."""
    if flow.phase == RESERVING:
        resumed(room, registration, flow, now)


def resumed(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """What the request waited for is there; the transport may be gone meanwhile."""
    assert flow.key is not None
    transport = room.transports.get(flow.key)
    if transport is None or transport.local is None:
        open_way(room, registration, flow, now)
    else:
        transmit(room, registration, flow, now)
