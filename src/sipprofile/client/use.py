"""The whole common case in one line: use a profile while a block runs."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from .events import EventStream
from .profile import Profile
from .registry import ProfileRegistry
from .sip import Sip


class Line:
    """A profile in use: enabled on entering ``async with``, given back on leaving. Made by :func:`use`."""

    def __init__(self, name: str | None, sip: Sip, wait: bool, timeout: float | None) -> None:
        self.sip = sip
        self.registry = ProfileRegistry(sip)
        self._name = name
        self._wait = wait
        self._timeout = timeout
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

    async def __aenter__(self) -> Line:
        await self.sip.open()
        try:
            await self.registry.open()
            if self._name is None or self._name == "default":
                self._profile = await self.registry.default_profile()
            else:
                self._profile = await self.registry.profile(name=self._name)
            await self.registry.enable(self._profile)
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
) -> Line:
    """Use the profile ``name`` (the default profile when absent) while an ``async with`` block runs.

    Entering waits until it is registered, unless ``wait`` is false, and raises :class:`RegistrationFailed` as
    soon as the answer is no, ``timed_out`` after ``timeout`` seconds, ``not_found``, ``service_unavailable``.
    ``app`` is the label operators see, by default the program's name.
    """
    return Line(name, Sip(application(app), url=url, token=token), wait, timeout)


def application(app: str | None) -> str:
    """``app``, or the program's name."""
    return app or os.path.basename(sys.argv[0]) or "python"
