"""NOTIFY of our own registration: which ones are ours, and what follows from them (RFC 6665 §4.1.3, RFC 3680 §5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..events import OtherContact, Reason
from ..sip.headers import parse_delta_seconds, parse_params
from ..sip.message import Request
from ..sip.reginfo import ContactElement, MalformedReginfo, RegistrationInformation, parse_reginfo
from ..sip.syntax import LWS, SipSyntaxError
from . import regevent, removal
from .regevent import CONTENT_TYPE, DAY, SHORT_LIFE, Subscription
from .reginfo import Own, Verdict
from .registration import Flow, Registration
from .state import tell

if TYPE_CHECKING:
    from .registrations import Registrations

Answer = tuple[int, tuple[tuple[str, str], ...]]
"""Status code and headers."""

MAXIMUM_OTHERS = 16
MAXIMUM_URI = 256  # characters of somebody else's contact that are shown
FULL_STATE_AGAIN = 30.0  # seconds between requests for a full state
FULL_STATES = 3  # requests for it after which the notifier is taken for one that cannot do this
ALLOW_EVENTS = ("Allow-Events", "reg")
AT_ONCE = frozenset(("deactivated", "expired", "unregistered"))
"""RFC 3680 §5.1: we are meant to come back. ``unregistered`` is what another device does that removes all contacts."""


def notified(room: Registrations, request: Request, now: float) -> Answer | None:
    """The answer to a NOTIFY that belongs to one of our subscriptions, ``None`` for any other.

    What it says takes effect after the answer is sent: it may cost us the connection that the answer goes over.
    """
    profile = room.reg_events.calls.get(request.header("call-id") or "")
    known = room.reg_events.by_profile.get(profile) if profile is not None else None
    if known is None or known.dialog is None:
        return None
    dialog = known.dialog
    if not dialog.contains(request):
        return 481, ()
    package = (request.header("event") or "").partition(";")[0].strip(LWS).lower()
    if package != "reg":
        return 489, (ALLOW_EVENTS,)
    word, _, rest = (request.header("subscription-state") or "").partition(";")
    word = word.strip(LWS).lower()
    if not word or (known.ending and word != "terminated"):
        return (481 if word else 400), ()
    order = dialog.is_next(request)
    if order is None:
        return known.answer, ()  # a retransmission
    if not order:
        return 500, ()  # RFC 3261 §12.2.2
    dialog.requested(request)
    document: RegistrationInformation | None = None
    known.answer = 200
    headers: tuple[tuple[str, str], ...] = ()
    if request.body:
        kind = (request.header("content-type") or "").partition(";")[0].strip(LWS).lower()
        if kind != CONTENT_TYPE or (request.header("content-encoding") or "identity").lower() != "identity":
            known.answer, headers = 415, (("Accept", CONTENT_TYPE),)
        else:
            try:
                document = parse_reginfo(request.body)
            except MalformedReginfo:
                known.answer = 400
    state = (word, _parameters(rest))
    room.call_at(now, partial(_take, room, known, dialog.call_id, document, known.answer, state))
    return known.answer, headers


def _parameters(text: str) -> dict[str, str | None]:
    try:
        return parse_params(text)
    except SipSyntaxError:
        return {}


def _take(
    room: Registrations,
    known: Subscription,
    call_id: str,
    document: RegistrationInformation | None,
    answer: int,
    state: tuple[str, dict[str, str | None]],
    now: float,
) -> None:
    """Do what the NOTIFY means: first for the registration, then for the subscription."""
    registration = room.by_profile.get(known.profile)
    if registration is None or known.dialog is None or known.dialog.call_id != call_id or known.ending:
        return
    if not known.notified:
        known.notified = True
        known.notify_by = 0.0
        if known.expires_at > now:
            regevent.refresh_in(room, known, known.expires_at - now, now)
    word, parameters = state
    asks_again = answer != 200
    if document is not None:
        owns = tuple(_own(registration, known, flow) for flow in registration.flows)
        taken = known.bindings.take(document, registration.plan.aor, owns)
        asks_again = taken == "gap"
        if taken == "applied":
            known.asked_again = 0
            _show_others(room, registration, known, owns, now)
            for flow, own in zip(registration.flows, owns, strict=True):
                _act(room, registration, known, flow, known.bindings.verdict(own), now)
    if word == "terminated":
        _terminated(room, registration, known, parameters, now)
        return
    if asks_again:
        known.asked_again += 1
        if known.asked_again > FULL_STATES:
            regevent.refused(room, registration, known, now)
            return
        # A SUBSCRIBE brings a full state (RFC 3680 §5.2.1).
        regevent.schedule(room, known, now if known.asked_again == 1 else now + FULL_STATE_AGAIN)
    else:
        _keep(room, known, parameters.get("expires"), now)
    regevent.show(room, registration, known, now, "active")


def _own(registration: Registration, known: Subscription, flow: Flow) -> Own:
    plan = registration.plan
    cseq = known.cseqs.get(flow.id, 0)
    return Own(flow.contact, plan.contact_user, plan.instance_id, str(flow.number), flow.call_id, cseq)


def _act(
    room: Registrations,
    registration: Registration,
    known: Subscription,
    flow: Flow,
    verdict: Verdict | None,
    now: float,
) -> None:
    if verdict is None:
        return
    if verdict.state == "present":
        known.seen |= {flow.id}
        if verdict.event == "shortened":
            removal.shortened(room, registration, flow, now, verdict.seconds, known.losses)
    elif flow.id not in known.seen:
        # The notifier may not know of it yet, or the binding went before we asked.
        if flow.id not in known.doubted and known.losses.over(now):
            known.doubted |= {flow.id}
            known.losses.add(now, room.settings)
            removal.doubted(room, registration, flow, now)
    elif flow.lease_end > 0:
        event = verdict.event or "unregistered"
        text = f"The registrar removed our registration ({event})."
        step = known.losses.add(now, room.settings)
        known.seen -= {flow.id}  # a document of before our next REGISTER may still come
        known.doubted -= {flow.id}
        reason = Reason("deregistered_by_network", None, text)
        after = min(float(verdict.seconds), DAY) if verdict.seconds is not None else None
        removal.ended(room, registration, flow, now, reason, at_once=event in AT_ONCE, after=after, step=step)


def _show_others(
    room: Registrations, registration: Registration, known: Subscription, owns: tuple[Own, ...], now: float
) -> None:
    found = sorted(known.bindings.others(owns), key=lambda contact: contact.uri)[:MAXIMUM_OTHERS]
    others = [OtherContact(_shown(contact.uri), _instance(contact)) for contact in found]
    if others != known.others:
        known.others = others
        tell(room, registration, now, transition=False)


def _instance(contact: ContactElement) -> str | None:
    instance = contact.unknown_params.get("+sip.instance")
    return _shown(instance) if instance else None


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:MAXIMUM_URI])


def _keep(room: Registrations, known: Subscription, expires: str | None, now: float) -> None:
    """The notifier may have shortened the subscription (RFC 6665 §4.1.3)."""
    try:
        seconds = parse_delta_seconds(expires) if expires is not None else None
    except SipSyntaxError:
        seconds = None
    if seconds is None or now + seconds >= known.expires_at - 1.0:
        return
    known.expires_at = now + seconds
    regevent.refresh_in(room, known, max(seconds, 1), now)


def _terminated(
    room: Registrations,
    registration: Registration,
    known: Subscription,
    parameters: dict[str, str | None],
    now: float,
) -> None:
    """The subscription is over; its reason says whether and when there is to be another (RFC 6665 §4.1.3)."""
    reason = (parameters.get("reason") or "").lower()
    if reason in ("rejected", "noresource", "invariant"):
        regevent.refused(room, registration, known, now)
        return
    failures = 0 if known.outlived(now) else known.failures
    regevent.ended(room, registration, known, now)
    try:
        after: float | None = float(parse_delta_seconds(parameters.get("retry-after") or ""))
    except SipSyntaxError:
        after = None
    known.failures = failures + 1
    if reason in ("deactivated", "timeout") and now - known.begun_at > SHORT_LIFE:
        regevent.schedule(room, known, now)
    else:
        regevent.retry(room, known, now, after)
