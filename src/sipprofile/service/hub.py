"""Who is told what: the frames that wait for each session, and who holds which profile.

Nobody waits for anybody. A state event replaces the unread one of the same profile, so a session's queue is bounded by
what it holds; so does an ``updated`` document, and the state of a connection. Other events queue, what is told of SIP
requests too, and too many unread ones end the session (``slow_consumer``). Replies queue too; they are bounded where
commands come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

import msgspec

from ..events import Event
from .effects import Effect, Publish, Wake

STATE_EVENTS = frozenset(("registered", "deregistered", "error", "status"))
DOCUMENT_EVENTS = frozenset(("created", "updated"))
TO_EVERYBODY = frozenset(("created", "forcibly_disabled"))

_encode = msgspec.json.Encoder().encode


STANDSTILL = 10.0
"""Seconds for which a session that has half of its limit unread may read nothing."""


class _Place:
    """The place in a queue of one event, which a later one of its kind may take over."""

    __slots__ = ("event", "skipped")

    def __init__(self, event: Event) -> None:
        self.event: Event | None = event
        self.skipped = 0

    def take_over(self, event: Event) -> None:
        """Replace the event, keeping the name that says more."""
        old = self.event
        if old is not None and old.event != event.event:
            same = old.state is not None and event.state is not None and old.state.status == event.state.status
            if old.event == "created" or (event.event == "status" and same):
                event = msgspec.structs.replace(event, event=old.event)
        self.event = event
        self.skipped += 1


class _Latest:
    """The place in a queue of a finished frame that a later one may take over."""

    __slots__ = ("frame", "profile")

    def __init__(self, profile: int, frame: bytes) -> None:
        self.profile = profile
        self.frame = frame


class Outbox:
    """What waits for one session, oldest first."""

    __slots__ = (
        "_at_once",
        "_connections",
        "_documents",
        "_queue",
        "_states",
        "_told_at",
        "alone",
        "awake",
        "busy_since",
        "listens",
        "replies",
        "session",
        "size",
        "unread",
    )

    def __init__(self, session: int) -> None:
        self.session = session
        self.listens = False
        """Gets the events that go to everybody."""
        self.unread = 0
        """Events that nothing may replace."""
        self.replies = 0
        self.size = 0
        """Bytes in the replies and in what was told of SIP requests."""
        self.awake = False
        self.busy_since = 0.0
        """When something was refused for want of room; 0 = never since it has read."""
        self.alone = (self,)
        self._queue: deque[_Place | _Latest | tuple[bytes] | bytes] = deque()
        """Replies are bytes, what was told of SIP requests are tuples of one frame."""
        self._states: dict[int, _Place] = {}
        self._documents: dict[int, _Place] = {}
        self._connections: dict[int, _Latest] = {}
        self._told_at = 0.0
        self._at_once = 0

    @property
    def length(self) -> int:
        """How many frames wait: where the next one will stand."""
        return len(self._queue)

    @property
    def overdue(self) -> int:
        """Unread events, without those that followed others at the same moment: no reader is too slow for them."""
        return self.unread - self._at_once

    def put(self, event: Event) -> None:
        """Queue an event. What is not a state event closes the places before it, so that the order stays."""
        profile = event.profile
        if event.event in STATE_EVENTS:
            place = self._states.get(profile)
            if place is not None:
                place.take_over(event)
                return
            self._states[profile] = self._append(event)
        elif event.event in DOCUMENT_EVENTS:
            place = self._documents.get(profile)
            if place is not None:
                place.take_over(event)
                place.skipped = 0  # no state event was lost
                return
            self._states.pop(profile, None)
            self._documents[profile] = self._append(event)
            self.unread += event.event == "created"
        else:
            for places in (self._states, self._documents):
                place = places.pop(profile, None)
                if place is not None and event.event == "destroyed":
                    self.unread -= place.event is not None and place.event.event == "created"
                    place.event = None
            self._append(event)
            self.unread += 1

    def tell(self, profile: int, frame: bytes, now: float) -> None:
        """Queue what happened to a SIP request or dialog; the places before it are closed."""
        self._states.pop(profile, None)
        self._connections.pop(profile, None)
        self._queue.append((frame,))
        self.unread += 1
        self.size += len(frame)
        if now == self._told_at:
            self._at_once += 1
        self._told_at = now

    def tell_latest(self, profile: int, frame: bytes) -> None:
        """Queue the state of a profile's connection, or put it in the place of the unread one."""
        latest = self._connections.get(profile)
        if latest is not None:
            latest.frame = frame
            return
        latest = self._connections[profile] = _Latest(profile, frame)
        self._queue.append(latest)

    def reply(self, frame: bytes, place: int | None = None) -> None:
        """Queue a finished frame; ``place``: before what was told while the command was carried out."""
        if place is None or place >= len(self._queue):
            self._queue.append(frame)
        else:
            self._queue.insert(place, frame)
        self.replies += 1
        self.size += len(frame)

    def _append(self, event: Event) -> _Place:
        place = _Place(event)
        self._queue.append(place)
        return place

    def frames(self, limit: int) -> list[bytes]:
        """At most ``limit`` frames; none means that none are left."""
        frames: list[bytes] = []
        queue = self._queue
        while queue and len(frames) < limit:
            item = queue.popleft()
            if isinstance(item, bytes):
                self.replies -= 1
                self.size -= len(item)
                frames.append(item)
                continue
            if isinstance(item, tuple):
                self.unread -= 1
                self.size -= len(item[0])
                frames.append(item[0])
                continue
            if isinstance(item, _Latest):
                if self._connections.get(item.profile) is item:
                    del self._connections[item.profile]
                frames.append(item.frame)
                continue
            event = item.event
            if event is None:
                continue
            profile = event.profile
            if event.event in STATE_EVENTS:
                if self._states.get(profile) is item:
                    del self._states[profile]
            elif event.event in DOCUMENT_EVENTS:
                if self._documents.get(profile) is item:
                    del self._documents[profile]
                self.unread -= event.event == "created"
            else:
                self.unread -= 1
            if item.skipped:
                event = msgspec.structs.replace(event, skipped=item.skipped)
            frames.append(_encode(event))
        self.awake = bool(frames)
        self.busy_since = 0.0
        self._at_once = min(self._at_once, self.unread)
        return frames


