"""Where the servers are, for all registrations: one look-up per record set, one location per server (RFC 3263 §4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..sip.locating import Candidate, Question, Record, Server, Tier, draw, locate
from .actions import Resolve, TransportKey

if TYPE_CHECKING:
    from random import Random

Key = TypeVar("Key")
Entry = TypeVar("Entry")

KEPT = 10_000
"""Record sets and locations remembered; beyond it those that nobody waits for are forgotten, the oldest first."""
SHORTEST_LIFE = 1.0
"""Seconds that an answer is used, whatever its TTL says."""


class Lookup:
    """One record set."""

    __slots__ = ("answered_at", "asked_at", "expires_at", "failure", "records", "waiting")

    def __init__(self) -> None:
        self.records: tuple[Record, ...] = ()
        self.answered_at = -math.inf
        self.expires_at = -math.inf
        self.asked_at = 0.0
        """When the query under way was made; 0 = none is."""
        self.failure = ""
        """Error code of the last query, or empty."""
        self.waiting: dict[Server, None] = {}
        """In the order in which they came: what follows must not depend on hashes."""


class Location:
    """One server, and where it is."""

    __slots__ = ("asked_at", "expires_at", "failure", "pending", "sole", "tiers", "waiting")

    def __init__(self) -> None:
        self.tiers: tuple[Tier, ...] = ()
        self.sole: TransportKey | None = None
        """The way to its only address, when it has no other and that is reached by UDP."""
        self.expires_at = -math.inf
        self.asked_at = 0.0
        """When it began to be looked for; 0 = it is not being."""
        self.failure = ""
        """Why there is nowhere to go, when there is not."""
        self.pending: set[Question] = set()
        self.waiting: set[int] = set()
        """Flows to be told."""


class Locations:
    """Record sets and what they add up to. Inputs return the flows that can go on."""

    __slots__ = ("_act", "_limit", "_locations", "_lookups")

    def __init__(self, act: Callable[[Resolve], None], limit: float) -> None:
        """``limit``: seconds after which a query that got no answer is made again."""
        self._act = act
        self._limit = limit
        self._lookups: dict[Question, Lookup] = {}
        self._locations: dict[Server, Location] = {}

    def of(self, server: Server) -> Location:
        """What is known about a server, however old."""
        found = self._locations.get(server)
        if found is None:
            if len(self._locations) >= KEPT:
                _forget(self._locations, [key for key, entry in self._locations.items() if not entry.asked_at])
            found = self._locations[server] = Location()
        return found

    def known(self, server: Server, now: float) -> bool:
        """Whether all there is to know about a server is known, be it that it cannot be found."""
        location = self.of(server)
        if location.expires_at > now:
            return True
        return not location.asked_at and not self._evaluate(server, location, now)

    def candidates(self, server: Server, random: Random) -> list[Candidate]:
        """Where to try, in the order of one attempt."""
        location = self._locations.get(server)
        return [] if location is None else draw(location.tiers, random)

    def contains(self, server: Server, candidate: Candidate) -> bool:
        """Whether ``candidate`` is one of the server's."""
        location = self._locations.get(server)
        return location is not None and any(
            candidate in choice.candidates for tier in location.tiers for choice in tier
        )

    def ask(self, server: Server, flow: int, now: float) -> None:
        """Have ``flow`` wait for a server that is not known."""
        location = self.of(server)
        location.waiting.add(flow)
        if not location.asked_at:
            location.asked_at = now
            self._advance(server, location, now)

    def answered(self, question: Question, records: tuple[Record, ...], ttl: float, now: float) -> set[int]:
        """The answer to :class:`Resolve`: ``records`` may be used for ``ttl`` seconds."""
        lookup = self._lookups.get(question)
        if lookup is None:
            return set()
        lookup.records = records
        return self._ended(question, lookup, "", ttl, now)

    def failed(self, question: Question, code: str, retry_after: float, now: float) -> set[int]:
        """:class:`Resolve` failed. Older records stay in use until a better answer comes: an old address is better
        than none. Only SRV and NAPTR records that no longer exist do not: the domain has another way now."""
        lookup = self._lookups.get(question)
        if lookup is None:
            return set()
        if code == "resolve_not_found" and question.kind != "ADDRESS":
            lookup.records = ()
        return self._ended(question, lookup, code, retry_after, now)

    def forget(self, now: float) -> None:
        """The network is another one: ask for everything again before it is used next, and for what is being asked for
        at once. Older records still serve while there is no answer."""
        for location in self._locations.values():
            location.expires_at = -math.inf
        for question, lookup in self._lookups.items():
            lookup.expires_at = lookup.answered_at = -math.inf
            if lookup.asked_at:
                lookup.asked_at = now
                self._act(Resolve(question))

    def give_up(self, server: Server, now: float) -> set[int]:
        """Enough time has passed: use what is known."""
        location = self.of(server)
        for question in location.pending:
            lookup = self._lookups[question]
            lookup.waiting.pop(server, None)
            lookup.failure = "resolve_timeout"
        location.pending.clear()
        self._evaluate(server, location, now, last=True)
        location.expires_at = now + self._limit
        return self._found(location)

    def _ended(self, question: Question, lookup: Lookup, failure: str, ttl: float, now: float) -> set[int]:
        lookup.asked_at = 0.0
        lookup.answered_at = now
        lookup.expires_at = now + max(SHORTEST_LIFE, ttl)
        lookup.failure = failure
        waiting, lookup.waiting = lookup.waiting, {}
        ready: set[int] = set()
        for server in waiting:
            location = self.of(server)
            location.pending.discard(question)
            if not location.pending:
                ready |= self._advance(server, location, now)
        return ready

    def _advance(self, server: Server, location: Location, now: float) -> set[int]:
        """Ask for what is missing; the flows that can go on when nothing is."""
        missing = self._evaluate(server, location, now)
        if not missing:
            return self._found(location)
        location.pending = set(missing)
        for question in missing:
            lookup = self._lookup(question)
            lookup.waiting[server] = None
            if not lookup.asked_at or now - lookup.asked_at > self._limit:
                lookup.asked_at = now
                self._act(Resolve(question))
        return set()

    def _found(self, location: Location) -> set[int]:
        location.asked_at = 0.0
        waiting, location.waiting = location.waiting, set()
        return waiting

    def _evaluate(self, server: Server, location: Location, now: float, *, last: bool = False) -> tuple[Question, ...]:
        """Work out where the server is; what is missing. ``last``: take what is there, however old."""
        began = location.asked_at or math.inf

        def answer(question: Question) -> tuple[Record, ...] | None:
            lookup = self._lookups.get(question)
            if lookup is None:
                return () if last else None
            # What was answered since we began counts even if it has expired: else a short TTL would have no end.
            fresh = lookup.expires_at > now or lookup.answered_at >= began
            return lookup.records if fresh or last else None

        missing, used, tiers = locate(server, answer)
        if missing:
            return missing
        lookups = [self._lookups[question] for question in used if question in self._lookups]
        location.tiers = tiers
        location.sole = _sole(tiers)
        location.expires_at = max(now + SHORTEST_LIFE, min((each.expires_at for each in lookups), default=math.inf))
        location.failure = ""
        if not tiers:
            # A domain may lack NAPTR and SRV records; what failed is the look-up that came last.
            failures = [each.failure for each in reversed(lookups) if each.failure]
            location.failure = failures[0] if failures else "resolve_not_found"
        return ()

    def _lookup(self, question: Question) -> Lookup:
        found = self._lookups.get(question)
        if found is None:
            if len(self._lookups) >= KEPT:
                _forget(self._lookups, [key for key, entry in self._lookups.items() if not entry.waiting])
            found = self._lookups[question] = Lookup()
        return found


def _sole(tiers: tuple[Tier, ...]) -> TransportKey | None:
    found = [candidate for tier in tiers for choice in tier for candidate in choice.candidates]
    if len(found) != 1 or found[0].protocol != "udp":
        return None
    return TransportKey("udp", found[0].address, found[0].port)


def _forget(memory: dict[Key, Entry], unused: list[Key]) -> None:
    """Make room for a while: a tenth of what may go, the oldest first."""
    for key in unused[: max(1, KEPT // 10)]:
        del memory[key]


__all__ = ["Location", "Locations"]
