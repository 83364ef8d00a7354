"""The subscription to our own registration: when SUBSCRIBE goes out, what its answers mean (RFC 3680, RFC 6665 §4.1).

One subscription for a profile that asks for it, along its best flow, in a dialog of its own that does not outlive the
service. It never changes the registration; what a NOTIFY says may, see :mod:`~sipprofile.registration.notified`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from ..agents.base import Plan
from ..events import OtherContact
from ..sip.dialog import Dialog
from ..sip.headers import parse_delta_seconds, parse_retry_after
from ..sip.message import Response
from ..sip.syntax import SipSyntaxError
from .backoff import backoff
from .losses import Losses
from .profile_line import ProfileLine, best_flow
from .refresh import refresh_delay
from .reginfo import Bindings
from .registration import IDLE, Flow, Registration
from .requests import ClientRequest, Heard, send
from .state import tell

if TYPE_CHECKING:
    from .registrations import Registrations

State = Literal["pending", "active", "unsupported"]

CONTENT_TYPE = "application/reginfo+xml"  # RFC 3680 §9.2
SHORTEST_SUBSCRIPTION = 3600  # seconds to ask for at least; RFC 3680 §4.4 suggests 3761
AT_THEIR_WORD = 3  # failures in a row after which a registrar that says when to come is believed
TIMER_N = 64  # times T1: how long the first NOTIFY may take (RFC 6665 §4.1.2.4)
DAY = 86_400.0
SHORTEST_RETRY = 5.0
SHORTEST_REFRESH = 30.0  # seconds; a subscription that is granted for less is one with gaps
SHORT_LIFE = 60.0  # seconds; a subscription that lived shorter has not succeeded
LOSSES_APART = 300.0  # seconds; a registrar that ends our bindings again sooner is not asked at once
RESUME_SPREAD = 10.0  # seconds over which the subscriptions of leases that outlived a restart begin
NOT_SUPPORTED = frozenset((403, 404, 405, 415, 420, 489, 501, 603, 604, 606))
"""Answers that say that the registrar has no such thing; asked again at the next registration or a day later."""
GONE = frozenset((404, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))  # RFC 5057 §5.1: the dialog has ended


class Subscription:
    """One profile's subscription. Times are CLOCK_BOOTTIME seconds, 0 = not set."""

    __slots__ = (
        "answer",
        "asked_again",
        "begun_at",
        "bindings",
        "cseqs",
        "dialog",
        "doubted",
        "ending",
        "expires_at",
        "failures",
        "losses",
        "minimum",
        "next_at",
        "notified",
        "notify_by",
        "others",
        "outgoing",
        "profile",
        "registered",
        "seen",
        "state",
        "target",
    )

    def __init__(self, profile: int) -> None:
        self.profile = profile
        self.state: State = "pending"
        self.dialog: Dialog | None = None
        self.begun_at = 0.0
        self.target = ""
        """The Contact that NOTIFYs are sent to."""
        self.expires_at = 0.0
        self.next_at = 0.0
        """When the next SUBSCRIBE is due."""
        self.notify_by = 0.0
        """When the first NOTIFY must have come."""
        self.notified = False
        """A NOTIFY came in this dialog."""
        self.outgoing: ClientRequest | None = None
        """The SUBSCRIBE that is on its way; its transaction has a deadline."""
        self.failures = 0
        self.minimum = 0
        self.ending = False
        """It was given back with its registration; the last NOTIFY may still come."""
        self.registered = False
        self.bindings = Bindings()
        self.cseqs: dict[int, int] = {}
        """CSeq of the last REGISTER of each flow that was granted."""
        self.answer = 200
        """What the last NOTIFY was answered with."""
        self.asked_again = 0
        """Full states asked for since one came."""
        self.seen: frozenset[int] = frozenset()
        """Flows whose contact was in a document."""
        self.doubted: frozenset[int] = frozenset()
        """Flows that registered once more because theirs was not."""
        self.losses = Losses(1, LOSSES_APART)
        """Times that a NOTIFY made us register out of turn."""
        self.others: list[OtherContact] = []

    def outlived(self, now: float) -> bool:
        """Whether its dialog has existed for so long that failures before it count no more."""
        return self.dialog is not None and self.dialog.established and now - self.begun_at > SHORT_LIFE


class RegEvents:
    """The subscriptions by profile, and whose a Call-ID is."""

    __slots__ = ("by_profile", "calls")

    def __init__(self) -> None:
        self.by_profile: dict[int, Subscription] = {}
        self.calls: dict[str, int] = {}

    def state(self, profile: int) -> State | None:
        """What users see of it."""
        known = self.by_profile.get(profile)
        return "pending" if known is None else known.state


# -- what the registration does ----------------------------------------------------------------------------------------


