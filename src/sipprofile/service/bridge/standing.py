"""What a bridge is given when the profile's configuration does not say it."""

from __future__ import annotations

from ...claims import StandingClaim
from ...profile import Profile

CALLS = StandingClaim(methods=["INVITE"], to="bridge")


def standing_claims(profile: Profile) -> list[StandingClaim]:
    """The profile's claims. A bridge without any of its own has all calls, exclusively."""
    if profile.bridge is None or any(claim.to == CALLS.to for claim in profile.claims):
        return profile.claims
    return [*profile.claims, CALLS]
