"""A challenge is answered, or counts as a rejection of our credentials; the breaker (RFC 3261 §22, RFC 7616 §3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Reason
from ..sip.message import Response
from . import acceptance, attempt, bearer, failures, outbound
from .challenge import answer, challenges_of
from .registration import DEREGISTER, REFUSED_CREDENTIALS, REGISTER, REMOVE_OLD, Flow, Registration

if TYPE_CHECKING:
    from .registrations import Registrations


def challenged(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    response: Response,
    now: float,
) -> None:
    """A 401 or 407: answer it, or count a rejection (RFC 3261 §22, RFC 7616 §3.3)."""
    if flow.retransmitted:
        # The first answer may have been lost and this one be about a nonce count seen twice: no proof of a rejection.
        flow.retransmitted = False
        for nonce in flow.nonces:
            nonce.attempt = 0
    challenges = challenges_of(response)
    code = bearer.answer(room, registration, flow, response, now)
    if code is None:
        code = answer(flow, registration.plan, challenges)
    if code == "too_many_challenges" and not any(challenge.stale for challenge in challenges):
        code = "rejected_credentials"  # where every request is retransmitted there is no other proof
    unwanted = flow.purpose == REGISTER and not registration.should_register
    if unwanted or not code:
        attempt.once_more(room, registration, flow, now)
    elif flow.purpose == REMOVE_OLD:
        acceptance.old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        acceptance.removed(room, registration, flow, now, Reason.of("binding_may_remain", response.status))
    else:
        rejected(room, registration, flow, code, response.status, now)


def rejected(room: Registrations, registration: Registration, flow: Flow, code: str, status: int, now: float) -> None:
    """Our credentials are no good. After two such attempts the breaker opens."""
    flow.nonces = ()
    bearer.refused(room, registration, now)
    if flow.number > 1 and not registration.ghost:
        outbound.rejected(room, registration, flow, now, Reason.of(code, status))
        return
    if code in REFUSED_CREDENTIALS:
        flow.rejected += 1
    if flow.breaker_open and code == "rejected_credentials":
        code = "credentials_needed"
    failures.give_up(room, registration, flow, now, Reason.of(code, status), lost=True)


def hold_back(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The breaker is open: say so, and wait for the next probe or for an operator."""
    plan = registration.plan
    has_credentials = plan.credentials is not None or any(hop.credentials is not None for hop in plan.hops)
    reason = Reason.of("credentials_needed" if has_credentials else "no_credentials")
    failures.wait(room, registration, flow, now, reason, failures.next_probe(room, flow, now))