def changed(room: Registrations, registration: Registration, now: float) -> None:
    """The registration has another state: subscribe when it becomes registered."""
    known = room.reg_events.by_profile.get(registration.profile)
    if registration.status != "registered":
        if known is not None:
            known.registered = False
            if registration.held == "forcibly_disabled":
                forget(room, registration.profile)
        return
    if known is None:
        known = room.reg_events.by_profile[registration.profile] = Subscription(registration.profile)
    again = not known.registered
    known.registered = True
    if again:
        known.cseqs.clear()
    flow = best_flow(room, registration)
    if flow is None:
        return
    if registration.last_error is None:
        flows, cseqs = registration.flows, known.cseqs
        known.cseqs = {each.id: each.cseq if each.phase == IDLE else cseqs.get(each.id, 0) for each in flows}
    alive = known.dialog is not None and not known.ending
    if known.outgoing is None and (known.next_at == 0 or known.target != flow.contact or (again and not alive)):
        schedule(room, known, now)


def resumed(room: Registrations, registration: Registration, now: float) -> None:
    """The service has started: a lease that outlived the restart gets its subscription in a moment."""
    if registration.plan.reg_event and registration.status == "registered":
        known = room.reg_events.by_profile[registration.profile] = Subscription(registration.profile)
        known.registered = True
        schedule(room, known, now + RESUME_SPREAD * room.random.random())


def updated(room: Registrations, registration: Registration, before: Plan, after: Plan, now: float) -> None:
    """Other settings: another address-of-record is another subscription, and nobody may want one any more."""
    if before.reg_event and (not after.reg_event or (before.aor, before.request_uri) != (after.aor, after.request_uri)):
        for flow in registration.flows[:1]:
            end(room, registration, flow, now)
        forget(room, registration.profile)
    if after.reg_event and registration.profile not in room.reg_events.by_profile:
        known = room.reg_events.by_profile[registration.profile] = Subscription(registration.profile)
        known.registered = registration.status == "registered"
        schedule(room, known, now)


def end(room: Registrations, registration: Registration, flow: Flow, now: float) -> None:
    """Our binding is about to go: end the subscription first, and wait for nothing (RFC 6665 §4.1.2.3)."""
    known = room.reg_events.by_profile.get(registration.profile)
    if known is None or known.dialog is None or known.ending:
        return
    successor = room.by_profile.get(registration.profile)
    if successor is not None and successor is not registration:
        return  # a ghost's binding: the subscription is its successor's
    known.ending = True
    known.next_at = 0.0
    if known.dialog.established:
        send(room, _subscribe(known.dialog, flow, 0, lambda *_: None), now)


def forget(room: Registrations, profile: int) -> None:
    """Nobody wants to know any more; a NOTIFY that still comes finds no subscription, which ends it."""
    known = room.reg_events.by_profile.pop(profile, None)
    if known is not None:
        _drop(room, known)
        known.next_at = 0.0


# -- SUBSCRIBE ---------------------------------------------------------------------------------------------------------


def schedule(room: Registrations, known: Subscription, at: float) -> None:
    """The next SUBSCRIBE is due at ``at``."""
    known.next_at = at
    room.call_at(at, partial(_due, room, known, at))


def _due(room: Registrations, known: Subscription, at: float, now: float) -> None:
    registration = room.by_profile.get(known.profile)
    if known.next_at != at or registration is None or room.reg_events.by_profile.get(known.profile) is not known:
        return
    known.next_at = 0.0
    if (
        known.outgoing is not None
        or room.stopping
        or registration.status != "registered"
        or not registration.plan.reg_event
    ):
        return
    flow = best_flow(room, registration)
    if flow is None:
        schedule(room, known, now + SHORTEST_RETRY)
        return
    if known.notify_by and now >= known.notify_by:
        _failed(room, registration, known, now, None)
    else:
        _send(room, registration, known, flow, now)


def _send(room: Registrations, registration: Registration, known: Subscription, flow: Flow, now: float) -> None:
    dialog = known.dialog
    if dialog is None or known.ending or known.target != flow.contact or now >= known.expires_at:
        dialog = _begin(room, registration, known, flow, now)
    seconds = max(flow.granted, SHORTEST_SUBSCRIPTION, known.minimum)
    outgoing = _subscribe(dialog, flow, seconds, partial(_answered, room, known, seconds))
    if send(room, outgoing, now):
        schedule(room, known, now + SHORTEST_RETRY)
    else:
        known.outgoing = outgoing


def _begin(room: Registrations, registration: Registration, known: Subscription, flow: Flow, now: float) -> Dialog:
    """A new dialog; what the old one said about versions no longer counts."""
    _drop(room, known)
    aor, bits = registration.plan.aor, room.random.getrandbits
    known.dialog = Dialog(f"{bits(128):032x}", aor, f"{bits(64):016x}", aor, aor)
    known.begun_at = now
    known.target = flow.contact
    known.bindings = Bindings()
    known.notified = known.ending = False
    known.seen = known.doubted = frozenset()
    known.notify_by = known.expires_at = 0.0
    known.asked_again = 0
    room.reg_events.calls[known.dialog.call_id] = known.profile
    return known.dialog


