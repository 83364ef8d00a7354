"""A subscription of the application (``CSIPSubscribeDialogAssoc``, ``CSIPReferDialogAssoc``; RFC 6665, RFC 3515)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from ..errors import RequestRefused, SipProfileError
from ..events import NO_REASON, Reason
from .content import Content, parameters
from .dialog import Dialog
from .response import Response
from .unread import Unread

if TYPE_CHECKING:
    from .incoming import IncomingRequest
    from .outgoing import OutgoingRequest
    from .sip_connection import SipConnection

MAXIMUM_UNREAD = 256
"""Unread notifications of one subscription; the oldest makes room, because the newest tells the state."""

SubscriptionState = Literal["init", "pending", "active", "terminated"]


class Notification(Content):
    """A NOTIFY in a subscription. The service has answered it."""

    __slots__ = ("body", "content_type", "dialog", "event", "expires", "headers", "reason", "retry_after", "state")

    def __init__(self, request: IncomingRequest, dialog: Dialog) -> None:
        state, given = parameters(request.header("subscription-state"))
        self.dialog = dialog
        self.event = request.header("event") or ""
        """The value of Event: the package, and an id where there is one."""
        self.state = state.lower()
        """``active``, ``pending`` or ``terminated`` (RFC 6665 §4.1.3)."""
        self.reason = given.get("reason")
        """Why it is terminated: ``deactivated``, ``noresource``, …"""
        self.expires = _number(given.get("expires"))
        """Seconds that the subscription lasts unless it is renewed."""
        self.retry_after = _number(given.get("retry-after"))
        self.headers = request.headers
        self.body = request.body
        self.content_type = request.content_type

    @property
    def sipfrag_status(self) -> int | None:
        """The status code in a body of the type message/sipfrag, which tells how a referral goes (RFC 3515 §2.4.5)."""
        first = self.text.split("\n", 1)[0].split(" ")
        return int(first[1]) if first[0] == "SIP/2.0" and len(first) > 1 and first[1].strip().isdecimal() else None


class Subscription:
    """A subscription that was accepted. Iterate over it for its notifications; the service renews it. ::

        async for notification in await connection.subscribe("message-summary"):
            print(notification.text)

    The iteration ends with the subscription; :attr:`reason` says why. When a proxy forked the SUBSCRIBE, all its
    dialogs tell here, and ``notification.dialog`` says which.
    """

    def __init__(self, connection: SipConnection, event: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.connection = connection
        self.event = event
        """The event package (``CSIPSubscribeDialogAssoc::Event``)."""
        self.state: SubscriptionState = "init"
        """As the last notification said."""
        self.reason: Reason = NO_REASON
        """Why it has ended."""
        self.dialogs: list[Dialog] = []
        self.expires: int | None = None
        """Seconds granted, as last heard."""
        self.asked: int | None = None
        """Seconds asked for; the service renews it when it is :attr:`renewed`."""
        self.renewed = False
        self.fields = [("Event", event), *headers]
        """The headers of each of its SUBSCRIBEs, Expires apart."""
        self.latest: Notification | None = None
        self.outgoing: OutgoingRequest | None = None
        """The SUBSCRIBE or REFER that made it."""
        self.event_id: str | None = None
        """The id in Event that tells it from others of its package in one dialog, once a notification has come."""
        self._notifications: Unread[Notification] = Unread(MAXIMUM_UNREAD)
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Subscription {self.event} {self.state}>"

    # For the application

    def __aiter__(self) -> Unread[Notification]:
        return self._notifications

    @property
    def dialog(self) -> Dialog | None:
        """The dialog it lives in."""
        return self.dialogs[0] if self.dialogs else None

    async def refresh(self, expires: int | None = None, *, body: bytes | str | None = None,
                      content_type: str | None = None) -> Response:  # fmt: skip
        """Send a SUBSCRIBE now (``UpdateL``), with another duration or body; the notifier answers with its state.

        Its other headers stay as they were, and so does whether the service renews it.
        """
        dialog = self._living()
        self.asked = expires or self.asked
        seconds = self.asked or self.expires
        headers = [*self.fields, *([("Expires", str(seconds))] if seconds else [])]
        refresh = self.asked if self.renewed else None
        sent = await dialog.start("SUBSCRIBE", body=body, content_type=content_type, headers=headers, refresh=refresh)
        return await sent.wanted(None)

    async def unsubscribe(self) -> None:
        """End it (``SendUnsubscribeL``): SUBSCRIBE with ``Expires: 0``; after a last notification the iteration ends.

        Does nothing when it has ended.
        """
        for dialog in tuple(self.dialogs):
            if dialog.method == "INVITE":
                raise SipProfileError("invalid_state", "A referral inside a call ends by itself, or with the call.")
            await dialog.end()

    async def ended(self) -> Reason:
        """Wait for its end; returns why it came."""
        await self._ended.wait()
        return self.reason

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Unsubscribe."""
        if not self.connection.closed and self.state != "terminated":
            await self.unsubscribe()

    # For the connection

    @property
    def usage(self) -> str:
        """What the service calls it among a dialog's usages; empty while that is not known."""
        if self.event_id is None:
            return ""
        package = parameters(self.event)[0].lower()
        return f"{package};id={self.event_id}" if self.event_id else package

    def joins(self, dialog: Dialog) -> None:
        """It lives in ``dialog``."""
        dialog.subscriptions.append(self)
        self.dialogs.append(dialog)

    def make_dialog(self, outgoing: OutgoingRequest) -> Dialog:
        """A response, or a NOTIFY, has made a dialog."""
        dialog = Dialog(self.connection, outgoing.method)
        self.joins(dialog)
        return dialog

    async def accepted_by(self, outgoing: OutgoingRequest) -> None:
        """Wait for the 2xx; raises :class:`RequestRefused` for any other final response."""
        self.outgoing = outgoing
        try:
            response = await outgoing.final()
        except asyncio.CancelledError:
            self._finish(Reason.of("cancelled"))
            await self._let_go()
            raise
        except SipProfileError as error:
            self._finish(getattr(error, "reason", None) or Reason(error.code, None, error.detail))
            raise
        if not response.ok:
            self._finish(Reason("response", response.status, f"{response.status} {response.reason}"))
            raise RequestRefused(outgoing.method, response)
        self.expires = _number(response.header("expires")) or self.expires
        if (response.header("refer-sub") or "").lower().startswith("false"):  # RFC 4488: nothing will be told
            self._finish(NO_REASON)

    def notified(self, request: IncomingRequest, dialog: Dialog) -> bool:
        """A NOTIFY in one of its dialogs; false when it is about something else."""
        package, given = parameters(request.header("event"))
        id_ = given.get("id", "")
        if package.lower() != parameters(self.event)[0].lower() or self.event_id not in (None, id_):
            return False
        self.event_id = id_
        notification = Notification(request, dialog)
        if notification.state in ("pending", "active"):
            self.state = notification.state  # type: ignore[assignment]
        if notification.expires is not None:
            self.expires = notification.expires
        self.latest = notification
        self._notifications.put_newest(notification)
        if notification.state == "terminated" and dialog.method == "INVITE":  # a referral; the call goes on
            dialog.subscriptions.remove(self)
            self.dialog_ended(dialog, Reason("dialog_ended", None, notification.reason or ""))
        return True

    def dialog_ended(self, dialog: Dialog, reason: Reason) -> None:
        """One of its dialogs has ended."""
        if dialog in self.dialogs:
            self.dialogs.remove(dialog)
        if not self.dialogs:
            self._finish(reason)

    def _finish(self, reason: Reason) -> None:
        if self.state == "terminated":
            return
        self.state = "terminated"
        self.reason = reason
        if self.outgoing is not None:
            self.outgoing.finish()
        self._notifications.close()
        self._ended.set()

    async def _let_go(self) -> None:
        for dialog in tuple(self.dialogs):
            if dialog.method != "INVITE" and dialog.number:
                self.connection.sip.submit("end", dialog=dialog.number)

    def _living(self) -> Dialog:
        if self.state == "terminated" or not self.dialogs:
            raise SipProfileError("invalid_state", f"The subscription has ended. {self.reason.text}".rstrip())
        return self.dialogs[0]


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() and len(value) < 11 else None
