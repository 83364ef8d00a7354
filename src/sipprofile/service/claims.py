"""Who gets which requests: the table of claims, and the order in which they are asked.

``docs/claims.md`` says the order for users. A dialog's requests never come here: they go to its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from ..agents.claim_fields import CLAIMED, claim_problems
from ..claims import Claim, StandingClaim
from ..errors import SipProfileError
from ..useragent.owner import Owner
from .claim_rules import ClaimRule, check_allowed
from .criteria import DEFAULT, Criteria, Facts
from .policy import Actor

T = TypeVar("T")

MAXIMUM_OF_OWNER = 256
MAXIMUM_OF_PROFILE = 4_096
MAXIMUM_DEPARTED = 256


class Held(msgspec.Struct, frozen=True, eq=False):
    """A claim that holds."""

    number: int
    owner: Owner
    profile: int
    claim: Claim
    criteria: Criteria
    reserve: bool = False
    """Asked when nobody else takes the request, and in nobody's way: it has an owner started."""

    def rank(self, score: float) -> tuple[bool, bool, bool, int, float, int]:
        """The order among claims that fit a request, ``score`` as well as that; the greatest gets it."""
        kind = self.criteria.kind
        return not self.reserve, kind != DEFAULT, self.claim.exclusive, kind, score, self.claim.priority


class Departed(msgspec.Struct, frozen=True):
    """A claim whose owner was lost and may come back."""

    criteria: Criteria
    until: float


