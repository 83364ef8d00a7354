"""The audit log: who sent and answered what kind of request through which profile. No bodies, no other headers.

One line per request, at its end. What is counted for the metrics is counted here too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

from .effects import Audit, Effect

Direction = Literal["out", "in"]

METHODS = frozenset(
    ("INVITE", "BYE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "PRACK", "UPDATE", "PUBLISH")
)
OTHER = "other"
LONGEST = 500
"""Characters of a URI that a line repeats."""
_password = re.compile(r"(sips?:[^@:;?\s<>]*):[^@\s<>]*@", re.IGNORECASE).sub
"""RFC 3261 §19.1.1 lets URIs have one, and some do."""


class Asker(msgspec.Struct, frozen=True, gc=False):
    """Who is behind a request: ``who`` is the peer or token that the service knows, ``app`` what it calls itself."""

    who: str
    app: str = ""


class Auditor:
    """Writes the lines. ``wall_offset`` is asked for when a line is written: the clock may be set."""

    def __init__(self, act: Callable[[Effect], None], wall_offset: Callable[[], float]) -> None:
        self._act = act
        self._wall_offset = wall_offset
        self.requests: Counter[tuple[Direction, str]] = Counter()
        """By direction and method; methods that nobody knows are :data:`OTHER`."""

    def note(
        self,
        asker: Asker,
        profile: int,
        direction: Direction,
        method: str,
        uri: str,
        now: float,
        status: int = 0,
        code: str = "",
    ) -> None:
        """A request has ended: with ``status``, or with the ``code`` of why it has no final response."""
        kind = method if method in METHODS else OTHER
        self.requests[direction, kind] += 1
        at = now + self._wall_offset()
        shown = _password(r"\1:...@", uri[: 2 * LONGEST])[:LONGEST]
        self._act(Audit(at, asker.who, asker.app, profile, direction, method[:32], shown, status, code))
