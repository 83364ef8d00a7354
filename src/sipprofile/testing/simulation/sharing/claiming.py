"""Random claims, and who must get a request by them: ``docs/claims.md`` said once more, in the plainest way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sipprofile.claims import Claim
from sipprofile.sip.message import Request

METHODS = ("MESSAGE", "MESSAGE", "INVITE", "INVITE", "SUBSCRIBE", "REFER", "INFO", "OPTIONS")
PACKAGES = ("message-summary", "presence")
TYPES = ("text/plain", "image/png")
VIDEO = "video"
OF_EVENTS = ("SUBSCRIBE", "NOTIFY", "PUBLISH")
NAMED = ("OPTIONS", "NOTIFY")
CLAIMABLE = ("INVITE", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "INFO", "OPTIONS")


def new_claim(chosen: random.Random) -> dict[str, Any]:
    """A claim as a session gives it."""
    claim: dict[str, Any]
    draw = chosen.random()
    if draw < 0.5:
        claim = {"methods": sorted({chosen.choice(METHODS) for _ in range(chosen.randrange(1, 3))})}
    elif draw < 0.7:
        claim = {"events": [chosen.choice(PACKAGES)]}
    elif draw < 0.8:
        claim = {"features": [VIDEO]}
    elif draw < 0.9:
        claim = {"content_types": [chosen.choice((*TYPES, "text/*"))]}
    else:
        claim = {"default": True}
    if chosen.random() < 0.2 and "events" not in claim:
        claim["content_types"] = [chosen.choice(TYPES)]
    claim["exclusive"] = chosen.random() < 0.5
    if chosen.random() < 0.3:
        claim["priority"] = chosen.choice((-5, 5))
    return claim


def fits(claim: Claim, request: Request) -> bool:
    """Whether a request outside of dialogs is one that was claimed."""
    method = request.method
    if method not in CLAIMABLE:
        return False
    if claim.events:
        package = (request.header("event") or "").partition(";")[0].strip()
        if method not in OF_EVENTS or package not in claim.events or (claim.methods and method not in claim.methods):
            return False
    elif claim.methods:
        if method not in claim.methods:
            return False
    elif method in NAMED:
        return False
    if claim.content_types:
        kind = (request.header("content-type") or "") if request.body else ""
        if not any(kind == each or (kind and each == f"{kind.split('/')[0]}/*") for each in claim.content_types):
            return False
    return not claim.features or VIDEO in (request.header("accept-contact") or "")


def kind_of(claim: Claim) -> int:
    """By what it is found first."""
    if claim.default:
        return 0
    return 4 if claim.features else 3 if claim.events else 2 if claim.methods else 1


def winners(held: Sequence[tuple[int, str, Claim]], request: Request) -> dict[str, int]:
    """Who gets ``request`` of all who hold a claim (its number, whose it is, and what it says), oldest first: by
    holder, the number of the claim by which it is given to him."""
    fitting = [(number, who, claim) for number, who, claim in held if fits(claim, request)]
    if not fitting:
        return {}

    def rank(claim: Claim) -> tuple[bool, bool, int, int]:
        return not claim.default, claim.exclusive, kind_of(claim), claim.priority

    best = max(rank(claim) for _, _, claim in fitting)
    chosen = [(number, who, claim) for number, who, claim in fitting if rank(claim) == best]
    if chosen[0][2].exclusive:
        chosen = chosen[:1]
    found: dict[str, int] = {}
    for number, who, _ in chosen:
        found.setdefault(who, number)
    return found
