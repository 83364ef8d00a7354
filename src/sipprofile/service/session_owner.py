"""A session's way to send and receive requests in one profile's name: the original API's ``CSIPConnection``.

It is an :class:`~sipprofile.useragent.owner.Owner`: what it is told becomes frames, in the order in which it happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..events import REASONS
from .arrival import request_members
from .audit import Asker, Auditor
from .content import body_of, encoded, headers_of

if TYPE_CHECKING:
    from ..sip.message import Request, Response
    from ..useragent.incoming import Incoming
    from ..useragent.leg import Leg
    from ..useragent.outgoing import Outgoing
    from .sessions import Session


class SessionOwner:
    """One session and one profile.

    ``tell`` queues a finished frame, ``turns_away`` refuses a request for want of room; ``wall_offset`` is UTC minus
    ``now``.
    """

    __slots__ = (
        "_auditor",
        "_pending",
        "_tell",
        "_turns_away",
        "_wall_offset",
        "asker",
        "beginning",
        "claims",
        "label",
        "legs",
        "profile",
        "publications",
        "session",
        "under_way",
    )

    def __init__(
        self,
        session: Session,
        profile: int,
        tell: Callable[[SessionOwner, bytes, float], None],
        turns_away: Callable[[SessionOwner, Incoming, float], bool],
        auditor: Auditor,
        wall_offset: Callable[[], float],
    ) -> None:
        self.session = session
        self.profile = profile
        self.asker = Asker(session.actor.label, session.app)
        self.label = f"{session.app} ({session.actor.label})" if session.app else session.actor.label
        self.claims: set[int] = set()
        self.legs: dict[int, Leg] = {}
        """Its dialogs; those that have ended leave when they are counted."""
        self.publications: set[int] = set()
        """Numbers of PUBLISH requests that are refreshed; those that are no more leave when they are counted."""
        self.beginning: set[int] = set()
        """Numbers of its requests that begin dialogs, while there is neither a dialog nor a final response."""
        self.under_way = 0
        """About how many bytes its requests without a final response hold."""
        self._pending: dict[int, tuple[Outgoing, str, int]] = {}
        """Requests without a final response, with the URI they are for and their size."""
        self._tell = tell
        self._turns_away = turns_away
        self._auditor = auditor
        self._wall_offset = wall_offset

    def __repr__(self) -> str:
        return f"SessionOwner(session={self.session.number}, profile={self.profile})"

    # What it does

    def sent(
        self, outgoing: Outgoing, uri: str, size: int = 0, *, begins: bool = False, refreshed: bool = False
    ) -> None:
        """``outgoing`` is on its way, and ``begins`` a dialog; ``refreshed``: a PUBLISH that is repeated before its
        time ends."""
        self._pending[outgoing.number] = (outgoing, uri, size)
        self.under_way += size
        if begins:
            self.beginning.add(outgoing.number)
        if refreshed:
            self.publications.add(outgoing.number)

    def pending(self, number: int) -> Outgoing | None:
        """Its request with this number while there is no final response."""
        found = self._pending.get(number)
        return None if found is None else found[0]

    def answered(self, incoming: Incoming, status: int, leg: Leg | None, now: float) -> None:
        """It has given this response."""
        if leg is not None:
            self._note(leg)
        if status >= 200:
            self._audit_in(incoming, now, status)

    def dialogs(self) -> list[Leg]:
        """Its dialogs that have not ended."""
        self.legs = {number: leg for number, leg in self.legs.items() if self._has(leg)}
        return list(self.legs.values())

    def gone(self, now: float) -> None:
        """Its session has let go of the profile; nothing more is told."""
        for outgoing, uri, _ in self._pending.values():
            self._auditor.note(self.asker, self.profile, "out", outgoing.method, uri, now, code="owner_gone")
        self._pending.clear()
        self.beginning.clear()
        self.under_way = 0
        self.publications.clear()
        self.legs.clear()
        self.claims.clear()

    # What it is told

    def requested(self, incoming: Incoming, now: float) -> None:
        """A request for it, or one in its dialog that the service has answered already."""
        if not incoming.final and self._turns_away(self, incoming, now):
            return
        self._send(request_members(self.profile, incoming, self._wall_offset()), now)
        leg = incoming.leg
        if leg is not None:
            self._note(leg)
        if incoming.final:
            self._audit_in(incoming, now, incoming.status)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """Nobody waits for its answer any more."""
        self._send({"event": "withdrawn", "profile": self.profile, "request": incoming.number, "code": code}, now)
        if code != "answered_elsewhere":
            self._audit_in(incoming, now, code=code)

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None:
        """The ACK to its 2xx, or that none came."""
        content_type = None if ack is None else ack.header("content-type")
        self._send(
            {
                "event": "acknowledged",
                "profile": self.profile,
                "request": incoming.number,
                "dialog": None if incoming.leg is None else incoming.leg.number,
                "headers": [] if ack is None else headers_of(ack),
                "body": None if ack is None else body_of(ack, content_type),
                "content_type": content_type,
                "code": "no_ack" if ack is None else "none",
            },
            now,
        )

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None:
        """The PRACK for a reliable provisional."""
        frame = {"event": "provisionally-acknowledged", "profile": self.profile, "request": incoming.number}
        self._send({**frame, "rseq": rseq}, now)

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        """A response to its request."""
        status = response.status
        content_type = response.header("content-type")
        self._send(
            {
                "event": "response",
                "profile": self.profile,
                "request": outgoing.number,
                "status": status,
                "reason": response.reason,
                "final": status >= 200,
                "dialog": None if leg is None else leg.number,
                "headers": headers_of(response),
                "body": body_of(response, content_type),
                "content_type": content_type,
            },
            now,
        )
        if leg is not None:
            self._note(leg)
            self.beginning.discard(outgoing.number)
        if status >= 200:
            self._audit_out(outgoing, now, status)

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        """No final response will come, or a refreshed PUBLISH has ended."""
        frame = {"event": "failed", "profile": self.profile, "request": outgoing.number}
        self._send({**frame, "code": code, "text": REASONS.get(code, "")}, now)
        self._audit_out(outgoing, now, code=code)

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        """A dialog has changed by itself."""
        self._send(
            {
                "event": "dialog",
                "profile": self.profile,
                "dialog": leg.number,
                "state": leg.state,
                "method": leg.method,
                "usages": leg.usages,
                "code": code,
                "text": leg.text or REASONS.get(code, ""),
                "replaces": leg.replaces or None,
            },
            now,
        )
        self._note(leg)

    # Inside

    def _send(self, frame: dict[str, Any], now: float) -> None:
        if self.session.open:
            self._tell(self, encoded(frame), now)

    def _has(self, leg: Leg) -> bool:
        return leg.state != "terminated" and leg.owner is self

    def _note(self, leg: Leg) -> None:
        if self._has(leg):
            self.legs[leg.number] = leg
        else:
            self.legs.pop(leg.number, None)

    def _audit_out(self, outgoing: Outgoing, now: float, status: int = 0, code: str = "") -> None:
        pending = self._pending.pop(outgoing.number, None)
        self.beginning.discard(outgoing.number)
        if pending is not None:
            self.under_way -= pending[2]
            method = outgoing.method
            self._auditor.note(self.asker, self.profile, "out", method, pending[1], now, status, code)

    def _audit_in(self, incoming: Incoming, now: float, status: int = 0, code: str = "") -> None:
        request = incoming.request
        sender = request.header("from") or ""
        self._auditor.note(self.asker, self.profile, "in", request.method, sender, now, status, code)
