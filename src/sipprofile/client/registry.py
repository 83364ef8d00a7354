"""The registry of an application that uses profiles (``CSIPProfileRegistry``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ..errors import RegistrationFailed, SipProfileError
from ..events import Event, RegistrationState
from .document import identify, refusal
from .events import EventStream
from .profile import Profile
from .registry_base import RegistryBase

if TYPE_CHECKING:
    from .connection_observer import ConnectionObserver
    from .sip_connection import SipConnection


class ProfileRegistry(RegistryBase[Profile]):
    """Retrieves profiles, enables and disables them, and tells what happens to them.

    ::

        async with Sip("com.example.agent") as sip, ProfileRegistry(sip) as registry:
            profile = await registry.profile(name="trunk")
            await registry.enable(profile)
            await registry.wait_registered(profile, timeout=10)
    """

    async def enable(self, profile: Profile, *, connection_observer: ConnectionObserver | None = None) -> None:
        """Say "I want to use it" (``EnableL``). Returns at once; :meth:`wait_registered` or an event says the outcome.

        ``connection_observer`` is told what happens on this profile's :meth:`connection`. Raises ``already_enabled``,
        ``not_found``, ``permission_denied``.
        """
        self._check_mine(profile)
        id_ = profile.id

        def accept(answer: msgspec.Raw) -> None:
            self.enabled.add(id_)
            if connection_observer is not None:
                self.sip.transaction_user.observers[id_] = connection_observer
            self._accept_state(id_, answer)

        await self.sip.command("enable", accept, profile=id_)

    async def disable(self, profile: Profile) -> None:
        """Give up the use (``Disable``); the last user's disable ends the registration.

        Raises ``not_enabled``. Whatever it raises, the profile counts as not enabled here afterwards.
        """
        self._check_mine(profile)
        self.unused(profile.id)
        await self._command("disable", profile)

    def is_enabled(self, profile: Profile) -> bool:
        """This registry has enabled it (``IsEnabled``)."""
        return profile.id in self.enabled

    async def connection(self, profile: Profile, observer: ConnectionObserver | None = None) -> SipConnection:
        """What to send and receive SIP requests with, in the profile's name (``ConnectionL``).

        There is one for each profile and session, which ends when the profile is disabled. ``observer`` takes the place
        of the one given before, here or to :meth:`enable`. Raises ``not_enabled``.
        """
        self._check_mine(profile)
        user = self.sip.transaction_user
        connection = user.connections.get(profile.id)
        if connection is None:
            from .sip_connection import SipConnection

            connection = SipConnection(self.sip, profile, observer or user.observers.get(profile.id))
            try:
                await connection.open()
            except BaseException:
                connection.ended("unavailable", SipProfileError("closed"))
                raise
        elif observer is not None:
            connection.observe(observer)
        return connection

    async def force_disable(self, profile: Profile) -> None:
        """End the registration for everybody, without SIP (``ForceDisable``); needs ``control``."""
        self._check_mine(profile)
        await self._command("force-disable", profile)

    async def refresh_enable(self, profile: Profile) -> None:
        """Try now instead of at ``next_try`` (``RefreshEnableL``, ``sipprofile retry-now``)."""
        self._check_mine(profile)
        await self._command("retry-now", profile)

    async def wait_registered(self, profile: Profile, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Return when it is registered.

        Raises :class:`RegistrationFailed` as soon as the answer is no (the service may go on trying, see its
        ``next_try``), ``timed_out`` after ``timeout`` seconds, ``not_enabled`` when nobody wants it
        registered, ``not_found`` when it was removed meanwhile. A lost connection is waited out.
        """
        self._check_mine(profile)
        id_ = profile.id
        try:
            async with asyncio.timeout(timeout):
                await self._registered(id_)
        except TimeoutError:
            # Nothing was heard in time: the state says how far it is.
            state = identify(self.records.record(id_)).registration
            text = f"The profile is {state.status} after {timeout:g} s. {state.reason.text}".rstrip()
            raise SipProfileError("timed_out", text) from None

    async def _registered(self, id_: int) -> None:
        stream = self._stream(id_)
        identity = identify(self.records.record(id_))
        state = identity.registration
        wanted = id_ in self.enabled or state.users or identity.register == "always"
        while True:
            if state.registered:
                return
            if reason := refusal(state):
                raise RegistrationFailed(reason, state.next_try)
            if not wanted and state.status == "unregistered":
                raise SipProfileError("not_enabled", "Nobody has enabled the profile, so it is not registered.")
            state = await self._next_state(stream)

    async def _next_state(self, stream: EventStream) -> RegistrationState:
        """The state that the next event brings."""
        async for event in stream:
            if not isinstance(event, Event):
                continue
            if event.event == "destroyed":
                raise SipProfileError("not_found", "The profile was removed.")
            if event.state is not None:
                return event.state
            if event.event == "updated" and event.document is not None:
                return msgspec.convert(event.document.get("registration", {}), RegistrationState)
        raise SipProfileError("closed", "The registry was closed.")

    async def _command(self, op: str, profile: Profile) -> None:
        """A command that answers with the state."""
        id_ = profile.id
        await self.sip.command(op, lambda answer: self._accept_state(id_, answer), profile=id_)

    def _handle(self, id_: int) -> Profile:
        return Profile(self, id_)
