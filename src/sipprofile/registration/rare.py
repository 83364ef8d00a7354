"""What is seldom true of a flow or a registration: all of which nothing of it is true share one object.

A :class:`~sipprofile.registration.registration.Flow` has its rarities as attributes like any other; they are read from
``flow.rare``, and setting one gives the flow an object of its own, until everything is as usual again. Where every
microsecond counts ``flow.rare.again`` is read, or ``flow.rare is USUAL_FLOW`` once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, cast

import msgspec

from ..agents.base import Hop
from ..events import NO_REASON, Reason
from .actions import TransportKey

AUTHORIZATION, PROXY_AUTHORIZATION = 1, 2
"""Headers that carry an access token; added up."""
NO_GRUU = ("", "")


class Bearer(msgspec.Struct, gc=False, eq=False):
    """What a flow has done with its access token (RFC 8898)."""

    headers: int = AUTHORIZATION
    sent: int = 0
    """Number of the token in the last request."""
    renewed: int = 0
    """The attempt in which the token was fetched anew because it was refused."""


class FlowRarities(msgspec.Struct, frozen=True, gc=False):
    """What is seldom true of a flow."""

    number: int = 1
    """Its reg-id (RFC 5626 §4.2); further flows have higher ones."""
    hop: int = 0
    pinned: int = -1
    """Index of the plan's hop that is this flow's own while there may be several; -1: the hops are for failover."""
    rejected: int = 0
    """Attempts with refused credentials in a row; see :data:`~sipprofile.registration.registration.BREAKER`."""
    probe_at: float = 0.0
    """When refused credentials may be tried again after the breaker has opened; 0 = not before an operator says so."""
    forced: bool = False
    """Somebody wants it tried even though the targets are down."""
    again: bool = False
    """Settings changed while a request was on the wire: register once more when it ends."""
    minimum_expires: int = 0
    """What a 423 asked for."""
    without: tuple[str, ...] = ()
    """Option tags that this registrar made us leave out (420, 439); see :mod:`~sipprofile.registration.options`."""
    tried: tuple[TransportKey, ...] = ()
    carrier: TransportKey | None = None
    """The connection that the present request is on or waits for, because it is too large for UDP."""
    redirect: Hop | None = None
    """Where a 3xx sent this attempt."""
    redirect_uri: str = ""
    unknown_until: float = 0.0
    """A REGISTER went unanswered: a binding that we know nothing of may exist until then."""
    old_contact: str = ""
    """URI of a contact that the present one replaces; several have blanks between them."""
    service_route: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    """Path of the last 2xx (RFC 3327 §5.1)."""
    gruu: tuple[str, str] = NO_GRUU
    """Public and temporary GRUU (RFC 5627 §4.2), empty where none is known."""
    outbound: bool = False
    """The registrar keeps the binding by instance and reg-id: the last 2xx said ``Require: outbound`` (RFC 5626 §6)."""
    realms: frozenset[str] = frozenset()
    """Met while registering with other credentials, whose nonces are gone."""
    bearer: Bearer | None = None
    reason: Reason = NO_REASON
    """Why it has no binding, or the last refresh failed; used where there are several flows."""
    leaving: bool = False
    """It is on disk that a de-registration has begun: after a crash nobody may trust the lease."""
    predecessor: int = 0
    """The flow (of another registrar or AOR) whose binding goes when this one stands."""


USUAL_FLOW = FlowRarities()

T = TypeVar("T")


class RegistrationRarities(msgspec.Struct, frozen=True, gc=False):
    """What is seldom true of a registration."""

    held: str = ""
    ghost: bool = False
    """Only here to remove a binding; nobody is told."""
    last_error: Reason | None = None
    lacking: tuple[int, ...] = ()
    """Indexes of hops over which a second flow was refused, or granted without ``Require: outbound``."""
    bridge_port: int = 0
    """The port that local programs know the profile's bridge by; 0 = it has never had one."""
    cseqs: tuple[tuple[int, int], ...] = ()
    """(number, CSeq) of further flows that have gone: their Call-ID goes on where it was."""


USUAL_REGISTRATION = RegistrationRarities()


def of_flow(read: Callable[[FlowRarities], T]) -> T:
    """The attribute of a flow that ``read`` takes from its rarities."""
    return cast(T, _attribute(read, USUAL_FLOW))


def of_registration(read: Callable[[RegistrationRarities], T]) -> T:
    """The attribute of a registration that ``read`` takes from its rarities."""
    return cast(T, _attribute(read, USUAL_REGISTRATION))


def _attribute(read: Callable[[Any], Any], usual: Any) -> property:
    (name,) = read.__code__.co_names
    default = getattr(usual, name)

    def write(owner: Any, value: Any) -> None:
        rare = owner.rare
        if rare is usual and value == default:
            return
        changed = msgspec.structs.replace(rare, **{name: value})
        owner.rare = usual if changed == usual else changed

    return property(attrgetter(f"rare.{name}"), write)
