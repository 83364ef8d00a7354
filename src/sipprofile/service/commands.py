"""The frames of a session: what an application can ask over its connection (``docs/session-protocol.md``)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec

from .. import __version__
from ..errors import SipProfileError
from ..events import PROTOCOL_VERSION
from ..records import Query
from .connection_commands import ConnectionCommands
from .content import encoded
from .control import Controls
from .hub import Hub
from .operations import DEFAULT
from .pages import present_documents
from .policy import require
from .registry import Entry, Registry
from .sessions import Session, Sessions
from .steps import Read, Runner, Steps, Turn

PING_INTERVAL = 10
"""Seconds between the server's pings on TCP, announced in the answer to hello."""

MAXIMUM_APP = 200  # characters
READS = 3
"""How often documents are read when they change while they are read."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for a frame that is no JSON, no command, or nested too deeply."""


class Command(msgspec.Struct, gc=False):
    """A frame of a client, every op in one; unknown members are ignored."""

    id: int | None = None
    op: str = ""
    version: int | None = None
    app: str | None = None
    resume: str | None = None
    profile: int | None = None
    name: str | None = None
    default: bool | None = None
    ids: list[int] | None = None
    all: bool | None = None


class _Identified(msgspec.Struct, gc=False):
    id: int | None = None


_decode = msgspec.json.Decoder(Command).decode
_decode_id = msgspec.json.Decoder(_Identified).decode


