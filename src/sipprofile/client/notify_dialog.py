"""The side of a subscription that sends notifications (``CSIPNotifyDialogAssoc``, RFC 6665 §4.2)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SipProfileError
from ..events import Reason
from .content import parameters
from .dialog import Dialog
from .response import Response

if TYPE_CHECKING:
    from .incoming import IncomingRequest

DEFAULT_EXPIRES = 3600  # seconds granted when nobody says otherwise
REFER_EXPIRES = 180  # RFC 3515 leaves it open; long enough for a call to be answered

SubscriptionState = Literal["pending", "active", "terminated"]


class NotifyDialog:
    """A subscription of the other side that the application has accepted. ::

        notifier = await request.accept_subscription()
        await notifier.notify(body, "application/simple-message-summary")

    When the other side renews it, the library answers and repeats the last notification, as RFC 6665 §4.2.1.3 asks.
    """

    def __init__(self, request: IncomingRequest, dialog: Dialog, seconds: int) -> None:
        self.dialog = dialog
        self.event = request.header("event") or _refer_event(request)
        """The value of Event."""
        self.refer_to = request.header("refer-to")
        """What a REFER asks for."""
        self.state: SubscriptionState = "pending"
        """Of Subscription-State, as last notified."""
        self._method = request.method
        self._ends = time.monotonic() + seconds
        self._last: dict[str, Any] | None = None
        self._renewals: set[asyncio.Task[None]] = set()

    @property
    def expires(self) -> int:
        """Seconds until it ends unless it is renewed."""
        return max(0, round(self._ends - time.monotonic()))

    async def notify(
        self,
        body: bytes | str | None = None,
        content_type: str | None = None,
        *,
        state: SubscriptionState = "active",
        reason: str | None = None,
        retry_after: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        """Send a NOTIFY (``SendNotifyL``); returns the final response. ``terminated`` ends the subscription.

        ``reason`` (RFC 6665 §4.1.3) and ``retry_after`` go with ``terminated``. Raises ``invalid_state`` when it has
        ended.
        """
        if self.state == "terminated":
            raise SipProfileError("invalid_state", "The subscription has ended.")
        self.dialog.check_alive()
        if body is not None and content_type is None and self.event.startswith("refer"):
            content_type = "message/sipfrag;version=2.0"
        fields = [("Event", self.event), ("Subscription-State", self._state_value(state, reason, retry_after))]
        self.state = state
        self._last = {"body": body, "content_type": content_type, "headers": (*fields[:1], *headers)}
        if state == "terminated":
            self._left()
        response = await self.dialog.request(
            "NOTIFY", body=body, content_type=content_type, headers=(*fields, *headers)
        )
        if state == "terminated" and self.dialog.method != "INVITE":
            self.dialog.terminated(Reason.of("dialog_ended"))
        return response

    async def terminate(self, reason: str = "noresource") -> None:
        """End the subscription with a last NOTIFY. Does nothing when it has ended."""
        if self.state != "terminated" and self.dialog.state != "terminated":
            await self.notify(state="terminated", reason=reason)

    async def ended(self) -> Reason:
        """Wait for the end of the subscription's dialog; returns why it came."""
        return await self.dialog.ended()

    def renewed_by(self, request: IncomingRequest) -> bool:
        """Whether ``request`` renews the subscription, or ends it with ``Expires: 0``; the library answers then."""
        if not self._fits(request):
            return False
        task = asyncio.create_task(self._renew(request))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)
        return True

    async def _renew(self, request: IncomingRequest) -> None:
        try:
            await self._answer(request)
        except SipProfileError as error:
            self.dialog.connection.tell("error_occurred", error, None, self.dialog)

    async def _answer(self, request: IncomingRequest) -> None:
        seconds = granted(request, None)
        await request.respond(200, headers=[("Expires", str(seconds))])
        self._ends = time.monotonic() + seconds
        if self.state == "terminated":
            return
        last = self._last or {}
        if seconds:
            await self.dialog.request(
                "NOTIFY",
                body=last.get("body"),
                content_type=last.get("content_type"),
                headers=(
                    *last.get("headers", (("Event", self.event),)),
                    ("Subscription-State", self._state_value(self.state, None, None)),
                ),
            )
        else:
            await self.notify(last.get("body"), last.get("content_type"), state="terminated", reason="timeout")

    def _fits(self, request: IncomingRequest) -> bool:
        """Whether a SUBSCRIBE in the dialog is about this subscription (RFC 6665 §4.4.2: package and id)."""
        theirs, ours = parameters(request.header("event")), parameters(self.event)
        return self._method == "SUBSCRIBE" and theirs[0] == ours[0] and theirs[1].get("id") == ours[1].get("id")

    def _left(self) -> None:
        if self in self.dialog.notifiers:
            self.dialog.notifiers.remove(self)

    def _state_value(self, state: str, reason: str | None, retry_after: int | None) -> str:
        if state != "terminated":
            return f"{state};expires={self.expires}"
        value = f"terminated;reason={reason or 'noresource'}"
        return value if retry_after is None else f"{value};retry-after={retry_after}"


def _refer_event(request: IncomingRequest) -> str:
    """The Event of what a REFER subscribes to (RFC 3515 §2.4.6)."""
    number = (request.header("cseq") or "").partition(" ")[0]
    return f"refer;id={number}" if number.isdecimal() else "refer"


def granted(request: IncomingRequest, expires: int | None) -> int:
    """The seconds to grant: never more than was asked for."""
    if request.method == "REFER":
        return REFER_EXPIRES if expires is None else expires
    asked = request.header("expires") or ""
    wanted = int(asked) if asked.isdecimal() and len(asked) < 11 else DEFAULT_EXPIRES
    return wanted if expires is None else min(wanted, expires)


def notifier(request: IncomingRequest, dialog: Dialog, seconds: int) -> NotifyDialog:
    """What sends the notifications of an accepted subscription."""
    made = NotifyDialog(request, dialog, seconds)
    dialog.notifiers.append(made)
    return made