def _drop(room: Registrations, known: Subscription) -> None:
    if known.dialog is not None:
        room.reg_events.calls.pop(known.dialog.call_id, None)
    known.dialog = known.outgoing = None
    known.notify_by = 0.0


def _subscribe(dialog: Dialog, flow: Flow, seconds: int, heard: Heard) -> ClientRequest:
    headers = (("Event", "reg"), ("Accept", CONTENT_TYPE), ("Expires", str(seconds)))
    line = ProfileLine(flow.profile, flow.id)
    return ClientRequest(dialog, "SUBSCRIBE", line, heard, headers, has_contact=True)


def _answered(
    room: Registrations, known: Subscription, asked: int, outgoing: ClientRequest, result: Response | str, now: float
) -> None:
    """An answer to a SUBSCRIBE, or why there is none."""
    if known.outgoing is not outgoing or (isinstance(result, Response) and result.status < 200):
        return
    known.outgoing = None
    registration = room.by_profile.get(known.profile)
    if registration is None or known.ending:
        return
    if isinstance(result, str) or result.status >= 300:
        _failed(room, registration, known, now, result if isinstance(result, Response) else None)
        return
    seconds = min(_seconds(result.header("expires"), asked), asked)
    if not seconds:
        _failed(room, registration, known, now, None)
        return
    outgoing.dialog.answered(result)
    if known.outlived(now):
        known.failures = 0
    known.expires_at = now + seconds
    refresh_in(room, known, seconds, now)
    flow = best_flow(room, registration)
    if flow is not None and flow.contact != known.target:  # it moved meanwhile
        schedule(room, known, now)


def refresh_in(room: Registrations, known: Subscription, seconds: float, now: float) -> None:
    """The subscription lasts ``seconds`` from now; without a NOTIFY it is none."""
    delay = max(refresh_delay(seconds, room.random.random()), SHORTEST_REFRESH)
    if not known.notified:
        limit = TIMER_N * room.settings.t1
        known.notify_by = now + limit
        delay = min(delay, limit)
    schedule(room, known, now + delay)


def _failed(
    room: Registrations, registration: Registration, known: Subscription, now: float, response: Response | None
) -> None:
    """No subscription, or no refresh of it: a new dialog where the old one is gone, else later."""
    status = response.status if response is not None else 0
    if known.outlived(now):
        known.failures = 0
    known.failures += 1
    if known.dialog is not None and known.dialog.established and status in GONE and known.failures == 1:
        _drop(room, known)
        schedule(room, known, now)
        return
    if status == 423 and response is not None:
        minimum = _seconds(response.header("min-expires"), 0)
        if known.minimum < minimum < DAY and known.failures <= AT_THEIR_WORD:
            known.minimum = minimum
            schedule(room, known, now)
            return
    if status in NOT_SUPPORTED:
        refused(room, registration, known, now)
        return
    if known.notify_by or not (known.dialog is not None and known.dialog.established and now < known.expires_at):
        _drop(room, known)
        show(room, registration, known, now, "pending")
    retry(room, known, now, _retry_after(response))


def refused(room: Registrations, registration: Registration, known: Subscription, now: float) -> None:
    """The registrar does not do this: say so once, ask again at the next registration or tomorrow."""
    _drop(room, known)
    known.others = []
    schedule(room, known, now + DAY * (1.0 + 0.1 * room.random.random()))
    show(room, registration, known, now, "unsupported")


def ended(room: Registrations, registration: Registration, known: Subscription, now: float) -> None:
    """The registrar ended the subscription; who called asks for the next one."""
    _drop(room, known)
    show(room, registration, known, now, "pending")


def retry(room: Registrations, known: Subscription, now: float, after: float | None) -> None:
    """Subscribe after ``after`` seconds, else after the back-off; no sooner than that after many failures."""
    settings = room.settings
    step = max(1, known.failures)
    delay = backoff(step, settings.backoff_base, settings.backoff_maximum, room.random.random())
    if after is None or step > AT_THEIR_WORD:
        after = max(after or 0.0, delay)
    schedule(room, known, now + min(max(after, SHORTEST_RETRY), DAY))


def show(room: Registrations, registration: Registration, known: Subscription, now: float, state: State) -> None:
    """Tell users when the state of the subscription is another."""
    if known.state != state:
        known.state = state
        tell(room, registration, now, transition=False)


def _seconds(text: str | None, otherwise: int) -> int:
    try:
        return parse_delta_seconds(text) if text is not None else otherwise
    except SipSyntaxError:
        return otherwise


def _retry_after(response: Response | None) -> float | None:
    value = response.header("retry-after") if response is not None else None
    try:
        return float(parse_retry_after(value)) if value is not None else None
    except SipSyntaxError:
        return None
