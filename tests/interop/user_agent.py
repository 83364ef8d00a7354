"""The user agent of the core on real sockets: one registered profile, an owner that keeps what it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Any, Self

from sipprofile.agents.ietf import IetfAgent
from sipprofile.net.transports import Transports
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import FlowRecord, ProfileRecord
from sipprofile.registration.actions import (
    Action,
    CloseTransport,
    OpenTransport,
    Probe,
    Resolve,
    Send,
    TransportKey,
)
from sipprofile.registration.registrations import Registrations
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.sip.message import Request, Response
from sipprofile.useragent import client, server
from sipprofile.useragent.agent import UserAgent
from sipprofile.useragent.draft import Answer, Draft
from sipprofile.useragent.incoming import Incoming
from sipprofile.useragent.leg import Leg
from sipprofile.useragent.outgoing import Outgoing
from sipprofile.useragent.profile_line import profile_line

LIMIT = 10.0  # seconds


class Teller:
    """The owner of everything."""

    label = "test"

    def __init__(self, agent: CoreUserAgent) -> None:
        self.agent = agent
        self.statuses: dict[int, list[int]] = {}
        self.responses: dict[int, list[Response]] = {}
        self.codes: dict[int, str] = {}
        self.legs: list[Leg] = []
        self.ended: list[tuple[int, str]] = []
        self.requests: list[Request] = []
        self.answer = Answer(200)

    def requested(self, incoming: Incoming, now: float) -> None:
        """It is answered as the test has said."""
        self.requests.append(incoming.request)
        if not incoming.final:
            server.respond(self.agent.user_agent, incoming, self.answer, now)

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None: ...

    def acknowledged(self, incoming: Incoming, ack: Request | None, now: float) -> None: ...

    def provisionally_acknowledged(self, incoming: Incoming, rseq: int, now: float) -> None: ...

    def responded(self, outgoing: Outgoing, response: Response, leg: Leg | None, now: float) -> None:
        self.statuses.setdefault(outgoing.number, []).append(response.status)
        self.responses.setdefault(outgoing.number, []).append(response)
        if leg is not None and leg not in self.legs:
            self.legs.append(leg)

    def failed(self, outgoing: Outgoing, code: str, now: float) -> None:
        self.codes[outgoing.number] = code

    def leg_changed(self, leg: Leg, code: str, now: float) -> None:
        self.ended.append((leg.number, code))


class CoreUserAgent:
    """``async with CoreUserAgent(aor, registrar, password) as agent``: registered when it begins."""

    def __init__(self, aor: str, registrar: str, password: str = "secret", **changes: Any) -> None:
        user = aor.partition(":")[2].partition("@")[0]
        self.profile = Profile(
            id=1,
            name="p1",
            aor=aor,
            registrar=ServerParameters(uri=registrar, username=user, password=password),
            instance_id="00000000-0000-4000-8000-000000000001",
            **changes,
        )
        self._actions: list[Action] = []
        self._rows: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.registrations = Registrations(
            settings=RegistrationSettings(),
            random=Random(),
            emit=lambda _: None,
            save=self._rows.append,
            act=self._actions.append,
            wall_offset=time.time() - self.now,
            boot_id="test",
        )
        self.user_agent = UserAgent(self.registrations, self._deliver, b"secret")
        self.owner = Teller(self)

    @property
    def now(self) -> float:
        return time.monotonic()

    async def __aenter__(self) -> Self:
        self._transports = Transports(
            bind=("127.0.0.1",),
            port=0,
            received=self._received,
            opened=self._opened,
            failed=self._failed,
            flush=self._settle,
        )
        await self._transports.start()
        row = self.registrations.new_flow(1)
        self.registrations.add(
            ProfileRecord(self.profile, 1, "", (row,)), IetfAgent(), self.now, wanted=True, waiting=True
        )
        self._settle()
        await self.until(lambda: self.registrations.state(1).status == "registered", "registered")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._transports.stop()

    # -- what a test does

    def send(self, method: str, uri: str = "", *, leg: Leg | None = None, **draft: Any) -> Outgoing:
        line = profile_line(self.user_agent, 1)
        outgoing = client.send(self.user_agent, self.owner, line, Draft(method, uri=uri, **draft), self.now, leg)
        self._settle()
        return outgoing

    def cancel(self, outgoing: Outgoing) -> None:
        client.cancel(self.user_agent, outgoing, self.now)
        self._settle()

    def acknowledge(self, leg: Leg, body: bytes, content_type: str) -> None:
        client.acknowledge(self.user_agent, leg, (), body, content_type, self.now)
        self._settle()

    def fetch_bindings(self) -> Outgoing:
        line = profile_line(self.user_agent, 1)
        outgoing = client.fetch_bindings(self.user_agent, self.owner, line, self.now)
        self._settle()
        return outgoing

    async def final(self, outgoing: Outgoing) -> int:
        """The final status; raises AssertionError when none comes."""
        statuses, codes = self.owner.statuses, self.owner.codes
        await self.until(
            lambda: statuses.get(outgoing.number, [0])[-1] >= 200 or outgoing.number in codes, f"answer to {outgoing}"
        )
        assert outgoing.number not in codes, codes[outgoing.number]
        return statuses[outgoing.number][-1]

    async def until(self, promise: Callable[[], bool], what: str) -> None:
        async with asyncio.timeout(LIMIT):
            while not promise():
                self._changed.clear()
                await self._changed.wait()

    # -- the world

    def _deliver(self, incoming: Incoming, now: float) -> None:
        incoming.owner = self.owner
        self.owner.requested(incoming, now)

    def _received(self, data: bytes, source: tuple[str, int], key: TransportKey) -> None:
        request = self.registrations.received(data, source, key, self.now)
        if request is not None:
            server.received(self.user_agent, request, source, key, self.now)

    def _opened(self, key: TransportKey, local: tuple[str, int], mtu: int) -> None:
        self.registrations.transport_opened(key, local, self.now, mtu)
        self._settle()

    def _failed(self, key: TransportKey, code: str, sentence: str) -> None:
        self.registrations.transport_failed(key, code, sentence, self.now)
        self._settle()

    def _due(self) -> None:
        self.registrations.timer(self.now)
        self._settle()

    def _settle(self) -> None:
        while self._actions or self._rows:
            actions, self._actions[:] = self._actions[:], []
            for action in actions:
                self._perform(action)
            rows, self._rows[:] = self._rows[:], []
            for row in rows:
                if isinstance(row, FlowRecord):
                    self.registrations.saved(row, self.now)
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
        at = self.registrations.next_timer()
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self.now), self._due)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Send):
            self._transports.send(action.key, action.data)
        elif isinstance(action, OpenTransport):
            self._transports.open(action.key)
        elif isinstance(action, CloseTransport):
            self._transports.close(action.key)
        elif isinstance(action, Resolve):
            self.registrations.resolve_failed(action.question, "resolve_not_found", 60.0, self.now)
        elif isinstance(action, Probe):
            local, used, mtu = self._transports.probe(action.key)
            self.registrations.transport_probed(action.key, local, used, mtu, self.now)
