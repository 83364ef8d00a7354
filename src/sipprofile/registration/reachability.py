"""Whether requests to our address-of-record arrive here: an OPTIONS to ourselves through the registrar (RFC 3261 §11).

A lease says what the registrar granted, not whether its requests reach us. An OPTIONS that comes back to our contact
proves that they do; its final answer alone proves nothing, since the registrar may give it itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..events import Reason
from ..sip.dialog import Dialog, tag_of
from ..sip.message import Request, Response
from ..sip.syntax import SipSyntaxError
from ..sip.uri import Uri
from . import removal
from .profile_line import ProfileLine
from .registration import Registration
from .requests import ClientRequest, send
from .state import tell

if TYPE_CHECKING:
    from .registrations import Registrations

MAXIMUM_PROBES = 256
"""On their way at once; periodic ones beyond it come a little later."""
LATER = 5.0  # seconds
GRACE = 2.0  # seconds after an answer in which the OPTIONS may still arrive: another contact may have answered first
JITTER = 0.1  # of the interval
NOT_REACHED = frozenset((404, 408, 410, 430, 480, 604))
"""Final answers of a registrar that could not reach us."""

ARRIVED = "An OPTIONS to the address-of-record arrived here."
ELSEWHERE = "contact_uri points elsewhere, so nothing is to arrive here."
ANSWERED_FOR_US = "The registrar answered the OPTIONS itself, which proves nothing."
NOTHING = "An OPTIONS to the address-of-record did not arrive within 32 s, and nobody answered it."
NOT_SENT = "No OPTIONS could be sent."


class Reachability:
    """What is known about one registration."""

    __slots__ = (
        "arrived",
        "asked",
        "at",
        "call_id",
        "doubted",
        "due_at",
        "misses",
        "profile",
        "reachable",
        "reason",
        "tag",
    )

    def __init__(self, profile: int) -> None:
        self.profile = profile
        self.reachable: bool | None = None
        self.at = 0.0
        """When ``reachable`` was found out, CLOCK_BOOTTIME; 0 = never."""
        self.reason = ""
        self.call_id = ""
        """Of the OPTIONS on its way; empty = none is. Its transaction has a deadline."""
        self.tag = ""
        self.arrived = False
        self.asked = False
        """Somebody waits for the outcome."""
        self.misses = 0
        """How often in a row it did not arrive."""
        self.doubted = False
        """A refresh was tried because of it, and is not tried again before one arrives."""
        self.due_at = 0.0
        """When the next periodic one is due."""


class Reachabilities:
    """What is known, by profile, and whose a Call-ID is."""

    __slots__ = ("by_profile", "calls")

    def __init__(self) -> None:
        self.by_profile: dict[int, Reachability] = {}
        self.calls: dict[str, Reachability] = {}


# -- inputs ------------------------------------------------------------------------------------------------------------


def probe(room: Registrations, registration: Registration, now: float) -> None:
    """Somebody wants to know now; the outcome is told as a change of state."""
    known = _known(room, registration)
    known.asked = True
    if not known.call_id:
        _send(room, registration, known, now)


def arrived(room: Registrations, request: Request, now: float) -> None:
    """An OPTIONS came in; it may be our own, sent to ourselves."""
    known = room.reachabilities.calls.get(request.header("call-id") or "")
    if known is None or tag_of(request.header("from")) != known.tag or known.arrived:
        return
    try:
        user = Uri.parse(request.uri).user
    except SipSyntaxError:
        return
    if (
        user is not None and room.addresses.tokens.get(user) == known.profile
    ):  # another contact of the same user is not this one
        known.arrived = True
        registration = room.by_profile.get(known.profile)
        if registration is not None:
            _found(room, registration, known, True, ARRIVED, now)


def changed(room: Registrations, registration: Registration, now: float) -> None:
    """The registration has another state, or another interval: begin to look, or forget what was true before."""
    known = room.reachabilities.by_profile.get(registration.profile)
    if registration.status != "registered":
        if known is not None:
            _forget_outcome(room, known)
    elif registration.plan.reachable_interval:
        known = known or _known(room, registration)
        if not known.due_at:
            _schedule(room, registration, known, now)


def forget(room: Registrations, profile: int) -> None:
    """The profile is gone."""
    known = room.reachabilities.by_profile.pop(profile, None)
    if known is not None:
        known.due_at = 0.0
        room.reachabilities.calls.pop(known.call_id, None)


# -- what happens ------------------------------------------------------------------------------------------------------


def _known(room: Registrations, registration: Registration) -> Reachability:
    everybody = room.reachabilities.by_profile
    known = everybody.get(registration.profile)
    if known is None:
        known = everybody[registration.profile] = Reachability(registration.profile)
    return known


def _schedule(room: Registrations, registration: Registration, known: Reachability, now: float) -> None:
    interval = registration.plan.reachable_interval
    known.due_at = now + interval * (1.0 - JITTER * room.random.random())
    room.call_at(known.due_at, partial(_due, room, known, known.due_at))


def _due(room: Registrations, known: Reachability, at: float, now: float) -> None:
    registration = room.by_profile.get(known.profile)
    if known.due_at != at or registration is None:
        return
    known.due_at = 0.0
    if room.stopping or registration.status != "registered" or not registration.plan.reachable_interval:
        return
    if len(room.reachabilities.calls) >= MAXIMUM_PROBES:
        known.due_at = now + LATER * (0.5 + room.random.random())
        room.call_at(known.due_at, partial(_due, room, known, known.due_at))
        return
    _schedule(room, registration, known, now)
    if not known.call_id:
        _send(room, registration, known, now)


def _send(room: Registrations, registration: Registration, known: Reachability, now: float) -> None:
    if registration.plan.contact_uri is not None:
        _found(room, registration, known, None, ELSEWHERE, now)
        return
    aor, bits = registration.plan.aor, room.random.getrandbits
    dialog = Dialog(f"{bits(128):032x}", aor, f"{bits(64):016x}", aor, aor)
    line, headers = ProfileLine(registration.profile), (("Accept", "application/sdp"),)
    heard = partial(_answered, room, known)
    if send(room, ClientRequest(dialog, "OPTIONS", line, heard, headers, has_contact=True), now):
        _found(room, registration, known, None, NOT_SENT, now)
        return
    known.call_id, known.tag, known.arrived = dialog.call_id, dialog.local_tag, False
    room.reachabilities.calls[known.call_id] = known


def _answered(
    room: Registrations, known: Reachability, outgoing: ClientRequest, result: Response | str, now: float
) -> None:
    """An answer to the OPTIONS, or why there is none."""
    if isinstance(result, Response) and result.status < 200:
        return
    result = outgoing.code or result  # a challenge that was not answered
    call_id = outgoing.dialog.call_id
    if known.call_id == call_id and not known.arrived:
        wait = 0.0 if result == "timeout" else GRACE
        room.call_at(now + wait, partial(_judge, room, known, call_id, result))


def _judge(room: Registrations, known: Reachability, call_id: str, result: Response | str, now: float) -> None:
    """The OPTIONS was answered and has not arrived."""
    registration = room.by_profile.get(known.profile)
    if known.call_id != call_id or known.arrived or registration is None:
        return
    if result == "timeout":
        _found(room, registration, known, False, NOTHING, now)
    elif isinstance(result, str):
        _found(room, registration, known, None, f"The OPTIONS failed: {Reason.of(result).text}", now)
    elif result.status in NOT_REACHED:
        _found(room, registration, known, False, f"The registrar answered {result.status}: it did not reach us.", now)
    elif result.status < 300:
        _found(room, registration, known, None, ANSWERED_FOR_US, now)
    else:
        text = f"The registrar answered {result.status}; it does not pass OPTIONS on."
        _found(room, registration, known, None, text, now)


def _found(
    room: Registrations,
    registration: Registration,
    known: Reachability,
    reachable: bool | None,
    reason: str,
    now: float,
) -> None:
    room.reachabilities.calls.pop(known.call_id, None)
    known.call_id = ""
    if registration.status != "registered":
        reachable = None
    news = known.asked or known.reachable is not reachable or known.reason != reason
    known.asked = False
    known.reachable, known.reason, known.at = reachable, reason, now
    if reachable is not False:
        known.misses = 0
        known.doubted = known.doubted and reachable is None
    else:
        known.misses += 1
    if known.misses >= 2 and not known.doubted:
        known.doubted = True
        if registration.last_error is None:
            registration.last_error = Reason.of("unreachable")
        tell(room, registration, now, event="error")
        for flow in registration.flows:
            removal.doubted(room, registration, flow, now)
        if registration.plan.reachable_interval:  # whether the refresh helped is worth knowing soon
            known.due_at = now + LATER
            room.call_at(known.due_at, partial(_due, room, known, known.due_at))
    elif news:
        tell(room, registration, now, transition=False)


def _forget_outcome(room: Registrations, known: Reachability) -> None:
    room.reachabilities.calls.pop(known.call_id, None)
    known.call_id = ""
    known.reachable = None
    known.at = 0.0
    known.reason = ""
    known.misses = 0
    known.due_at = 0.0
