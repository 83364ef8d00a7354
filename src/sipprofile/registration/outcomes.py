"""What follows from an answer to REGISTER, or from none: the lease, the next target, the back-off, the breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.base import Agent, Hop
from ..events import Reason
from ..profile import Identity
from ..sip.headers import parse_retry_after, split_list
from ..sip.locating import Server
from ..sip.message import MalformedMessage, Response
from ..sip.syntax import SipSyntaxError
from ..sip.transport import SECURE
from ..sip.uri import Uri
from . import attempt, ghosts, health, machine
from .actions import TransportKey
from .answers import Outcome, outcome_of, phrase
from .backoff import backoff
from .challenge import answer, challenges_of
from .grant import granted, listed, same_contact
from .pacing import AWAITED
from .refresh import on_grid, refresh_delay
from .registration import DEREGISTER, IDLE, REGISTER, REMOVE_OLD, WAITING, Flow, Registration
from .state import store, tell
from .targets import targets_of
from .transmit import asked, end_transaction, transmit

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_RETRY_AFTER = 86_400.0  # seconds; a longer Retry-After is a mistake or an attack
MAXIMUM_MIN_EXPIRES = 2**31
SHORTEST_RETRY = 5.0  # seconds between tries while a live lease runs out, and whatever Retry-After says


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
    end_transaction(room, flow)
    unusable = outcome_of(status) is Outcome.NEXT_TARGET
    waiting = []
    if not unusable:
        waiting = health.answered(room, flow.key, flow, now)
        flow.forced = False
    if status in (401, 407):
        challenged(room, registration, flow, response, now)
    elif flow.purpose == REMOVE_OLD:
        old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        gone = status < 300 or status in (404, 481)
        removed(room, registration, flow, now, None if gone else Reason.of("binding_may_remain", status))
    elif status < 300:
        accepted(room, registration, flow, response, now)
    else:
        refused(room, registration, flow, response, since, now)
    if flow.id in room.flows:
        machine.rearm(room, registration, flow)
    if waiting:  # last: whoever leaves the connection for another must not close it before this answer was dealt with
        health.wake(room, waiting, now)


# -- 2xx ---------------------------------------------------------------------------------------------------------------


def accepted(room: Registrations, registration: Registration, flow: Flow, response: Response, now: float) -> None:
    """A 2xx: the grant of our contact is our lease (RFC 3261 §10.2.4)."""
    plan = registration.plan
    seconds, contacts = granted(response, flow.contact, plan.contact_user, plan.instance_id, asked(registration, flow))
    if not seconds or flow.sent_at + seconds <= now:
        reason = Reason.of("contact_missing" if seconds is None else "lease_expired" if seconds else "zero_grant")
        give_up(room, registration, flow, now, reason, lost=True)
        return
    refresh = registration.status == "registered" and registration.last_error is None
    flow.failures = 0
    flow.rejected = 0
    flow.tried = ()
    flow.phase = IDLE
    flow.lease_end = flow.sent_at + seconds
    flow.granted = seconds
    flow.refresh_at = on_grid(flow.sent_at + refresh_delay(seconds, room.random.random()))
    flow.unknown_until = 0.0
    flow.sent_as = flow.carried
    flow.service_route = _service_route(response)
    flow.registered_aors = registration.agent.associated(plan.aor, response)
    bind(room, flow)
    flow.middle = b""  # made again in microseconds when the refresh is due; kept, it is a tenth of the memory
    registration.last_error = None
    if not registration.should_register:
        machine.finish_unwanted(room, registration, flow, now)
        return
    tell(room, registration, now, Reason.of("none"), transition=not refresh)
    store(room, registration, flow)
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if flow.again:
        attempt.begin(room, registration, flow, now, AWAITED)
    elif flow.old_contact:
        _remove_old(room, registration, flow, [entry.uri for entry in contacts], now)


def bind(room: Registrations, flow: Flow) -> None:
    """The binding lives where the request went."""
    key = flow.key
    assert key is not None
    if flow.bound != key:
        room.unbind(flow)
        flow.bound = key
        if key.protocol != "udp":
            room.transports[key].bound.add(flow.id)
    flow.bound_local = room.transports[key].local


def _service_route(response: Response) -> tuple[str, ...]:
    """RFC 3608 §5; a 2xx without it clears it."""
    routes = [route for line in response.headers("service-route") for route in split_list(line)]
    return tuple(route for route in routes if route.isprintable())


def _remove_old(room: Registrations, registration: Registration, flow: Flow, uris: list[str], now: float) -> None:
    """The contact that ours replaced goes, but only if the registrar still lists it."""
    if same_contact(flow.old_contact, flow.contact) or not any(same_contact(uri, flow.old_contact) for uri in uris):
        flow.old_contact = ""
        return
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
    tell(room, registration, now, reason, event="deregistered")
    store(room, registration, flow)
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if registration.should_register:
        attempt.begin(room, registration, flow, now, AWAITED)


# -- challenges --------------------------------------------------------------------------------------------------------


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
    code = answer(flow, registration.plan, challenges, f"{room.random.getrandbits(64):016x}")
    if code == "too_many_challenges" and not any(challenge.stale for challenge in challenges):
        code = "rejected_credentials"  # where every request is retransmitted there is no other proof
    if flow.purpose == REGISTER and not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
    elif not code:
        room.pacer(registration.plan.registrar, now).debit(now)
        transmit(room, registration, flow, now)
    elif flow.purpose == REMOVE_OLD:
        old_removed(room, registration, flow, now)
    elif flow.purpose == DEREGISTER:
        removed(room, registration, flow, now, Reason.of("binding_may_remain", response.status))
    else:
        rejected(room, registration, flow, code, response.status, now)


def rejected(room: Registrations, registration: Registration, flow: Flow, code: str, status: int, now: float) -> None:
    """Our credentials are no good. After two such attempts the breaker opens."""
    flow.nonces = ()
    if code in ("rejected_credentials", "no_credentials"):
        flow.rejected += 1
    if flow.breaker_open and code == "rejected_credentials":
        code = "credentials_needed"
    give_up(room, registration, flow, now, Reason.of(code, status), lost=True)


def hold_back(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """The breaker is open: say so, and wait for the next probe or for an operator."""
    plan = registration.plan
    has_credentials = plan.credentials is not None or any(hop.credentials is not None for hop in plan.hops)
    reason = Reason.of("credentials_needed" if has_credentials else "no_credentials")
    _wait(room, registration, flow, now, reason, _next_probe(room, flow, now))


def _next_probe(room: Registrations, flow: Flow, now: float) -> float:
    """When refused credentials are tried again, 0 = never."""
    interval = room.settings.probe_interval
    if not interval:
        flow.probe_at = 0.0
    elif flow.probe_at <= now:
        flow.probe_at = now + interval * (1.0 + 0.1 * room.random.random())
    return flow.probe_at


# -- failures ----------------------------------------------------------------------------------------------------------


def refused(
    room: Registrations, registration: Registration, flow: Flow, response: Response, since: float, now: float
) -> None:
    """A final answer that is neither 2xx nor a challenge."""
    status = response.status
    reason = Reason.of("response", status, phrase(response))
    after = _retry_after(response)
    # An answer may change the plan's mind: what the registrar refuses it does not hold.
    if type(registration.agent).judge is not Agent.judge:
        verdict = registration.agent.judge(registration.plan, response)
        if verdict is not None:
            if verdict.text:
                reason = Reason("response", status, verdict.text)
            give_up(
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
        rejected(room, registration, flow, "rejected_credentials", status, now)
    elif outcome in (Outcome.REJECTED, Outcome.REFUSED):
        give_up(room, registration, flow, now, reason, lost=True, after=after)
    elif outcome is Outcome.REDIRECT:
        _redirected(room, registration, flow, response, reason, now)
    elif outcome is Outcome.NEXT_TARGET:
        assert flow.key is not None
        # A server that challenged us first and names no time is up: the failure is this profile's own.
        if not flow.rounds or after is not None:
            health.failed(room, flow.key, flow, since, now, after or 0.0)
        next_target(room, registration, flow, now, reason, after=after)
    else:
        give_up(room, registration, flow, now, reason, after=after)


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
        give_up(room, registration, flow, now, Reason.of("interval_too_brief", 423))


def _redirected(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    response: Response,
    reason: Reason,
    now: float,
) -> None:
    """301 and 302: one hop, inside the registrar's domain and with the same security."""
    plan = registration.plan
    for contact in listed(response) if flow.redirect is None else ():
        try:
            uri = Uri.parse(contact.uri)
        except SipSyntaxError:
            continue
        transports = registration.agent.transports
        server = Server.of(uri, transports)
        inside = all(host == plan.domain or host.endswith("." + plan.domain) for host in (uri.host, server.host))
        same_security = flow.key is not None and (server.protocol in SECURE) == (flow.key.protocol in SECURE)
        same_scheme = uri.scheme == plan.aor.partition(":")[0]
        if inside and same_security and same_scheme and server.protocol in transports:
            hop = plan.hops[flow.hop]
            if hop.route is None:
                flow.redirect = Hop(server, credentials=hop.credentials, identity=_identity(hop, uri))
            else:
                flow.redirect = hop  # the request still goes through the proxy, only its URI changes (§8.1.3.4)
            flow.redirect_uri = _request_uri(uri)
            flow.phase = IDLE
            if registration.should_register:
                attempt.pursue(room, registration, flow, now)
            else:
                machine.finish_unwanted(room, registration, flow, now)
            return
    give_up(
        room,
        registration,
        flow,
        now,
        Reason.of("redirected", response.status) if contact_given(response) else reason,
    )


