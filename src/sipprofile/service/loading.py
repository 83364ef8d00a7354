"""Taking in what is stored, in pieces: so many profiles must not keep the loop from everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..records import ProfileRecord
from .registry import Registry
from .usage import Usage

if TYPE_CHECKING:
    from .bridge.bridges import Bridges
    from .standing import Standing


class Loading:
    """First all profiles are taken in, then those begin that are always registered."""

    def __init__(self, registry: Registry, usage: Usage, bridges: Bridges, standing: Standing) -> None:
        self.over = False
        """All profiles are taken in."""
        self._registry = registry
        self._usage = usage
        self._bridges = bridges
        self._standing = standing
        self._kept: set[int] = set()
        self._waiting: deque[int] = deque()
        """Those that are to begin."""

    def take_in(self, records: Iterable[ProfileRecord], now: float) -> list[tuple[str, str]]:
        """The next profiles in order of id; leases that live are kept. The name of each that its agent could not take,
        with the kind of mistake."""
        registry, registrations = self._registry, self._registry.registrations
        refused: list[tuple[str, str]] = []
        for record in records:
            entry = registry.add(record)
            manner = entry.manner
            agent = registry.agents.get(manner.type)
            if agent is None:
                continue
            try:
                registrations.add(record, agent, now, wanted=False)
            except Exception as error:  # whatever a plug-in raises; the other profiles must not depend on it
                registry.refused.add(entry.id)
                refused.append((entry.name, type(error).__name__))
                continue
            profile = record.profile
            if profile.bridge is not None:
                self._bridges.configured(entry, record, now)
            if profile.claims or profile.bridge is not None:
                self._standing.renew(profile, now)
            if manner.always:
                self._waiting.append(entry.id)
            elif not manner.held and registrations.has_binding(entry.id):
                self._kept.add(entry.id)
        return refused

    def end(self, now: float) -> None:
        """That were all: sessions may come, and have a moment to come back to what they used."""
        kept, self._kept = self._kept, set()
        self._usage.grant_grace(kept, now)
        self.over = True

    def begin(self, most: int, now: float) -> bool:
        """Begin with the next profiles that are always registered; whether there are more."""
        registry, waiting = self._registry, self._waiting
        for _ in range(min(most, len(waiting))):
            entry = registry.get(waiting.popleft())
            if entry is not None and entry.always and registry.served(entry):  # it may have changed meanwhile
                registry.registrations.want(entry.id, True, now)
        return bool(waiting)

    def give_up(self) -> None:
        """The service ends: nothing more begins."""
        self._waiting.clear()
