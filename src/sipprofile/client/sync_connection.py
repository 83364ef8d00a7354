"""Sending and receiving without asyncio: the objects of a connection, each with the same names and no ``await``.

What is only read (``request.text``, ``dialog.state``) is that of the asynchronous object inside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..claims import Claim
from ..events import Reason
from . import dialog as dialogs
from . import incoming, invite_dialog, notify_dialog, outgoing, publication, sip_connection, subscription
from .bindings import Binding
from .granted_claim import GrantedClaim
from .response import Response
from .sync_iteration import iterate

if TYPE_CHECKING:
    from .sync import Sip

T = TypeVar("T")
Inner = TypeVar("Inner")


class _Blocking(Generic[Inner]):
    """Calls the methods of ``inner`` in the session's thread."""

    def __init__(self, sip: Sip, inner: Inner) -> None:
        self._sip = sip
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Blocking) and self._inner is other._inner

    def __hash__(self) -> int:
        return hash(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __enter__(self) -> Self:
        return self


class OutgoingRequest(_Blocking[outgoing.OutgoingRequest]):
    """:class:`sipprofile.OutgoingRequest` without ``await``; iterate over it for provisional responses."""

    def __iter__(self) -> Iterator[Response]:
        return iterate(self._sip, self._inner.provisionals, None)

    def final(self, timeout: float | None = None) -> Response:
        """The final response."""
        return self._sip.run(self._inner.final(timeout))

    def cancel(self) -> None:
        """CANCEL an INVITE."""
        self._sip.run(self._inner.cancel())

    def stop_refresh(self) -> None:
        """The service repeats it no more."""
        self._sip.run(self._inner.stop_refresh())


class IncomingRequest(_Blocking[incoming.IncomingRequest]):
    """:class:`sipprofile.IncomingRequest` without ``await``."""

    def respond(self, status: int, reason: str | None = None, **options: Any) -> Dialog | None:
        """Answer it; returns the dialog that the answer is in, or has made."""
        return wrapped(self._sip, self._sip.run(self._inner.respond(status, reason, **options)))

    def ringing(self, **options: Any) -> Dialog | None:
        """Answer 180, or 183 with a body."""
        return wrapped(self._sip, self._sip.run(self._inner.ringing(**options)))

    def accept(self, **options: Any) -> InviteDialog:
        """Answer an INVITE with 200."""
        return InviteDialog(self._sip, self._sip.run(self._inner.accept(**options)))

    def accept_subscription(self, **options: Any) -> NotifyDialog:
        """Answer a SUBSCRIBE or REFER with 2xx."""
        return NotifyDialog(self._sip, self._sip.run(self._inner.accept_subscription(**options)))

    def until_withdrawn(self) -> Reason:
        """Wait until nobody waits for an answer any more."""
        return self._sip.run(self._inner.until_withdrawn())

    def acknowledged(self) -> incoming.Acknowledgement:
        """Wait for the ACK of our 2xx."""
        return self._sip.run(self._inner.acknowledged())


class Dialog(_Blocking[dialogs.Dialog]):
    """:class:`sipprofile.Dialog` without ``await``."""

    def request(self, method: str, **options: Any) -> Response:
        """Send a request inside the dialog and return its final response."""
        return self._sip.run(self._inner.request(method, **options))

    def requests(self, *, timeout: float | None = None) -> Iterator[IncomingRequest]:
        """The requests inside the dialog; ends with it, or after ``timeout`` seconds without one."""
        return requests(self._sip, self._inner.requests, timeout)

    def refer(self, refer_to: str, **options: Any) -> Subscription:
        """Ask the other side to send a request to ``refer_to``."""
        return Subscription(self._sip, self._sip.run(self._inner.refer(refer_to, **options)))

    def end(self) -> None:
        """End it in the way that is right for it."""
        self._sip.run(self._inner.end())

    def ended(self) -> Reason:
        """Wait for its end."""
        return self._sip.run(self._inner.ended())


class InviteDialog(Dialog):
    """:class:`sipprofile.InviteDialog` without ``await``; leaving its block hangs up."""

    _inner: invite_dialog.InviteDialog

    def answered(self, timeout: float | None = None) -> InviteDialog:
        """Wait for the 2xx; returns the dialog with who answered."""
        return InviteDialog(self._sip, self._sip.run(self._inner.answered(timeout)))

    def provisional_responses(self) -> Iterator[Response]:
        """Ringing and early media; ends with the final response."""
        return iterate(self._sip, self._inner.provisionals, None)

    def forks(self, *, timeout: float | None = None) -> Iterator[InviteDialog]:
        """Further dialogs of a forked INVITE."""
        for dialog in iterate(self._sip, self._inner.forks, timeout):
            yield InviteDialog(self._sip, dialog)

    def cancel(self) -> None:
        """Give up calling."""
        self._sip.run(self._inner.cancel())

    def ack(self, **options: Any) -> None:
        """The ACK of the 2xx to an INVITE without a body."""
        self._sip.run(self._inner.ack(**options))

    def acknowledged(self) -> incoming.Acknowledgement:
        """Wait for the ACK of our 2xx."""
        return self._sip.run(self._inner.acknowledged())

    def prack(self, **options: Any) -> Response:
        """Acknowledge a reliable provisional response."""
        return self._sip.run(self._inner.prack(**options))

    def reinvite(self, **options: Any) -> Response:
        """An INVITE inside the dialog."""
        return self._sip.run(self._inner.reinvite(**options))

    def update(self, **options: Any) -> Response:
        """An UPDATE."""
        return self._sip.run(self._inner.update(**options))

    def info(self, body: bytes | str, content_type: str, *, package: str | None = None) -> Response:
        """An INFO."""
        return self._sip.run(self._inner.info(body, content_type, package=package))

    def bye(self, **options: Any) -> None:
        """Hang up."""
        self._sip.run(self._inner.bye(**options))

    def __exit__(self, *_: object) -> None:
        if not self._inner.connection.closed:
            self.bye()


class Subscription(_Blocking[subscription.Subscription]):
    """:class:`sipprofile.Subscription` without ``await``; leaving its block unsubscribes."""

    def __iter__(self) -> Iterator[subscription.Notification]:
        return self.notifications()

    def notifications(self, *, timeout: float | None = None) -> Iterator[subscription.Notification]:
        """Its notifications; ends with it, or after ``timeout`` seconds without one."""
        return iterate(self._sip, self._inner.__aiter__, timeout)

    def refresh(self, expires: int | None = None) -> Response:
        """Send a SUBSCRIBE now."""
        return self._sip.run(self._inner.refresh(expires))

    def unsubscribe(self) -> None:
        """End it."""
        self._sip.run(self._inner.unsubscribe())

    def ended(self) -> Reason:
        """Wait for its end."""
        return self._sip.run(self._inner.ended())

    def __exit__(self, *_: object) -> None:
        if not self._inner.connection.closed:
            self.unsubscribe()


class NotifyDialog(_Blocking[notify_dialog.NotifyDialog]):
    """:class:`sipprofile.NotifyDialog` without ``await``."""

    def notify(self, body: bytes | str | None = None, content_type: str | None = None, **options: Any) -> Response:
        """Send a NOTIFY."""
        return self._sip.run(self._inner.notify(body, content_type, **options))

    def terminate(self, reason: str = "noresource") -> None:
        """End the subscription with a last NOTIFY."""
        self._sip.run(self._inner.terminate(reason))

    def ended(self) -> Reason:
        """Wait for its end."""
        return self._sip.run(self._inner.ended())


class Publication(_Blocking[publication.Publication]):
    """What ``publish`` returns, without ``await``; leaving its block removes it."""

    def modify(self, body: bytes | str, content_type: str) -> None:
        """Publish another state."""
        self._sip.run(self._inner.modify(body, content_type))

    def remove(self) -> None:
        """Take it back."""
        self._sip.run(self._inner.remove())

    def __exit__(self, *_: object) -> None:
        if not self._inner.connection.closed:
            self.remove()


class HeldClaim(_Blocking[GrantedClaim]):
    """:class:`sipprofile.GrantedClaim` without ``await``; leaving its block releases it."""

    def release(self) -> None:
        """Give it up."""
        self._sip.run(self._inner.release())

    def __exit__(self, *_: object) -> None:
        if not self._inner.connection.closed:
            self.release()


class SipConnection(_Blocking[sip_connection.SipConnection]):
    """:class:`sipprofile.SipConnection` without ``await``; observers are called in the session's thread."""

    def request(self, method: str, uri: str | None = None, **options: Any) -> Response:
        """Send a request and return its final response."""
        return self._sip.run(self._inner.request(method, uri, **options))

    def start(self, method: str, uri: str | None = None, **options: Any) -> OutgoingRequest:
        """Send a request and return it at once."""
        return OutgoingRequest(self._sip, self._sip.run(self._inner.start(method, uri, **options)))

    def message(self, uri: str, text: str, *, timeout: float | None = None) -> Response:
        """Send a text."""
        return self._sip.run(self._inner.message(uri, text, timeout=timeout))

    def fetch_bindings(self) -> list[Binding]:
        """Everything that is registered at the address-of-record."""
        return self._sip.run(self._inner.fetch_bindings())

    def invite(self, uri: str, **options: Any) -> InviteDialog:
        """Call ``uri``."""
        return InviteDialog(self._sip, self._sip.run(self._inner.invite(uri, **options)))

    def subscribe(self, event: str, uri: str | None = None, **options: Any) -> Subscription:
        """Subscribe to an event package."""
        return Subscription(self._sip, self._sip.run(self._inner.subscribe(event, uri, **options)))

    def refer(self, uri: str, refer_to: str, **options: Any) -> Subscription:
        """Ask ``uri`` to send a request to ``refer_to``."""
        return Subscription(self._sip, self._sip.run(self._inner.refer(uri, refer_to, **options)))

    def publish(self, event: str, body: bytes | str, content_type: str, **options: Any) -> Publication:
        """Publish state."""
        return Publication(self._sip, self._sip.run(self._inner.publish(event, body, content_type, **options)))

    def claim(self, claim: Claim | None = None, **criteria: Any) -> HeldClaim:
        """Say what is to come here."""
        return HeldClaim(self._sip, self._sip.run(self._inner.claim(claim, **criteria)))

    def requests(self, *, timeout: float | None = None) -> Iterator[IncomingRequest]:
        """The requests that were claimed; ends with the connection, or after ``timeout`` seconds without one."""
        return requests(self._sip, self._inner.requests, timeout)

    def states(self, *, timeout: float | None = None) -> Iterator[sip_connection.ConnectionState]:
        """The present state, then each change."""
        return iterate(self._sip, self._inner.states, timeout)

    def close(self) -> None:
        """Release its claims, end its dialogs."""
        self._sip.run(self._inner.close())

    def __exit__(self, *_: object) -> None:
        self.close()


def wrapped(sip: Sip, dialog: dialogs.Dialog | None) -> Dialog | None:
    """A dialog of the asynchronous client, for the one without ``await``."""
    if isinstance(dialog, invite_dialog.InviteDialog):
        return InviteDialog(sip, dialog)
    return Dialog(sip, dialog) if dialog is not None else None


def requests(
    sip: Sip, stream: Callable[[], AsyncIterator[incoming.IncomingRequest]], timeout: float | None
) -> Iterator[IncomingRequest]:
    """Incoming requests."""
    for request in iterate(sip, stream, timeout):
        yield IncomingRequest(sip, request)
