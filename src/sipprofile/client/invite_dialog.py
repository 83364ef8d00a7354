"""The dialog of a call (``CSIPInviteDialogAssoc``), from either side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RequestRefused, SipProfileError
from ..events import Reason
from .content import HeaderFields, members
from .dialog import MAXIMUM_UNREAD, Dialog
from .incoming import Acknowledgement
from .response import Response
from .unread import Unread

if TYPE_CHECKING:
    from .arrival import Arrival
    from .incoming import IncomingRequest
    from .outgoing import OutgoingRequest
    from .sip_connection import SipConnection


class InviteDialog(Dialog):
    """A call: an INVITE of ours or of the other side, and what follows until BYE. ::

        dialog = await connection.invite("sip:bob@example.com", body=sdp, content_type="application/sdp")
        dialog = await dialog.answered()
        print(dialog.answer.text)
        await dialog.bye()

    A proxy may fork the INVITE (RFC 3261 §12.1): then the first side that answers has a dialog object of its own, which
    :meth:`answered` returns, and :meth:`forks` gives all others.
    """

    def __init__(
        self,
        connection: SipConnection,
        outgoing: OutgoingRequest | None = None,
        incoming: IncomingRequest | None = None,
    ) -> None:
        super().__init__(connection, "INVITE")
        self.outgoing = outgoing
        """The INVITE, when we have sent it."""
        self.incoming = incoming
        """The INVITE, when it came to us."""
        self.answer: Response | None = None
        """The 2xx to our INVITE; its body is usually the SDP answer."""
        self.provisionals: Unread[Response] = Unread(MAXIMUM_UNREAD)
        """The provisional responses of this dialog: ringing, early media. Iterate over it."""
        self._unacknowledged: dict[int, IncomingRequest] = {}
        self._forks: Unread[InviteDialog] = Unread(MAXIMUM_UNREAD)
        self._forks_wanted = False

    # Our INVITE

    @property
    def dialogs(self) -> list[Dialog]:
        """Every dialog of this call; several when it was forked."""
        return self.outgoing.dialogs if self.outgoing is not None else [self]

    async def answered(self, timeout: float | None = None) -> InviteDialog:  # noqa: ASYNC109
        """Wait for the 2xx; returns the dialog with who answered, which is this one unless the call was forked.

        Raises :class:`RequestRefused` with any other final response, :class:`RequestFailed`, ``service_gone``, and
        after ``timeout`` seconds ``timed_out``: then the call goes on ringing until :meth:`cancel`.
        """
        if self.outgoing is None:
            raise SipProfileError("invalid_state", "This call came in; respond to its request instead.")
        response = await self.outgoing.final(timeout)
        if not response.ok:
            raise RequestRefused("INVITE", response)
        for dialog in self.dialogs:
            if isinstance(dialog, InviteDialog) and dialog.answer is response:
                return dialog
        return self

    def forks(self) -> Unread[InviteDialog]:
        """Further dialogs of this INVITE as they come; ends 32 s after the first 2xx.

        A further one that is answered while neither this is read nor the observer has ``incoming_response`` is ended
        by a BYE (RFC 3261 §13.2.2.4).
        """
        first = self.dialogs[0]
        if isinstance(first, InviteDialog):
            first._forks_wanted = True
            return first._forks
        return self._forks

    async def cancel(self) -> None:
        """Give up calling: CANCEL. The final response, usually a 487, comes all the same."""
        if self.outgoing is None:
            raise SipProfileError("invalid_state", "This call came in; refuse it with request.respond(486).")
        await self.outgoing.cancel()

    async def ack(
        self,
        *,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
    ) -> None:
        """The ACK of the 2xx, with the SDP answer; needed only when the INVITE was sent without a body, or manually."""
        self.check_alive()
        given = members(None, body, content_type, headers)
        await self.connection.command("ack", dialog=self.number, **given)

    async def prack(
        self, *, body: bytes | str | None = None, content_type: str | None = None, headers: HeaderFields = ()
    ) -> Response:
        """Acknowledge a reliable provisional response (RFC 3262). The service does it, unless the INVITE was manual."""
        return await self.request("PRACK", body=body, content_type=content_type, headers=headers)

    # The other side's INVITE

    async def acknowledged(self) -> Acknowledgement:
        """Wait for the ACK of our 2xx; its body is the SDP answer when the INVITE had none.

        Raises :class:`RequestFailed` with the reason ``no_ack`` when none came (``KErrSIPNoAckReceived``).
        """
        if self.incoming is None:
            raise SipProfileError("invalid_state", "We have called; the service sends the ACK.")
        return await self.incoming.acknowledged()

    # Either

    async def reinvite(
        self,
        *,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        manual: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Response:
        """An INVITE inside the dialog (RFC 3261 §14), such as hold; returns the final response."""
        sent = await self.start("INVITE", body=body, content_type=content_type, headers=headers, manual=manual)
        return await sent.wanted(timeout)

    async def update(
        self, *, body: bytes | str | None = None, content_type: str | None = None, headers: HeaderFields = ()
    ) -> Response:
        """An UPDATE (RFC 3311), which may be sent before the call is answered."""
        return await self.request("UPDATE", body=body, content_type=content_type, headers=headers)

    async def info(self, body: bytes | str, content_type: str, *, package: str | None = None) -> Response:
        """An INFO, such as DTMF; ``package`` is its Info-Package (RFC 6086)."""
        headers = [("Info-Package", package)] if package is not None else []
        return await self.request("INFO", body=body, content_type=content_type, headers=headers)

    async def bye(self, *, headers: HeaderFields = ()) -> None:
        """Hang up. Before the answer it is CANCEL, or 480 to who calls. ``headers`` such as Reason go into the BYE."""
        if self.state == "terminated":
            return
        if headers and self.state == "confirmed":
            await self.start("BYE", headers=headers)
        elif self.number:
            await self.end()
        elif self.outgoing is not None and self.outgoing.cancel_allowed and not await self._answer_crossed():
            return
        if self.state == "confirmed" or self.incoming is not None:
            self.terminated(Reason.of("dialog_ended"), subscriptions_too=False)

    async def _answer_crossed(self) -> bool:
        """Cancel the call; true when it was answered meanwhile, and has been ended instead."""
        assert self.outgoing is not None
        try:
            await self.outgoing.cancel()
        except SipProfileError as error:
            if error.code != "invalid_state":
                raise
            await self.end()
            return True
        return False

    async def __aenter__(self) -> InviteDialog:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        if not self.connection.closed:
            await self.bye()

    # For the connection

    def responded(self, outgoing: OutgoingRequest, response: Response) -> None:
        if outgoing is not self.outgoing:
            return
        if not response.final:
            self.provisionals.put_newest(response)
            if self.state == "init" and self.number:
                self._became("early")
        elif response.ok:
            self.answer = self.answer or response
            if self.state in ("init", "early"):
                self._became("confirmed")
                if outgoing.response is not None:
                    self._answered_too()
            self.provisionals.close()

    def joins(self, first: InviteDialog) -> None:
        """It is a further dialog of the INVITE that made ``first``."""
        first._forks.put(self)

    def _answered_too(self) -> None:
        """Somebody has answered before: two calls are more than the application may want."""
        first = self.dialogs[0]
        wanted = isinstance(first, InviteDialog) and first._forks_wanted
        if not wanted and not self.connection.hears("incoming_response"):
            self.connection.sip.submit("end", dialog=self.number)
            self.terminated(Reason.of("answered_elsewhere"))

    def completed(self, reason: Reason) -> None:
        self._forks.close()
        super().completed(reason)

    def heard(self, request: IncomingRequest) -> None:
        if request.method == "BYE":
            self.terminated(Reason.of("dialog_ended"), subscriptions_too=False)

    def awaits_ack(self, incoming: IncomingRequest) -> None:
        """An INVITE of the other side, the first or a later one, was answered with a 2xx."""
        self._unacknowledged[incoming.number] = incoming

    def received(self, arrival: Arrival) -> None:
        if arrival.event == "acknowledged":
            incoming = self._unacknowledged.pop(arrival.request, None)
            if incoming is not None:
                incoming.received(arrival)
            return
        super().received(arrival)

    def terminated(self, reason: Reason, *, subscriptions_too: bool = True) -> None:
        self.provisionals.close()
        self._forks.close()
        for incoming in self._unacknowledged.values():
            incoming.not_acknowledged(reason)
        self._unacknowledged.clear()
        super().terminated(reason, subscriptions_too=subscriptions_too)
