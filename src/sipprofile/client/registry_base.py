"""What both registries have in common (``CSIPProfileRegistryBase``): retrieval, events, giving back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

import msgspec

from ..errors import SipProfileError
from ..events import Event, Reason
from ..profile import ProfileType
from .document import decode, failure, identify
from .events import AnyEvent, EventStream, ProfileRegistryObserver, tell
from .held import HeldRecords, meanwhile
from .profile import Nothing, Profile
from .sip import Frame, Sip

Handle = TypeVar("Handle", bound=Profile)

CHUNK = 500
"""Profiles held with one command; keeps the answer well below the largest frame."""

PAGE = 1000
"""Profiles listed with one request (the interface's maximum)."""

GIVE_BACK_LIMIT = 5.0
"""Seconds that closing waits for the service; it gives everything back when the connection ends."""


class SupportedType(msgspec.Struct, rename={"profile_class": "class"}):
    """A profile type with an installed agent: its fields, and what it does not support yet."""

    name: str
    profile_class: str = "other"
    fields: dict[str, dict[str, Any]] = {}
    transports: list[str] = []
    not_supported: list[str] = []
    extensions: dict[str, Any] = {}


class _Types(msgspec.Struct):
    types: list[SupportedType]


class _Held(msgspec.Struct):
    profiles: list[msgspec.Raw]


class _Id(msgspec.Struct):
    id: int


class _Page(msgspec.Struct):
    profiles: list[_Id]
    cursor: str | None = None


class _Registration(msgspec.Struct):
    registration: msgspec.Raw


class RegistryBase(Generic[Handle]):
    """Profiles of one :class:`~sipprofile.Sip`; use it as an asynchronous context manager."""

    def __init__(self, sip: Sip, *, observer: ProfileRegistryObserver | None = None) -> None:
        self.sip = sip
        self.records = HeldRecords()
        self.enabled: set[int] = set()
        self._observer = observer
        self._streams: WeakSet[EventStream] = WeakSet()
        self._lost: deque[int] = deque()
        self._waking = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._teller: asyncio.Task[None] | None = None

    # Life

    @property
    def is_open(self) -> bool:
        """Between :meth:`open` and :meth:`close`."""
        return self._loop is not None

    async def open(self) -> None:
        """Begin to listen; opens the Sip session if that was not done."""
        if self._loop is not None:
            return
        await self.sip.open()
        self._loop = asyncio.get_running_loop()
        self.sip.attach(self)
        if self._observer is not None:
            self._teller = asyncio.create_task(self._tell(self._observer, self.events()))

    async def close(self) -> None:
        """Disable what this registry enabled, release what it holds, end its iterators; its profiles are closed."""
        if self._loop is None:
            return
        self._loop = None
        enabled, ids = sorted(self.enabled), self.records.ids()
        for id_ in enabled:
            self.unused(id_)
        self.records.clear()
        self.sip.detach(self)
        answers = [self.sip.submit("disable", profile=id_) for id_ in enabled]
        if not self.sip.closing:  # else the end of the session releases everything
            answers += [self.sip.submit("release", profile=id_) for id_ in ids if not self.sip.holds(id_)]
        for stream in tuple(self._streams):
            stream.close()
        await _settled(answers)
        if self._teller is not None and self._teller is not asyncio.current_task():
            await self._teller

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Retrieval

    async def profile(self, id: int | None = None, *, name: str | None = None) -> Handle:
        """The profile with this id or this name (``ProfileL``); raises ``not_found``."""
        if (id is None) == (name is None):
            raise SipProfileError("invalid_value", "Give either the id or the name of the profile.", field="id")
        member = {"profile": id} if id is not None else {"name": name}
        return (await self._hold(**member))[0]

    async def default_profile(self) -> Handle:
        """The default profile (``DefaultProfileL``); raises ``not_found`` when there is none."""
        return (await self._hold(default=True))[0]

    async def profiles(
        self, *, type: str | ProfileType | None = None, aor: str | None = None, label: str | None = None
    ) -> list[Handle]:
        """All profiles (``ProfilesL``), or those that match everything given.

        AORs are compared as URIs (RFC 3261 §19.1.4); a label is ``key`` or ``key=value``.
        """
        query = {"type": type.name if isinstance(type, ProfileType) else type, "aor": aor, "label": label}
        found: list[Handle] = []
        cursor: str | None = None
        while True:
            given = {name: value for name, value in {**query, "cursor": cursor}.items() if value is not None}
            content = await self.sip.request("GET", "/v1/profiles", query={**given, "limit": str(PAGE)})
            page = msgspec.json.decode(content, type=_Page)
            for start in range(0, len(page.profiles), CHUNK):
                found += await self._hold_all([one.id for one in page.profiles[start : start + CHUNK]])
            cursor = page.cursor
            if not cursor:
                return found

    async def supported_types(self) -> list[SupportedType]:
        """The profile types with an installed agent (``SupportedProfileTypesL``)."""
        return msgspec.json.decode(await self.sip.request("GET", "/v1/types"), type=_Types).types

    def last_registration_error(self, profile: Handle) -> Reason | None:
        """Why the registration fails at present, or ``None`` (``LastRegistrationError``)."""
        return failure(profile.registration)

    def events(self, profile: Handle | None = None) -> EventStream:
        """Everything that happens from now on, or what happens to one profile, to be iterated over."""
        return self._stream(None if profile is None else profile.id)

    # What a kind of registry adds

    def _handle(self, id_: int) -> Handle:
        raise NotImplementedError

    # Holding

    async def _hold(self, **member: Any) -> list[Handle]:
        self._check_open()
        handles: list[Handle] = await self.sip.command("hold", self._adopt_all, **member)
        return handles

    async def _hold_all(self, ids: list[int]) -> list[Handle]:
        """Hold what is still there of ``ids``."""
        try:
            return await self._hold(ids=ids)
        except SipProfileError as error:
            if error.code != "not_found":
                raise
        found: list[Handle] = []
        for id_ in ids:
            try:
                found += await self._hold(profile=id_)
            except SipProfileError as error:
                if error.code != "not_found":
                    raise
        return found

    def _adopt_all(self, answer: msgspec.Raw) -> list[Handle]:
        found: list[Handle] = []
        for raw in msgspec.json.decode(answer, type=_Held).profiles:
            id_ = identify(raw).id
            self.records.add(id_, bytes(raw))
            found.append(self._handle(id_))
        return found

    def _accept_state(self, id_: int, answer: msgspec.Raw) -> None:
        """The answer to a command that says the state."""
        self.records.set_state(id_, msgspec.json.decode(answer, type=_Registration).registration)

    def _check_open(self) -> None:
        if self._loop is None:
            raise SipProfileError("closed", "This registry is not open.")

    def _check_mine(self, profile: Profile) -> None:
        self._check_open()
        if profile._registry is None:
            raise SipProfileError("closed", "This profile object is closed.")
        if profile._registry is not self:
            raise SipProfileError("invalid_value", "This profile came from another registry.", field="profile")

    # Giving back

    def handle_lost(self, id_: int) -> None:
        """An instance was garbage-collected, perhaps in another thread."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        self._lost.append(id_)
        if not self._waking:  # read after the append, cleared before the release: nothing is forgotten
            self._waking = True
            try:
                loop.call_soon_threadsafe(self._release_lost)
            except RuntimeError:  # the loop was closed between the lines
                self._lost.clear()

    def _release_lost(self) -> None:
        self._waking = False
        while self._lost:
            self._let_go(self._lost.popleft())

    def close_handle(self, id_: int) -> Awaitable[None]:
        """An instance was closed; in another thread this returns when the service has answered."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return Nothing()
        if _running() is loop:
            return asyncio.ensure_future(_settled(self._let_go(id_)))

        async def there() -> None:
            await _settled(self._let_go(id_))

        asyncio.run_coroutine_threadsafe(there(), loop).result()
        return Nothing()

    def _let_go(self, id_: int) -> list[asyncio.Future[Any]]:
        """One instance less; the last one releases the profile, which disables it."""
        if not self.records.drop(id_):
            return []
        enabled = id_ in self.enabled
        self.unused(id_)
        if not self.sip.holds(id_):
            return [self.sip.submit("release", profile=id_)]
        return [self.sip.submit("disable", profile=id_)] if enabled else []

    def unused(self, id_: int) -> None:
        """This registry has it enabled no more, so its connection ends."""
        if id_ in self.enabled:
            self.enabled.discard(id_)
            self.sip.transaction_user.drop(id_)

    # From the session

    def received(self, frame: Frame) -> None:
        """An event of the session: renew the values, then tell."""
        id_ = frame.profile
        held = id_ in self.records
        if not held and frame.event not in ("created", "forcibly_disabled"):
            return
        if frame.document and frame.event == "updated":
            self.records.renew(bytes(frame.document))
        elif frame.state:
            self.records.set_state(id_, frame.state)
        if frame.event in ("forcibly_disabled", "destroyed"):
            self.unused(id_)
        if self._streams:
            self.publish(frame.as_event())

    async def restore(self) -> dict[int, SipProfileError]:
        """On a new connection: hold and enable again, tell what changed meanwhile; returns what failed."""
        errors: dict[int, SipProfileError] = {}
        ids = self.records.ids()
        for start in range(0, len(ids), CHUNK):
            chunk = [id_ for id_ in ids[start : start + CHUNK] if id_ in self.records]
            try:
                await self.sip.command("hold", self._renew_all, ids=chunk)
            except SipProfileError as error:
                if error.code == "service_gone":
                    raise
                for id_ in chunk:
                    await self._hold_again(id_, errors)
        for id_ in sorted(self.enabled):
            try:
                await self.sip.command("enable", self._state_acceptor(id_), profile=id_)
            except SipProfileError as error:
                if error.code == "service_gone":
                    raise
                if error.code != "already_enabled":  # the session was resumed
                    self.unused(id_)
                    errors[id_] = error
        return errors

    async def _hold_again(self, id_: int, errors: dict[int, SipProfileError]) -> None:
        try:
            await self.sip.command("hold", self._renew_all, profile=id_)
        except SipProfileError as error:
            if error.code == "service_gone":
                raise
            self.unused(id_)
            if error.code != "not_found":
                errors[id_] = error
            elif id_ in self.records:
                self.publish(Event("destroyed", id_, self.records.document(id_).name))

    def _state_acceptor(self, id_: int) -> Any:
        return lambda answer: self._accept_state(id_, answer)

    def _renew_all(self, answer: msgspec.Raw) -> None:
        for raw in msgspec.json.decode(answer, type=_Held).profiles:
            record = bytes(raw)
            id_ = identify(record).id
            if id_ in self.records:
                old = self.records.record(id_)
                self.records.replace(id_, record)
                for event in meanwhile(decode(old), decode(record)):
                    self.publish(event)

    # To the application

    def publish(self, event: AnyEvent) -> None:
        """Tell every iterator and the observer."""
        for stream in tuple(self._streams):
            stream.put(event)

    def _stream(self, id_: int | None) -> EventStream:
        stream = EventStream(id_)
        if self._loop is None:
            stream.close()
        self._streams.add(stream)
        return stream

    async def _tell(self, observer: ProfileRegistryObserver, stream: EventStream) -> None:
        async for event in stream:
            try:
                await tell(observer, event)
            except Exception as error:  # the application's mistake must neither end the events nor be hidden
                context = {"message": f"Observer {observer!r} raised on {event.event}", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


async def _settled(answers: list[asyncio.Future[Any]]) -> None:
    """Wait for commands that fail only when there is nothing to give back, or nobody to give it back to."""
    if answers:
        await asyncio.wait(answers, timeout=GIVE_BACK_LIMIT)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
