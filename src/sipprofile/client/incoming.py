"""A request that came in for the application (``CSIPServerTransaction``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from ..errors import RequestFailed, SipProfileError
from ..events import NO_REASON, REASONS, Reason
from ..sip.headers import parse_name_addr
from ..sip.syntax import SipSyntaxError
from .content import Content, HeaderFields, members

if TYPE_CHECKING:
    from .arrival import Arrival
    from .dialog import Dialog
    from .invite_dialog import InviteDialog
    from .notify_dialog import NotifyDialog
    from .sip_connection import SipConnection

IncomingState = Literal["trying", "proceeding", "completed", "terminated"]


class Acknowledgement(msgspec.Struct, Content, frozen=True):
    """The ACK of our 2xx to an INVITE."""

    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None


class _Answered(msgspec.Struct):
    dialog: int | None = None


class IncomingRequest(Content):
    """A request, and the ways to answer it. The service answers 100 by itself where that is due.

    It is answered once: what is not answered in time (``timed_out``), cancelled by its sender (``cancelled``) or
    answered by another application that shares the claim (``answered_elsewhere``) is :attr:`withdrawn`.
    """

    __slots__ = (
        "_acknowledged", "_gone", "answered", "at", "body", "call_id", "claim", "connection", "content_type", "dialog",
        "from_", "headers", "method", "number", "reason", "state", "to", "uri",
    )  # fmt: skip

    def __init__(self, connection: SipConnection, arrival: Arrival, dialog: Dialog | None) -> None:
        self.connection = connection
        self.number = arrival.request
        self.method = arrival.method
        self.uri = arrival.uri or ""
        self.from_ = arrival.sender or ""
        """The value of From; ``from`` is a word of Python."""
        self.to = arrival.to or ""
        self.call_id = arrival.call_id or ""
        self.headers = tuple((name, value) for name, value in arrival.headers)
        self.body = arrival.content()
        self.content_type = arrival.content_type
        self.claim = arrival.claim
        """The number of the claim that it came by."""
        self.at = arrival.at
        """When it came: UTC, seconds since the epoch."""
        self.answered = arrival.answered
        """The service has answered it, as it does for BYE and NOTIFY; it is here to be read."""
        self.dialog = dialog
        """The dialog it came in, or that our answer has made."""
        self.state: IncomingState = "completed" if arrival.answered else "trying"
        self.reason: Reason = NO_REASON
        """Why it is withdrawn."""
        self._gone: asyncio.Event | None = None
        self._acknowledged: asyncio.Future[Acknowledgement] | None = None

    def __repr__(self) -> str:
        return f"<IncomingRequest {self.method} {self.number} {self.state}>"

    # For the application

    @property
    def from_uri(self) -> str:
        """The URI in From, to which an answer of one's own would go; empty when there is none that can be read."""
        try:
            return parse_name_addr(self.from_).uri
        except SipSyntaxError:
            return ""

    @property
    def withdrawn(self) -> bool:
        """Nobody waits for an answer any more; :attr:`reason` says why."""
        return self.state == "terminated"

    @property
    def response_allowed(self) -> bool:
        """It can be answered (``ResponseAllowed``)."""
        return self.state in ("trying", "proceeding")

    async def until_withdrawn(self) -> Reason:
        """Wait until nobody waits for an answer any more: a caller hangs up while it rings, for example."""
        if self._gone is None:
            self._gone = asyncio.Event()
        if not self.withdrawn:
            await self._gone.wait()
        return self.reason

    async def respond(
        self,
        status: int,
        reason: str | None = None,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        contact_params: str | None = None,
        reliable: bool = False,
        manual: bool = False,
    ) -> Dialog | None:
        """Answer it; returns the dialog that the answer is in, or has made (``SendResponseL``).

        ``reliable``: a provisional that is repeated until it is acknowledged (RFC 3262); ``manual``: PRACKs come as
        requests of their own. Raises ``invalid_state`` after a final response or when it is withdrawn, and
        ``header_refused``, ``invalid_value``, ``too_large`` for what cannot be sent.
        """
        if not self.response_allowed:
            detail = f"This {self.method} is answered." if self.reason.code == "none" else self.reason.text
            raise SipProfileError("invalid_state", detail)
        given = members(text, body, content_type, headers)
        options = {"reason": reason, "contact_params": contact_params}
        given |= {name: value for name, value in options.items() if value is not None}
        if reliable:
            given["reliable"] = True
        if manual:
            given["manual"] = True

        def accept(answer: msgspec.Raw) -> None:
            number = msgspec.json.decode(answer, type=_Answered).dialog
            if number is not None:
                self._in_dialog(number)
            self._responded(status)

        await self.connection.command("respond", accept, request=self.number, status=status, **given)
        return self.dialog

    async def ringing(
        self,
        *,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        reliable: bool = False,
    ) -> Dialog | None:
        """Answer 180 Ringing, or 183 Session Progress when there is a body; returns the early dialog."""
        status = 180 if body is None else 183
        return await self.respond(status, body=body, content_type=content_type, headers=headers, reliable=reliable)

    async def accept(
        self, *, body: bytes | str | None = None, content_type: str | None = None, headers: HeaderFields = ()
    ) -> InviteDialog:
        """Answer an INVITE with 200; returns the dialog of the call. A body without a type is SDP."""
        from .invite_dialog import InviteDialog

        if body is not None and content_type is None:
            content_type = "application/sdp"
        dialog = await self.respond(200, body=body, content_type=content_type, headers=headers)
        if not isinstance(dialog, InviteDialog):
            raise SipProfileError("invalid_state", f"A {self.method} makes no call.")
        return dialog

    async def accept_subscription(
        self, *, status: int = 200, expires: int | None = None, headers: HeaderFields = ()
    ) -> NotifyDialog:
        """Answer a SUBSCRIBE or REFER with 2xx; returns what to send notifications with.

        ``expires``: the seconds granted; absent: what was asked for, or 3600.
        """
        from .notify_dialog import granted, notifier

        if self.method not in ("SUBSCRIBE", "REFER"):
            raise SipProfileError("invalid_state", f"A {self.method} is no subscription.")
        seconds = granted(self, expires)
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        if self.method == "SUBSCRIBE":
            fields.append(("Expires", str(seconds)))
        dialog = await self.respond(status, headers=fields)
        if dialog is None:
            raise SipProfileError("invalid_state", f"The {self.method} has made no dialog.")
        return notifier(self, dialog, seconds)

    async def acknowledged(self) -> Acknowledgement:
        """Wait for the ACK of our 2xx to this INVITE; raises :class:`RequestFailed` (``no_ack``) when none came."""
        return await asyncio.shield(self._acknowledgement())

    # For the connection

    def received(self, arrival: Arrival) -> None:
        """The service tells about it."""
        if arrival.event == "withdrawn":
            self.withdraw(arrival.code, arrival.text or "")
        elif arrival.event == "provisionally-acknowledged":
            self.connection.tell("provisional_acknowledged", self, arrival.rseq)
        elif arrival.code != "none":
            self.not_acknowledged(arrival.why())
        elif not self._acknowledgement().done():
            headers = tuple((name, value) for name, value in arrival.headers)
            self._acknowledgement().set_result(Acknowledgement(headers, arrival.content(), arrival.content_type))

    def withdraw(self, code: str, text: str = "") -> None:
        """Nobody waits for its answer any more."""
        if not self.response_allowed:
            return
        self.state = "terminated"
        self.reason = Reason(code, None, text or REASONS.get(code, code))
        self.connection.user.incoming.pop(self.number, None)
        if self._gone is not None:
            self._gone.set()
        self.connection.withdrawn(self)

    def not_acknowledged(self, reason: Reason) -> None:
        """No ACK came, or the dialog ended before."""
        acknowledged = self._acknowledgement()
        if not acknowledged.done():
            acknowledged.set_exception(RequestFailed(reason))
            acknowledged.exception()  # who waits for it gets it; nobody has to

    def _acknowledgement(self) -> asyncio.Future[Acknowledgement]:
        if self._acknowledged is None:
            self._acknowledged = asyncio.get_running_loop().create_future()
        return self._acknowledged

    def _responded(self, status: int) -> None:
        if not self.response_allowed:
            return
        if status < 200:
            self.state = "proceeding"
            return
        self.state = "completed"
        self.connection.user.incoming.pop(self.number, None)
        if self.method == "INVITE" and self.dialog is not None:
            self._answered_call(status)

    def _answered_call(self, status: int) -> None:
        from .invite_dialog import InviteDialog

        dialog = self.dialog
        if not isinstance(dialog, InviteDialog):
            return
        if status < 300:
            dialog.awaits_ack(self)
            dialog.confirmed()
        elif dialog.incoming is self:
            dialog.terminated(Reason("response", status, f"It was answered {status}."))

    def _in_dialog(self, number: int) -> None:
        """The dialog that the answer has made."""
        user = self.connection.user
        if self.dialog is None or self.dialog.number != number:
            dialog = user.dialogs.get(number)
            if dialog is None:
                user.dialogs[number] = dialog = self._make_dialog()
                dialog.number = number
                dialog.opened()
            self.dialog = dialog
            user.catch_up()

    def _make_dialog(self) -> Dialog:
        from .dialog import Dialog
        from .invite_dialog import InviteDialog

        if self.method == "INVITE":
            return InviteDialog(self.connection, incoming=self)
        return Dialog(self.connection, self.method)
