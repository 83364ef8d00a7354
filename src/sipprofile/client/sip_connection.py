"""An application's way to send and receive SIP requests through a profile (``CSIPConnection``)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..claims import Claim
from ..errors import RequestRefused, SipProfileError
from .bindings import Binding, bindings_of
from .content import HeaderFields
from .granted_claim import GrantedClaim
from .incoming import IncomingRequest
from .observed import Observed
from .outgoing import OutgoingRequest
from .unread import Unread

if TYPE_CHECKING:
    from .arrival import Arrival
    from .connection_observer import ConnectionObserver
    from .dialog import Dialog
    from .invite_dialog import InviteDialog
    from .profile import Profile
    from .publication import Publication
    from .response import Response
    from .sip import Sip
    from .subscription import Subscription

MAXIMUM_UNREAD = 256
"""Unread requests of one connection; further ones are answered 480."""

MAKE_DIALOGS = frozenset(("INVITE", "SUBSCRIBE", "REFER"))

ConnectionState = Literal["init", "active", "suspended", "inactive", "unavailable"]
"""``EInit`` (the profile is registering for the first time), ``EActive``, ``ESuspended`` (unusable for a while),
``EInactive`` (down, and may return), ``EUnavailable`` (for good: removed, paused or disabled)."""


class _State(msgspec.Struct):
    state: ConnectionState
    local_address: str | None = None


class _Opened(msgspec.Struct):
    connection: _State


class SipConnection:
    """Sends and receives requests in the name of a profile that this session has enabled.

    Got from :meth:`ProfileRegistry.connection`; there is one for each profile and session. The service writes Via,
    CSeq, Route and credentials, answers challenges, and sends From and Contact of the profile. ::

        connection = await registry.connection(profile)
        response = await connection.request("MESSAGE", "sip:bob@example.com", text="hi")
    """

    def __init__(self, sip: Sip, profile: Profile, observer: ConnectionObserver | None = None) -> None:
        self.sip = sip
        self.user = sip.transaction_user
        self.profile = profile
        """Held as long as the connection is there."""
        self.profile_id = profile.id
        self.state: ConnectionState = "init"
        self.local_address: str | None = None
        """Address and port in use (``GetLocalAddrL``), ``None`` while there is none."""
        self.claims: list[GrantedClaim] = []
        self.closed = False
        self._requests: Unread[IncomingRequest] = Unread(MAXIMUM_UNREAD)
        self._changed = asyncio.Event()
        self._observed: Observed | None = None
        if observer is not None:
            self.observe(observer)

    def __repr__(self) -> str:
        return f"<SipConnection profile={self.profile_id} {self.state}>"

    # State

    async def states(self) -> AsyncIterator[ConnectionState]:
        """The present state, then each change of it; a slow reader gets the latest. Ends with the connection."""
        told: ConnectionState | None = None
        while True:
            if self.state != told:
                told = self.state
                yield told
            elif self.closed:
                return
            else:
                await self._changed.wait()

    @property
    def dialogs(self) -> list[Dialog]:
        """Its dialogs that have not ended."""
        return [dialog for dialog in self.user.dialogs.values() if dialog.connection is self]

    async def close(self) -> None:
        """Release its claims, end its dialogs, refuse what is not answered. The profile stays enabled."""
        if self.closed:
            return
        if self.sip.connected:
            answers = [self.sip.submit("unclaim", claim=claim.number) for claim in self.claims]
            for outgoing in [one for one in self.user.outgoing.values() if one.connection is self]:
                outgoing.abandon()
            for incoming in [one for one in self.user.incoming.values() if one.connection is self]:
                answers.append(self.sip.submit("respond", request=incoming.number, status=480))
            answers += [self.sip.submit("end", dialog=dialog.number) for dialog in self.dialogs if dialog.number]
            self.ended(self.state, SipProfileError("closed", "This connection is closed."))
            await asyncio.gather(*answers, return_exceptions=True)
        self.ended(self.state, SipProfileError("closed", "This connection is closed."))

    async def __aenter__(self) -> SipConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Requests

    async def request(
        self,
        method: str,
        uri: str | None = None,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        to: str | None = None,
        identity: str | None = None,
        display_name: str | None = None,
        anonymous: bool = False,
        call_id: str | None = None,
        contact_params: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Response:
        """Send a request outside of dialogs and return its final response, whatever its status (``SendRequestL``).

        ``uri`` is the target, by default the profile's own address-of-record. ``identity``: another From than the
        address-of-record; ``anonymous``: RFC 3323. Raises ``not_registered``, ``header_refused``, ``identity_refused``,
        ``invalid_value``, ``too_large`` (beyond 64 kB of body), ``quota_exceeded``; :class:`RequestFailed` when no
        final response comes, ``service_gone``, and ``timed_out`` after ``timeout`` seconds.
        """
        sent = await self.start(
            method, uri, text=text, body=body, content_type=content_type, headers=headers, to=to, identity=identity,
            display_name=display_name, anonymous=anonymous, call_id=call_id, contact_params=contact_params,
        )  # fmt: skip
        return await sent.wanted(timeout)

    async def start(
        self,
        method: str,
        uri: str | None = None,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        to: str | None = None,
        identity: str | None = None,
        display_name: str | None = None,
        anonymous: bool = False,
        call_id: str | None = None,
        contact_params: str | None = None,
        refresh: int | None = None,
    ) -> OutgoingRequest:
        """Send a request outside of dialogs and return it at once; iterate over it for provisional responses.

        ``refresh``: seconds; the service repeats a PUBLISH before they end (``SendRequestL`` with a ``CSIPRefresh``).
        """
        if method in MAKE_DIALOGS:
            detail = f"Use connection.{method.lower()}(), which gives the dialog."
            raise SipProfileError("invalid_value", detail, field="method", value=method)
        target = uri or self.profile.aor
        sent = OutgoingRequest(self, method, target, call_id=call_id, lasting=bool(refresh))
        options = {
            "uri": target, "to": to, "from": identity, "display_name": display_name, "anonymous": anonymous or None,
            "call_id": call_id, "contact_params": contact_params, "refresh": refresh,
        }  # fmt: skip
        await sent.send(options, text=text, body=body, content_type=content_type, headers=headers)
        return sent

    async def message(self, uri: str, text: str, *, timeout: float | None = None) -> Response:  # noqa: ASYNC109
        """Send a text (MESSAGE, RFC 3428)."""
        return await self.request("MESSAGE", uri, text=text, timeout=timeout)

    async def fetch_bindings(self) -> list[Binding]:
        """Everything that is registered at the address-of-record (``FetchRegistrationsL``; RFC 3261 §10.2.3).

        Raises :class:`RequestRefused` when the registrar does not say.
        """
        sent = OutgoingRequest(self, "REGISTER", "")
        await sent.submit("fetch-bindings", {})
        response = await sent.final()
        if not response.ok:
            raise RequestRefused("REGISTER", response)
        return bindings_of(response)

    # Dialogs

    async def invite(
        self,
        uri: str,
        *,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        to: str | None = None,
        identity: str | None = None,
        display_name: str | None = None,
        anonymous: bool = False,
        call_id: str | None = None,
        contact_params: str | None = None,
        manual: bool = False,
    ) -> InviteDialog:
        """Call ``uri`` (``SendInviteL``); returns at once, and :meth:`~.invite_dialog.InviteDialog.answered` waits.

        A body without a type is SDP. Without a body the answer's offer is to be answered with
        :meth:`~.invite_dialog.InviteDialog.ack`. ``manual``: ACK and PRACK are left to the application.
        """
        from .invite_dialog import InviteDialog

        def make(outgoing: OutgoingRequest) -> InviteDialog:
            dialog = InviteDialog(self, outgoing=outgoing)
            dialog.joins(first)
            return dialog

        if body is not None and content_type is None:
            content_type = "application/sdp"
        call_id = call_id or uuid.uuid4().hex
        sent = OutgoingRequest(self, "INVITE", uri, call_id=call_id, dialog_maker=make)
        first = InviteDialog(self, outgoing=sent)
        sent.dialogs.append(first)
        options = {
            "uri": uri, "to": to, "from": identity, "display_name": display_name, "anonymous": anonymous or None,
            "call_id": call_id, "contact_params": contact_params, "manual": manual or None,
        }  # fmt: skip
        await sent.send(options, body=body, content_type=content_type, headers=headers)
        return first

    async def subscribe(
        self,
        event: str,
        uri: str | None = None,
        *,
        expires: int = 3600,
        refresh: bool = True,
        accept: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        to: str | None = None,
        identity: str | None = None,
    ) -> Subscription:
        """Subscribe to an event package (``SendSubscribeL``, RFC 6665), at the own address-of-record by default.

        Returns once it is accepted; raises :class:`RequestRefused`. The service renews it and begins it anew when the
        notifier has lost it, unless ``refresh`` is false. ``accept``: the body types that are understood.
        """
        from .subscription import Subscription

        subscription = Subscription(self, event, pairs(headers) + ([("Accept", accept)] if accept is not None else []))
        subscription.asked, subscription.renewed = expires, refresh
        fields = [*subscription.fields, ("Expires", str(expires))]
        options = {"to": to, "from": identity, "refresh": expires if refresh else None}
        return await self._subscribe(subscription, "SUBSCRIBE", uri, fields, options, body, content_type)

    async def refer(
        self, uri: str, refer_to: str, *, headers: HeaderFields = (), to: str | None = None, identity: str | None = None
    ) -> Subscription:
        """Ask ``uri`` to send a request to ``refer_to`` (``SendReferL``, RFC 3515), outside of dialogs.

        Returns once it is accepted; the subscription tells how it goes. Inside a call there is ``dialog.refer``.
        """
        from .dialog import bracketed
        from .subscription import Subscription

        fields = [("Refer-To", bracketed(refer_to)), *pairs(headers)]
        options = {"to": to, "from": identity}
        return await self._subscribe(Subscription(self, "refer"), "REFER", uri, fields, options, None, None)

    async def publish(
        self,
        event: str,
        body: bytes | str,
        content_type: str,
        *,
        uri: str | None = None,
        expires: int = 3600,
        headers: HeaderFields = (),
    ) -> Publication:
        """Publish state (RFC 3903), for the own address-of-record by default; the service keeps it alive.

        Returns once it is accepted; raises :class:`RequestRefused`.
        """
        from .publication import Publication

        publication = Publication(self, event, uri, expires, pairs(headers))
        await publication.modify(body, content_type)
        return publication

    # Incoming

    async def claim(
        self,
        claim: Claim | None = None,
        *,
        methods: list[str] | None = None,
        events: list[str] | None = None,
        features: list[str] | None = None,
        content_types: list[str] | None = None,
        headers: dict[str, str] | None = None,
        default: bool = False,
        exclusive: bool = True,
        priority: int = 0,
    ) -> GrantedClaim:
        """Say what is to come here. What is given must all fit; of several values in one list one is enough.

        Raises ``claim_in_use`` (``members["by"]`` says who has it), ``claim_not_allowed``, ``invalid_value``.
        """
        if claim is None:
            claim = Claim(
                methods or [], events or [], features or [], content_types or [], headers or {}, default, exclusive,
                priority,
            )  # fmt: skip
        self.check_open()
        granted = GrantedClaim(self, claim)
        await granted.make()
        self.claims.append(granted)
        return granted

    def requests(self) -> Unread[IncomingRequest]:
        """The requests that were claimed, as they come; several readers share them. Ends with the connection. ::

            async for request in connection.requests():
                await request.respond(200)

        Requests inside a dialog come by the dialog's ``requests()``. Beyond 256 unread ones the library answers 480.
        When the connection's observer has ``incoming_request``, it gets them instead.

        Raises the service's refusal when a claim could not be made again after a reconnection.
        """
        return self._requests

    def observe(self, observer: ConnectionObserver | None) -> None:
        """From now on this observer is told, and no other one."""
        if self._observed is not None:
            self._observed.stop()
        self._observed = Observed(observer) if observer is not None else None

    # For the dialogs and requests

    def tell(self, name: str, *arguments: Any) -> bool:
        """Call the observer's method; false when there is none, or too much that it has not looked at yet."""
        return self._observed is not None and self._observed.call(name, *arguments)

    def hears(self, name: str) -> bool:
        """The observer has this method."""
        return self._observed is not None and self._observed.has(name)

    def check_open(self) -> None:
        """Raises ``closed``."""
        if self.closed:
            raise SipProfileError("closed", "This connection is closed.")

    async def command(self, op: str, accept: Callable[[msgspec.Raw], Any] | None = None, /, **given: Any) -> Any:
        """A command about something of this connection."""
        self.check_open()
        return await self.sip.command(op, accept, **given)

    async def _subscribe(
        self,
        subscription: Subscription,
        method: str,
        uri: str | None,
        fields: list[tuple[str, str]],
        options: dict[str, Any],
        body: bytes | str | None,
        content_type: str | None,
    ) -> Subscription:
        target, call_id = uri or self.profile.aor, uuid.uuid4().hex
        sent = OutgoingRequest(
            self, method, target, call_id=call_id, lasting=True, dialog_maker=subscription.make_dialog
        )
        options |= {"uri": target, "call_id": call_id}
        await sent.send(options, body=body, content_type=content_type, headers=fields)
        await subscription.accepted_by(sent)
        return subscription

    # From the service

    async def open(self) -> None:
        """Ask for the present state; later ones come as events. Raises ``not_enabled``."""

        def accept(answer: msgspec.Raw) -> None:
            opened = msgspec.json.decode(answer, type=_Opened).connection
            self.user.connections[self.profile_id] = self
            self._became(opened.state, opened.local_address)

        await self.sip.command("connection", accept, profile=self.profile_id)

    async def restore(self) -> None:
        """The service is back: the state and the claims again."""
        try:
            await self.open()
        except SipProfileError as error:
            if error.code == "service_gone":
                raise
            self.ended("unavailable", error)
            return
        for claim in tuple(self.claims):
            try:
                await claim.make()
            except SipProfileError as error:
                if error.code == "service_gone":
                    raise
                claim.error = error
                self.claims.remove(claim)
                self.tell("claim_lost", claim, error)
                self._requests.close(error)

    def received(self, arrival: Arrival) -> None:
        """Its state has changed."""
        state: Any = arrival.state
        self._became(state, arrival.local_address)

    def requested(self, arrival: Arrival, dialog: Dialog | None) -> None:
        """A request came."""
        request = IncomingRequest(self, arrival, dialog)
        if not request.answered:
            self.user.incoming[request.number] = request
        taken = dialog is not None and dialog.takes(request)
        if self.hears("incoming_request"):
            if not taken or request.answered:
                taken = self.tell("incoming_request", request, dialog) or taken
        elif not taken:
            taken = dialog.requested(request) if dialog is not None else self._requests.put(request)
        if dialog is not None:
            dialog.heard(request)
        if not taken and not request.answered:
            self.sip.submit("respond", request=request.number, status=480)
            request.withdraw("quota_exceeded", "Too many requests are unread.")

    def withdrawn(self, request: IncomingRequest) -> None:
        """Nobody waits for its answer any more."""
        if request.dialog is not None:
            request.dialog.withdrawn(request)
        else:
            self._requests.remove(request)
        callback = {"cancelled": "invite_canceled", "timed_out": "timed_out"}
        self.tell(callback.get(request.reason.code, "answered_elsewhere"), request)

    def lost(self, error: SipProfileError) -> None:
        """The service is gone, and with it everything but the claims, which are made again."""
        self.user.forget(self, error, "service_gone")
        self._became("inactive", None)

    def ended(self, state: ConnectionState, error: SipProfileError) -> None:
        """It is over."""
        if self.closed:
            return
        self.user.connections.pop(self.profile_id, None)
        self.user.forget(self, error, "dialog_ended")
        self.claims.clear()
        self._requests.close()
        self._became(state, None)
        self.closed = True
        self._changed.set()
        if self._observed is not None:
            self._observed.finish()

    def _became(self, state: ConnectionState, local_address: str | None) -> None:
        self.local_address = local_address
        if state != self.state:
            self.state = state
            self.tell("connection_state_changed", state)
        self._changed.set()
        self._changed = asyncio.Event()


def pairs(headers: HeaderFields) -> list[tuple[str, str]]:
    """Header fields as pairs."""
    return list(headers.items() if isinstance(headers, Mapping) else headers)
