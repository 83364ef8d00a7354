"""What the compiled quick path (``native/``) works on: classes whose slots it reads, functions that it calls.

It is the short way of :func:`~.plain.answered`, :func:`~.transmit.transmit`, :func:`~.attempt.begin` and
:meth:`~.alike.Alike.add`, for what is usual; for everything else each of its functions says that it has done nothing,
and then these are called.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec.structs import replace

from .. import records
from ..agents.base import Credentials, Hop, Plan
from ..events import NO_REASON, Reason, StateChanged
from ..profile import Profile, ServerParameters
from ..records import FlowRecord, NonceRecord, ProfileRecord, TransitionRecord
from ..sip import digest
from ..sip.digest import Terms
from . import (
    acceptance,
    alike,
    attempt,
    changes,
    keepalive,
    machine,
    native,
    options,
    pacing,
    plain,
    queueing,
    refresh_times,
    registration,
    request,
    restart,
    state,
    transmit,
)
from .actions import Send, TransportKey
from .addresses import Addresses
from .challenge import cnonce_of
from .counts import Counts
from .health import Health
from .keepalive import Keepalive
from .kept_plan import KeptPlan
from .locations import Location, Locations
from .network import Network
from .pacing import Pacer
from .rare import USUAL_FLOW, USUAL_REGISTRATION
from .reachability import Reachabilities
from .registration import Flow, Nonce, Registration
from .settings import RegistrationSettings
from .timers import Timers
from .transport import Transport

if TYPE_CHECKING:
    from .registrations import Registrations


NUMBERS: dict[str, float] = {
    "IDLE": registration.IDLE,
    "RESOLVING": registration.RESOLVING,
    "OPENING": registration.OPENING,
    "QUEUED": registration.QUEUED,
    "RESERVING": registration.RESERVING,
    "SENT": registration.SENT,
    "WAITING": registration.WAITING,
    "FETCHING": registration.FETCHING,
    "REGISTER": registration.REGISTER,
    "REFRESH": pacing.REFRESH,
    "ANYTHING": plain.ANYTHING,
    "BRANCH": plain.BRANCH,
    "CSEQ": plain.CSEQ,
    "NONCE_TEXT": plain.NONCE,
    "OPAQUE": plain.OPAQUE,
    "CONTACT": plain.CONTACT,
    "EXPIRES": plain.EXPIRES,
    "INSTANCE": plain.INSTANCE,
    "IN_FLIGHT": queueing.IN_FLIGHT,
    "SILENT": queueing.SILENT,
    "PAUSE": queueing.PAUSE,
    "RESERVE_AHEAD": transmit.RESERVE_AHEAD,
    "RESERVED_BLOCK": records.RESERVED_BLOCK,
    "NONCE_BLOCK": records.NONCE_BLOCK,
    "HISTORY_LENGTH": records.HISTORY_LENGTH,
    "CLOCK_TOLERANCE": restart.CLOCK_TOLERANCE,
}
"""Those up to ``INSTANCE`` it counts likewise, or it is not used; the others it takes from here."""


def _tail(plan: Plan, hop: Hop, user_agent: str) -> bytes:
    """The lines of a usual flow's REGISTER between Contact and the CSeq number."""
    return request.tail(hop.route, plan.headers, user_agent, options.of_plan(plan)).encode()


def _place(local: tuple[str, int]) -> str:
    """What follows the token in a Contact that shows ``local``."""
    return registration.shared_place(f"@{request.sent_by(local)}")


def _usual(terms: Terms, uri: str) -> object:
    return digest.usual_parts(terms, "REGISTER", uri)


def _other_opaque(terms: Terms, opaque: str) -> Terms:
    return replace(terms, opaque=opaque)


def _learn(room: Registrations, owner: Registration) -> None:
    room.addresses.learn(owner)


def _drawn(room: Registrations, flow: Flow, now: float) -> None:
    attempt.drawn(room, room.owner(flow), flow, now)


def _due(room: Registrations, flow: Flow, now: float) -> None:
    machine.due(room, room.owner(flow), flow, now)


def bind(registrations: type) -> None:
    """Give it all of this, once for the process. One of other sources, which misses something, is not used."""
    if native.module is None:
        return
    classes = (
        Flow,
        Registration,
        KeptPlan,
        Plan,
        Hop,
        Credentials,
        Terms,
        Nonce,
        TransportKey,
        Transport,
        Health,
        Pacer,
        Locations,
        Location,
        Network,
        Keepalive,
        Addresses,
        Timers,
        Counts,
        Reachabilities,
        plain.Forms,
        plain.Form,
        RegistrationSettings,
        Reason,
        ProfileRecord,
        Profile,
        ServerParameters,
        FlowRecord,
        NonceRecord,
        alike.Lease,
    )
    given: dict[str, object] = {each.__name__: each for each in classes}
    given |= {
        "Registrations": registrations,
        "StoredForm": alike.Form,
        "USUAL_FLOW": USUAL_FLOW,
        "USUAL_REGISTRATION": USUAL_REGISTRATION,
        "NO_REASON": NO_REASON,
        "WANTED_DOWN": attempt.WANTED_DOWN,
        "BY_RFC": plain.BY_RFC,
        "Send": Send,
        "TransitionRecord": TransitionRecord,
        "StateChanged": StateChanged,
        "md5": digest.md5,
        "usual": _usual,
        "cnonce_of": cnonce_of,
        "head": transmit.head_of,
        "tail": _tail,
        "place": _place,
        "sent_as": changes.sent_as,
        "bound_as": changes.bound_as,
        "store": state.store,
        "refresh_at": refresh_times.refresh_at,
        "bind_flow": acceptance.bind,
        "join": keepalive.join,
        "learn": _learn,
        "other_opaque": _other_opaque,
        "heappush": heapq.heappush,
        "target": state.target_of,
        "show": attempt.show,
        "heappop": heapq.heappop,
        "arm_pacer": queueing.arm,
        "drawn": _drawn,
        "due": _due,
        "begin": attempt.begin,
        "rearm": machine.rearm,
        "carried_rest": changes.carried_behind,
        "settings_of": alike.settings_of,
        "server_of": alike.server_of,
        "way_of": alike.way_of,
        "terms_of": alike.terms_of,
        "resumed": keepalive.resumed,
        "shared_number": registration.shared_number,
        "is_full": queueing.is_full,
    }
    given |= NUMBERS
    try:
        native.module.bind(given)
    except (AttributeError, KeyError, TypeError, ValueError):
        native.module = None
