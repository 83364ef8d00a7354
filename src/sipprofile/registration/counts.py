"""How many registrations there are of each kind, for metrics and the status report."""

from __future__ import annotations

from .registration import Registration

Kind = tuple[str, str, str]
"""Status, reason code, registrar."""


class Counts:
    """Counts each registration under its present kind."""

    __slots__ = ("_kinds", "by_kind")

    def __init__(self) -> None:
        self.by_kind: dict[Kind, int] = {}
        self._kinds: dict[Kind, Kind] = {}
        """One tuple for all who are counted under it."""

    def count(self, registration: Registration) -> None:
        """Count it, and no longer as what it was before."""
        kind = (registration.status, registration.reason.code, registration.plan.registrar)
        if kind != registration.counted:
            self.leave(registration)
            registration.counted = kind = self._kinds.setdefault(kind, kind)
            self.by_kind[kind] = self.by_kind.get(kind, 0) + 1

    def count_as(self, registration: Registration, kind: Kind) -> None:
        """Count one that was not counted before, and is of this kind."""
        registration.counted = kind = self._kinds.setdefault(kind, kind)
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1

    def leave(self, registration: Registration) -> None:
        """Count it no more."""
        kind = registration.counted
        if kind is None:
            return
        left = self.by_kind[kind] - 1
        if left:
            self.by_kind[kind] = left
        else:
            del self.by_kind[kind], self._kinds[kind]
        registration.counted = None