def _identity(hop: Hop, uri: Uri) -> Identity | None:
    """Another host has another name in its certificate; our own stays."""
    if hop.identity is None or uri.host == hop.server.host:
        return hop.identity
    return msgspec.structs.replace(hop.identity, server_name=uri.host.strip("[]"))


def _request_uri(uri: Uri) -> str:
    """What may stand in the request line of a REGISTER (RFC 3261 §10.2)."""
    params = tuple(item for item in uri.params if item[0] not in ("lr", "method"))
    return str(msgspec.structs.replace(uri, user=None, password=None, headers="", params=params))


def contact_given(response: Response) -> bool:
    """Whether a redirect says where to."""
    return response.header("contact") is not None


def _retry_after(response: Response) -> float | None:
    value = response.header("retry-after")
    if value is None:
        return None
    try:
        seconds = parse_retry_after(value)
    except SipSyntaxError:
        return None
    return min(max(float(seconds), SHORTEST_RETRY), MAXIMUM_RETRY_AFTER) if seconds else None


def timed_out(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Timer F: no answer at all, so the registrar may or may not have our binding."""
    end_transaction(room, flow)
    if flow.purpose == DEREGISTER:
        removed(room, registration, flow, now, Reason.of("binding_may_remain"))
    elif flow.purpose == REMOVE_OLD:
        old_removed(room, registration, flow, now)
    else:
        assert flow.key is not None
        flow.unknown_until = max(flow.unknown_until, flow.sent_at + asked(registration, flow))
        health.failed(room, flow.key, flow, flow.sent_at, now)
        next_target(room, registration, flow, now, Reason.of("timeout"))


def next_target(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    reason: Reason,
    *,
    after: float | None = None,
) -> None:
    """The target failed; another one is tried before backing off."""
    assert flow.key is not None
    if not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
        return
    flow.tried = (*flow.tried, flow.key)
    targets = targets_of(room, attempt.hops_of(registration, flow), registration.plan.dscp)
    for target in targets:
        if target.key not in flow.tried and (flow.forced or not room.health_of(target.key).down):
            attempt.go(room, registration, flow, target, now)
            return
    health.wait_for(room, flow, [target.key for target in targets])  # those passed over too
    give_up(room, registration, flow, now, reason, after=after)


def park(room: Registrations, registration: Registration, flow: Flow, now: float, keys: list[TransportKey]) -> None:
    """Every target is known to be down: wait until one answers somebody, or for a turn to try it."""
    flow.failures += 1
    health.wait_for(room, flow, keys)
    next_try = now + _delay(room, flow, flow.failures, now)
    before = registration.reason
    told = before if before.code.startswith(("tls_", "websocket_")) else Reason.of("target_down")  # what to mend
    _wait(room, registration, flow, now, told, next_try)
    if flow.predecessor:
        ghosts.lay(room, flow, now)


def give_up(
    room: Registrations,
    registration: Registration,
    flow: Flow,
    now: float,
    reason: Reason,
    *,
    lost: bool = False,
    after: float | None = None,
    at_least: float = 0.0,
) -> None:
    """This attempt failed. There is always a next try: after ``after`` seconds if given, else after the back-off.

    ``lost``: the answer proves that we are not registered. Only an open breaker may wait for an operator.
    """
    if lost:
        machine.forget_lease(room, flow)
        flow.unknown_until = 0.0
    if not registration.should_register:
        flow.phase = IDLE
        machine.finish_unwanted(room, registration, flow, now)
        return
    flow.failures += 1
    health.wait_for(room, flow, flow.tried)
    if flow.breaker_open:
        next_try = _next_probe(room, flow, now)
    else:
        next_try = now + (after or max(at_least, _delay(room, flow, flow.failures, now)))
    _wait(room, registration, flow, now, reason, next_try)
    if lost:
        store(room, registration, flow)
    if flow.predecessor:
        ghosts.lay(room, flow, now)
    if flow.again and flow.phase == WAITING:
        attempt.begin(room, registration, flow, now, AWAITED)


def _delay(room: Registrations, flow: Flow, failures: int, now: float) -> float:
    settings = room.settings
    delay = backoff(failures, settings.backoff_base, settings.backoff_maximum, room.random.random())
    if flow.lease_end > now:
        # A lease that runs out deserves tries before it does.
        delay = min(delay, max(SHORTEST_RETRY, (flow.lease_end - now) / 2))
    return delay


def _wait(
    room: Registrations, registration: Registration, flow: Flow, now: float, reason: Reason, next_try: float
) -> None:
    flow.phase = WAITING
    flow.purpose = REGISTER
    flow.forced = False
    flow.ends_at = 0.0
    flow.next_try = next_try
    health.release(room, flow)
    if flow.lease_end > 0:
        registration.last_error = reason
        tell(room, registration, now, event="error")
    else:
        registration.last_error = None
        was_up = registration.status in ("registered", "unregistering")
        tell(room, registration, now, reason, event="deregistered" if was_up else "error")
    machine.rearm(room, registration, flow)
