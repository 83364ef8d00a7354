"""The whole common case in one line: use a profile while a block runs."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from ..claims import Claim
from .events import EventStream
from .profile import Profile
from .registry import ProfileRegistry
from .sip import Sip

if TYPE_CHECKING:
    from .content import HeaderFields
    from .incoming import IncomingRequest
    from .invite_dialog import InviteDialog
    from .response import Response
    from .sip_connection import SipConnection
    from .subscription import Subscription


class Line:
    """A profile in use: enabled on entering ``async with``, given back on leaving. Made by :func:`use`."""

    def __init__(
        self,
        name: str | None,
        sip: Sip,
        wait: bool,
        timeout: float | None,
        claims: Iterable[Claim | str] = (),
    ) -> None:
        self.sip = sip
        self.registry = ProfileRegistry(sip)
        self._name = name
        self._wait = wait
        self._timeout = timeout
        self._claims = [Claim(methods=[claim]) if isinstance(claim, str) else claim for claim in claims]
        self._profile: Profile | None = None

    @property
    def profile(self) -> Profile:
        """The profile; only inside the block."""
        if self._profile is None:
            raise RuntimeError("The profile is there inside 'async with sipprofile.use(...)' only.")
        return self._profile

    def events(self) -> EventStream:
        """What happens to this profile and to the service from now on, as an asynchronous iterator."""
        return self.registry.events(self.profile)

    async def connection(self) -> SipConnection:
        """What sends and receives for this profile; everything below is done with it."""
        return await self.registry.connection(self.profile)

    async def request(
        self,
        method: str,
        uri: str | None = None,
        *,
        text: str | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Response:
        """Send a request and return its final response; :meth:`SipConnection.request` has more options."""
        connection = await self.connection()
        return await connection.request(
            method, uri, text=text, body=body, content_type=content_type, headers=headers, timeout=timeout
        )

    async def message(self, uri: str, text: str, *, timeout: float | None = None) -> Response:  # noqa: ASYNC109
        """Send a text (MESSAGE)."""
        return await (await self.connection()).message(uri, text, timeout=timeout)

    async def invite(
        self,
        uri: str,
        *,
        body: bytes | str | None = None,
        content_type: str | None = None,
        headers: HeaderFields = (),
    ) -> InviteDialog:
        """Call ``uri``; see :meth:`SipConnection.invite`."""
        connection = await self.connection()
        return await connection.invite(uri, body=body, content_type=content_type, headers=headers)

    async def subscribe(self, event: str, uri: str | None = None, *, expires: int = 3600) -> Subscription:
        """Subscribe to an event package; see :meth:`SipConnection.subscribe`."""
        return await (await self.connection()).subscribe(event, uri, expires=expires)

    async def requests(self) -> AsyncIterator[IncomingRequest]:
        """The requests that were claimed; without any claim, everything that nobody else has claimed.

        Raises ``claim_in_use`` when that is claimed already; see :meth:`SipConnection.requests`.
        """
        connection = await self.connection()
        if not connection.claims:
            await connection.claim(default=True)
        async for request in connection.requests():
            yield request

    async def __aenter__(self) -> Line:
        await self.sip.open()
        try:
            await self.registry.open()
            if self._name is None or self._name == "default":
                self._profile = await self.registry.default_profile()
            else:
                self._profile = await self.registry.profile(name=self._name)
            await self.registry.enable(self._profile)
            for claim in self._claims:
                await (await self.connection()).claim(claim)
            if self._wait:
                await self.registry.wait_registered(self._profile, self._timeout)
        except BaseException:
            await self.sip.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.sip.close()


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
    """Use the profile ``name`` (the default profile when absent) while an ``async with`` block runs.

    Entering waits until it is registered, unless ``wait`` is false, and raises :class:`RegistrationFailed` as
    soon as the answer is no, ``timed_out`` after ``timeout`` seconds, ``not_found``, ``service_unavailable``.
    ``app`` is the label operators see, by default the program's name. ``claims``: what is to come by
    :meth:`Line.requests`, a :class:`Claim` or the name of a method; ``claim_in_use`` when somebody else has it. ::

        async with sipprofile.use("trunk", claims=["MESSAGE", Claim(events=["presence"])]) as line:
            async for request in line.requests():
                await request.respond(200)
    """
    return Line(name, Sip(application(app), url=url, token=token), wait, timeout, claims)


def application(app: str | None) -> str:
    """``app``, or the program's name."""
    return app or os.path.basename(sys.argv[0]) or "python"
