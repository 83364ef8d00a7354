"""What a connection tells an application that prefers callbacks (``MSIPConnectionObserver``)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..errors import SipProfileError
    from .dialog import Dialog
    from .granted_claim import GrantedClaim
    from .incoming import IncomingRequest
    from .outgoing import OutgoingRequest
    from .response import Response
    from .sip_connection import ConnectionState


class ConnectionObserver(Protocol):
    """Told what happens on one connection. Methods may be plain or ``async``, and may be left out.

    They are called one after the other, in the order of events; work that takes long belongs into a task of its own.
    An exception goes to the event loop's exception handler.
    """

    def incoming_request(self, request: IncomingRequest, dialog: Dialog | None) -> Awaitable[None] | None:
        """A request for the application, in ``dialog`` or outside of dialogs (``IncomingRequest``, both of them).

        With this method nothing comes by ``connection.requests()`` and ``dialog.requests()``. BYE and NOTIFY have
        been answered already.
        """

    def incoming_response(
        self, request: OutgoingRequest, response: Response, dialog: Dialog | None
    ) -> Awaitable[None] | None:
        """A provisional or final response (``IncomingResponse``). ``dialog`` may be a new one of a forked INVITE."""

    def error_occurred(
        self, error: SipProfileError, request: OutgoingRequest | None, dialog: Dialog | None
    ) -> Awaitable[None] | None:
        """A request, its refresh, or a dialog has failed (``ErrorOccured``)."""

    def invite_completed(self, request: OutgoingRequest) -> Awaitable[None] | None:
        """64·T1 after the first 2xx to an INVITE: no more forks come (``InviteCompleted``)."""

    def invite_canceled(self, request: IncomingRequest) -> Awaitable[None] | None:
        """The caller has given up (``InviteCanceled``)."""

    def timed_out(self, request: IncomingRequest) -> Awaitable[None] | None:
        """The application has not answered in time (``MSIPObserver::TimedOut``)."""

    def answered_elsewhere(self, request: IncomingRequest) -> Awaitable[None] | None:
        """Another application that shares the claim was faster, or the request is not to be answered any more."""

    def provisional_acknowledged(self, request: IncomingRequest, rseq: int) -> Awaitable[None] | None:
        """The PRACK for a reliable provisional response came (RFC 3262)."""

    def dialog_state_changed(self, dialog: Dialog) -> Awaitable[None] | None:
        """A dialog is early, confirmed or terminated."""

    def connection_state_changed(self, state: ConnectionState) -> Awaitable[None] | None:
        """``ConnectionStateChanged``."""

    def claim_lost(self, claim: GrantedClaim, error: SipProfileError) -> Awaitable[None] | None:
        """After a reconnection the service has not granted it again."""
