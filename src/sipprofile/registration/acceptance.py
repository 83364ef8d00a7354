"""What follows from a 2xx: to REGISTER the lease, to the removal of a contact its end (RFC 3261 §10.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import NO_REASON, Reason
from ..sip.headers import split_list
from ..sip.message import Response
from . import attempt, failures, ghosts, gruu, keepalive, machine, nat, network, outbound
from .grant import granted
from .pacing import AWAITED
from .rare import NO_GRUU, USUAL_FLOW
from .refresh_times import refresh_at
from .registration import IDLE, REGISTER, REMOVE_OLD, Flow, Registration
from .request import reg_id
from .state import store, tell
from .strays import left_behind
from .transmit import asked
from .transport import unbind

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_VALUES = 4096  # characters of one header


def accepted(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    response: Response,
    now: float,
    unproven: Reason | None = None,
) -> None:
    """A 2xx: the grant of our contact is our lease (RFC 3261 §10.2.4). ``unproven``: what to say of the server."""
    plan = registration.plan
    number, asked_for = reg_id(plan, flow), asked(registration, flow)
    seconds, contacts = granted(
        response, flow.contact, plan.contact_user, plan.instance_id, asked_for, flow.rare.old_contact, number
    )
    if not seconds or flow.sent_at + seconds <= now:
        reason = Reason.of("contact_missing" if seconds is None else "lease_expired" if seconds else "zero_grant")
        # What it made of a contact that it does not list is its secret.
        unknown_until = flow.sent_at + asked_for if seconds is None else 0.0
        failures.give_up(room, registration, flow, now, reason, lost=True, unknown_until=unknown_until)
        return
    refresh = registration.status == "registered" and registration.last_error == unproven and flow.lease_end > 0
    flow.failures = 0
    flow.phase = IDLE
    flow.lease_end = room.same(flow.sent_at + seconds)
    flow.granted = seconds
    flow.refresh_at = refresh_at(room, flow, seconds)
    flow.sent_as = flow.carried
    service_route = _values(response, "service-route")
    path = _values(response, "path")
    if flow.rare is not USUAL_FLOW or service_route or path or plan.gruu:
        flow.rejected = 0
        flow.tried = ()
        flow.unknown_until = 0.0
        flow.service_route = service_route  # RFC 3608 §5: a 2xx without it clears it
        flow.path = path
        flow.gruu = gruu.learnt(plan, flow, response) if plan.gruu else NO_GRUU
        flow.reason = NO_REASON
    outbound.learn(registration, flow, response)
    if flow.rare.outbound:
        flow.old_contact = ""  # the binding was replaced, whatever its contact (RFC 5626 §6)
    aors = registration.agent.associated(plan.aor, response)
    if aors != flow.registered_aors:
        flow.registered_aors = aors
    room.addresses.learn(registration)
    bind(room, flow)
    keepalive.granted(room, registration, flow, response, now)
    flow.middle = b""  # made again in microseconds when the refresh is due; kept, it is a tenth of the memory
    registration.last_error = unproven or _error_of_another(registration)
    if not registration.should_register:
        machine.finish_unwanted(room, registration, flow, now)
        return
    tell(room, registration, now, NO_REASON, flow=flow, transition=not refresh)
    store(room, registration, flow, refreshed=refresh)
    if flow.rare.predecessor:
        ghosts.lay(room, flow, now)
    if (flow.rare.outbound or len(registration.flows) > 1) and not outbound.arrange(room, registration, flow, now):
        return
    if nat.outdated(room, registration, flow) or network.outdated(room, flow):
        flow.again = True
    if flow.rare.old_contact or (len(contacts) > 1 and len(registration.flows) == 1 and not flow.rare.outbound):
        flow.old_contact = left_behind(plan, flow, contacts)
        if flow.rare.old_contact:
            _remove_old(room, registration, flow, now)
            return
    if flow.rare.again:
        attempt.begin(room, registration, flow, now, AWAITED)


def bind(room: Registrations, flow: Flow) -> None:
    """The binding lives where the request went."""
    key = flow.key
    assert key is not None
    if flow.bound != key:
        unbind(room, flow)
        flow.bound = key
        if key.protocol != "udp":
            room.transports[key].bound.add(flow.id)
    flow.bound_local = flow.local  # what the Contact shows; the way may have changed meanwhile


def _values(response: Response, name: str) -> tuple[str, ...]:
    """The values of a header; more than any request could carry is none, because each flow keeps its own."""
    lines = response.headers(name)
    if not lines or sum(map(len, lines)) > MAXIMUM_VALUES:
        return ()
    return tuple(value for line in lines for value in split_list(line) if value.isprintable())


def _error_of_another(registration: Registration) -> Reason | None:
    """What is wrong with a flow while this one is well."""
    if len(registration.flows) == 1:
        return None
    return next((flow.reason for flow in registration.flows if flow.reason.code != "none"), None)


def _remove_old(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """What ours replaced goes; the registrar has just listed it."""
    flow.purpose = REMOVE_OLD
    flow.attempt += 1
    flow.rounds = 0
    attempt.pace(room, registration, flow, now)


def old_removed(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The old contact is gone, or stays until its lease ends: ours stands either way."""
    flow.old_contact = ""
    flow.purpose = REGISTER
    flow.phase = IDLE
    if not registration.should_register:
        machine.finish_unwanted(room, registration, flow, now)
    elif flow.again or flow.lease_end == 0:
        attempt.begin(room, registration, flow, now, AWAITED)
    else:
        machine.rearm(room, registration, flow)


def removed(room: Registrations, registration: Registration, flow: Flow, now: float, failure: Reason | None) -> None:
    """A de-registration ended; without a 2xx the binding may remain until its lease ends."""
    machine.leave(room, flow)
    flow.purpose = REGISTER
    machine.forget_lease(room, flow)
    flow.unknown_until = 0.0
    flow.old_contact = ""
    if registration.ghost:
        ghosts.exorcised(room, registration, flow, now)
        ghosts.succeeded(room, registration, now)
        return
    reason = failure or Reason.of(machine.reason_down(room, registration))
    if flow.number > 1:
        outbound.removed(room, registration, flow, now, reason)
        return
    tell(room, registration, now, reason, event="deregistered")
    store(room, registration, flow)
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if registration.should_register:
        attempt.begin(room, registration, flow, now, AWAITED)
