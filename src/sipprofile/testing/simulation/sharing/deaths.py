"""Dialogs whose one side has ended: the other side must hear of it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from sipprofile.testing.simulation.promise import Promise, Violation

HEARS_WITHIN = 40.0  # seconds: a 2xx whose ACK must come before the BYE is waited for for 64·T1 (RFC 3261 §15)


class _Known(msgspec.Struct, eq=False):
    """A dialog as one side of it has it."""

    other: str
    profile: int
    method: str
    began_at: float
    dead_at: float | None = None


class Deaths:
    """What each side of a dialog knows, and who of the others has ended.

    ``owed(since)``: both sides could be told everything since then. A dialog that was there when something was wrong
    may have ended of that (a NOTIFY without an answer ends a subscription, RFC 6665 §4.2.2).
    """

    def __init__(self, now: Callable[[], float], owed: Callable[[float], bool]) -> None:
        self.heard = 0
        """How many dialogs were ended because an application was gone."""
        self._now = now
        self._owed = owed
        self._known: dict[tuple[str, str], _Known] = {}
        self._over: set[tuple[str, str]] = set()
        self._dead: dict[tuple[str, int], float] = {}

    def began(self, holder: str, dialog: str, other: str, profile: int, method: str) -> None:
        """``holder`` has a dialog with the session ``other``, through a profile of ours."""
        key = holder, dialog
        if key in self._over or key in self._known:
            return
        dead = self._dead.get((other, profile), self._dead.get((other, 0)))
        self._known[key] = _Known(other, profile, method, self._now(), None if dead is None else self._now())

    def ended(self, holder: str, dialog: str) -> None:
        """The dialog of ``holder`` is over, whoever ended it."""
        known = self._known.pop((holder, dialog), None)
        self._over.add((holder, dialog))
        if known is not None and known.dead_at is not None:
            self.heard += 1

    def holder_gone(self, holder: str, profile: int = 0) -> None:
        """Nobody is there any more to hear of anything."""
        for key in [key for key, known in self._known.items() if key[0] == holder and profile in (0, known.profile)]:
            del self._known[key]
            self._over.add(key)

    def revived(self, other: str, profile: int) -> None:
        """A session takes part in a profile again."""
        self._dead.pop((other, profile), None)

    def profile_ended(self, profile: int) -> None:
        """An operator has ended everything on a profile."""
        for known in self._known.values():
            if known.profile == profile and known.dead_at is None:
                known.dead_at = self._now()

    def died(self, other: str, profile: int = 0) -> None:
        """A session has ended, or with ``profile`` has given that up."""
        self._dead[other, profile] = self._now()
        for known in self._known.values():
            if known.other == other and profile in (0, known.profile) and known.dead_at is None:
                known.dead_at = self._now()

    def forget(self) -> None:
        """The service was killed: nobody remembers the dialogs of before."""
        self._over.update(self._known)
        self._known.clear()

    def check(self, deaf: Collection[str]) -> None:
        """Who is not ``deaf`` has heard of every death that was some time ago."""
        now = self._now()
        for (holder, dialog), known in list(self._known.items()):
            if known.dead_at is None or now < known.dead_at + HEARS_WITHIN:
                continue
            if not self._owed(known.began_at):
                self.ended(holder, dialog)
                self.heard -= 1
            elif holder not in deaf:
                text = f"{holder} did not hear that {known.other} ended their {known.method} dialog {dialog}"
                raise Violation(Promise.DEAD_DIALOGS, f"{text} {now - known.dead_at:.0f} s ago")
