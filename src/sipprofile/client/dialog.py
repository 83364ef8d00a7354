"""A dialog of the application (``CSIPDialog``), and requests inside it (``CSIPDialogAssocBase``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ..errors import RequestFailed, SipProfileError
from ..events import NO_REASON, Reason
from .content import HeaderFields
from .response import Response
from .unread import Unread

if TYPE_CHECKING:
    from .arrival import Arrival
    from .incoming import IncomingRequest
    from .notify_dialog import NotifyDialog
    from .outgoing import OutgoingRequest
    from .sip_connection import SipConnection
    from .subscription import Subscription

MAXIMUM_UNREAD = 64
"""Unread requests of one dialog; further ones are answered 480."""

GOOD_NEWS = frozenset(("none", "refreshed", "resubscribed", "dialog_ended"))
"""Changes that are no errors; ``dialog_ended`` without the end of the dialog is that of one of its usages."""

DialogState = Literal["init", "early", "confirmed", "terminated"]
"""``EInit``, ``EEarly``, ``EConfirmed``, ``ETerminated``."""


class Dialog:
    """A dialog (RFC 3261 §12) with the service's number for it. It may have several usages (RFC 5057)."""

    def __init__(self, connection: SipConnection, method: str, number: int = 0) -> None:
        self.connection = connection
        self.method = method
        """Of the request that began it."""
        self.number = number
        self.state: DialogState = "init"
        self.reason: Reason = NO_REASON
        """Why it has ended."""
        self.subscriptions: list[Subscription] = []
        """The application's subscriptions in it, referrals included."""
        self.notifiers: list[NotifyDialog] = []
        """The other side's subscriptions in it."""
        self._requests: Unread[IncomingRequest] = Unread(MAXIMUM_UNREAD)
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.state}>"

    # For the application

    async def request(
        self,
        method: str,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Response:
        """Send a request inside the dialog, such as INFO or MESSAGE, and return its final response.

        Target, tags, route and CSeq are the dialog's. Raises ``invalid_state`` when it has ended or has no remote side
        yet, and what :meth:`~.outgoing.OutgoingRequest.final` raises. ``SendNonTargetRefreshRequestL``.
        """
        sent = await self.start(method, text=text, body=body, content_type=content_type, headers=headers)
        return await sent.wanted(timeout)

    async def start(
        self,
        method: str,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        refresh: int | None = None,
        manual: bool = False,
    ) -> OutgoingRequest:
        """Send a request inside the dialog and return it at once."""
        from .outgoing import OutgoingRequest

        self.check_alive()
        sent = OutgoingRequest(self.connection, method, "")
        await sent.send(
            {"dialog": self.number, "refresh": refresh, "manual": manual or None},
            text=text,
            body=body,
            content_type=content_type,
            headers=headers,
        )
        return sent

    def requests(self) -> Unread[IncomingRequest]:
        """The requests that come inside the dialog and are nobody else's; ends with it. ::

            async for request in dialog.requests():
                await request.respond(200)

        A BYE comes too, answered already. An observer with ``incoming_request`` gets them instead.
        """
        return self._requests

    async def refer(self, refer_to: str, *, headers: HeaderFields = (), referred_by: str | None = None) -> Subscription:
        """Ask the other side to send a request to ``refer_to`` (RFC 3515); returns once it has accepted.

        The subscription tells how that goes, see :attr:`~.subscription.Notification.sipfrag_status`. Raises
        :class:`RequestRefused`.
        """
        from .subscription import Subscription

        self.check_alive()
        subscription = Subscription(self.connection, "refer")
        subscription.joins(self)
        fields = [("Refer-To", bracketed(refer_to))]
        if referred_by is not None:
            fields.append(("Referred-By", bracketed(referred_by)))
        fields += headers.items() if isinstance(headers, Mapping) else headers
        sent = await self.start("REFER", headers=fields)
        await subscription.accepted_by(sent)
        return subscription

    async def end(self) -> None:
        """End it in the way that is right for it: BYE, CANCEL, a final response, unsubscribing. Does nothing twice."""
        if self.state == "terminated" or not self.number:
            return
        try:
            await self.connection.command("end", dialog=self.number)
        except SipProfileError as error:
            if error.code not in ("not_found", "invalid_state"):  # it has ended just now
                raise

    async def ended(self) -> Reason:
        """Wait for its end; returns why it came."""
        await self._ended.wait()
        return self.reason

    # For the connection

    def check_alive(self) -> None:
        """Raises ``invalid_state`` unless requests can be sent in it."""
        if self.state == "terminated" or not self.number:
            detail = f"The dialog is {self.state}. {self.reason.text}".rstrip()
            raise SipProfileError("invalid_state", detail)

    def responded(self, outgoing: OutgoingRequest, response: Response) -> None:
        """A response to a request that belongs to it."""
        if response.ok and self.state in ("init", "early") and outgoing.method == self.method:
            self._became("confirmed")

    def opened(self) -> None:
        """Our provisional or final answer has made it."""
        if self.state == "init":
            self._became("early" if self.method == "INVITE" else "confirmed")

    def confirmed(self) -> None:
        """Our 2xx has confirmed it."""
        if self.state in ("init", "early"):
            self._became("confirmed")

    def completed(self, reason: Reason) -> None:
        """The request that began it is over; unless that has confirmed it, so is the dialog."""
        if self.state in ("init", "early"):
            self.terminated(reason)

    def request_failed(self, error: SipProfileError) -> None:
        """The request that made it, or keeps it, has failed."""
        if self.state in ("init", "early"):
            self.terminated(getattr(error, "reason", None) or Reason(error.code, None, error.detail))

    def received(self, arrival: Arrival) -> None:
        """The service says that it has changed."""
        if arrival.event != "dialog":
            return
        if arrival.state == "terminated":
            self.terminated(arrival.why())
            return
        if arrival.state == "confirmed":
            self.confirmed()
        for subscription in tuple(self.subscriptions):
            if subscription.usage and subscription.usage not in arrival.usages and self.method == "INVITE":
                self.subscriptions.remove(subscription)
                subscription.dialog_ended(self, arrival.why())
        if arrival.code not in GOOD_NEWS:
            self.connection.tell("error_occurred", RequestFailed(arrival.why()), None, self)

    def takes(self, request: IncomingRequest) -> bool:
        """Whether one of its usages has dealt with ``request``."""
        if request.method == "SUBSCRIBE":
            return any(each.renewed_by(request) for each in self.notifiers)
        if request.method != "NOTIFY":
            return False
        # RFC 6665 §4.4.1: of several with one package the one whose id it is, else one that has not heard any yet
        mine = sorted(self.subscriptions, key=lambda each: each.event_id is None)
        return any(each.notified(request, self) for each in mine)

    def replaced_by(self, number: int) -> Dialog:
        """Its subscription goes on in another dialog."""
        dialog = Dialog(self.connection, self.method)
        dialog.number = number
        self.connection.user.dialogs[number] = dialog
        for subscription in tuple(self.subscriptions):
            subscription.joins(dialog)
        dialog.confirmed()
        self.connection.user.catch_up()
        return dialog

    def heard(self, request: IncomingRequest) -> None:
        """The application has been given ``request``; a BYE ends a call."""

    def requested(self, request: IncomingRequest) -> bool:
        """A request for whoever reads :meth:`requests`; false when there is no room."""
        return self._requests.put(request)

    def withdrawn(self, request: IncomingRequest) -> None:
        """An unread request is not wanted any more."""
        self._requests.remove(request)

    def terminated(self, reason: Reason, *, subscriptions_too: bool = True) -> None:
        """It has ended; after a BYE a referral may still be told how it went."""
        if self.state != "terminated":
            self.reason = reason
            self._requests.close()
            self._became("terminated")
            self._ended.set()
        if self.subscriptions and not subscriptions_too:
            return
        self.connection.user.dialogs.pop(self.number, None)
        for subscription in tuple(self.subscriptions):
            subscription.dialog_ended(self, reason)

    def _became(self, state: DialogState) -> None:
        self.state = state
        self.connection.tell("dialog_state_changed", self)


def bracketed(uri: str) -> str:
    """A URI as it stands in a header: ``<sip:bob@example.com>``."""
    return uri if "<" in uri else f"<{uri}>"
