"""Who an application's requests, dialogs and connections belong to: the transaction user (RFC 3261 §5) of a session."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..errors import RequestFailed, SipProfileError
from ..events import Reason
from .arrival import Arrival, decode

if TYPE_CHECKING:
    from .connection_observer import ConnectionObserver
    from .dialog import Dialog
    from .incoming import IncomingRequest
    from .outgoing import OutgoingRequest
    from .sip import Sip
    from .sip_connection import SipConnection

MAXIMUM_EARLY = 64
"""Frames kept that came before the answer that says whose they are."""

GOES_ON = frozenset(("not_refreshed", "resubscribing"))
"""Troubles of what the service renews that are not its end."""


class TransactionUser:
    """The tables of one :class:`~sipprofile.Sip`, by the service's numbers, and the way of each frame to its object."""

    def __init__(self, sip: Sip) -> None:
        self.sip = sip
        self.connections: dict[int, SipConnection] = {}
        """By profile."""
        self.observers: dict[int, ConnectionObserver] = {}
        """By profile: who asked to be told before there was a connection."""
        self.outgoing: dict[int, OutgoingRequest] = {}
        self.by_call_id: dict[str, OutgoingRequest] = {}
        """Requests that make dialogs and may still do so."""
        self.incoming: dict[int, IncomingRequest] = {}
        """Not finally answered."""
        self.dialogs: dict[int, Dialog] = {}
        self.unanswered = 0
        """Commands on their way whose answer says a number."""
        self._early: deque[Arrival] = deque(maxlen=MAXIMUM_EARLY)

    # From the service

    def received(self, data: str | bytes) -> None:
        """One event that is not about a registration."""
        self._take(decode(data))

    def _take(self, arrival: Arrival) -> None:
        match arrival.event:
            case "response" | "failed":
                self._about_outgoing(arrival)
            case "request":
                self._requested(arrival)
            case "dialog" | "acknowledged":
                dialog = self._dialog(arrival)
                if dialog is not None:
                    dialog.received(arrival)
            case "withdrawn" | "provisionally-acknowledged":
                incoming = self.incoming.get(arrival.request)
                if incoming is not None:
                    incoming.received(arrival)
            case "connection":
                connection = self.connections.get(arrival.profile)
                if connection is not None:
                    connection.received(arrival)

    def _about_outgoing(self, arrival: Arrival) -> None:
        outgoing = self.outgoing.get(arrival.request)
        if outgoing is None:
            self._keep(arrival)
        elif arrival.event == "response":
            outgoing.responded(arrival)
        elif arrival.code in GOES_ON:
            outgoing.connection.tell("error_occurred", RequestFailed(arrival.why()), outgoing, None)
        else:
            outgoing.failed(RequestFailed(arrival.why()))

    def _requested(self, arrival: Arrival) -> None:
        dialog = None
        if arrival.dialog is not None:
            dialog = self._dialog(arrival)
            if dialog is None:
                return
        connection = dialog.connection if dialog is not None else self.connections.get(arrival.profile)
        if connection is not None:
            connection.requested(arrival, dialog)
        elif not arrival.answered:  # its connection was closed a moment ago
            self.sip.submit("respond", request=arrival.request, status=480)

    def _dialog(self, arrival: Arrival) -> Dialog | None:
        """The dialog of a frame. A request may be what makes it, before a response does (RFC 6665 §4.1.2.4)."""
        number = arrival.dialog or 0
        dialog = self.dialogs.get(number)
        if dialog is None and number and arrival.call_id is not None and arrival.call_id in self.by_call_id:
            dialog = self.by_call_id[arrival.call_id].dialog(number)
        if dialog is None and arrival.replaces is not None and arrival.replaces in self.dialogs:
            dialog = self.dialogs[arrival.replaces].replaced_by(number)
        if dialog is None:
            self._keep(arrival)
        return dialog

    def _keep(self, arrival: Arrival) -> None:
        """It may be about something whose number is still on its way."""
        if self.unanswered or self.by_call_id:
            self._early.append(arrival)

    def answered_one(self) -> None:
        """A command that says a number was answered, or failed."""
        self.unanswered = max(0, self.unanswered - 1)
        if self._early:
            self.catch_up()

    def catch_up(self) -> None:
        """A number has become known: look at what was kept."""
        kept = list(self._early)
        self._early.clear()
        for arrival in kept:
            self._take(arrival)

    # Ends

    def lost(self, error: SipProfileError) -> None:
        """The connection to the service was lost, and with it every request and dialog."""
        for connection in tuple(self.connections.values()):
            connection.lost(error)
        self._early.clear()
        self.unanswered = 0

    async def restore(self) -> None:
        """On a new connection: every connection's state and claims again. Raises ``service_gone`` when lost again."""
        for connection in tuple(self.connections.values()):
            await connection.restore()

    def drop(self, profile: int) -> None:
        """The session does not use this profile any more; the service ends what belongs to it."""
        self.observers.pop(profile, None)
        connection = self.connections.get(profile)
        if connection is not None:
            connection.ended("unavailable", SipProfileError("not_enabled"))

    def forget(self, connection: SipConnection, error: SipProfileError, code: str) -> None:
        """Everything of ``connection`` fails with ``error``; its dialogs end with ``code``."""
        for outgoing in [one for one in self.outgoing.values() if one.connection is connection]:
            outgoing.failed(error)
        for incoming in [one for one in self.incoming.values() if one.connection is connection]:
            incoming.withdraw(code)
        for dialog in [one for one in self.dialogs.values() if one.connection is connection]:
            dialog.terminated(Reason(code, None, error.detail))
