"""The event stream (Server-Sent Events, HTML Living Standard §9.2), resumable from a ring of recent events.

Readers have no queue of their own: each reads the ring at its own speed, and one that falls out of it gets a
``reset`` and the present state of every profile.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
from aiohttp import web

from ..errors import SipProfileError
from ..events import Event
from ..service.operations import Get, List
from ..service.policy import Actor, require
from .daemon import Daemon
from .profiles import LARGEST_ID, LONGEST_PAGE
from .revocation import REVOCATION
from .routes import DAEMON, Parameter, Route, actor_of, query_values, whole_number

RING = 4096  # events kept for readers that come back
BATCH = 256  # events written at once
STALL_LIMIT = 60.0  # seconds in which a reader must take what is written
KEEPALIVE = 15.0  # seconds of silence before a comment is sent, so that proxies keep the connection


class EventRing:
    """The last :data:`RING` events, numbered from 1; ``epoch`` changes with every start of the service.

    A reader knows the numbers of events that it was sent, or the last one before it came. So nothing is kept before the
    first reader comes, and nothing any more when the last one has been gone for so many events that all that it knows
    of have fallen out. What is not kept is counted all the same.
    """

    def __init__(self, streams: int, size: int = RING) -> None:
        self.epoch = secrets.token_hex(4)
        self.last = 0
        self.closed = False
        self._streams = streams
        self._slots: list[Event | None] = [None] * size
        self._readers: set[asyncio.Event] = set()
        self.keeps = False
        """Whether anybody reads, or could come back for what has happened."""
        self._kept_until = 0
        """The number of the last event that is kept for readers who have gone."""
        self._gone = 0
        """The number of the last event that was not kept."""

    def append(self, event: Event) -> None:
        """Number ``event``; if it is to be kept, do so and wake the readers."""
        if self.keeps and not self._readers and self.last >= self._kept_until:
            self.keeps = False
            self._slots = [None] * len(self._slots)
        if not self.keeps:
            self.count()
            return
        self.last += 1
        self._slots[self.last % len(self._slots)] = event
        for reader in self._readers:
            reader.set()

    def count(self) -> None:
        """Number an event that nobody can ask for."""
        self.last += 1
        self._gone = self.last

    def after(self, position: int) -> list[tuple[int, Event]] | None:
        """At most :data:`BATCH` events after ``position``; ``None`` when some of them are lost."""
        if not max(self._gone, self.last - len(self._slots)) <= position <= self.last:
            return None
        found: list[tuple[int, Event]] = []
        for number in range(position + 1, min(self.last, position + BATCH) + 1):
            event = self._slots[number % len(self._slots)]
            assert event is not None
            found.append((number, event))
        return found

    def position(self, last_event_id: str | None) -> int:
        """Where a reader goes on: after the event it names, at the end when it names none, -1 when that is lost."""
        if not last_event_id:
            return self.last
        epoch, _, number = last_event_id.partition("-")
        if epoch != self.epoch or not (number.isascii() and number.isdecimal()) or len(number) > 19:
            return -1
        return int(number)

    def reader(self) -> asyncio.Event:
        """What is set when there is something new; raises ``too_many_sessions``."""
        if len(self._readers) >= self._streams:
            raise SipProfileError("too_many_sessions", "Too many event streams are open; see limits.event_streams.")
        woken = asyncio.Event()
        self._readers.add(woken)
        self.keeps = True
        return woken

    def leave(self, reader: asyncio.Event) -> None:
        """The reader has gone."""
        self._readers.discard(reader)
        self._kept_until = self.last + len(self._slots)

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        for reader in self._readers:
            reader.set()


EVENTS: web.AppKey[EventRing] = web.AppKey("events", EventRing)


class Reader(NamedTuple):
    """One client of the stream; ``profile`` limits it to one profile."""

    daemon: Daemon
    ring: EventRing
    actor: Actor
    profile: int | None

    async def snapshot(self) -> AsyncIterator[bytes | msgspec.Raw]:
        """The document of every profile this reader follows."""
        if self.profile is not None:
            try:
                yield msgspec.json.encode(await self.daemon.ask(self.actor, Get(self.profile)))
            except SipProfileError as error:
                if error.code != "not_found":
                    raise
            return
        after = 0
        while True:
            page = await self.daemon.ask(self.actor, List(after=after, limit=LONGEST_PAGE))
            for document in page["profiles"]:
                yield document
            if page["cursor"] is None:
                return
            after = int(page["cursor"])

    async def chunks(self, position: int, woken: asyncio.Event) -> AsyncIterator[bytes]:
        """The stream from ``position`` on, in pieces to be written one after the other."""
        epoch = self.ring.epoch
        while not self.ring.closed:
            woken.clear()
            batch = self.ring.after(position)
            if batch is None:
                position = self.ring.last
                yield message(epoch, position, "reset", b"{}")
                async for document in self.snapshot():
                    yield message(epoch, position, "status", _status(document))
                continue
            chosen = [
                message(epoch, number, event.event, msgspec.json.encode(event))
                for number, event in batch
                if self.profile is None or event.profile == self.profile
            ]
            if chosen:
                yield b"".join(chosen)
            if batch:
                position = batch[-1][0]
                continue
            try:
                async with asyncio.timeout(KEEPALIVE):
                    await woken.wait()
            except TimeoutError:
                yield b": keepalive\n\n"


def message(epoch: str, number: int, name: str, data: bytes) -> bytes:
    """One event as the stream writes it; JSON has no line breaks."""
    return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (epoch.encode(), number, name.encode(), data)


class Shown(msgspec.Struct):
    """What of a profile's document an event about it has."""

    id: int
    name: str
    registration: msgspec.Raw


