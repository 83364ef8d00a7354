"""Which answer to REGISTER means what; an answer that did not come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.base import Agent
from ..events import Reason
from ..sip.headers import parse_retry_after
from ..sip.message import MalformedMessage, Response
from ..sip.syntax import SipSyntaxError
from . import acceptance, detour, failures, health, machine, nat, redirection, rejection
from .answers import Outcome, outcome_of, phrase
from .registration import DEREGISTER, IDLE, REMOVE_OLD, Flow, Registration
from .transmit import asked, end_transaction, transmit

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_RETRY_AFTER = 86_400.0  # seconds; a longer Retry-After is a mistake or an attack
MAXIMUM_MIN_EXPIRES = 2**31


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
    by_udp = flow.key.protocol == "udp" and flow.carrier is None
    end_transaction(room, flow)
    if by_udp:
        nat.learn(room, flow, response, now)
    unusable = outcome_of(status) is Outcome.NEXT_TARGET
    waiting = []
    if not unusable:
        waiting = health.answered(room, flow.key, flow, now)
        flow.forced = False
    if status in (401, 407):
        rejection.challenged(room, registration, flow, response, now)
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        gone = status < 300 or status in (404, 481)
        acceptance.removed(room, registration, flow, now, None if gone else Reason.of("binding_may_remain", status))
    elif status < 300:
        acceptance.accepted(room, registration, flow, response, now)
    else:
        refused(room, registration, flow, response, since, now)
    if flow.id in room.flows:
        machine.rearm(room, registration, flow)
    if waiting:  # last: whoever leaves the connection for another must not close it before this answer was dealt with
        health.wake(room, waiting, now)


def refused(
    room: Registrations, registration: Registration, flow: Flow, response: Response, since: float, now: float
) -> None:
    """A final answer that is neither 2xx nor a challenge."""
    status = response.status
    if 400 <= status < 500 and status not in (408, 423, 430) and nat.refused(room, flow):
        flow.middle = b""
        room.pacer(registration.plan.registrar, now).debit(now)
        transmit(room, registration, flow, now)
        return
    reason = Reason.of("response", status, phrase(response))
    after = _retry_after(response)
    # An answer may change the plan's mind: what the registrar refuses it does not hold.
    if type(registration.agent).judge is not Agent.judge:
        verdict = registration.agent.judge(registration.plan, response)
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
    outcome = outcome_of(status)
    if status == 423:
        _too_brief(room, registration, flow, response, now)
    elif outcome is Outcome.REJECTED and flow.nonces:
        rejection.rejected(room, registration, flow, "rejected_credentials", status, now)
    elif outcome in (Outcome.REJECTED, Outcome.REFUSED):
        failures.give_up(room, registration, flow, now, reason, lost=True, after=after)
    elif outcome is Outcome.REDIRECT:
        redirection.redirected(room, registration, flow, response, reason, now)
    elif outcome is Outcome.NEXT_TARGET:
        assert flow.key is not None
        # A server that challenged us first and names no time is up: the failure is this profile's own.
        if not flow.rounds or after is not None:
            health.failed(room, flow.key, flow, since, now, after or 0.0)
        failures.next_target(room, registration, flow, now, reason, after=after)
    else:
        failures.give_up(room, registration, flow, now, reason, after=after)


def _too_brief(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """423: ask for what it demands at once (RFC 3261 §10.2.8)."""
    text = (response.header("min-expires") or "").strip()
    minimum = int(text[:12]) if text.isascii() and text.isdecimal() else 0
    flow.rounds += 1
    if asked(registration, flow) < minimum < MAXIMUM_MIN_EXPIRES and flow.rounds <= 4:
        flow.minimum_expires = minimum
        if registration.should_register:
            room.pacer(registration.plan.registrar, now).debit(now)
            transmit(room, registration, flow, now)
        else:
            flow.phase = IDLE
            machine.finish_unwanted(room, registration, flow, now)
    else:
        failures.give_up(room, registration, flow, now, Reason.of("interval_too_brief", 423))


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
    end_transaction(room, flow)
    if flow.purpose == DEREGISTER:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    else:
        assert flow.key is not None
        flow.unknown_until = max(flow.unknown_until, flow.sent_at + asked(registration, flow))
        health.failed(room, flow.key, flow, flow.sent_at, now)
        failures.next_target(room, registration, flow, now, Reason.of("timeout"))
