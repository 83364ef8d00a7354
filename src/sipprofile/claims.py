"""Claims: what an application says it wants to receive through a profile."""

from __future__ import annotations

from typing import Any

import msgspec


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is given must all fit a request; of several values in one list one is enough."""

    methods: list[str] = []
    events: list[str] = []
    """Event packages of SUBSCRIBE, NOTIFY and PUBLISH (RFC 6665), such as ``message-summary``."""
    features: list[str] = []
    """Feature tags as in a Contact (RFC 3840 §9): ``audio``, ``automata``, ``+g.oma.sip-im``, ``language="en,de"``.
    Requests find them by Accept-Contact and Reject-Contact (RFC 3841)."""
    content_types: list[str] = []
    """``type/subtype`` or ``type/*`` of the request's body."""
    headers: dict[str, str] = {}
    """Header names, each with a pattern its value must fit; ``*`` is any run of characters, letter case is ignored."""
    default: bool = False
    """Everything that nobody else has claimed."""
    exclusive: bool = True
    """Nobody else may have a claim that the same request could fit. Otherwise it is shared with other shared claims: a
    request goes to all of them, and the first answer wins."""
    priority: int = 0
    """-100 to 100; of several claims that fit equally well the one with the highest gets the request."""


class StandingClaim(Claim, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A claim in a profile's configuration, for somebody who has no session."""

    to: str = ""
    """``bridge``, ``webhook:NAME`` or ``activate:NAME``; the names are those of the service's configuration."""

    def plain(self) -> Claim:
        """The claim alone."""
        values: dict[str, Any] = {name: getattr(self, name) for name in Claim.__struct_fields__}
        return Claim(**values)
