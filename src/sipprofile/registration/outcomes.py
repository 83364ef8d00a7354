"""Which answer to REGISTER means what; an answer that did not come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Agent
from ..events import Reason
from ..sip.headers import parse_retry_after
from ..sip.message import MalformedMessage, Response
from ..sip.syntax import SipSyntaxError
from . import (
    acceptance,
    attempt,
    departure,
    detour,
    failures,
    health,
    hurry,
    information,
    machine,
    nat,
    options,
    outbound,
    redirection,
    rejection,
)
from .answers import SILENCE, Row, Step, reason_of, row_of
from .challenge import MAXIMUM_ROUNDS
from .grant import still_listed
from .kept_plan import whole
from .registration import DEREGISTER, REGISTER, REMOVE_OLD, Flow, Registration
from .request import reg_id
from .transmit import asked, end_transaction

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_RETRY_AFTER = 86_400.0  # seconds; a longer Retry-After is a mistake or an attack
MAXIMUM_MIN_EXPIRES = 2_592_000  # seconds, 30 days; with a longer lease nobody would notice a registrar that forgot us
SHORTEST_PENDING, LONGEST_PENDING = 2.1, 4.0  # seconds to wait after a 491, RFC 3261 §14.1


def answered(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """An answer to the request on the wire."""
    try:
        number, method = response.cseq()
    except MalformedMessage:
        return
    if method != "REGISTER" or number != flow.cseq:
        return
    status = response.status
    assert flow.key is not None
    if status < 200:
        flow.interval = room.settings.t2  # RFC 3261 §17.1.2.2, Proceeding
        if flow.retransmit_at:
            flow.retransmit_at = now + flow.interval
        return
    since = flow.sent_at
    row = row_of(status)
    carried = flow.rare.carrier is not None
    by_udp = flow.key.protocol == "udp" and not carried
    end_transaction(room, flow)
    if by_udp:
        nat.learn(room, flow, response, now)
    waiting = []
    if not row.down:
        waiting = health.answered(room, flow.key, flow, now)
        if flow.rare.forced:
            flow.forced = False
    if row.step is Step.GRANT:
        if carried and options.outbound_required(response):
            flow.again = True  # the first hop keeps the connection in mind, which is about to end
        _succeeded(room, registration, flow, response, now)
    elif row.step is Step.CHALLENGE:
        rejection.challenged(room, registration, flow, response, now)
    elif row.step in (Step.WITHOUT, Step.WITH):
        _extension(room, registration, flow, response, now)
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        failure = None if row.gone else Reason.of("binding_may_remain", status)
        acceptance.removed(room, registration, flow, now, failure)
    else:
        refused(room, registration, flow, row, response, since, now)
    if flow.id in room.flows:
        machine.rearm(room, registration, flow)
    if waiting:  # last: whoever leaves the connection for another must not close it before this answer was dealt with
        health.wake(room, waiting, now)


def _succeeded(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """A 2xx to whatever was asked."""
    unproven = None
    if flow.nonces and not information.learn(registration.plan, flow, response, room.cnonce):
        unproven = Reason.of("server_unproven")
    if flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        remains = flow.contact and still_listed(response, flow.contact)
        failure = Reason.of("binding_may_remain", response.status) if remains else None
        acceptance.removed(room, registration, flow, now, failure)
    else:
        acceptance.accepted(room, registration, flow, response, now, unproven)


def refused(
    room: Registrations, registration: Registration, flow: Flow, row: Row, response: Response, since: float, now: float
) -> None:
    """A final answer that is neither 2xx nor a challenge."""
    status = response.status
    if 400 <= status < 500 and status not in (408, 423, 430) and nat.refused(room, flow):
        flow.middle = b""
        attempt.once_more(room, registration, flow, now)
        return
    reason = reason_of(row, response)
    after = _retry_after(response)
    # An answer may change the plan's mind: what the registrar refuses it does not hold.
    if type(registration.agent).judge is not Agent.judge:
        verdict = registration.agent.judge(whole(registration.plan), response)
        if verdict is not None:
            if verdict.text:
                reason = Reason("response", status, verdict.text)
            failures.give_up(
                room,
                registration,
                flow,
                now,
                reason,
                lost=verdict.action == "refuse",
                after=verdict.after or after,
            )
            return
    if row.unknown:
        flow.unknown_until = max(flow.unknown_until, since + asked(registration, flow))
    step = row.step
    if step is Step.LONGER:
        _too_brief(room, registration, flow, response, now, after)
    elif step is Step.REJECTED and flow.nonces:
        rejection.rejected(room, registration, flow, "rejected_credentials", status, now)
    elif step in (Step.REDIRECT, Step.PROXY):
        redirection.redirected(room, registration, flow, response, now, after, through=step is Step.PROXY)
    elif step is Step.NEXT_TARGET:
        assert flow.key is not None
        if status == 430 and flow.outbound:
            outbound.failed(room, registration, flow, now, reason)
        # A server that challenged us first and names no time is up: the failure is this profile's own.
        if row.down and (not flow.rounds or after is not None):
            health.failed(room, flow.key, flow, since, now, reason, after or 0.0)
        failures.next_target(room, registration, flow, now, reason, after=after)
    elif step is Step.SOON and not flow.failures and after is None:
        soon = SHORTEST_PENDING + (LONGEST_PENDING - SHORTEST_PENDING) * room.random.random()
        failures.give_up(room, registration, flow, now, reason, after=soon)
    else:
        failures.give_up(room, registration, flow, now, reason, lost=row.leave, after=after)


def _extension(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """420, 421, 439: once more with other option tags, whatever the request was for (RFC 3261 §8.1.3.5)."""
    reason = options.adapt(registration.plan, flow, response)
    further = flow.number > 1 and flow.purpose == REGISTER and not registration.ghost
    if further and not reg_id(registration.plan, flow):  # without outbound there is one flow
        outbound.leave_hop(room, registration, flow, now, reason_of(row_of(response.status), response))
        return
    flow.rounds += 1
    if reason is None and flow.rounds > MAXIMUM_ROUNDS:
        reason = reason_of(row_of(response.status), response)
    if reason is None:
        attempt.once_more(room, registration, flow, now)
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain", response.status))
    else:
        failures.give_up(room, registration, flow, now, reason, after=_retry_after(response))


def _too_brief(
    room: Registrations, registration: Registration, flow: Flow, response: Response, now: float, after: float | None
) -> None:
    """423: ask for what it demands at once (RFC 3261 §10.2.8)."""
    text = (response.header("min-expires") or "").strip()
    minimum = int(text[:12]) if text.isascii() and text.isdecimal() else 0
    flow.rounds += 1
    if asked(registration, flow) < minimum < MAXIMUM_MIN_EXPIRES and flow.rounds <= MAXIMUM_ROUNDS:
        flow.minimum_expires = minimum
        attempt.once_more(room, registration, flow, now)
    else:
        failures.give_up(room, registration, flow, now, Reason.of("interval_too_brief", 423), after=after)


def _retry_after(response: Response) -> float | None:
    value = response.header("retry-after")
    if value is None:
        return None
    try:
        seconds = parse_retry_after(value)
    except SipSyntaxError:
        return None
    return min(max(float(seconds), failures.SHORTEST_RETRY), MAXIMUM_RETRY_AFTER) if seconds else None


def timed_out(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Timer F: no answer at all, so the registrar may or may not have our binding."""
    if detour.timed_out(room, registration, flow, now):
        return
    soon = hurry.SOON * room.random.random() if hurry.came_back(room, flow) else None
    end_transaction(room, flow)
    if flow.purpose == DEREGISTER:
        if not departure.elsewhere(room, registration, flow, now):
            acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    else:
        assert flow.key is not None
        reason = Reason.of(SILENCE.reason)
        flow.unknown_until = max(flow.unknown_until, flow.sent_at + asked(registration, flow))
        health.failed(room, flow.key, flow, flow.sent_at, now, reason)
        failures.next_target(room, registration, flow, now, reason, after=soon)
