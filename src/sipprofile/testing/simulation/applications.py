"""Virtual applications: they hold, enable and disable profiles, crash, lose their connection and come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.service.policy import Actor
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import SuspendableClock

USER = Actor("application", frozenset(("read", "use")), 1000)
EXPECTED = frozenset(("not_found", "not_enabled", "already_enabled", "shutting_down", "store_failed"))
"""Errors that an application may get because others act at the same time."""

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Application:
    """One program. What it knows comes from the frames it has read, nothing else."""

    def __init__(
        self,
        name: str,
        computer: Computer,
        clock: SuspendableClock,
        random: random.Random,
        trace: Trace,
        asks: Callable[[int], object],
    ) -> None:
        """``asks(profile)`` is called when it is about to enable a profile."""
        self.name = name
        self.running = True
        self.wants: set[int] = set()
        """What it wants to have enabled."""
        self.enabled: set[int] = set()
        """What the service has confirmed, in the present session."""
        self.states: dict[int, dict[str, Any]] = {}
        """The last state seen of each profile it holds, in the present session."""
        self._computer = computer
        self._clock = clock
        self._random = random
        self._trace = trace
        self._asks = asks
        self._session: int | None = None
        self._connections = 0
        self._token: str | None = None
        self._next_id = 0
        self._asked: dict[int, tuple[str, int]] = {}
        self._reading = False

    @property
    def connected(self) -> bool:
        """Whether it has a session."""
        return self._session is not None

    # What a schedule does with it

    def connect(self) -> None:
        """Open a session, continue the last one, and enable what it wants."""
        if self._session is not None or not self.running:
            return
        if self._computer.service is None or self._computer.stopping:
            self._come_back(1.0)
            return
        self._session = self._computer.open_session(USER, self)
        self._connections += 1
        self.enabled.clear()
        self.states.clear()
        self._asked.clear()
        self._reading = False
        self._ask("hello", 0, version=1, app=self.name, resume=self._token)
        for profile in sorted(self.wants):
            self.enable(profile)

    def enable(self, profile: int) -> None:
        """Want a profile; ask for it now, or when there is a connection again."""
        self.wants.add(profile)
        if self._session is not None:
            self._asks(profile)
            self._ask("enable", profile)

    def disable(self, profile: int) -> None:
        """Not want it any more."""
        self.wants.discard(profile)
        if self._session is not None:
            self._ask("disable", profile)

    def hold(self, profile: int) -> None:
        """Be told of a profile without using it."""
        if self._session is not None:
            self._ask("hold", profile)

    def crash(self) -> None:
        """Die, and never come back: the kernel closes the connection."""
        self._trace.note(f"{self.name} crashes")
        self.running = False
        self.wants.clear()
        self._close()

    def restart(self) -> None:
        """A new process of the same program, which knows nothing of the old one."""
        self._trace.note(f"{self.name} starts")
        self.running = True
        self._token = None
        self.connect()

    def disconnect(self, away: float) -> None:
        """Lose the connection and come back after ``away`` seconds."""
        if self._session is not None:
            self._trace.note(f"{self.name} loses its connection for {away:.1f} s")
            self._close()
            self._come_back(away)

    # What the computer tells

    def wake(self) -> None:
        """Frames wait; they are read a little later."""
        if not self._reading:
            self._reading = True
            self._clock.after(0.2 * self._random.random() ** 3, self._read, self._connections)

    def lost(self, error: SipProfileError | None) -> None:
        """The service has died or ended the session."""
        if error is not None and error.code not in ("shutting_down", "closed"):
            raise Violation(Promise.ASKED, f"{self.name} lost its session: {error}")
        self._session = None
        self.enabled.clear()
        self._come_back(0.1 + 5.0 * self._random.random())

    # Frames

    def _close(self) -> None:
        session, self._session = self._session, None
        self.enabled.clear()
        if session is not None:
            self._computer.close_session(session)

    def _come_back(self, delay: float) -> None:
        self._clock.after(delay, self.connect)

    def _ask(self, op: str, profile: int, **members: Any) -> None:
        self._next_id += 1
        self._asked[self._next_id] = op, profile
        if profile:
            members["profile"] = profile
        assert self._session is not None
        self._trace.note(f"{self.name} {op} {profile or ''}")
        self._computer.frame(self._session, _encode({"id": self._next_id, "op": op, **members}))

    def _read(self, connection: int) -> None:
        if connection != self._connections or self._session is None:
            return
        self._reading = False
        while self._session is not None and (frames := self._computer.frames(self._session)):
            for frame in frames:
                document = _decode(frame)
                if "event" in document:
                    self._event(document)
                else:
                    self._answer(document)

    def _answer(self, frame: dict[str, Any]) -> None:
        op, profile = self._asked.pop(frame["id"])
        error = frame.get("error")
        if error is not None:
            if error["code"] not in EXPECTED:
                raise Violation(Promise.ASKED, f"{self.name}: {op} {profile} was refused: {error}")
            if op == "enable" and profile not in self.enabled:
                self.wants.discard(profile)
            return
        ok = frame["ok"]
        if op == "hello":
            self._token = ok["session"]
        elif op == "enable":
            self.enabled.add(profile)
            if ("disable", profile) not in self._asked.values():
                self.wants.add(profile)  # a force-disable may have come between
            self._seen(profile, ok["registration"])
        elif op == "disable":
            self.enabled.discard(profile)
            self._seen(profile, ok["registration"])
        elif op == "hold":
            for document in ok["profiles"]:
                self._seen(document["id"], document["registration"])

    def _event(self, frame: dict[str, Any]) -> None:
        name, profile = frame["event"], frame["profile"]
        if name == "destroyed":
            self.wants.discard(profile)
            self.enabled.discard(profile)
            self.states.pop(profile, None)
            return
        if name == "forcibly_disabled":
            self.wants.discard(profile)
            self.enabled.discard(profile)
        if "state" in frame and (profile in self.states or name not in ("created", "forcibly_disabled")):
            self._seen(profile, frame["state"])

    def _seen(self, profile: int, state: dict[str, Any]) -> None:
        """A reply may be read after a newer event: the higher revision counts (``docs/session-protocol.md``)."""
        last = self.states.get(profile)
        if last is None or state.get("revision", 0) >= last.get("revision", 0):
            self.states[profile] = state
