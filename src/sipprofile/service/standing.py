"""The claims in a profile's configuration, for who has no session: its bridge, webhooks, applications to be started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..claims import StandingClaim
from ..errors import SipProfileError
from ..profile import Profile
from ..useragent.owner import Owner
from .activation import Activated
from .bridge.standing import standing_claims
from .claims import Claims
from .settings import ServiceSettings

Target = Callable[[int, str], Owner]
"""The owner for a profile and a name: that after ``webhook:`` or ``activate:``, empty for ``bridge``."""


class Standing:
    """Makes them when a profile is loaded or saved. ``targets`` is by what stands before the colon."""

    def __init__(self, claims: Claims, settings: ServiceSettings) -> None:
        self.targets: dict[str, Target] = {}
        self._claims = claims
        self._names = {"webhook": settings.webhooks, "activate": tuple(name for name, _ in settings.activate)}
        self._owners: dict[int, list[Owner]] = {}

    def check(self, profile: Profile) -> None:
        """Raise ``invalid_value`` for a target that the service does not know, ``claim_in_use`` for a claim that
        clashes with another's. ``profile`` is valid otherwise."""
        claims = standing_claims(profile)
        for index, claim in enumerate(claims):
            kind, _, name = claim.to.partition(":")
            field = f"claims[{index}].to"
            if kind == "bridge" and profile.bridge is None:
                raise SipProfileError("invalid_value", "The profile has no bridge.", field=field, value=claim.to)
            known = self._names.get(kind)
            if known is not None and name not in known:
                listed = ", ".join(sorted(known)) or "none"
                detail = f"The configuration has no {kind} of this name; it has {listed}."
                raise SipProfileError("invalid_value", detail, field=field, value=claim.to)
            if kind not in self.targets:
                raise SipProfileError("not_supported", f"{kind} cannot have claims.", field=field, value=claim.to)
        checked = [claim for claim in claims if not claim.to.startswith("activate:")]  # in nobody's way
        self._claims.check(profile.id, checked, self._owners.get(profile.id, ()))

    def renew(self, profile: Profile, now: float) -> None:
        """Make those of another version of the profile, as far as the configuration still allows them."""
        self.remove(profile.id)
        owners: list[Owner] = []
        for claim in standing_claims(profile):
            # What the configuration no longer has, or what was stored by hand, cannot be made.
            with suppress(SipProfileError, LookupError):
                self._make(profile.id, claim, owners, now)
        if owners:
            self._owners[profile.id] = owners

    def profile_gone(self, profile: int) -> None:
        """The profile was removed, and with it all claims on it."""
        self._owners.pop(profile, None)
        self._claims.profile_gone(profile)

    def remove(self, profile: int) -> None:
        """The profile's configuration is another: nobody gets anything by the old one any more."""
        for owner in self._owners.pop(profile, ()):
            for number in self._claims.of_owner(owner, profile):
                self._claims.release(number, owner)

    def _make(self, profile: int, claim: StandingClaim, owners: list[Owner], now: float) -> None:
        kind, _, name = claim.to.partition(":")
        owner = self.targets[kind](profile, name)
        reserve = isinstance(owner, Activated)
        self._claims.claim(owner, profile, claim.plain(), None, now, reserve=reserve, check=False)
        if owner not in owners:
            owners.append(owner)
