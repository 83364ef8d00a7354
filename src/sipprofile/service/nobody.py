"""Answers for a profile where nobody takes the request (RFC 3261 §8.2.1, §8.2.3, §11.2; RFC 6665 §4.2.1.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

from ..agents.claim_fields import EVENT_METHODS
from ..useragent.draft import Answer
from ..useragent.server import METHODS
from .claims import Claims
from .criteria import NAMED, Criteria, Facts

OF_CALLS = ("ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO")
"""What whoever takes calls takes in them."""
SUPPORTED = "100rel"
LONGEST_LINE = 1024
"""Characters of Accept and Allow-Events; a stranger gets no more for a request of a few bytes."""
SDP = "application/sdp"


def answer_of(claims: Claims, profile: int, facts: Facts, now: float) -> Answer:
    """What to say for a profile when :meth:`~.claims.Claims.find` has found nobody. Never a 6xx: another device of the
    user may take it."""
    offer = claims.offer(profile, Offer)
    present = offer.present
    method = facts.method
    if method == "OPTIONS":
        return Answer(200, headers=offer.capabilities)
    wait = claims.back_in(profile, facts, now)
    if wait > 0:
        return later(wait)
    if method not in METHODS and not any(criteria.takes(method) for criteria in present):
        return Answer(405, headers=(("Allow", offer.allowed),))  # REGISTER too: we are no registrar
    if method == "NOTIFY" and not facts.package:
        return Answer(481)
    if method in EVENT_METHODS and facts.package not in offer.packages:
        return Answer(489, headers=(("Allow-Events", offer.packages_line),))
    if not present:
        return Answer(480)
    taking = offer.taking(method)
    if not taking:
        return Answer(405, headers=(("Allow", offer.allowed),))
    if not any(criteria.fits_content(facts) for criteria in taking):
        return Answer(415, headers=(("Accept", offer.accepted(method)),))
    return Answer(480)


class Offer:
    """What all claims on a profile take together; made anew when they change, because strangers ask for it."""

    def __init__(self, present: list[Criteria]) -> None:
        self.present = present
        self._taking: dict[str, list[Criteria]] = {}
        self._accepted: dict[str, str] = {}

    @cached_property
    def allowed(self) -> str:
        """For Allow."""
        return allowed(self.present)

    @cached_property
    def packages(self) -> frozenset[str]:
        """Every event package."""
        return frozenset(packages(self.present))

    @cached_property
    def packages_line(self) -> str:
        """For Allow-Events."""
        return _line(sorted(self.packages))

    @cached_property
    def capabilities(self) -> tuple[tuple[str, str], ...]:
        """The headers of a 2xx to OPTIONS."""
        return capabilities(self.present)

    def taking(self, method: str) -> list[Criteria]:
        """The claims that requests of this method may fit."""
        if method not in self._taking:
            self._taking[method] = [criteria for criteria in self.present if criteria.takes(method)]
        return self._taking[method]

    def accepted(self, method: str) -> str:
        """For the Accept of a 415."""
        if method not in self._accepted:
            self._accepted[method] = accepted(self.taking(method))
        return self._accepted[method]


def later(wait: float) -> Answer:
    """Somebody may be there in ``wait`` seconds."""
    return Answer(480, headers=(("Retry-After", str(math.ceil(wait))),))


def capabilities(present: list[Criteria]) -> tuple[tuple[str, str], ...]:
    """The union of all claims as a 2xx to OPTIONS tells it (RFC 3261 §11.2); all we understand when there are none."""
    headers = [("Allow", allowed(present)), ("Accept", accepted(present)), ("Supported", SUPPORTED)]
    if events := packages(present):
        headers.append(("Allow-Events", _line(events)))
    return tuple(headers)


def allowed(present: list[Criteria]) -> str:
    """The methods that somebody takes, in dialogs too."""
    found = {method for criteria in present if criteria.methods is not None for method in criteria.methods}
    if not present or any(criteria.methods is None for criteria in present):
        found.update(METHODS)
    if "INVITE" in found:
        found.update(OF_CALLS)
    if found & {"SUBSCRIBE", "REFER"}:
        found.add("NOTIFY")
    found.update(NAMED & {"OPTIONS"})
    known = [method for method in METHODS if method in found]
    return ", ".join([*known, *sorted(found.difference(METHODS))])


def accepted(present: Iterable[Criteria]) -> str:
    """The content types that somebody takes."""
    found: set[str] = set()
    anything = calls = False
    for criteria in present:
        found |= criteria.content_types
        calls = calls or criteria.takes("INVITE")
        anything = anything or not criteria.content_types
    if not found:
        return SDP
    line = _line([*([SDP] if calls and SDP not in found else []), *sorted(found)])
    return f"{line}, */*" if anything else line


def packages(present: Iterable[Criteria]) -> list[str]:
    """The event packages that somebody takes."""
    return sorted({package for criteria in present for package in criteria.events})


def _line(words: Iterable[str]) -> str:
    """A list for a header, as many as fit: what applications claim must not make answers that nobody can send."""
    fitting: list[str] = []
    left = LONGEST_LINE
    for word in words:
        left -= len(word) + 2
        if left < 0:
            break
        fitting.append(word)
    return ", ".join(fitting)
