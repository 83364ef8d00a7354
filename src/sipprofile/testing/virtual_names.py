"""The names of a virtual network: records with a time to live, and name servers that fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sipprofile.sip.locating import Question, Record

TTL = 300.0  # seconds
NEGATIVE_TTL = 30.0  # seconds, RFC 2308 §5
ANSWER_LIMIT = 10.0  # seconds after which a resolver gives up
FAILURE_TTL = 5.0  # seconds for which a failure is believed


class Looked(NamedTuple):
    """The end of a look-up."""

    records: tuple[Record, ...]
    ttl: float
    """Seconds for which it holds, failures included."""
    failure: str = ""
    """Empty, ``resolve_not_found``, ``resolve_timeout`` or ``resolve_failed``."""
    delay: float = 0.0
    """Seconds that it took at least."""


class VirtualNames:
    """All zones there are, and the name server for them. Everything may be changed at any time."""

    def __init__(self) -> None:
        self.ttl = TTL
        """Of records that were put without one."""
        self.negative_ttl = NEGATIVE_TTL
        """Of names and record sets that do not exist."""
        self.silent = False
        """No name server answers."""
        self.failing = False
        """The name server answers SERVFAIL."""
        self.missing: set[str] = set()
        """Domains that do not exist (NXDOMAIN) whatever records they have, with everything in them."""
        self._records: dict[Question, tuple[tuple[Record, ...], float | None]] = {}

    def put(self, name: str, addresses: Sequence[str], *, ttl: float | None = None) -> None:
        """Addresses of a host."""
        self.put_records(Question(name), tuple(addresses), ttl=ttl)

    def put_records(self, question: Question, records: Sequence[Record], *, ttl: float | None = None) -> None:
        """SRV or NAPTR records, or addresses; an empty set is one that does not exist."""
        self._records[question] = tuple(records), ttl

    def records(self, question: Question) -> tuple[Record, ...]:
        """What was put there."""
        return self._records.get(question, ((), None))[0]

    def look_up(self, question: Question) -> Looked:
        """What a resolver finds out now."""
        if self.silent:
            return Looked((), FAILURE_TTL, "resolve_timeout", ANSWER_LIMIT)
        if self.failing:
            return Looked((), FAILURE_TTL, "resolve_failed")
        records, ttl = self._records.get(question, ((), None))
        if not records or self._is_missing(question.name):
            return Looked((), self.negative_ttl, "resolve_not_found")
        return Looked(records, self.ttl if ttl is None else ttl)

    def _is_missing(self, name: str) -> bool:
        return any(name == domain or name.endswith("." + domain) for domain in self.missing)