_shown = msgspec.json.Decoder(Shown).decode


def _status(document: bytes | msgspec.Raw) -> bytes:
    shown = _shown(document)
    return msgspec.json.encode(
        {
            "event": "status",
            "profile": shown.id,
            "name": shown.name,
            "state": shown.registration,
            "at": time.time(),
        }
    )


def _reading(actor: Actor) -> Actor:
    """Who may follow everything is told the present state too when events were lost."""
    return Actor(actor.label, actor.capabilities | {"read"}, actor.uid)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def events(request: web.Request) -> web.StreamResponse:
    """Write events until the client or the service goes."""
    query = query_values(request, ("profile",))
    daemon, ring, actor = request.app[DAEMON], request.app[EVENTS], actor_of(request)
    profile: int | None = None
    if "profile" in query:
        profile = whole_number(query["profile"], "profile", 1, LARGEST_ID)
        await daemon.ask(actor, Get(profile))  # refuses what does not exist
    else:
        require(actor, "control")
    woken = ring.reader()
    try:
        position = ring.position(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        with request.app[REVOCATION].watched(request, lambda: _abort(request)):
            await response.prepare(request)
            await response.write(b": sipprofile\n\n")  # tells the client that it is connected
            async for chunk in Reader(daemon, ring, _reading(actor), profile).chunks(position, woken):
                async with asyncio.timeout(STALL_LIMIT):
                    await response.write(chunk)
    except ConnectionError:  # the client has gone
        pass
    except TimeoutError:  # it does not read; its place in the ring is for somebody who does
        _abort(request)
    finally:
        ring.leave(woken)
    return response


ROUTES = (
    Route(
        "GET",
        "/v1/events",
        events,
        "streamEvents",
        "Events as they happen; all of them need the capability 'control', those of one profile 'read'.",
        ("read", "control"),
        (
            Parameter("profile", "query", "Only events of this profile.", {"type": "integer", "minimum": 1}),
            Parameter("Last-Event-ID", "header", "Go on after this event.", {"type": "string"}),
        ),
        None,
        "EventStream",
        media="text/event-stream",
    ),
)
