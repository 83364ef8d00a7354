"""What a registry tells its application, and the two ways to listen: observers and asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Literal, Protocol, TypeAlias

import msgspec

from ..errors import RegistrationFailed, SipProfileError
from ..events import Event

LIMIT = 1024
"""Events that wait unread in one stream before state events of the same profile replace each other."""


class ServiceEvent(msgspec.Struct, frozen=True):
    """The connection to the service was lost (``service_gone``) or is there again (``service_back``).

    After ``service_back`` every profile is held and enabled as before, but for those in ``errors`` (by id).
    """

    event: Literal["service_gone", "service_back"]
    error: SipProfileError | None = None
    """Why the connection was lost."""
    errors: dict[int, SipProfileError] = {}
    profile: int = 0
    """Always 0: no profile has this id."""


AnyEvent: TypeAlias = Event | ServiceEvent


class ProfileRegistryObserver(Protocol):
    """Told what happens to profiles (``MSIPProfileRegistryObserver``). Methods may be plain or ``async``.

    They are called one after the other, in order, and a method that is absent is not called. The values of
    held profiles have been renewed before the call. An exception goes to the event loop's exception handler.
    """

    def profile_registry_event(self, event: Event) -> Awaitable[None] | None:
        """Any event but ``error``: ``created``, ``updated``, ``registered`` and so on."""

    def profile_registry_error(self, event: Event, error: RegistrationFailed) -> Awaitable[None] | None:
        """A registration or de-registration failed; the service goes on trying at ``error.next_try``."""

    def service_event(self, event: ServiceEvent) -> Awaitable[None] | None:
        """The service is gone, or is back."""


class EventStream:
    """An asynchronous iterator over events from the moment it was made; ends when its registry is closed.

    A slow reader loses nothing but intermediate states: beyond :data:`LIMIT` unread events a newer state
    event replaces the older one of the same profile and counts it in ``skipped``.
    """

    def __init__(self, profile: int | None = None) -> None:
        self._profile = profile
        self._unread: OrderedDict[tuple[int, int], AnyEvent] = OrderedDict()
        self._number = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def put(self, event: AnyEvent) -> None:
        """Append ``event``, unless the stream follows another profile or is closed."""
        if self._closed or (self._profile is not None and event.profile not in (0, self._profile)):
            return
        self._number += 1
        key = (event.profile, self._number)
        if len(self._unread) >= LIMIT and isinstance(event, Event) and event.state is not None:
            key = (event.profile, 0)
            older = self._unread.pop(key, None)
            if isinstance(older, Event):
                event = msgspec.structs.replace(event, skipped=event.skipped + older.skipped + 1)
        self._unread[key] = event
        self._arrived.set()

    def close(self) -> None:
        """End the iteration after what is still unread."""
        self._closed = True
        self._arrived.set()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> AnyEvent:
        while not self._unread:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._unread.popitem(last=False)[1]


async def tell(observer: ProfileRegistryObserver, event: AnyEvent) -> None:
    """Call the observer's method for ``event``, if it has it."""
    answer: Awaitable[None] | None = None
    if isinstance(event, ServiceEvent):
        if hasattr(observer, "service_event"):
            answer = observer.service_event(event)
    elif event.event != "error":
        if hasattr(observer, "profile_registry_event"):
            answer = observer.profile_registry_event(event)
    elif event.state is not None and hasattr(observer, "profile_registry_error"):
        state = event.state
        reason = state.last_error or state.reason
        answer = observer.profile_registry_error(event, RegistrationFailed(reason, state.next_try))
    if answer is not None:
        await answer
