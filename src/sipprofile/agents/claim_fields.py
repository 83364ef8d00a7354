"""What a claim may say, be it a session's or one in a profile."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..claims import Claim, StandingClaim
from ..sip.features import parse_feature
from ..sip.headers import is_token
from ..sip.syntax import SipSyntaxError
from .base import Problem

MAXIMUM_STANDING = 32
MAXIMUM_ENTRIES = 64
MAXIMUM_HEADERS = 16
MAXIMUM_TEXT = 256
MAXIMUM_FEATURES = 2_048
"""Characters of all features of a claim, which are compared with what callers prefer and with other claims."""
PRIORITIES = (-100, 100)

EVENT_METHODS = frozenset(("SUBSCRIBE", "NOTIFY", "PUBLISH"))
"""The methods that name an event package (RFC 6665, RFC 3903)."""
OF_WEBHOOKS = frozenset(("MESSAGE", "NOTIFY", "OPTIONS"))
"""Methods that one answer is enough for."""
UNCLAIMED = frozenset(("ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "REGISTER"))
"""Methods that belong to a transaction or dialog and go to its owner, and the one that is for registrars."""

CLAIMED = ("INVITE", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "INFO", "OPTIONS")
"""The others that the service understands."""

_is_package = re.compile(r"[A-Za-z0-9\-!%*_+`'~]+(?:\.[A-Za-z0-9\-!%*_+`'~]+)*").fullmatch  # RFC 6665 §8.4
_is_target = re.compile(r"bridge|(?:webhook|activate):[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch


def claim_problems(field: str, claim: Claim) -> Iterator[Problem]:
    """Everything that is wrong with ``claim``; ``field`` is what it is called, such as ``claims[0]``."""
    prefix = f"{field}." if field else ""
    for name in ("methods", "events", "features", "content_types"):
        if len(getattr(claim, name)) > MAXIMUM_ENTRIES:
            yield Problem("invalid_value", f"{prefix}{name}", f"{name} has at most {MAXIMUM_ENTRIES} entries.")
            return
    if sum(map(len, claim.features)) > MAXIMUM_FEATURES:
        detail = f"All features of a claim have at most {MAXIMUM_FEATURES} characters."
        yield Problem("invalid_value", f"{prefix}features", detail)
        return
    yield from _methods(prefix, claim)
    for index, package in enumerate(claim.events):
        if _is_package(package) is None or len(package) > MAXIMUM_TEXT:
            detail = "An event package is a token such as message-summary."
            yield Problem("invalid_value", f"{prefix}events[{index}]", detail, package)
    for index, feature in enumerate(claim.features):
        try:
            if len(feature) > MAXIMUM_TEXT:
                raise SipSyntaxError(f"a feature has at most {MAXIMUM_TEXT} characters")
            parse_feature(feature)
        except SipSyntaxError as error:
            yield Problem("invalid_value", f"{prefix}features[{index}]", f"Not a feature tag: {error}.", feature)
    for index, content_type in enumerate(claim.content_types):
        kind, slash, subtype = content_type.partition("/")
        if not slash or kind == "*" or not is_token(kind) or not is_token(subtype) or len(content_type) > MAXIMUM_TEXT:
            detail = "A content type is type/subtype or type/*."
            yield Problem("invalid_value", f"{prefix}content_types[{index}]", detail, content_type)
    if len(claim.headers) > MAXIMUM_HEADERS:
        yield Problem("invalid_value", f"{prefix}headers", f"A claim has at most {MAXIMUM_HEADERS} headers.")
    for name, pattern in claim.headers.items():
        if not is_token(name):
            yield Problem("invalid_value", f"{prefix}headers", "A header's name is a token.", name)
        elif len(pattern) > MAXIMUM_TEXT:
            detail = f"A pattern has at most {MAXIMUM_TEXT} characters."
            yield Problem("invalid_value", f"{prefix}headers.{name}", detail, pattern)
    low, high = PRIORITIES
    if not low <= claim.priority <= high:
        detail = f"The priority is from {low} to {high}."
        yield Problem("invalid_value", f"{prefix}priority", detail, claim.priority)
    if not (claim.methods or claim.events or claim.features or claim.content_types or claim.headers or claim.default):
        detail = "A claim says what it is for: methods, events, features, content_types, headers, or default."
        yield Problem("missing_field", f"{prefix}methods", detail)


def _methods(prefix: str, claim: Claim) -> Iterator[Problem]:
    for index, method in enumerate(claim.methods):
        field = f"{prefix}methods[{index}]"
        if not is_token(method) or len(method) > MAXIMUM_TEXT:
            yield Problem("invalid_value", field, "A method is a token such as MESSAGE.", method)
        elif method in UNCLAIMED:
            detail = f"{method} cannot be claimed: it goes to the owner of its dialog, or is the service's own."
            yield Problem("not_supported", field, detail, method)
        elif method.upper() in CLAIMED and method not in CLAIMED:
            yield Problem("invalid_value", field, "Methods are case-sensitive (RFC 3261 §7.1); write it large.", method)
        elif method not in CLAIMED:
            yield Problem("not_supported", field, f"Only {', '.join(CLAIMED)} can be claimed.", method)
    if claim.methods and claim.events and EVENT_METHODS.isdisjoint(claim.methods):
        detail = "Only SUBSCRIBE, NOTIFY and PUBLISH have an event; no request fits this claim."
        yield Problem("invalid_value", f"{prefix}events", detail)


def standing_problems(claims: list[StandingClaim]) -> Iterator[Problem]:
    """Everything that is wrong with the claims in a profile; names after ``:`` are the configuration's to know."""
    if len(claims) > MAXIMUM_STANDING:
        yield Problem("invalid_value", "claims", f"A profile has at most {MAXIMUM_STANDING} claims.")
        return
    for index, claim in enumerate(claims):
        yield from claim_problems(f"claims[{index}]", claim)
        field = f"claims[{index}].to"
        if not claim.to:
            yield Problem("missing_field", field, "Say who gets it: bridge, webhook:NAME or activate:NAME.")
        elif _is_target(claim.to) is None:
            yield Problem("invalid_value", field, "It is bridge, webhook:NAME or activate:NAME.", claim.to)
        elif claim.to.startswith("webhook:") and not (claim.methods and OF_WEBHOOKS.issuperset(claim.methods)):
            detail = f"A webhook takes {', '.join(sorted(OF_WEBHOOKS))}; the claim must name which of them."
            yield Problem("not_supported", f"claims[{index}].methods", detail, ", ".join(claim.methods) or None)
