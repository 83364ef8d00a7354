"""What every program of a simulation does: it has a session, crashes, loses its connection and comes back."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from sipprofile.errors import SipProfileError
from sipprofile.service.policy import Actor
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import SuspendableClock, VirtualClock

USER = Actor("application", frozenset(("read", "use")), 1000)

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Process:
    """One program. What it knows comes from the frames it has read, nothing else."""

    def __init__(
        self,
        name: str,
        computer: Computer,
        clock: VirtualClock | SuspendableClock,
        random: random.Random,
        trace: Trace,
    ) -> None:
        self.name = name
        self.random = random
        self.running = True
        self.stopped = False
        """It is stopped (SIGSTOP): it reads nothing."""
        self.wants: set[int] = set()
        """What it wants to have enabled."""
        self.enabled: set[int] = set()
        """What the service has confirmed, in the present session."""
        self._computer = computer
        self._clock = clock
        self._trace = trace
        self._session: int | None = None
        self._connections = 0
        self._token: str | None = None
        self._next_id = 0
        self._asked: dict[int, Any] = {}
        """What it is about, by the number of a command that is not answered yet."""
        self._reading = False

    @property
    def label(self) -> str:
        """Who it is in the trace."""
        return self.name

    @property
    def connected(self) -> bool:
        """Whether it has a session."""
        return self._session is not None

    # What a schedule does with it

    def connect(self) -> None:
        """Open a session, continue the last one, and enable what it wants."""
        if self._session is not None or not self.running or self.stopped:
            return
        if self._computer.service is None or self._computer.stopping:
            self._come_back(1.0)
            return
        self._session = self._computer.open_session(USER, self)
        self._connections += 1
        self._reading = False
        self._opened()
        for profile in sorted(self.wants):
            self.enable(profile)

    def enable(self, profile: int) -> None:
        """Want a profile; ask for it now, or when there is a connection again."""
        raise NotImplementedError

    def crash(self) -> None:
        """Die: the kernel closes the connection."""
        self._trace.note(f"{self.name} crashes")
        self.running, self._token = False, None
        self.wants.clear()
        self._close()

    def restart(self) -> None:
        """A new process of the same program, which knows nothing of the old one."""
        self._trace.note(f"{self.name} starts")
        self.running, self.stopped = True, False
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
        if not self._reading and not self.stopped:
            self._reading = True
            self._clock.after(0.2 * self.random.random() ** 3, self._read, self._connections)

    def lost(self, error: SipProfileError | None) -> None:
        """The service has died or ended the session."""
        code = "closed" if error is None else error.code
        if code not in ("shutting_down", "closed", "slow_consumer") or (code == "slow_consumer" and not self.stopped):
            raise Violation(Promise.ASKED, f"{self.name} lost its session: {error}")
        self._session = None
        self._gone()
        self._come_back(0.1 + 5.0 * self.random.random())

    # What happens in a session

    def _opened(self) -> None:
        """The session has begun; nothing is said yet."""
        raise NotImplementedError

    def _gone(self) -> None:
        """The session has ended."""
        raise NotImplementedError

    def _event(self, frame: dict[str, Any]) -> None:
        """An event was read."""
        raise NotImplementedError

    def _answered(self, frame: dict[str, Any]) -> None:
        """The answer to a command was read."""
        raise NotImplementedError

    def _command(self, op: str, asked: Any, shown: object, members: dict[str, Any]) -> None:
        """Send a command; ``asked`` is what it is about, for when it is answered."""
        assert self._session is not None
        self._next_id += 1
        self._asked[self._next_id] = asked
        self._trace.note(f"{self.label} {op} {shown}")
        self._computer.frame(self._session, _encode({"id": self._next_id, "op": op, **members}))

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._gone()
            self._computer.close_session(session)

    def _come_back(self, delay: float) -> None:
        self._clock.after(delay, self.connect)

    def _read(self, connection: int) -> None:
        if connection != self._connections or self._session is None or self.stopped:
            return
        self._reading = False
        while self._session is not None and (frames := self._computer.frames(self._session)):
            for frame in frames:
                document = _decode(frame)
                if "event" in document:
                    self._event(document)
                else:
                    self._answered(document)
