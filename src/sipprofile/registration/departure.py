"""A de-registration that got no answer: the other servers of a domain know the binding too (RFC 3263 §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Reason
from . import acceptance, attempt, machine
from .registration import RESOLVING, Flow, Registration
from .targets import targets_of

if TYPE_CHECKING:
    from .registrations import Registrations


def elsewhere(room: Registrations, registration: Registration, flow: Flow, now: float) -> bool:
    """Give the binding back at the next target that was not tried and is not down; false when there is none.

    The server that made the binding may have moved or gone since. The contact stays the one that was registered.
    """
    assert flow.key is not None
    if registration.should_register or flow.outbound:
        return False  # it is wanted again: the new REGISTER replaces the binding; or it belongs to this first hop
    flow.tried = (*flow.tried, flow.key)
    unknown = [hop.server for hop in attempt.hops_of(registration, flow) if not room.locations.known(hop.server, now)]
    if unknown:  # the lease has outlived what DNS said: it may have moved
        machine.enter(room, flow, RESOLVING, now + room.settings.resolve_limit)
        for server in unknown:
            room.locations.ask(server, flow.id, now)
        return True
    return _next(room, registration, flow, now)


def located(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The servers are known as well as they can be."""
    if registration.should_register or not _next(room, registration, flow, now):
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))


def _next(room: Registrations, registration: Registration, flow: Flow, now: float) -> bool:
    assert flow.key is not None
    for target in targets_of(room, attempt.hops_of(registration, flow), registration.plan.dscp):
        key = target.key
        if key not in flow.tried and key.protocol == flow.key.protocol and not room.health_of(key).down:
            attempt.go(room, registration, flow, target, now)
            return True
    return False
