"""The memory of one registration: flat slotted structs without cycles; 100,000 of them cost the collector nothing.

Times are CLOCK_BOOTTIME seconds; 0 means "not set".
"""

from __future__ import annotations

import msgspec

from ..agents.base import Agent, Credentials, Plan
from ..events import NO_REASON, Reason
from ..sip.digest import Challenge, Terms, ha1
from .actions import TransportKey
from .rare import USUAL_FLOW, USUAL_REGISTRATION, FlowRarities, RegistrationRarities, of_flow, of_registration

IDLE, RESOLVING, OPENING, QUEUED, RESERVING, SENT, WAITING, FETCHING = range(8)
"""What a flow is doing. ``SENT``: a request is on the wire. ``WAITING``: for ``next_try`` or a target to come back.
``FETCHING``: an access token."""

REGISTER, DEREGISTER, REMOVE_OLD, RESUME = range(4)
"""What the flow's present attempt is for. ``REMOVE_OLD`` removes a contact that a new one replaced; ``RESUME`` finds
out whether a stored lease still fits our address."""

BEYOND_PROFILES = 1 << 40
"""First flows have their profile's number; the others are counted from here."""

BREAKER = 2
"""Attempts with refused credentials after which no more are made until the secret changes."""
REFUSED_CREDENTIALS = frozenset(("rejected_credentials", "no_credentials"))
"""Codes of reasons that count as such an attempt."""


class Nonce(msgspec.Struct, gc=False):
    """A challenge, the credentials that answer it, and how often that was done (RFC 7616 §3.4)."""

    text: str
    terms: Terms
    """One object for all who were challenged alike."""
    credentials: Credentials
    count: int = 0
    limit: int = 0
    """Counts up to here are reserved on disk; 0 = the nonce is not on disk, so there is no limit."""
    attempt: int = 0
    """The attempt in which the challenge came; 0 = restored or from an earlier one."""
    asked: bool = False
    """A server has wanted it for another request than REGISTER."""

    @property
    def challenge(self) -> Challenge:
        """What is answered."""
        return Challenge(self.text, self.terms)

    @property
    def ha1(self) -> str:
        """H(username:realm:password); made in a microsecond, kept it would be a twentieth of a profile."""
        own = self.credentials
        return ha1(self.terms.algorithm, own.username, self.terms.realm, own.password)

    def __repr__(self) -> str:
        return f"Nonce(realm={self.terms.realm!r}, username={self.credentials.username!r}, count={self.count}, …)"


_PLACES: dict[str, str] = {}
PLACES_KEPT = 1_000
"""Beyond it they begin anew, and later contacts share among themselves."""


def shared_place(place: str) -> str:
    if len(_PLACES) >= PLACES_KEPT:
        _PLACES.clear()
    return _PLACES.setdefault(place, place)


_NUMBERS: dict[int, int] = {}
NUMBERS_KEPT = 1_000
"""Beyond it they begin anew, as for places."""


def shared_number(number: int) -> int:
    """``number`` as one object for all: many flows have used equally many CSeq numbers, and reserved them."""
    if len(_NUMBERS) >= NUMBERS_KEPT:
        _NUMBERS.clear()
    return _NUMBERS.setdefault(number, number)


def kept_call_id(call_id: str) -> str | bytes:
    """``call_id`` in less memory: the bytes that it writes, if it is one like those that we make."""
    try:
        written = bytes.fromhex(call_id)
    except ValueError:
        return call_id
    return written if written.hex() == call_id else call_id


