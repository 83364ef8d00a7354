"""A request of the application and its responses (``CSIPClientTransaction``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import SipProfileError
from ..events import Reason
from .content import HeaderFields, members
from .response import Response
from .unread import Unread

if TYPE_CHECKING:
    from .arrival import Arrival
    from .dialog import Dialog
    from .sip_connection import SipConnection

MAXIMUM_PROVISIONALS = 64
"""Unread provisional responses of one request; older ones make room."""

FORKS_END = 32.0
"""64·T1 in seconds: how long after the first 2xx others may come (RFC 3261 §13.2.2.4)."""

RequestState = Literal["trying", "proceeding", "completed", "terminated"]


class _Sent(msgspec.Struct):
    request: int
    dialog: int | None = None


class OutgoingRequest:
    """A request that was sent. Iterate over it for provisional responses, await it for the final one. ::

    request = await connection.start("OPTIONS", "sip:bob@example.com")
    async for provisional in request:
        print(provisional.status)
    response = await request.final()
    """

    __slots__ = (
        "_abandoned", "_answered", "_dialog_maker", "_final", "_lasting", "_timer",
        "call_id", "connection", "dialogs", "method", "number", "provisionals", "state", "uri",
    )  # fmt: skip

    def __init__(
        self,
        connection: SipConnection,
        method: str,
        uri: str,
        *,
        call_id: str | None = None,
        lasting: bool = False,
        dialog_maker: Callable[[OutgoingRequest], Dialog] | None = None,
    ) -> None:
        self.connection = connection
        self.method = method
        self.uri = uri
        self.call_id = call_id
        self.number = 0
        self.state: RequestState = "trying"
        self.dialogs: list[Dialog] = []
        """The dialogs that its responses have made; several when a proxy forked it."""
        self.provisionals: Unread[Response] = Unread(MAXIMUM_PROVISIONALS)
        self._final: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._final.add_done_callback(_seen)
        self._dialog_maker = dialog_maker
        self._lasting = lasting
        self._answered = False
        self._abandoned = False
        self._timer: asyncio.TimerHandle | None = None

    # For the application

    def __aiter__(self) -> Unread[Response]:
        return self.provisionals

    def __await__(self) -> Generator[Any, None, Response]:
        return self.final().__await__()

    @property
    def response(self) -> Response | None:
        """The final response, once it is there."""
        done = self._final.done() and not self._final.cancelled() and self._final.exception() is None
        return self._final.result() if done else None

    @property
    def cancel_allowed(self) -> bool:
        """It is an INVITE without a final response (``CancelAllowed``)."""
        return self.method == "INVITE" and not self._final.done()

    async def final(self, timeout: float | None = None) -> Response:  # noqa: ASYNC109
        """The final response, whatever its status.

        Raises :class:`RequestFailed` when none will come, ``service_gone`` when the service was lost, and after
        ``timeout`` seconds ``timed_out``; the request itself goes on then.
        """
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self._final)
        except TimeoutError:
            detail = f"No final response to the {self.method} after {timeout:g} s."
            raise SipProfileError("timed_out", detail) from None

    async def cancel(self) -> None:
        """Send a CANCEL (RFC 3261 §9.1); the final response comes all the same, usually a 487.

        Raises ``invalid_state`` when it is no INVITE or has its final response.
        """
        if not self.cancel_allowed:
            detail = f"This {self.method} cannot be cancelled: it is {self.state}."
            raise SipProfileError("invalid_state", detail)
        await self.connection.command("cancel", request=self.number)

    async def stop_refresh(self) -> None:
        """The service repeats it no more (``CSIPRefresh::TerminateL``); what it held ends with ``Expires: 0``."""
        await self.connection.command("stop-refresh", request=self.number)
        self.finish()

    # For the connection

    async def send(
        self,
        options: Mapping[str, Any],
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
    ) -> None:
        """Let the service send it; returns when it has taken it."""
        given: dict[str, Any] = {"method": self.method, **members(text, body, content_type, headers)}
        given |= {name: value for name, value in options.items() if value is not None}
        await self.submit("send", given)

    async def submit(self, op: str, given: dict[str, Any]) -> None:
        """The command whose answer says its number."""
        connection = self.connection
        connection.check_open()
        if "dialog" not in given:
            given["profile"] = connection.profile_id
        user = connection.user
        user.unanswered += 1
        answered = connection.sip.submit(op, self.accepted, **given)
        answered.add_done_callback(lambda _: user.answered_one())
        try:
            await connection.sip.within_limit(answered, op)
        except asyncio.CancelledError:
            self.abandon()
            raise

    async def wanted(self, timeout: float | None) -> Response:  # noqa: ASYNC109
        """The final response; when its only reader stops waiting, nobody wants it any more."""
        try:
            return await self.final(timeout)
        except asyncio.CancelledError:
            self.abandon()
            raise
        except SipProfileError as error:
            if error.code == "timed_out":
                self.abandon()
            raise

    def abandon(self) -> None:
        """Nobody waits for it any more: an INVITE is cancelled, anything else runs on unheard."""
        self._abandoned = True
        if self.number and self.cancel_allowed:
            self.connection.sip.submit("cancel", request=self.number)

    def accepted(self, answer: msgspec.Raw) -> None:
        """The service has sent it; called before any event about it is looked at."""
        sent = msgspec.json.decode(answer, type=_Sent)
        self.number = sent.request
        user = self.connection.user
        user.outgoing[self.number] = self
        if self._dialog_maker is not None and self.call_id is not None:
            user.by_call_id[self.call_id] = self
        if sent.dialog is not None:
            self.dialog(sent.dialog)
        if self._abandoned:
            self.abandon()

    def dialog(self, number: int) -> Dialog | None:
        """The dialog of this number, made when it is not known yet."""
        user = self.connection.user
        found = user.dialogs.get(number)
        if found is None and self._dialog_maker is not None:
            found = next((one for one in self.dialogs if not one.number), None)
            if found is None:
                found = self._dialog_maker(self)
                self.dialogs.append(found)
            found.number = number
            user.dialogs[number] = found
            user.catch_up()
        return found

    def responded(self, arrival: Arrival) -> None:
        """A response came."""
        response = Response.of(arrival)
        dialog = self.dialog(arrival.dialog) if arrival.dialog else None
        if dialog is None and self.dialogs and not self.dialogs[0].number:
            dialog = self.dialogs[0]
        if not response.final:
            if self.state == "trying":
                self.state = "proceeding"
            self.provisionals.put_newest(response)
        first = response.final and not self._answered
        if first:
            self._answered = True
            self.state = "completed"
            self.provisionals.close()
        if dialog is not None:
            dialog.responded(self, response)
        if first:
            if not self._final.done():
                self._final.set_result(response)
            self._completed(response)
        self.connection.tell("incoming_response", self, response, dialog)

    def failed(self, error: SipProfileError) -> None:
        """No final response will come, or it cannot be refreshed any more."""
        if not self._final.done():
            self._final.set_exception(error)
        self.provisionals.close()
        for dialog in tuple(self.dialogs):
            dialog.request_failed(error)
        self.finish()
        self.connection.tell("error_occurred", error, self, self.dialogs[0] if self.dialogs else None)

    def _completed(self, response: Response) -> None:
        if self.method == "INVITE" and response.ok and self._dialog_maker is not None:
            self._timer = asyncio.get_running_loop().call_later(FORKS_END, self._invite_completed)
        elif not response.ok or not self._lasting:
            self.finish()
            for dialog in tuple(self.dialogs):
                dialog.completed(Reason("response", response.status, f"{response.status} {response.reason}"))

    def _invite_completed(self) -> None:
        """64·T1 after the first 2xx: no more dialogs come of it (``InviteCompleted``)."""
        self.finish()
        for dialog in tuple(self.dialogs):
            dialog.completed(Reason.of("answered_elsewhere"))
        self.connection.tell("invite_completed", self)

    def finish(self) -> None:
        """Nothing more comes of it."""
        self.state = "terminated"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        user = self.connection.user
        user.outgoing.pop(self.number, None)
        if self.call_id is not None and user.by_call_id.get(self.call_id) is self:
            del user.by_call_id[self.call_id]


def _seen(future: asyncio.Future[Response]) -> None:
    """Nobody has to look at the failure of a request that nobody waits for."""
    if not future.cancelled():
        future.exception()
