"""The memory of one registration: flat slotted structs without cycles; 100,000 of them cost the collector nothing.

Times are CLOCK_BOOTTIME seconds; 0 means "not set".
"""

from __future__ import annotations

import msgspec

from ..agents.base import Agent, Hop, Plan
from ..events import NO_REASON, Reason
from ..sip.digest import Challenge
from .actions import TransportKey

IDLE, RESOLVING, OPENING, QUEUED, RESERVING, SENT, WAITING, FETCHING = range(8)
"""What a flow is doing. ``SENT``: a request is on the wire. ``WAITING``: for ``next_try`` or a target to come back.
``FETCHING``: an access token."""

REGISTER, DEREGISTER, REMOVE_OLD, RESUME = range(4)
"""What the flow's present attempt is for. ``REMOVE_OLD`` removes a contact that a new one replaced; ``RESUME`` finds
out whether a stored lease still fits our address."""

AUTHORIZATION, PROXY_AUTHORIZATION = 1, 2
"""Headers that carry an access token; added up."""
NO_GRUU = ("", "")

BREAKER = 2
"""Attempts with refused credentials after which no more are made until the secret changes."""
REFUSED_CREDENTIALS = frozenset(("rejected_credentials", "no_credentials"))
"""Codes of reasons that count as such an attempt."""


class Nonce(msgspec.Struct, gc=False):
    """A challenge, the credentials that answer it, and how often that was done (RFC 7616 §3.4)."""

    challenge: Challenge
    username: str
    ha1: str
    cnonce: str
    count: int = 0
    limit: int = 0
    """Counts up to here are reserved on disk; 0 = the nonce is not on disk, so there is no limit."""
    attempt: int = 0
    """The attempt in which the challenge came; 0 = restored or from an earlier one."""
    asked: bool = False
    """A server has wanted it for another request than REGISTER."""

    def __repr__(self) -> str:
        return f"Nonce(realm={self.challenge.realm!r}, username={self.username!r}, count={self.count}, …)"


class Bearer(msgspec.Struct, gc=False):
    """What a flow has done with its access token (RFC 8898)."""

    headers: int = AUTHORIZATION
    sent: int = 0
    """Number of the token in the last request."""
    renewed: int = 0
    """The attempt in which the token was fetched anew because it was refused."""


