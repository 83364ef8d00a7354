"""The client for scripts that do not use asyncio: the same names, without ``await``.

Every :class:`Sip` runs its event loop in a thread of its own, which ends with it. Profiles are the same objects
as in the asynchronous client; ``profile.close()`` simply returns when it is done. ::

    from sipprofile import sync

    with sync.use("trunk", app="com.example.script", claims=["MESSAGE"]) as line:
        print(line.profile.aor, line.message("sip:bob@example.com", "hi").status)
        for request in line.requests(timeout=60):
            request.respond(200)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..claims import Claim
from ..errors import SipProfileError
from ..events import Reason
from ..profile import ProfileType
from . import managed, registry, sip
from . import use as asynchronous
from .document import SaveWarning
from .events import AnyEvent, EventStream, ProfileRegistryObserver
from .profile import ManagedProfile, Profile
from .registry_base import RegistryBase, SupportedType
from .response import Response
from .sync_iteration import iterate

if TYPE_CHECKING:
    from .connection_observer import ConnectionObserver
    from .sync_connection import IncomingRequest, InviteDialog, SipConnection, Subscription

T = TypeVar("T")
Handle = TypeVar("Handle", bound=Profile)


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon thread: a script that forgets to close must end all the same.
        self._thread = threading.Thread(target=self._loop.run_forever, name="sipprofile", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` there and wait; Ctrl-C cancels it."""
        if self._loop.is_closed():
            work.close()
            raise SipProfileError("closed", "This session is closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Sip:
    """:class:`sipprofile.Sip` without ``await``; a context manager."""

    def __init__(self, app: str, *, url: str | None = None, token: str | None = None) -> None:
        self._inner = sip.Sip(app, url=url, token=token)
        self._thread: _LoopThread | None = None

    @property
    def connected(self) -> bool:
        """Commands can be sent at present."""
        return self._inner.connected

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the asynchronous client in this session's loop and wait for it."""
        if self._thread is None:
            work.close()
            raise SipProfileError("closed", "This session is not open.")
        return self._thread.run(work)

    def open(self) -> None:
        """Start the thread, connect and say hello; raises ``service_unavailable``."""
        if self._thread is not None:
            return
        self._thread = _LoopThread()
        try:
            self._thread.run(self._inner.open())
        except BaseException:
            self._thread.stop()
            self._thread = None
            raise

    def close(self) -> None:
        """Close the registries, end the session and the thread."""
        if self._thread is None:
            return
        try:
            self._thread.run(self._inner.close())
        finally:
            self._thread.stop()
            self._thread = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Registry(Generic[Handle]):
    """What both registries have in common."""

    _inner: RegistryBase[Handle]

    def __init__(self, sip: Sip) -> None:
        self.sip = sip

    def open(self) -> None:
        """Begin to listen; opens the Sip session if that was not done."""
        self.sip.open()
        self.sip.run(self._inner.open())

    def close(self) -> None:
        """Give back everything."""
        if self._inner.is_open:
            self.sip.run(self._inner.close())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def profile(self, id: int | None = None, *, name: str | None = None) -> Handle:
        """The profile with this id or this name; raises ``not_found``."""
        return self.sip.run(self._inner.profile(id, name=name))

    def default_profile(self) -> Handle:
        """The default profile; raises ``not_found``."""
        return self.sip.run(self._inner.default_profile())

    def profiles(
        self, *, type: str | ProfileType | None = None, aor: str | None = None, label: str | None = None
    ) -> list[Handle]:
        """All profiles, or those that match."""
        return self.sip.run(self._inner.profiles(type=type, aor=aor, label=label))

    def supported_types(self) -> list[SupportedType]:
        """The profile types with an installed agent."""
        return self.sip.run(self._inner.supported_types())

    def last_registration_error(self, profile: Handle) -> Reason | None:
        """Why the registration fails at present, or ``None``."""
        return self._inner.last_registration_error(profile)

    def events(self, profile: Handle | None = None, *, timeout: float | None = None) -> Iterator[AnyEvent]:
        """Everything that happens from now on; ends after ``timeout`` seconds without an event."""

        async def stream() -> EventStream:
            return self._inner.events(profile)

        return iterate(self.sip, self.sip.run(stream()), timeout)


class ProfileRegistry(_Registry[Profile]):
    """:class:`sipprofile.ProfileRegistry` without ``await``; observers are called in the session's thread."""

    _inner: registry.ProfileRegistry

    def __init__(self, sip: Sip, *, observer: ProfileRegistryObserver | None = None) -> None:
        super().__init__(sip)
        self._inner = registry.ProfileRegistry(sip._inner, observer=observer)

    def enable(self, profile: Profile, *, connection_observer: ConnectionObserver | None = None) -> None:
        """Say "I want to use it"; returns at once."""
        self.sip.run(self._inner.enable(profile, connection_observer=connection_observer))

    def disable(self, profile: Profile) -> None:
        """Give up the use."""
        self.sip.run(self._inner.disable(profile))

    def is_enabled(self, profile: Profile) -> bool:
        """This registry has enabled it."""
        return self._inner.is_enabled(profile)

    def connection(self, profile: Profile, observer: ConnectionObserver | None = None) -> SipConnection:
        """What to send and receive SIP requests with; raises ``not_enabled``."""
        from .sync_connection import SipConnection

        return SipConnection(self.sip, self.sip.run(self._inner.connection(profile, observer)))

    def force_disable(self, profile: Profile) -> None:
        """End the registration for everybody, without SIP."""
        self.sip.run(self._inner.force_disable(profile))

    def refresh_enable(self, profile: Profile) -> None:
        """Try now instead of at ``next_try``."""
        self.sip.run(self._inner.refresh_enable(profile))

    def wait_registered(self, profile: Profile, timeout: float | None = None) -> None:
        """Return when it is registered; raises ``RegistrationFailed`` as soon as the answer is no."""
        self.sip.run(self._inner.wait_registered(profile, timeout))


class ManagedProfileRegistry(_Registry[ManagedProfile]):
    """:class:`sipprofile.ManagedProfileRegistry` without ``await``."""

    _inner: managed.ManagedProfileRegistry

    def __init__(self, sip: Sip, *, observer: ProfileRegistryObserver | None = None) -> None:
        super().__init__(sip)
        self._inner = managed.ManagedProfileRegistry(sip._inner, observer=observer)

    def create(self, type: str | ProfileType | SupportedType = "ietf") -> ManagedProfile:
        """A new profile with the type's defaults, not saved."""
        return self.sip.run(self._inner.create(type))

    def save(self, profile: ManagedProfile) -> list[SaveWarning]:
        """Store a new profile, or the edits of a stored one; returns what is legal but unwise."""
        return self.sip.run(self._inner.save(profile))

    def destroy(self, profile: ManagedProfile) -> None:
        """Remove a stored profile; raises ``in_use``."""
        self.sip.run(self._inner.destroy(profile))

    def clone(self, profile: Profile, name: str = "") -> ManagedProfile:
        """A copy to be saved as new."""
        return self.sip.run(self._inner.clone(profile, name))

    def is_in_use(self, profile: ManagedProfile) -> bool:
        """At least one session has enabled it."""
        return self.sip.run(self._inner.is_in_use(profile))

    def set_default(self, profile: ManagedProfile) -> None:
        """Make it the default profile."""
        self.sip.run(self._inner.set_default(profile))


class Line:
    """A profile in use, as :class:`sipprofile.Line`. Made by :func:`use`."""

    def __init__(
        self, name: str | None, sip: Sip, wait: bool, timeout: float | None, claims: Iterable[Claim | str] = ()
    ) -> None:
        self.sip = sip
        self.registry = ProfileRegistry(sip)
        self._inner = asynchronous.Line(name, sip._inner, wait, timeout, claims)
        self.registry._inner = self._inner.registry

    @property
    def profile(self) -> Profile:
        """The profile; only inside the block."""
        return self._inner.profile

    def events(self, *, timeout: float | None = None) -> Iterator[AnyEvent]:
        """What happens to it from now on; ends after ``timeout`` seconds without an event."""
        return self.registry.events(self.profile, timeout=timeout)

    def connection(self) -> SipConnection:
        """What sends and receives for this profile."""
        return self.registry.connection(self.profile)

    def request(self, method: str, uri: str | None = None, **options: Any) -> Response:
        """Send a request and return its final response."""
        return self.sip.run(self._inner.request(method, uri, **options))

    def message(self, uri: str, text: str, *, timeout: float | None = None) -> Response:
        """Send a text."""
        return self.sip.run(self._inner.message(uri, text, timeout=timeout))

    def invite(self, uri: str, **options: Any) -> InviteDialog:
        """Call ``uri``."""
        return self.connection().invite(uri, **options)

    def subscribe(self, event: str, uri: str | None = None, *, expires: int = 3600) -> Subscription:
        """Subscribe to an event package."""
        return self.connection().subscribe(event, uri, expires=expires)

    def requests(self, *, timeout: float | None = None) -> Iterator[IncomingRequest]:
        """The requests that were claimed, or what nobody else has; ends after ``timeout`` seconds without one."""
        connection = self.connection()
        if not connection.claims:
            connection.claim(default=True)
        return connection.requests(timeout=timeout)

    def __enter__(self) -> Self:
        self.sip.open()
        try:
            self.sip.run(self._inner.__aenter__())
        except BaseException:
            self.sip.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sip.close()


def use(
    name: str | None = None,
    *,
    app: str | None = None,
    url: str | None = None,
    token: str | None = None,
    wait: bool = True,
    timeout: float | None = None,
    claims: Iterable[Claim | str] = (),
) -> Line:
    """:func:`sipprofile.use` without ``await``: a context manager."""
    return Line(name, Sip(asynchronous.application(app), url=url, token=token), wait, timeout, claims)
