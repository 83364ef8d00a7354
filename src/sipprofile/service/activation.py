"""Applications that are started when a request comes for them (``activate:NAME``, like systemd's socket activation)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..useragent.draft import Answer
from ..useragent.incoming import Incoming
from ..useragent.leg import Leg
from ..useragent.unowned import Deaf
from .claims import Claims, Held
from .criteria import Facts
from .effects import Activate, Effect
from .nobody import later
from .settings import LONGEST_HOLD
from .timers import Timers

if TYPE_CHECKING:
    pass

PAUSE = 5.0
"""Seconds between two starts of the same application."""
MAXIMUM_HELD = 256
"""Requests that wait for one application."""


class Activated(Deaf):
    """An application that can be started: the owner of the standing claims it is started by, until somebody comes."""

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.label = f"activate:{name}"
        self.timeout = timeout
        self.held: deque[tuple[float, Incoming]] = deque()
        """Requests in the order in which they came, each with the end of its waiting."""
        self.not_before = 0.0
        """When it may be started again."""
        self.due = False
        """It will be, if somebody waits for it then."""

    def withdrawn(self, incoming: Incoming, code: str, now: float) -> None:
        """The caller gave up."""
        self.held = deque(one for one in self.held if one[1] is not incoming)


class Activation:
    """The applications of the configuration, by name, each with the seconds it has to claim what it was started for."""

    def __init__(
        self,
        names: Mapping[str, float],
        claims: Claims,
        timers: Timers,
        act: Callable[[Effect], None],
        respond: Callable[[Incoming, Answer, float], Leg | None],
    ) -> None:
        self.again: Callable[[Incoming, list[Held], float], None] = lambda *_: None
        """Hand out a request that was held."""
        self._applications = {name: Activated(name, min(timeout, LONGEST_HOLD)) for name, timeout in names.items()}
        self._claims = claims
        self._timers = timers
        self._act = act
        self._respond = respond

    def __len__(self) -> int:
        return sum(len(application.held) for application in self._applications.values())

    def owner(self, profile: int, name: str) -> Activated:
        """Who holds the standing claims to ``activate:name``."""
        return self._applications[name]

    def hold(self, incoming: Incoming, held: Held, now: float) -> Answer | None:
        """Start whom the request is for, unless that is under way, and let it wait; or what to answer at once."""
        application = held.owner
        assert isinstance(application, Activated)
        if len(application.held) >= MAXIMUM_HELD:
            return later(application.timeout)
        incoming.owner = application
        until = now + application.timeout
        application.held.append((until, incoming))
        self._timers.at(until, self._expired, application)
        self._start(application, now)
        return None

    def _start(self, application: Activated, now: float) -> None:
        """Start it, now or as soon as it may be started again, if then somebody still waits for it."""
        if now >= application.not_before:
            application.not_before = now + PAUSE
            self._act(Activate(application.name))
        elif not application.due:
            application.due = True
            self._timers.at(application.not_before, self._may_start, application)

    def _may_start(self, application: Activated, now: float) -> None:
        application.due = False
        if application.held:
            self._start(application, now)

    def claimed(self, claim: Held, now: float) -> None:
        """Somebody has come: what waits and fits is theirs, once they have been told that their claim holds."""
        if not claim.reserve and any(application.held for application in self._applications.values()):
            self._timers.at(now, self._look_again, claim.profile)

    def _look_again(self, profile: int, now: float) -> None:
        for application in self._applications.values():
            for entry in [one for one in application.held if one[1].line.profile == profile]:
                incoming = entry[1]
                chosen = self._claims.find(profile, Facts(incoming.request))
                if chosen and not chosen[0].reserve and entry in application.held:
                    application.held.remove(entry)
                    self.again(incoming, chosen, now)

    def ended(self, name: str, now: float) -> None:
        """It has ended; who still waits needs another one."""
        application = self._applications.get(name)
        if application is not None and application.held:
            self._start(application, now)

    def failed(self, name: str, now: float) -> None:
        """It could not be started: nobody will come."""
        application = self._applications.get(name)
        if application is not None:
            waiting, application.held = application.held, deque()
            self._give_up(waiting, now)

    def stop(self, now: float) -> None:
        """The service ends: nobody waits any longer."""
        for name in self._applications:
            self.failed(name, now)

    def _expired(self, application: Activated, now: float) -> None:
        over: deque[tuple[float, Incoming]] = deque()
        while application.held and application.held[0][0] <= now:
            over.append(application.held.popleft())
        self._give_up(over, now)

    def _give_up(self, waiting: deque[tuple[float, Incoming]], now: float) -> None:
        for _, incoming in waiting:
            if not incoming.final:
                self._respond(incoming, later(PAUSE), now)
