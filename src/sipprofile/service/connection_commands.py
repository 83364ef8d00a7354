"""The commands of a session that are about SIP requests, dialogs and claims (``docs/session-protocol.md``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..claims import Claim
from ..errors import SipProfileError
from ..useragent import client, ending, publications
from ..useragent.agent import UserAgent
from ..useragent.draft import Answer, Draft
from ..useragent.leg import Leg
from ..useragent.profile_line import profile_line
from .claims import Claims
from .connection_state import ConnectionStates
from .connections import Connections
from .content import Body
from .delivery import Delivery
from .policy import require
from .session_owner import SessionOwner
from .sessions import Session

BEGINS_DIALOG = frozenset(("INVITE", "SUBSCRIBE", "REFER"))
"""Methods that begin a dialog when they are sent, or answered, outside of one (RFC 3261 §12, RFC 6665, RFC 3515)."""


HEAD = 1024
"""Bytes for which the headers of a request under way count."""
MISTAKES = (
    ("Object contains unknown field", "unknown_field", "There is no member {!r}."),
    ("Object missing required field", "missing_field", "The member {!r} is missing."),
)
"""How sentences of the decoder begin that have a code of their own."""


class ConnectionCommand(msgspec.Struct, gc=False):
    """A frame with one of :data:`OPS`, every op in one; unknown members are ignored."""

    id: int | None = None
    op: str = ""
    profile: int | None = None
    request: int | None = None
    dialog: int | None = None
    claim: int | Claim | None = None
    method: str = ""
    uri: str = ""
    to: str | None = None
    identity: str | None = msgspec.field(default=None, name="from")
    display_name: str | None = None
    anonymous: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    content_type: str | None = None
    call_id: str | None = None
    contact_params: str = ""
    refresh: int = 0
    status: int | None = None
    reason: str | None = None
    reliable: bool = False
    manual: bool = False

    def octets(self) -> bytes:
        """The body."""
        return b"" if self.body is None else self.body.octets()


_decode = msgspec.json.Decoder(ConnectionCommand).decode


class ConnectionCommands:
    """Carries them out; each answers at once."""

    def __init__(
        self,
        agent: UserAgent,
        claims: Claims,
        delivery: Delivery,
        connections: Connections,
        states: ConnectionStates,
    ) -> None:
        self._agent = agent
        self._claims = claims
        self._delivery = delivery
        self._connections = connections
        self._states = states
        self._handlers: dict[str, Callable[[Session, ConnectionCommand, float], dict[str, Any]]] = {
            "claim": self._claim,
            "unclaim": self._unclaim,
            "connection": self._connection,
            "send": self._send,
            "cancel": self._cancel,
            "ack": self._ack,
            "respond": self._respond,
            "end": self._end,
            "stop-refresh": self._stop_refresh,
            "fetch-bindings": self._fetch_bindings,
            "dialogs": self._dialogs,
        }

    def knows(self, op: str) -> bool:
        """Whether it is one of these commands."""
        return op in self._handlers

    def perform(self, session: Session, op: str, data: bytes, now: float) -> dict[str, Any]:
        """Carry out the command in the frame ``data``."""
        require(session.actor, "use")
        try:
            command = _decode(data)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        return self._handlers[op](session, command, now)

    def _claim(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        owner = self._owner(session, command)
        if not isinstance(command.claim, Claim):
            raise SipProfileError("missing_field", "Say what is claimed: an object.", field="claim")
        number = self._claims.claim(owner, owner.profile, command.claim, session.actor, now)
        owner.claims.add(number)
        return {"claim": number}

    def _unclaim(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        number = command.claim
        for owner in session.connections.values():
            if isinstance(number, int) and number in owner.claims:
                owner.claims.discard(number)
                self._claims.release(number, owner)
                return {}
        raise _unknown("claim", number if isinstance(number, int) else None)

    def _connection(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        owner = self._owner(session, command)
        return {"connection": self._states.watch(session, owner.profile)}

    def _send(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        leg = None
        if command.dialog is not None:
            leg = self._leg(session, command.dialog)
            owner = self._connections.of(session, leg.line.profile)
            line = leg.line
        else:
            owner = self._owner(session, command)
            self._connections.check_held(owner.profile)
            line = profile_line(self._agent, owner.profile)
        draft = Draft(
            method=command.method,
            uri=command.uri,
            to=command.to,
            identity=command.identity,
            display_name=command.display_name,
            anonymous=command.anonymous,
            headers=command.headers,
            body=command.octets(),
            content_type=command.content_type,
            call_id=command.call_id,
            contact_params=command.contact_params,
            refresh=command.refresh,
            manual=command.manual,
        )
        uri = command.uri or ("" if leg is None else leg.dialog.target)
        try:
            begins = leg is None and draft.method in BEGINS_DIALOG
            if begins or (draft.refresh and draft.method == "PUBLISH"):
                self._connections.check_dialogs(session)
            size = HEAD + len(draft.body)
            self._connections.check_room(session, size)
            self._connections.quota(session, now).take(now)
            outgoing = client.send(self._agent, owner, line, draft, now, leg)
        except SipProfileError as error:
            if error.code != "quota_exceeded":  # the log must not grow with what the quota keeps off
                self._connections.refused(owner, draft.method, uri, error.code, now)
            raise
        refreshed = draft.refresh > 0 and draft.method == "PUBLISH"
        owner.sent(outgoing, uri, size, begins=begins, refreshed=refreshed)
        return {"request": outgoing.number, "dialog": command.dialog}

    def _cancel(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        for owner in session.connections.values():
            outgoing = None if command.request is None else owner.pending(command.request)
            if outgoing is not None:
                client.cancel(self._agent, outgoing, now)
                return {}
        raise _over(command.request)

    def _ack(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        leg = self._leg(session, command.dialog)
        client.acknowledge(self._agent, leg, command.headers, command.octets(), command.content_type, now)
        return {}

    def _respond(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        if command.status is None:
            raise SipProfileError("missing_field", "Give the status of the answer.", field="status")
        incoming = self._agent.incoming.get(command.request) if command.request is not None else None
        owner = None if incoming is None else session.connections.get(incoming.line.profile)
        if incoming is None or owner is None:
            raise _over(command.request)
        if command.status < 200:
            self._connections.quota(session, now).take(now)  # there may be any number of them
        if incoming.leg is None and 100 < command.status < 300 and incoming.request.method in BEGINS_DIALOG:
            self._connections.check_dialogs(session)
        answer = Answer(
            status=command.status,
            reason=command.reason,
            headers=command.headers,
            body=command.octets(),
            content_type=command.content_type,
            contact_params=command.contact_params,
            reliable=command.reliable,
            manual=command.manual,
        )
        leg = self._delivery.respond(owner, incoming.number, answer, now)
        owner.answered(incoming, answer.status, leg, now)
        return {"dialog": None if leg is None else leg.number}

    def _end(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        ending.end_leg(self._agent, self._leg(session, command.dialog), now, "none")
        return {}

    def _stop_refresh(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        number = command.request
        for owner in session.connections.values():
            if number is not None and number in owner.publications:
                owner.publications.discard(number)
                if number in self._agent.publications.by_number:
                    publications.stop(self._agent, owner, number, now)
                    return {}
        raise _unknown("request", number)

    def _fetch_bindings(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        owner = self._owner(session, command)
        self._connections.check_held(owner.profile)
        self._connections.quota(session, now).take(now)
        outgoing = client.fetch_bindings(self._agent, owner, profile_line(self._agent, owner.profile), now)
        owner.sent(outgoing, "", HEAD)
        return {"request": outgoing.number}

    def _dialogs(self, session: Session, command: ConnectionCommand, now: float) -> dict[str, Any]:
        owner = self._owner(session, command)
        return {"dialogs": [described(leg) for leg in owner.dialogs()]}

    def _owner(self, session: Session, command: ConnectionCommand) -> SessionOwner:
        if command.profile is None:
            raise SipProfileError("missing_field", "The command names no profile.", field="profile")
        return self._connections.of(session, command.profile)

    def _leg(self, session: Session, number: int | None) -> Leg:
        """A dialog of the session's own."""
        leg = self._agent.legs.get(number) if number is not None else None
        if leg is None or session.connections.get(leg.line.profile) is not leg.owner:
            raise _unknown("dialog", number)
        return leg