class Flow(msgspec.Struct, gc=False):
    """One path to the first hop and everything that belongs to it (RFC 5626)."""

    id: int
    profile: int
    number: int
    call_id: str
    contact_token: str
    cseq: int
    cseq_reserved: int
    cseq_asked: int
    """The reservation under way or done; equals ``cseq_reserved`` when none is under way."""

    phase: int = IDLE
    purpose: int = REGISTER
    queue_class: int = 0
    attempt: int = 0
    """Counts attempts; a nonce belongs to the attempt in which it came."""
    rounds: int = 0
    """Challenges answered in this attempt."""
    failures: int = 0
    rejected: int = 0
    """Attempts with refused credentials in a row; see :data:`BREAKER`."""
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
    key: TransportKey | None = None
    """Where the present or the last request went."""
    carrier: TransportKey | None = None
    """The connection that the present request is on or waits for, because it is too large for UDP."""
    hop: int = 0
    redirect: Hop | None = None
    """Where a 3xx sent this attempt."""
    redirect_uri: str = ""

    branch: str = ""
    outstanding: bytes = b""
    interval: float = 0.0
    retransmit_at: float = 0.0
    retransmitted: bool = False
    ends_at: float = 0.0
    """Deadline of the present phase. ``IDLE`` and ``WAITING`` have none; who is ``QUEUED`` without a lease waits for
    the bucket alone."""
    sent_at: float = 0.0
    next_try: float = 0.0
    wake_at: float = 0.0

    lease_end: float = 0.0
    granted: int = 0
    refresh_at: float = 0.0
    unknown_until: float = 0.0
    """A REGISTER went unanswered: a binding that we know nothing of may exist until then."""
    bound: TransportKey | None = None
    bound_local: tuple[str, int] | None = None
    keepalive: bool = False
    """It counts among those that the keepalive of ``bound`` is for."""
    contact: str = ""
    """URI of the contact in the last REGISTER."""
    old_contact: str = ""
    """URI of a contact that the present one replaces; several have blanks between them."""
    registered_aors: tuple[str, ...] = ()
    service_route: tuple[str, ...] = ()

    nonces: tuple[Nonce, ...] = ()
    realms: frozenset[str] = frozenset()
    """Met while registering with other credentials, whose nonces are gone."""
    bearer: Bearer | None = None
    middle: bytes = b""
    """The part of REGISTER that does not change inside an attempt; empty = to be built."""
    local: tuple[str, int] | None = None
    """The local address ``middle`` was built for."""
    shown: tuple[str, int] | None = None
    """The address in ``contact``: ``local``, or the one that a NAT gives us."""
    carried: int = 0
    """Checksum of the settings in ``middle``."""
    sent_as: int = 0
    """Checksum of the settings that the lease was granted for; see :class:`~sipprofile.records.FlowRecord`."""
    outbound: bool = False
    """The registrar keeps the binding by instance and reg-id: the last 2xx said ``Require: outbound`` (RFC 5626 §6)."""
    pinned: int = -1
    """Index of the plan's hop that is this flow's own while there may be several; -1: the hops are for failover."""
    reason: Reason = NO_REASON
    """Why it has no binding, or the last refresh failed; used where there are several flows."""
    path: tuple[str, ...] = ()
    """Path of the last 2xx (RFC 3327 §5.1)."""
    gruu: tuple[str, str] = NO_GRUU
    """Public and temporary GRUU (RFC 5627 §4.2), empty where none is known."""
    leaving: bool = False
    """It is on disk that a de-registration has begun: after a crash nobody may trust the lease."""
    predecessor: int = 0
    """The flow (of another registrar or AOR) whose binding goes when this one stands."""

    def __repr__(self) -> str:
        return f"Flow(id={self.id}, profile={self.profile}, number={self.number}, phase={self.phase}, …)"

    @property
    def breaker_open(self) -> bool:
        """Whether the credentials are known to be refused."""
        return self.rejected >= BREAKER


class Registration(msgspec.Struct, gc=False):
    """One profile's registration: what is wanted, its flows, and the status that users see."""

    profile: int
    plan: Plan
    agent: Agent
    flows: tuple[Flow, ...]
    wanted: bool = False
    kept: bool = False
    """Not wanted yet, but its lease was live at start: users have a moment to return."""
    held: str = ""
    ghost: bool = False
    """Only here to remove a binding; nobody is told."""

    status: str = "unregistered"
    since: float = 0.0
    reason: Reason = NO_REASON
    last_error: Reason | None = None
    revision: int = 0
    lacking: tuple[int, ...] = ()
    """Indexes of hops over which a second flow was refused, or granted without ``Require: outbound``."""
    bridge_port: int = 0
    """The port that local programs know the profile's bridge by; 0 = it has never had one."""
    cseqs: tuple[tuple[int, int], ...] = ()
    """(number, CSeq) of further flows that have gone: their Call-ID goes on where it was."""
    counted: tuple[str, str, str] | None = None

    @property
    def first(self) -> Flow:
        """The flow that always stays; its number is 1."""
        return self.flows[0]

    def another_lives(self, flow: Flow) -> bool:
        """Whether a flow other than ``flow`` has a binding."""
        flows = self.flows
        return len(flows) > 1 and any(other.lease_end > 0 for other in flows if other is not flow)

    @property
    def should_register(self) -> bool:
        """Whether a binding is wanted now."""
        return (self.wanted or self.kept) and not self.held and not self.ghost