class Flow(msgspec.Struct, gc=False):
    """One path to the first hop and everything that belongs to it (RFC 5626)."""

    id: int
    profile: int
    call: str | bytes
    """The Call-ID as :func:`kept_call_id` makes it."""
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
    key: TransportKey | None = None
    """Where the present or the last request went."""

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
    bound: TransportKey | None = None
    bound_local: tuple[str, int] | None = None
    keepalive: bool = False
    """It counts among those that the keepalive of ``bound`` is for."""
    place: str = ""
    """What ``contact`` is made of: all of it, or what follows the token, which is the same for many."""
    identities: str | tuple[str, ...] = ()
    """What ``registered_aors`` is made of."""

    known: Nonce | tuple[Nonce, ...] = ()
    """What ``nonces`` is made of: mostly there is one."""
    middle: bytes = b""
    """The part of REGISTER that does not change inside an attempt; empty = to be built."""
    local: tuple[str, int] | None = None
    """The local address ``middle`` was built for."""
    shown: tuple[str, int] | None = None
    """The address in ``contact``: ``local``, or the one that a NAT gives us."""
    carried: int = 0
    """Checksum of the settings in ``middle``."""
    planned: Plan | None = None
    """The plan that ``carried`` is of."""
    sent_as: int = 0
    """Checksum of the settings that the lease was granted for; see :class:`~sipprofile.records.FlowRecord`."""
    rare: FlowRarities = USUAL_FLOW

    number = of_flow(lambda rare: rare.number)
    hop = of_flow(lambda rare: rare.hop)
    pinned = of_flow(lambda rare: rare.pinned)
    rejected = of_flow(lambda rare: rare.rejected)
    probe_at = of_flow(lambda rare: rare.probe_at)
    forced = of_flow(lambda rare: rare.forced)
    again = of_flow(lambda rare: rare.again)
    minimum_expires = of_flow(lambda rare: rare.minimum_expires)
    without = of_flow(lambda rare: rare.without)
    tried = of_flow(lambda rare: rare.tried)
    carrier = of_flow(lambda rare: rare.carrier)
    redirect = of_flow(lambda rare: rare.redirect)
    redirect_uri = of_flow(lambda rare: rare.redirect_uri)
    unknown_until = of_flow(lambda rare: rare.unknown_until)
    old_contact = of_flow(lambda rare: rare.old_contact)
    service_route = of_flow(lambda rare: rare.service_route)
    path = of_flow(lambda rare: rare.path)
    gruu = of_flow(lambda rare: rare.gruu)
    outbound = of_flow(lambda rare: rare.outbound)
    realms = of_flow(lambda rare: rare.realms)
    bearer = of_flow(lambda rare: rare.bearer)
    reason = of_flow(lambda rare: rare.reason)
    leaving = of_flow(lambda rare: rare.leaving)
    predecessor = of_flow(lambda rare: rare.predecessor)

    def __repr__(self) -> str:
        return f"Flow(id={self.id}, profile={self.profile}, number={self.number}, phase={self.phase}, …)"

    @property
    def call_id(self) -> str:
        """The Call-ID of all its requests."""
        call = self.call
        return call if isinstance(call, str) else call.hex()

    @property
    def contact(self) -> str:
        """URI of the contact in the last REGISTER."""
        place = self.place
        return f"sip:{self.contact_token}{place}" if place[:1] == "@" else place

    @contact.setter
    def contact(self, uri: str) -> None:
        token = self.contact_token
        place = uri[4 + len(token) :]
        if place[:1] == "@" and uri[:4] == "sip:" and uri.startswith(token, 4):
            known = _PLACES.get(place)
            self.place = shared_place(place) if known is None else known
        else:
            self.place = uri

    @property
    def nonces(self) -> tuple[Nonce, ...]:
        """The challenges that it can answer, one for each realm."""
        known = self.known
        return known if isinstance(known, tuple) else (known,)

    @nonces.setter
    def nonces(self, nonces: tuple[Nonce, ...]) -> None:
        self.known = nonces[0] if len(nonces) == 1 else nonces

    @property
    def registered_aors(self) -> tuple[str, ...]:
        """The identities that the last 2xx registered."""
        known = self.identities
        return (known,) if isinstance(known, str) else known

    @registered_aors.setter
    def registered_aors(self, aors: tuple[str, ...]) -> None:
        self.identities = aors[0] if len(aors) == 1 else aors

    @property
    def breaker_open(self) -> bool:
        """Whether the credentials are known to be refused."""
        return self.rare.rejected >= BREAKER


class Registration(msgspec.Struct, gc=False):
    """One profile's registration: what is wanted, its flows, and the status that users see."""

    profile: int
    plan: Plan
    agent: Agent
    flows: tuple[Flow, ...]
    wanted: bool = False
    kept: bool = False
    """Not wanted yet, but its lease was live at start: users have a moment to return."""
    status: str = "unregistered"
    since: float = 0.0
    reason: Reason = NO_REASON
    revision: int = 0
    counted: tuple[str, str, str] | None = None
    rare: RegistrationRarities = USUAL_REGISTRATION

    held = of_registration(lambda rare: rare.held)
    ghost = of_registration(lambda rare: rare.ghost)
    last_error = of_registration(lambda rare: rare.last_error)
    lacking = of_registration(lambda rare: rare.lacking)
    bridge_port = of_registration(lambda rare: rare.bridge_port)
    cseqs = of_registration(lambda rare: rare.cseqs)

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
        rare = self.rare
        return (self.wanted or self.kept) and (rare is USUAL_REGISTRATION or not (rare.held or rare.ghost))