def described(leg: Leg) -> dict[str, Any]:
    """A dialog as ``dialogs`` lists it."""
    dialog = leg.dialog
    return {
        "dialog": leg.number,
        "profile": leg.line.profile,
        "state": leg.state,
        "method": leg.method,
        "initiator": leg.initiator,
        "usages": leg.usages,
        "call_id": dialog.call_id,
        "local_uri": dialog.local_uri,
        "remote_uri": dialog.remote_uri,
    }


def _unknown(field: str, number: int | None) -> SipProfileError:
    if number is None:
        return SipProfileError("missing_field", f"Give the number of the {field}.", field=field)
    detail = f"The session has no {field} with this number; it may have ended."
    return SipProfileError("not_found", detail, field=field, value=number)


def _over(number: int | None) -> SipProfileError:
    """A response may have crossed the command."""
    if number is None:
        return _unknown("request", None)
    detail = "The request is answered or withdrawn, or was never this session's."
    return SipProfileError("invalid_state", detail, field="request", value=number)


def invalid(error: msgspec.ValidationError) -> SipProfileError:
    """What is wrong with a member of a document, in the words that profiles have."""
    sentence, _, place = str(error).partition(" - at `$")
    inside = place.rstrip("`").lstrip(".")
    for beginning, code, words in MISTAKES:
        if sentence.startswith(beginning):
            name = sentence.split("`")[1]
            return SipProfileError(code, words.format(name), field=f"{inside}.{name}" if inside else name)
    return SipProfileError("invalid_value", f"{sentence}.", field=inside or None)