class Hub:
    """Every session's outbox, and who holds which profile. ``overrun`` is told of a session that reads too slowly."""

    def __init__(
        self, act: Callable[[Effect], None], overrun: Callable[[int], None], unread: int, unread_size: int = 1 << 24
    ) -> None:
        self._act = act
        self._overrun = overrun
        self._limit = unread
        self._size_limit = unread_size
        self.outboxes: dict[int, Outbox] = {}
        self.watchers: dict[int, Outbox] = {}
        """The sessions that get every event of every profile."""
        self._holders: dict[int, tuple[Outbox, ...]] = {}

    def open(self, session: int) -> Outbox:
        """A new session's outbox."""
        outbox = self.outboxes[session] = Outbox(session)
        return outbox

    def close(self, outbox: Outbox, held: set[int]) -> None:
        """The session is gone and holds nothing any more."""
        self.outboxes.pop(outbox.session, None)
        self.watchers.pop(outbox.session, None)
        for profile in held:
            self.release(outbox, profile)

    def hold(self, outbox: Outbox, profile: int) -> None:
        """From now on the session gets the profile's events."""
        holders = self._holders.get(profile)
        # All profiles that only this session holds share one tuple.
        self._holders[profile] = outbox.alone if holders is None else (*holders, outbox)

    def release(self, outbox: Outbox, profile: int) -> None:
        """The session does not get the profile's events any more."""
        left = tuple(holder for holder in self._holders.get(profile, ()) if holder is not outbox)
        if not left:
            self._holders.pop(profile, None)
        else:
            self._holders[profile] = left if len(left) > 1 else left[0].alone

    def forget(self, profile: int) -> None:
        """The profile is gone: nobody holds it."""
        self._holders.pop(profile, None)

    def holders(self, profile: int) -> tuple[Outbox, ...]:
        """Who holds the profile."""
        return self._holders.get(profile, ())

    def hears(self, profile: int) -> bool:
        """Whether a session gets the profile's state events."""
        return profile in self._holders or bool(self.watchers)

    def publish(self, event: Event) -> None:
        """Queue an event for everybody it concerns, and publish it once."""
        self._act(Publish(event))
        holders: Collection[Outbox] = self._holders.get(event.profile, ())
        if len(holders) > 8:
            holders = dict.fromkeys(holders)  # looked up below, in their order
        if event.event in TO_EVERYBODY:
            for outbox in list(self.outboxes.values()):
                if outbox.listens or outbox in holders:
                    self._put(outbox, event)
            return
        for outbox in holders:
            self._put(outbox, event)
        if self.watchers:
            for outbox in list(self.watchers.values()):
                if outbox not in holders:
                    self._put(outbox, event)

    def reply(self, outbox: Outbox, frame: bytes, place: int | None = None) -> None:
        """Queue the reply to a command; see :meth:`Outbox.reply`."""
        outbox.reply(frame, place)
        self._woken(outbox)

    def is_busy(self, outbox: Outbox, now: float) -> bool:
        """Whether half of what may wait for the session waits: time to have no more of what can be refused.

        One that reads nothing at all for :data:`STANDSTILL` is overrun: what it has claimed is for others.
        """
        if outbox.overdue * 2 <= self._limit and outbox.size * 2 <= self._size_limit:
            return False
        if not outbox.busy_since:
            outbox.busy_since = now
        elif now - outbox.busy_since > STANDSTILL:
            self._overrun(outbox.session)
        return True

    def tell(self, outbox: Outbox, profile: int, frame: bytes, now: float) -> None:
        """Queue what happened to a session's SIP request or dialog."""
        outbox.tell(profile, frame, now)
        if outbox.size > self._size_limit:
            self._overrun(outbox.session)
        self._woken(outbox)

    def tell_latest(self, outbox: Outbox, profile: int, frame: bytes) -> None:
        """Queue the state of a session's connection in place of the one before."""
        outbox.tell_latest(profile, frame)
        self._woken(outbox)

    def _put(self, outbox: Outbox, event: Event) -> None:
        outbox.put(event)
        self._woken(outbox)

    def _woken(self, outbox: Outbox) -> None:
        if outbox.overdue > self._limit:
            self._overrun(outbox.session)
        elif not outbox.awake:
            outbox.awake = True
            self._act(Wake(outbox.session))
