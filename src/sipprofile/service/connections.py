"""The connections of all sessions: who sends and receives through which profile, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SipProfileError
from ..useragent import ending
from ..useragent.agent import UserAgent
from ..useragent.draft import Answer
from .audit import Auditor
from .connection_state import ConnectionStates
from .delivery import Delivery
from .hub import Hub
from .quota import Quota, check_dialogs
from .registry import Registry
from .session_owner import SessionOwner
from .sessions import Session

if TYPE_CHECKING:
    from ..useragent.incoming import Incoming

BUSY = Answer(503, headers=(("Retry-After", "1"),))


class Connections:
    """Makes the owner of each session and profile when it is needed first, and ends it with the use of the profile."""

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        agent: UserAgent,
        delivery: Delivery,
        states: ConnectionStates,
        auditor: Auditor,
    ) -> None:
        self._registry = registry
        self._hub = hub
        self._agent = agent
        self._delivery = delivery
        self._states = states
        self._auditor = auditor

    def of(self, session: Session, profile: int) -> SessionOwner:
        """The session's connection through a profile that it has enabled; raises ``not_enabled``."""
        found = session.connections.get(profile)
        if found is not None:
            return found
        if profile not in session.enabled:
            raise SipProfileError("not_enabled", field="profile", value=profile)
        owner = SessionOwner(session, profile, self._tell, self._turns_away, self._auditor, self._wall_offset)
        session.connections[profile] = owner
        return owner

    def check_held(self, profile: int) -> None:
        """Raise ``paused`` or ``forcibly_disabled`` when an operator holds the profile down, its binding being
        given back perhaps only now."""
        entry = self._registry.get(profile)
        if entry is not None and entry.held:
            raise SipProfileError(entry.held, field="profile", value=profile)

    def quota(self, session: Session, now: float) -> Quota:
        """What the session may send."""
        quota = session.quota
        if quota is None:
            quota = session.quota = Quota(self._registry.settings.session_requests, now)
        return quota

    def check_dialogs(self, session: Session) -> None:
        """Raise ``quota_exceeded`` when the session has as many dialogs and publications as it may."""
        limit = self._registry.settings.session_dialogs
        owners = session.connections.values()
        others = sum(len(owner.publications) + len(owner.beginning) for owner in owners)
        if others + sum(len(owner.legs) for owner in owners) >= limit:
            for owner in owners:
                owner.publications.intersection_update(self._agent.publications.by_number)
            others = sum(len(owner.publications) + len(owner.beginning) for owner in owners)
            check_dialogs(others + sum(len(owner.dialogs()) for owner in owners), limit)

    def check_room(self, session: Session, size: int) -> None:
        """Raise ``quota_exceeded`` when the requests that wait for their answers hold too much already."""
        limit = self._registry.settings.unread_size
        if size + sum(owner.under_way for owner in session.connections.values()) > limit:
            detail = f"Requests that wait for their final responses may have {limit} bytes in all."
            raise SipProfileError("quota_exceeded", detail, value=limit)

    def let_go(self, session: Session, profile: int | None) -> None:
        """The session disables the profile, or, with ``None``, ends: its claims, requests and dialogs do too."""
        self._states.leave(session, profile)
        connections = session.connections
        numbers = list(connections) if profile is None else [profile]
        owners = [owner for number in numbers if (owner := connections.pop(number, None)) is not None]
        if owners:
            now = self._registry.now
            self._delivery.owners_gone(owners, now, lost=profile is None)
            for owner in owners:
                owner.gone(now)

    def profile_gone(self, profile: int, why: str) -> None:
        """An operator ends the registration: everybody's requests and dialogs end, and are told so.

        A pause leaves the claims: who has the profile enabled has it still.
        """
        ending.profile_gone(self._agent, profile, why, self._registry.now)
        if why != "paused":
            self._states.gone(profile)

    def refused(self, owner: SessionOwner, method: str, uri: str, code: str, now: float) -> None:
        """A request was not sent: the audit log says so."""
        self._auditor.note(owner.asker, owner.profile, "out", method, uri, now, code=code)

    def _turns_away(self, owner: SessionOwner, incoming: Incoming, now: float) -> bool:
        """Refuse a request for a session that has much to read already: no caller may have a session ended."""
        if not self._hub.is_busy(owner.session.outbox, now):
            return False
        self._delivery.turn_away(owner, incoming, BUSY, now)
        return True

    def _tell(self, owner: SessionOwner, frame: bytes, now: float) -> None:
        self._hub.tell(owner.session.outbox, owner.profile, frame, now)

    def _wall_offset(self) -> float:
        return self._registry.wall_offset