class Claims:
    """All claims. ``name_of`` and ``lingers`` tell a profile's name, and how long a lost session is waited for."""

    def __init__(
        self,
        rules: Sequence[ClaimRule] = (),
        name_of: Callable[[int], str] = str,
        lingers: Callable[[int], float] = lambda _: 0.0,
    ) -> None:
        self.claimed: Callable[[Held, float], None] = lambda _, __: None
        """Told of each claim once it holds."""
        self._rules = rules
        self._name_of = name_of
        self._lingers = lingers
        self._last = 0
        self._by_profile: dict[int, dict[int, Held]] = {}
        self._by_owner: dict[Owner, dict[int, Held]] = {}
        self._by_method: dict[int, dict[str, list[Held]]] = {}
        """Those of a profile that take a method; made when they are first asked for after a change."""
        self._offers: dict[int, Any] = {}
        self._departed: dict[int, list[Departed]] = {}

    def claim(
        self,
        owner: Owner,
        profile: int,
        claim: Claim,
        actor: Actor | None,
        now: float,
        *,
        reserve: bool = False,
        check: bool = True,
    ) -> int:
        """The number of a claim that holds from now on. ``actor`` is judged by the rules, ``None`` is not.

        Raises ``claim_in_use``, ``claim_not_allowed``, ``not_supported``, ``invalid_value``, ``missing_field`` and
        ``quota_exceeded``. Without ``check`` it stands beside what it clashes with, and the older one goes first.
        """
        for problem in claim_problems("", claim):
            raise SipProfileError(problem.code, problem.detail, field=f"claim.{problem.field}", value=problem.value)
        if actor is not None:
            check_allowed(self._rules, actor, self._name_of(profile), claim)
        criteria = Criteria.of(claim)
        if check and not reserve:
            self._check_free(owner, profile, claim, criteria)
        of_owner, of_profile = self._by_owner.get(owner, {}), self._by_profile.get(profile, {})
        for held, most in ((of_owner, MAXIMUM_OF_OWNER), (of_profile, MAXIMUM_OF_PROFILE)):
            if len(held) >= most:
                whose = "an owner" if held is of_owner else "a profile"
                raise SipProfileError("quota_exceeded", f"There are at most {most} claims of {whose}.", value=most)
        self._last += 1
        held_claim = Held(self._last, owner, profile, claim, criteria, reserve)
        self._by_owner.setdefault(owner, {})[self._last] = held_claim
        self._by_profile.setdefault(profile, {})[self._last] = held_claim
        self._changed(profile)
        self.claimed(held_claim, now)
        return held_claim.number

    def __len__(self) -> int:
        return sum(map(len, self._by_profile.values()))

    def check(self, profile: int, claims: Sequence[StandingClaim], instead_of: Collection[Owner] = ()) -> None:
        """Raise ``claim_in_use`` if one of ``claims`` clashes with another one of them, for somebody else, or with a
        claim that holds, but for those of ``instead_of``."""
        compiled = [Criteria.of(claim) for claim in claims]
        for index, (claim, criteria) in enumerate(zip(claims, compiled, strict=True)):
            field = f"claims[{index}]"
            for held in self._by_profile.get(profile, {}).values():
                own = held.reserve or held.owner in instead_of
                if not own and clash(held.claim, held.criteria, claim, criteria):
                    raise _in_use(held.owner.label, held.claim, field)
            for earlier, its in zip(claims[:index], compiled, strict=False):
                if earlier.to != claim.to and clash(earlier, its, claim, criteria):
                    raise _in_use(earlier.to, earlier.plain(), field)

    def release(self, number: int, owner: Owner) -> None:
        """The owner does not want it any more. Raises ``not_found``."""
        held = self._by_owner.get(owner, {}).get(number)
        if held is None:
            raise SipProfileError("not_found", "There is no claim of yours with this number.", value=number)
        self._remove(held)

    def owner_gone(self, owner: Owner, now: float, *, lost: bool = True) -> None:
        """All claims of an owner end. One that was ``lost`` may come back, and callers are told so."""
        for held in list(self._by_owner.get(owner, {}).values()):
            self._remove(held)
            until = now + self._lingers(held.profile)
            if lost and until > now and not held.reserve:
                departed = [
                    one
                    for one in self._departed.get(held.profile, ())
                    if one.until > now and one.criteria != held.criteria  # it has been lost before
                ]
                departed.append(Departed(held.criteria, until))
                self._departed[held.profile] = departed[-MAXIMUM_DEPARTED:]

    def profile_gone(self, profile: int) -> None:
        """The profile was removed."""
        for held in list(self._by_profile.get(profile, {}).values()):
            self._remove(held)
        self._departed.pop(profile, None)
        self._offers.pop(profile, None)

    def of_owner(self, owner: Owner, profile: int) -> list[int]:
        """Numbers of the owner's claims on a profile."""
        return [number for number, held in self._by_owner.get(owner, {}).items() if held.profile == profile]

    def of_profile(self, profile: int) -> Iterator[Held]:
        """The claims on a profile, oldest first."""
        return iter(self._by_profile.get(profile, {}).values())

    def offer(self, profile: int, make: Callable[[list[Criteria]], T]) -> T:
        """What ``make`` makes of the criteria of all claims on a profile, oldest first; the same until they change."""
        offer: T | None = self._offers.get(profile)
        if offer is None:
            offer = make([held.criteria for held in self.of_profile(profile)])
            if profile in self._by_profile:
                self._offers[profile] = offer
        return offer

    def _changed(self, profile: int) -> None:
        self._by_method.pop(profile, None)
        self._offers.pop(profile, None)

    def find(self, profile: int, facts: Facts) -> list[Held]:
        """Who gets a request: one, or several with equal shared claims; empty: nobody has claimed it."""
        best: list[Held] = []
        best_rank: tuple[Any, ...] = ()
        for held in self._taking(profile, facts.method):
            score = held.criteria.fit(facts)
            if not score:
                continue
            rank = held.rank(score)
            if rank > best_rank:
                best, best_rank = [held], rank
            elif rank == best_rank and not held.claim.exclusive:
                best.append(held)
        if len(best) < 2:
            return best
        return list({held.owner: held for held in reversed(best)}.values())[::-1]

    def _taking(self, profile: int, method: str) -> list[Held]:
        if profile not in self._by_profile or method not in CLAIMED:
            return []
        known = self._by_method.setdefault(profile, {})
        taking = known.get(method)
        if taking is None:
            taking = [held for held in self._by_profile[profile].values() if held.criteria.takes(method)]
            known[method] = taking
        return taking

    def back_in(self, profile: int, facts: Facts, now: float) -> float:
        """Seconds in which somebody lost may come back who had claimed this request; 0 = nobody."""
        waits = [
            one.until - now
            for one in self._departed.get(profile, ())
            if one.until > now and one.criteria.fit(facts) > 0
        ]
        return max(waits, default=0.0)

    def _check_free(self, owner: Owner, profile: int, claim: Claim, criteria: Criteria) -> None:
        for other in self._by_profile.get(profile, {}).values():
            if other.owner is not owner and not other.reserve and clash(other.claim, other.criteria, claim, criteria):
                raise _in_use(other.owner.label, other.claim, "claim")

    def _remove(self, held: Held) -> None:
        self._changed(held.profile)
        for table, key in ((self._by_owner, held.owner), (self._by_profile, held.profile)):
            claims: dict[int, Held] = table[key]  # type: ignore[index]
            del claims[held.number]
            if not claims:
                del table[key]  # type: ignore[arg-type]


def clash(one: Claim, its: Criteria, other: Claim, others: Criteria) -> bool:
    """Whether a request could fit both claims equally well, and one of them is exclusive."""
    return (one.exclusive or other.exclusive) and its.overlaps(others)


def _in_use(label: str, claim: Claim, field: str) -> SipProfileError:
    return SipProfileError(
        "claim_in_use",
        f"{label} has claimed it{' for itself alone' if claim.exclusive else ', shared with others'}.",
        field=field,
        by=label,
        claim=msgspec.to_builtins(claim),
    )
