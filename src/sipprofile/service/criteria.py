"""What a claim asks of a request, ready to be compared (RFC 3840, RFC 3841, RFC 6665)."""

from __future__ import annotations

from functools import cached_property

import msgspec

from ..agents.claim_fields import EVENT_METHODS
from ..claims import Claim
from ..sip.features import MAXIMUM_PREFERENCES, Preference, Values, parse_feature, parse_preferences, rejected, score
from ..sip.message import Request
from ..sip.names import COMPACT_FORMS
from ..sip.syntax import LWS, SipSyntaxError

NAMED = frozenset(("OPTIONS", "NOTIFY"))
"""Only a claim that names them gets them. Registrars and proxies ask by OPTIONS whether anybody is there, and the
service always is; a NOTIFY that nobody asked for is refused, so that its sender stops (RFC 6665 §4.1.3)."""

MAXIMUM_WISHES = 64
"""Values in the preferences of one request that are looked at."""
MAXIMUM_LINES = 16
MAXIMUM_LINE = 1024
"""Lines of a header that patterns are compared with, and characters of one: what is longer fits none. Thousands of
claims may ask, and a stranger writes them."""

FEATURES, EVENTS, METHODS, CONTENT, DEFAULT = 4, 3, 2, 1, 0
"""What a claim is found by: of several that fit a request, the highest gets it."""


class Criteria(msgspec.Struct, frozen=True):
    """One claim, compiled."""

    methods: frozenset[str] | None
    """``None``: all, but for :data:`NAMED`."""
    events: frozenset[str]
    features: dict[str, Values]
    content_types: frozenset[str]
    headers: tuple[tuple[str, tuple[str, ...]], ...]
    """Names in lower case, each with its pattern, in lower case, cut at the ``*``."""
    kind: int
    """:data:`FEATURES` to :data:`DEFAULT`."""

    @classmethod
    def of(cls, claim: Claim) -> Criteria:
        """Those of a valid claim."""
        if claim.events:
            methods: frozenset[str] | None = EVENT_METHODS.intersection(claim.methods or EVENT_METHODS)
        else:
            methods = frozenset(claim.methods) or None
        if claim.default:
            kind = DEFAULT
        elif claim.features:
            kind = FEATURES
        elif claim.events:
            kind = EVENTS
        else:
            kind = METHODS if claim.methods else CONTENT
        headers = [(COMPACT_FORMS.get(name.lower(), name.lower()), value) for name, value in claim.headers.items()]
        return cls(
            methods,
            frozenset(claim.events),
            dict(map(parse_feature, claim.features)),
            frozenset(content_type.lower() for content_type in claim.content_types),
            tuple((name, tuple(pattern.lower().split("*"))) for name, pattern in headers),
            kind,
        )

    def takes(self, method: str) -> bool:
        """Whether requests of this method may fit."""
        return method not in NAMED if self.methods is None else method in self.methods

    def fit(self, facts: Facts) -> float:
        """How well a request fits: 0 = not at all, 1 = as well as it can."""
        if not self.takes(facts.method) or (self.events and facts.package not in self.events):
            return 0.0
        if not self.fits_content(facts):
            return 0.0
        for name, pattern in self.headers:
            if not any(is_like(value, pattern) for value in facts.values(name)):
                return 0.0
        if not self.features:
            return 1.0
        if rejected(facts.reject_contact, self.features):
            return 0.0
        return score(facts.accept_contact, self.features)

    def fits_content(self, facts: Facts) -> bool:
        """Whether the request's body is of a type that was claimed."""
        if not self.content_types:
            return True
        content_type = facts.content_type
        return content_type in self.content_types or f"{content_type.partition('/')[0]}/*" in self.content_types

    def overlaps(self, other: Criteria) -> bool:
        """Whether a request could fit both equally well."""
        if self.kind != other.kind:
            return False
        if self.methods is None or other.methods is None:
            named = self.methods if other.methods is None else other.methods
            if named is not None and named <= NAMED:
                return False
        elif self.methods.isdisjoint(other.methods):
            return False
        if self.events and other.events and self.events.isdisjoint(other.events):
            return False
        if self.features and other.features:
            common = self.features.keys() & other.features.keys()
            if not any(self.features[name].meets(other.features[name]) for name in common):
                return False
        if self.content_types and other.content_types and not _common_type(self.content_types, other.content_types):
            return False
        others = dict(other.headers)
        return all(name not in others or _meet(pattern, others[name]) for name, pattern in self.headers)


class Facts:
    """What claims look at in a request; each is read when it is first asked for."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.method = request.method
        self._values: dict[str, list[str]] = {}

    def values(self, name: str) -> list[str]:
        """The lines of a header in small letters, as far as patterns are compared with them."""
        found = self._values.get(name)
        if found is None:
            lines = self.request.headers(name)[:MAXIMUM_LINES]
            found = self._values[name] = [line.lower() for line in lines if len(line) <= MAXIMUM_LINE]
        return found

    @cached_property
    def package(self) -> str:
        """The event package, compared byte by byte (RFC 6665 §8.2.1); empty without one."""
        return (self.request.header("event") or "").partition(";")[0].strip(LWS)

    @cached_property
    def content_type(self) -> str:
        """``type/subtype`` of the body in lower case; empty without a body."""
        if not self.request.body:
            return ""
        kind, _, subtype = (self.request.header("content-type") or "").partition(";")[0].partition("/")
        return f"{kind.strip(LWS)}/{subtype.strip(LWS)}".lower()

    @cached_property
    def accept_contact(self) -> list[Preference]:
        """Whom the caller prefers."""
        return _preferences(self.request, "accept-contact")

    @cached_property
    def reject_contact(self) -> list[Preference]:
        """Whom the caller does not want."""
        return _preferences(self.request, "reject-contact")


def _preferences(request: Request, name: str) -> list[Preference]:
    found: list[Preference] = []
    for line in request.headers(name)[:MAXIMUM_LINES]:
        try:
            found += parse_preferences(line)
        except SipSyntaxError:
            continue  # a preference is a wish; the request is good without it
    left = MAXIMUM_WISHES
    for index, preference in enumerate(found[:MAXIMUM_PREFERENCES]):
        left -= sum(len(values.any_of) + len(values.none_of) for values in preference.features.values())
        if left < 0:
            return found[:index]
    return found[:MAXIMUM_PREFERENCES]


def is_like(text: str, pattern: tuple[str, ...]) -> bool:
    """Whether ``text`` fits a pattern that was cut at its ``*``; in linear time."""
    first, last = pattern[0], pattern[-1]
    if len(pattern) == 1:
        return text == first
    end = len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last) or end < len(first):
        return False
    position = len(first)
    for piece in pattern[1:-1]:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether some text fits both patterns: their ends before the first and after the last ``*`` decide that."""
    if len(one) == 1 or len(other) == 1:
        return is_like(other[0], one) if len(other) == 1 else is_like(one[0], other)
    head = one[0].startswith(other[0]) or other[0].startswith(one[0])
    return head and (one[-1].endswith(other[-1]) or other[-1].endswith(one[-1]))


def _common_type(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether a type is in both; ``type/*`` is any subtype."""
    if not some.isdisjoint(others):
        return True
    for these, those in ((some, others), (others, some)):
        wide = {each.partition("/")[0] for each in these if each.endswith("/*")}
        if wide and any(each.partition("/")[0] in wide for each in those):
            return True
    return False
