"""Who uses which profile, and how long a registration outlives its last user.

A user is a session that has enabled a profile. A session that is lost without having disabled it stays a user for the
profile's ``linger_lost`` seconds; its token lets a new session take over meanwhile, with nothing on the wire. When the
last user has gone, the registration stays for ``linger`` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from .registry import Entry, Registry
from .timers import Timers

LEAVE_AT_ONCE = 100  # profiles that nobody has come back to, so that what else is to be done is not kept waiting
LEAVE_PAUSE = 0.01  # seconds


class Usage:
    """Counts users and says to the registrations what is wanted."""

    def __init__(self, registry: Registry, timers: Timers) -> None:
        self._registry = registry
        self._timers = timers
        self._lost: dict[str, dict[int, float]] = {}
        """The uses of lost sessions: by token, the time until which each profile counts as used."""
        self._lingers_until: dict[int, float] = {}
        self._linger_timers: dict[int, float] = {}
        """At most one timer for each profile, however often it is used and left."""
        self._grace: set[int] = set()
        self._borrowed: dict[int, int] = {}

    def enable(self, entry: Entry, resumes: str | None, now: float) -> None:
        """A session begins to use the profile; ``resumes`` is the token of the lost session it continues."""
        told = self._registry.announced
        lost = self._lost.get(resumes) if resumes is not None else None
        if lost is not None and lost.pop(entry.id, None) is not None:
            entry.users -= 1
            if not lost:
                del self._lost[str(resumes)]
            told = -1  # the number of users is the same: nothing to tell
        self._grace.discard(entry.id)
        self._lingers_until.pop(entry.id, None)
        entry.lingers = False
        entry.users += 1
        self._registry.registrations.want(entry.id, True, now, waiting=True)
        if told == self._registry.announced:
            self._registry.announce("status", entry)

    def disable(self, entry: Entry, now: float) -> None:
        """A session does not use the profile any more."""
        registry = self._registry
        told = registry.announced
        entry.users -= 1
        if not entry.users and not entry.always:
            if entry.linger > 0:
                entry.lingers = True
                self._lingers_until[entry.id] = now + entry.linger
                self._arm_linger(entry.id, now + entry.linger)
            else:
                registry.registrations.want(entry.id, False, now)
        if told == registry.announced:
            registry.announce("status", entry)

    def lose(self, token: str, entries: Iterable[Entry], now: float) -> None:
        """The session ``token`` is gone and had these profiles enabled."""
        lost: dict[int, float] = {}
        gone: list[Entry] = []
        for entry in entries:
            if entry.linger_lost > 0:
                lost[entry.id] = now + entry.linger_lost
            else:
                gone.append(entry)
        if lost:
            self._lost[token] = lost
            for until in set(lost.values()):
                self._timers.at(until, self._lost_for_good, token)
        for entry in gone:
            self.disable(entry, now)

    def borrow(self, entry: Entry, now: float) -> None:
        """Use the profile without a session, for a test; :meth:`give_back` ends it."""
        self._borrowed[entry.id] = self._borrowed.get(entry.id, 0) + 1
        self.enable(entry, None, now)

    def give_back(self, entry: Entry, now: float) -> None:
        """End a borrowed use, if no force-disable has ended it already."""
        left = self._borrowed.get(entry.id, 0) - 1
        if left >= 0:
            self._borrowed[entry.id] = left
            if not left:
                del self._borrowed[entry.id]
            self.disable(entry, now)

    def detach(self, entry: Entry, now: float) -> None:
        """Nobody uses the profile any more, whatever they think."""
        for token, lost in list(self._lost.items()):
            lost.pop(entry.id, None)
            if not lost:
                del self._lost[token]
        self._lingers_until.pop(entry.id, None)
        self._grace.discard(entry.id)
        self._borrowed.pop(entry.id, None)
        entry.lingers = False
        entry.users = 0

    def reconsider(self, entry: Entry, now: float) -> None:
        """The profile was changed: say again what is wanted."""
        if entry.always:
            self._lingers_until.pop(entry.id, None)
            entry.lingers = False
        wanted = self._registry.wanted(entry)
        registrations = self._registry.registrations
        if wanted:
            self._grace.discard(entry.id)
        if wanted != registrations.wanted(entry.id):
            registrations.want(entry.id, wanted, now)

    def grant_grace(self, profiles: Iterable[int], now: float) -> None:
        """After a start: these have a live lease and no user yet; keep it for a moment."""
        self._grace.update(profiles)
        if self._grace:
            self._timers.at(now + self._registry.settings.resume_grace, self._grace_ended)

    def _arm_linger(self, profile: int, until: float) -> None:
        armed = self._linger_timers.get(profile)
        if armed is None or until < armed:
            self._linger_timers[profile] = until
            self._timers.at(until, self._lingered, profile, until)

    def _lingered(self, profile: int, armed: float, now: float) -> None:
        if self._linger_timers.get(profile) != armed:
            return  # an earlier one was armed after it
        del self._linger_timers[profile]
        until = self._lingers_until.get(profile)
        entry = self._registry.get(profile)
        if until is None or entry is None:
            return  # used again, or removed
        if until > now:
            self._arm_linger(profile, until)
            return
        del self._lingers_until[profile]
        entry.lingers = False
        self._registry.registrations.want(profile, False, now)

    def _lost_for_good(self, token: str, now: float) -> None:
        lost = self._lost.get(token)
        if lost is None:
            return
        over = [profile for profile, until in lost.items() if until <= now]
        for profile in over:
            del lost[profile]
        if not lost:
            del self._lost[token]
        for profile in over:
            entry = self._registry.get(profile)
            if entry is not None:
                self.disable(entry, now)

    def _grace_ended(self, now: float) -> None:
        self._leave(sorted(self._grace, reverse=True), now)

    def _leave(self, waiting: list[int], now: float) -> None:
        """Nobody has come back to these, the last first, unless somebody comes before it is their turn."""
        for _ in range(min(LEAVE_AT_ONCE, len(waiting))):
            profile = waiting.pop()
            if profile not in self._grace:
                continue
            self._grace.discard(profile)
            entry = self._registry.get(profile)
            if entry is not None and not self._registry.wanted(entry):
                self._registry.registrations.want(profile, False, now)
        if waiting:
            self._timers.at(now + LEAVE_PAUSE, self._leave, waiting)