class Commands:
    """Understands frames and answers each with exactly one reply."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        controls: Controls,
        hub: Hub,
        runner: Runner,
        of_connections: ConnectionCommands,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._controls = controls
        self._hub = hub
        self._runner = runner
        self._of_connections = of_connections
        self._handlers: dict[str, Callable[[Session, Command], Steps | dict[str, Any]]] = {
            "hello": self._hello,
            "hold": self._hold,
            "release": self._release,
            "enable": self._enable,
            "disable": self._disable,
            "retry-now": self._retry_now,
            "force-disable": self._force_disable,
            "watch": self._watch,
            "ping": lambda _, __: {},
        }

    def frame(self, number: int, data: bytes, now: float) -> None:
        """A frame came in."""
        session = self._sessions.get(number)
        if session is None:
            return
        settings = self._registry.settings
        if len(data) > settings.frame:
            detail = f"A frame has at most {settings.frame} bytes."
            self._sessions.end(number, SipProfileError("too_large", detail), now)
            return
        outbox = session.outbox
        if session.waiting + outbox.replies >= settings.unanswered or outbox.size > settings.unread_size:
            detail = "Too many commands were sent without reading the answers."
            self._sessions.end(number, SipProfileError("slow_consumer", detail), now)
            return
        try:
            command = _decode(data)
        except UNREADABLE as error:
            self._reply(session, id_of(data), SipProfileError("bad_request", f"Not a command: {error}."))
            return
        place = outbox.length
        try:
            result = self._begin(session, command, data, now)
        except SipProfileError as error:
            self._reply(session, command.id, error, place)
            return
        if isinstance(result, Generator):
            session.waiting += 1
            self._runner.run(result, lambda answer, _: self._answered(session, command.id, answer), now)
        else:
            self._reply(session, command.id, result, place)

    def congested(self, number: int) -> bool:
        """Whether the session's frames should not be read before it has read some of its own."""
        session = self._sessions.get(number)
        if session is None:
            return False
        settings = self._registry.settings
        outbox = session.outbox
        return session.waiting + outbox.replies >= settings.unread or outbox.size > settings.frame

    def _begin(self, session: Session, command: Command, data: bytes, now: float) -> Steps | dict[str, Any]:
        if not session.greeted and command.op != "hello":
            raise SipProfileError("hello_expected")
        handler = self._handlers.get(command.op)
        if handler is None:
            if self._of_connections.knows(command.op):
                return self._of_connections.perform(session, command.op, data, now)
            raise SipProfileError("unknown_command", f"There is no op {command.op!r}.", value=command.op)
        return handler(session, command)

    def _answered(self, session: Session, command: int | None, result: Any) -> None:
        session.waiting -= 1
        self._reply(session, command, result)

    def _reply(self, session: Session, command: int | None, result: Any, place: int | None = None) -> None:
        """``place`` is that of the answer: what a command causes at once is told after it."""
        if not session.open:
            return
        if isinstance(result, SipProfileError):
            frame = encoded({"id": command, "error": result.problem()})
        else:
            frame = encoded({"id": command, "ok": result})
        self._hub.reply(session.outbox, frame, place)

    def _hello(self, session: Session, command: Command) -> dict[str, Any]:
        if session.greeted:
            raise SipProfileError("bad_request", "The session has said hello already.")
        if command.version != PROTOCOL_VERSION:
            raise SipProfileError(
                "protocol_version",
                f"This service speaks version {PROTOCOL_VERSION}.",
                field="version",
                value=command.version,
                supported=[PROTOCOL_VERSION],
            )
        session.greeted = True
        session.app = (command.app or "")[:MAXIMUM_APP]
        session.outbox.listens = "read" in session.actor.capabilities
        if command.resume:
            self._sessions.continued(session, command.resume, self._registry.now)
        return {
            "version": PROTOCOL_VERSION,
            "session": session.token,
            "service": f"sipprofile/{__version__}",
            "ping": PING_INTERVAL,
        }

    def _hold(self, session: Session, command: Command) -> Steps:
        """Become a holder; the documents in the answer carry the present state, events tell of what follows."""
        require(session.actor, "read", "use")
        yield Turn(-session.number)  # one at a time: a page of documents may be large
        settings = self._registry.settings
        if command.ids is None:
            entries = [self._named(command)]
        elif len(command.ids) > settings.holds_at_once:
            raise SipProfileError("too_large", f"At most {settings.holds_at_once} at once.", field="ids")
        else:
            entries = [self._registry.find(number) for number in dict.fromkeys(command.ids)]
        ids = tuple(entry.id for entry in entries)
        self._sessions.check_room(session, set(ids))
        documents: list[msgspec.Raw] = []
        for attempt in range(READS if ids and session.open else 0):
            records, now = yield Read(Query(ids=ids, limit=len(ids)))
            present = {record.profile.id: [record] for record in records}
            current = [self._registry.only(entry, present.get(entry.id, [])) for entry in entries]
            documents = yield from present_documents(self._registry, current, now)
            for entry in entries:
                self._registry.check_there(entry)
            fresh = all(record.revision >= entry.revision for record, entry in zip(current, entries, strict=True))
            if fresh or attempt == READS - 1:
                break
        if sum(map(len, documents)) + 100 > settings.frame:
            raise SipProfileError("too_large", "The answer would be too large; hold fewer at once.")
        if session.open:
            self._sessions.check_room(session, set(ids))
            for number in ids:
                self._sessions.hold(session, number)
        return {"profiles": documents}

    def _release(self, session: Session, command: Command) -> Steps:
        entry = self._named(command)
        yield from self._turn(entry)
        if entry.id not in session.held:
            raise SipProfileError("not_held", field="profile", value=entry.id)
        if entry.id in session.enabled:
            self._sessions.disable(session, entry, self._registry.now)
        self._sessions.release(session, entry.id)
        return {}

    def _enable(self, session: Session, command: Command) -> Steps:
        require(session.actor, "use")
        entry = self._named(command)
        yield from self._turn(entry, needed=entry.held == "forcibly_disabled")
        if entry.id in session.enabled:
            raise SipProfileError("already_enabled", field="profile", value=entry.id)
        self._registry.check_served(entry)
        self._sessions.check_room(session, {entry.id})
        if entry.held == "forcibly_disabled":
            yield from self._controls.write_held(entry, "")
        if session.open:
            self._sessions.enable(session, entry, self._registry.now)
        return self._registration(entry)

    def _disable(self, session: Session, command: Command) -> Steps:
        entry = self._named(command)
        yield from self._turn(entry)
        if entry.id not in session.enabled:
            raise SipProfileError("not_enabled", field="profile", value=entry.id)
        self._sessions.disable(session, entry, self._registry.now)
        return self._registration(entry)

    def _retry_now(self, session: Session, command: Command) -> Steps:
        entry = self._named(command)
        yield from self._turn(entry)
        operator = "control" in session.actor.capabilities
        if entry.id not in session.enabled and not operator:
            raise SipProfileError("not_enabled", field="profile", value=entry.id)
        self._controls.retry_now(entry, operator=operator)
        return self._registration(entry)

    def _force_disable(self, session: Session, command: Command) -> Steps:
        require(session.actor, "control")
        entry = self._named(command)
        yield from self._controls.force_disable(entry)
        return self._registration(entry)

    def _watch(self, session: Session, command: Command) -> dict[str, Any]:
        require(session.actor, "control")
        if command.all is None:
            raise SipProfileError("missing_field", "Say whether to watch all: true or false.", field="all")
        if command.all:
            self._hub.watchers[session.number] = session.outbox
        else:
            self._hub.watchers.pop(session.number, None)
        return {}

    def _registration(self, entry: Entry) -> dict[str, Any]:
        return {"registration": msgspec.to_builtins(self._registry.state(entry))}

    def _named(self, command: Command) -> Entry:
        """The profile a command is about."""
        if command.profile is not None:
            return self._registry.find(command.profile)
        if command.name is not None:
            if command.name == DEFAULT:  # no profile has it, and the word must not mean another one here
                raise SipProfileError("not_found", "There is no profile with this name.", field="name", value=DEFAULT)
            return self._registry.find(command.name)
        if command.default:
            return self._registry.find(DEFAULT)
        raise SipProfileError("missing_field", "The command names no profile.", field="profile")

    def _turn(self, entry: Entry, needed: bool = False) -> Steps:
        """Wait for what is being done to the profile, if anything is; ``needed``: we will have to write."""
        if needed or self._runner.busy(entry.id):
            yield Turn(entry.id)
        self._registry.check_there(entry)


def id_of(data: bytes) -> int | None:
    """The id of a frame that is no command, if it has one."""
    try:
        return _decode_id(data).id
    except UNREADABLE:
        return None
