"""Who may claim what, as the service's configuration says (``[[claims.rules]]``)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..claims import Claim
from ..errors import SipProfileError
from .criteria import is_like
from .policy import Actor


class ClaimRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Allows whom it names to claim what it names, on the profiles it names. What is empty is not asked for."""

    profiles: tuple[str, ...] = ("*",)
    """Patterns of profiles' names; ``*`` is any run of characters."""
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    tokens: frozenset[str] = frozenset()
    nobody: bool = False
    """It names users or groups that this machine does not know, and nobody else."""
    methods: tuple[str, ...] = ()
    """A claim must say its methods, and no others than these."""
    events: tuple[str, ...] = ()
    """A claim must say its event packages, and no others than these."""
    exclusive: bool = True
    """Whether exclusive claims are allowed too."""

    def is_for(self, name: str) -> bool:
        """Whether it says something about the profile of this name."""
        return any(is_like(name, tuple(pattern.split("*"))) for pattern in self.profiles)

    def names(self, actor: Actor) -> bool:
        """Whether it allows anything to ``actor``."""
        if not (self.uids or self.gids or self.tokens):
            return not self.nobody
        return actor.uid in self.uids or actor.token in self.tokens or not self.gids.isdisjoint(actor.groups)

    def allows(self, claim: Claim) -> bool:
        """Whether it allows the claim, to whom it names."""
        if claim.exclusive and not self.exclusive:
            return False
        if self.methods and not (claim.methods and set(claim.methods) <= set(self.methods)):
            return False
        return not self.events or (bool(claim.events) and set(claim.events) <= set(self.events))


def check_allowed(rules: Sequence[ClaimRule], actor: Actor, profile: str, claim: Claim) -> None:
    """Raise ``claim_not_allowed`` unless a rule allows ``claim`` on the profile of this name.

    A profile that no rule is for may be claimed by whoever may use it.
    """
    mine = [rule for rule in rules if rule.is_for(profile)]
    if not mine:
        return
    named = [rule for rule in mine if rule.names(actor)]
    if any(rule.allows(claim) for rule in named):
        return
    if not named:
        detail = f"No rule for the profile {profile!r} names {actor.label}."
    elif claim.exclusive and any(rule.allows(msgspec.structs.replace(claim, exclusive=False)) for rule in named):
        detail = f"{actor.label} may claim this on {profile!r} only shared: set exclusive to false."
    else:
        methods = sorted({method for rule in named for method in rule.methods})
        events = sorted({package for rule in named for package in rule.events})
        wanted = " and ".join(
            f"{what} {', '.join(names)}" for what, names in (("methods", methods), ("events", events)) if names
        )
        detail = f"{actor.label} may claim on {profile!r} no more than {wanted}; the claim must name them."
    raise SipProfileError("claim_not_allowed", detail)
