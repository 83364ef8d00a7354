"""One application's session with the service (``CSIP``)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import msgspec

from ..errors import SipProfileError
from ..events import PROTOCOL_VERSION, Event, EventName, RegistrationState
from . import endpoint as addresses
from .arrival import ARRIVALS
from .connection import Connection
from .events import ServiceEvent
from .transaction_user import TransactionUser

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

    from .registry_base import RegistryBase

FIRST_DELAY = 0.2  # seconds before the first attempt to connect again
LONGEST_DELAY = 5.0
ANSWER_LIMIT = 30.0  # seconds for the service to answer a command
HELLO_LIMIT = 10.0

EVENTS = frozenset(EventName.__args__)  # type: ignore[attr-defined]


class Frame(msgspec.Struct):
    """What the service sends: the answer to a command, or an event."""

    id: int | None = None
    ok: msgspec.Raw = msgspec.Raw()
    error: dict[str, Any] | None = None
    event: str | None = None
    profile: int = 0
    name: str = ""
    state: msgspec.Raw = msgspec.Raw()
    document: msgspec.Raw = msgspec.Raw()
    skipped: int = 0
    at: float = 0.0

    def as_event(self) -> Event:
        """The event as the application gets it."""
        state = msgspec.json.decode(self.state, type=RegistrationState) if self.state else None
        document = msgspec.json.decode(self.document) if self.document else None
        name = cast(EventName, self.event)
        return Event(name, self.profile, self.name, state, document, self.skipped, self.at)


class _Hello(msgspec.Struct):
    session: str
    version: int = PROTOCOL_VERSION
    service: str = ""


class _Pending(NamedTuple):
    answered: asyncio.Future[Any]
    accept: Callable[[msgspec.Raw], Any] | None


_frame = msgspec.json.Decoder(Frame)


class Sip:
    """An application's session; use it as an asynchronous context manager, with registries inside.

    ``app`` is a label for operators, such as ``com.example.agent``. ``url`` and ``token`` are found in the
    environment when absent (``SIPPROFILE_URL``, ``SIPPROFILE_TOKEN``).

    When the connection is lost, commands raise ``service_gone``, and the session connects again by itself
    (after 0.2 s, later every 5 s), resumes, and holds and enables what was held and enabled. Registries tell
    so by ``service_gone`` and ``service_back``.
    """

    def __init__(self, app: str, *, url: str | None = None, token: str | None = None) -> None:
        self.app = app
        self.service = ""
        """Name and version of the service, once connected."""
        self.transaction_user = TransactionUser(self)
        self._connection = Connection(url, token)
        self._registries: list[RegistryBase[Any]] = []
        self._socket: ClientWebSocketResponse | None = None
        self._resume: str | None = None
        self._number = 0
        self._pending: dict[int, _Pending] = {}
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._keeper: asyncio.Task[None] | None = None
        self._said: SipProfileError | None = None
        self.closing = False

    @property
    def url(self) -> str:
        """The address that is used."""
        return self._connection.endpoint.url

    @property
    def connected(self) -> bool:
        """Commands can be sent at present."""
        return self._socket is not None

    async def open(self) -> None:
        """Connect and say hello; raises ``service_unavailable``, or the service's refusal."""
        if self.closing:
            raise SipProfileError("closed", "This session is closed.")
        if self._keeper is not None:
            return
        await self._connection.open()
        try:
            socket = await self._connect()
        except BaseException:
            await self._connection.close()
            raise
        self._keeper = asyncio.create_task(self._keep(socket))

    async def close(self) -> None:
        """Close the registries and end the session at once; nothing lingers as for a lost one."""
        if self.closing:
            return
        self.closing = True
        for registry in tuple(self._registries):
            await registry.close()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._socket is not None:  # the keeper had not begun
            socket, self._socket = self._socket, None
            await socket.close()
        await self._connection.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One HTTP request to the service's interface; returns the body."""
        return await self._connection.request(method, path, body, query=query, headers=headers)

    async def command(self, op: str, accept: Callable[[msgspec.Raw], Any] | None = None, /, **members: Any) -> Any:
        """Send a command and return what ``accept`` makes of its answer; raises the service's error.

        ``accept`` is called before any later event is handled, even when the caller has been cancelled.
        """
        return await self.within_limit(self.submit(op, accept, **members), op)

    async def within_limit(self, answered: asyncio.Future[Any], op: str) -> Any:
        """Wait for the answer to ``op``; raises ``timed_out`` when it takes too long."""
        try:
            async with asyncio.timeout(ANSWER_LIMIT):  # wait_for of Python 3.11 may lose a cancellation
                return await answered
        except TimeoutError:
            raise SipProfileError("timed_out", f"The service at {self.url} did not answer {op!r} in time.") from None

    def submit(
        self, op: str, accept: Callable[[msgspec.Raw], Any] | None = None, /, **members: Any
    ) -> asyncio.Future[Any]:
        """Send a command, in the order of the calls, without waiting for the answer."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answered.add_done_callback(_seen)
        if self._socket is None:
            answered.set_exception(self._gone())
            return answered
        self._number += 1
        self._pending[self._number] = _Pending(answered, accept)
        self._outgoing.put_nowait(msgspec.json.encode({"id": self._number, "op": op, **members}))
        return answered

    def attach(self, registry: RegistryBase[Any]) -> None:
        """From now on this registry gets events."""
        self._registries.append(registry)

    def detach(self, registry: RegistryBase[Any]) -> None:
        """No more events for this registry."""
        if registry in self._registries:
            self._registries.remove(registry)

    def holds(self, id_: int) -> bool:
        """One of the registries holds this profile."""
        return any(id_ in registry.records for registry in self._registries)

    def _gone(self, cause: BaseException | str = "connecting again") -> SipProfileError:
        if self.closing or self._keeper is None:
            return SipProfileError("closed", "This session is not open.")
        return addresses.unreachable(self._connection.endpoint, cause, "service_gone")

    async def _connect(self) -> ClientWebSocketResponse:
        """Open the WebSocket and say hello."""
        import aiohttp

        socket = await self._connection.websocket()
        try:
            hello: dict[str, Any] = {"id": 0, "op": "hello", "version": PROTOCOL_VERSION, "app": self.app}
            if self._resume is not None:
                hello["resume"] = self._resume
            await socket.send_str(msgspec.json.encode(hello).decode())
            async with asyncio.timeout(HELLO_LIMIT):
                message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise addresses.unreachable(self._connection.endpoint, "it closed the connection at once")
            frame = _frame.decode(message.data)
            if frame.error is not None:
                raise SipProfileError.from_problem(frame.error)
            answer = msgspec.json.decode(frame.ok, type=_Hello)
        except BaseException as error:
            await socket.close()
            if isinstance(error, asyncio.TimeoutError):
                raise addresses.unreachable(self._connection.endpoint, "it did not answer in time") from None
            if isinstance(error, (OSError, aiohttp.ClientError, msgspec.MsgspecError)):
                raise addresses.unreachable(self._connection.endpoint, error) from None
            raise
        self._resume, self.service = answer.session, answer.service
        self._outgoing = asyncio.Queue()
        self._socket = socket
        return socket

    async def _keep(self, socket: ClientWebSocketResponse) -> None:
        """Serve one connection after the other until the session is closed."""
        back = False
        while True:
            writer = asyncio.create_task(self._write(socket, self._outgoing))
            restorer = asyncio.create_task(self._restore()) if back else None
            cause = "it was closed"
            try:
                cause = await self._read(socket)
            finally:
                self._socket = None
                writer.cancel()
                if restorer is not None:
                    restorer.cancel()
                error = self._said or self._gone(cause)
                self._said = None
                self._fail_pending(error)
                self.transaction_user.lost(error)
                await socket.close()
            for registry in tuple(self._registries):
                registry.publish(ServiceEvent("service_gone", error))
            socket = await self._connect_again()
            back = True

    async def _connect_again(self) -> ClientWebSocketResponse:
        delay = FIRST_DELAY
        while True:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            try:
                return await self._connect()
            except SipProfileError:  # every reason may pass: the service restarts, a token is renewed
                delay = min(LONGEST_DELAY, delay * 2)

    async def _restore(self) -> None:
        registries = tuple(self._registries)
        try:
            errors = [await registry.restore() for registry in registries]
            await self.transaction_user.restore()
        except SipProfileError:  # lost again; the next connection begins anew
            return
        for registry, failed in zip(registries, errors, strict=True):
            registry.publish(ServiceEvent("service_back", errors=failed))

    async def _read(self, socket: ClientWebSocketResponse) -> str:
        """Handle frames until the connection ends; returns why."""
        from aiohttp import WSMsgType

        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                self._received(_frame.decode(message.data), message.data)
            except msgspec.MsgspecError as error:
                return f"it sent what cannot be understood ({error})"
        failure = socket.exception()
        return str(failure) if failure is not None else "it was closed"

    async def _write(self, socket: ClientWebSocketResponse, outgoing: asyncio.Queue[bytes]) -> None:
        from aiohttp import ClientError

        while True:
            frame = await outgoing.get()
            try:
                await socket.send_str(frame.decode())
            except (OSError, ClientError, RuntimeError):  # the reader notices and says why
                return

    def _received(self, frame: Frame, data: str) -> None:
        if frame.event is None:
            pending = self._pending.pop(frame.id or 0, None)
            if pending is not None:
                _answer(pending, frame)
        elif frame.event in EVENTS:
            for registry in tuple(self._registries):
                registry.received(frame)
        elif frame.event in ARRIVALS:
            self.transaction_user.received(data)
        elif frame.event == "closing" and frame.error is not None:
            self._said = SipProfileError.from_problem(frame.error)

    def _fail_pending(self, error: SipProfileError) -> None:
        pending, self._pending = self._pending, {}
        for answered, _ in pending.values():
            if not answered.done():
                answered.set_exception(error)


def _answer(pending: _Pending, frame: Frame) -> None:
    answered, accept = pending
    if frame.error is not None:
        if not answered.done():
            answered.set_exception(SipProfileError.from_problem(frame.error))
        return
    try:
        result = accept(frame.ok) if accept is not None else None
    except msgspec.MsgspecError as error:
        if not answered.done():
            answered.set_exception(SipProfileError("internal", f"The answer cannot be understood: {error}."))
        return
    if not answered.done():
        answered.set_result(result)


def _seen(answered: asyncio.Future[Any]) -> None:
    """Nobody has to look at the error of a command that nobody waits for."""
    if not answered.cancelled():
        answered.exception()
