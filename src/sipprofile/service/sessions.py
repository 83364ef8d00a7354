"""Sessions: the applications' live connections, what they hold and what they have enabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import SipProfileError
from .effects import Effect, EndSession
from .hub import Hub, Outbox
from .policy import Actor, require
from .registry import Entry, Registry
from .usage import Usage

if TYPE_CHECKING:
    from .quota import Quota
    from .session_owner import SessionOwner


class Session:
    """What is known about one connection."""

    __slots__ = (
        "actor",
        "app",
        "connections",
        "enabled",
        "greeted",
        "held",
        "number",
        "open",
        "outbox",
        "quota",
        "resumes",
        "token",
        "waiting",
    )

    def __init__(self, number: int, actor: Actor, outbox: Outbox, token: str) -> None:
        self.number = number
        self.actor = actor
        self.outbox = outbox
        self.token = token
        """Says in a later hello that this session is continued."""
        self.app = ""
        """What the application calls itself: a label, not an identity."""
        self.greeted = False
        self.open = True
        self.resumes: str | None = None
        """Token of the lost session that this one continues."""
        self.held: set[int] = set()
        self.enabled: set[int] = set()
        self.waiting = 0
        """Commands that are not answered yet."""
        self.connections: dict[int, SessionOwner] = {}
        """By profile, for those through which it sends or receives requests."""
        self.quota: Quota | None = None


class Sessions:
    """All sessions."""

    def __init__(self, registry: Registry, usage: Usage, hub: Hub, act: Callable[[Effect], None]) -> None:
        self._registry = registry
        self._usage = usage
        self._hub = hub
        self._act = act
        self._sessions: dict[int, Session] = {}
        self._by_token: dict[str, Session] = {}
        self._last_number = 0
        self.let_go: Callable[[Session, int | None], None] = lambda *_: None
        """Told before a session lets go of a profile that it has enabled, or, with ``None``, of all because it ends."""

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, number: int) -> Session | None:
        """The open session with this number."""
        return self._sessions.get(number)

    def open(self, actor: Actor) -> int:
        """A new session's number; raises ``too_many_sessions`` or ``permission_denied``."""
        require(actor, "use", "read", "control")
        limit = self._registry.settings.sessions
        if len(self._sessions) >= limit:
            raise SipProfileError("too_many_sessions", f"There are {limit} sessions already.", value=limit)
        self._last_number += 1
        number = self._last_number
        token = f"{self._registry.random.getrandbits(128):032x}"
        session = Session(number, actor, self._hub.open(number), token)
        self._sessions[number] = self._by_token[token] = session
        return number

    def close(self, number: int, now: float) -> None:
        """The connection is gone. What the session had enabled counts as used for ``linger_lost``."""
        session = self._sessions.get(number)
        if session is not None:
            self._forget(session)
            entries = (self._registry.get(profile) for profile in sorted(session.enabled))
            self._usage.lose(session.token, [entry for entry in entries if entry is not None], now)

    def end(self, number: int, error: SipProfileError, now: float) -> None:
        """End a session ourselves and say why."""
        if number in self._sessions:
            self._act(EndSession(number, error))
            self.close(number, now)

    def end_all(self, error: SipProfileError) -> None:
        """The service stops. Uses stay: a restart finds their leases."""
        for session in list(self._sessions.values()):
            self._act(EndSession(session.number, error))
            self._forget(session)

    def continued(self, session: Session, token: str, now: float) -> None:
        """``session`` continues the one with this token, which ends if we did not notice yet that it was lost."""
        predecessor = self._by_token.get(token)
        if predecessor is not None and not _same(predecessor.actor, session.actor):
            return  # somebody else has got hold of the token
        session.resumes = token
        if predecessor is not None and predecessor is not session:
            self.end(predecessor.number, SipProfileError("closed", "Another connection continues it."), now)

    def _forget(self, session: Session) -> None:
        session.open = False
        self.let_go(session, None)
        del self._sessions[session.number]
        del self._by_token[session.token]
        self._hub.close(session.outbox, session.held)

    def check_room(self, session: Session, profiles: set[int]) -> None:
        """Raise ``too_large`` if the session cannot hold these profiles as well."""
        limit = self._registry.settings.holds
        if len(session.held) + len(profiles - session.held) > limit:
            raise SipProfileError("too_large", f"A session holds at most {limit} profiles.", value=limit)

    def hold(self, session: Session, profile: int) -> None:
        """The session gets the profile's events from now on."""
        if profile not in session.held:
            session.held.add(profile)
            self._hub.hold(session.outbox, profile)

    def release(self, session: Session, profile: int) -> None:
        """The session does not get the profile's events any more."""
        session.held.discard(profile)
        self._hub.release(session.outbox, profile)

    def enable(self, session: Session, entry: Entry, now: float) -> None:
        """The session uses the profile."""
        self.hold(session, entry.id)
        session.enabled.add(entry.id)
        self._usage.enable(entry, session.resumes, now)

    def disable(self, session: Session, entry: Entry, now: float) -> None:
        """The session does not use the profile any more."""
        self.let_go(session, entry.id)
        session.enabled.discard(entry.id)
        self._usage.disable(entry, now)

    def detach(self, profile: int) -> None:
        """No session uses the profile any more; they still hold it."""
        for session in self._holders(profile):
            if profile in session.enabled:
                self.let_go(session, profile)
                session.enabled.discard(profile)

    def dismiss(self, profile: int) -> None:
        """The profile is gone: nobody holds it any more."""
        for session in self._holders(profile):
            session.held.discard(profile)
            session.enabled.discard(profile)
        self._hub.forget(profile)

    def _holders(self, profile: int) -> list[Session]:
        found = (self._sessions.get(outbox.session) for outbox in self._hub.holders(profile))
        return [session for session in found if session is not None]


def _same(one: Actor, other: Actor) -> bool:
    return (one.uid, one.token) == (other.uid, other.token)
