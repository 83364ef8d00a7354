"""The log: text on a terminal, one JSON object a line otherwise; never a secret.

What is logged of the service's work is what it published. A storm of events is cut to a number of lines a second and
a line that counts the rest, so that the log never slows the registrations down.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

from ..events import Event, EventName
from .log import Log

LINES_A_SECOND = 100
FORWARDED_A_SECOND = 10  # lines of libraries
TROUBLE = frozenset({"error", "forcibly_disabled"})


def configure(form: str, level: str, stream: TextIO | None = None) -> Log:
    """The logger of the daemon; what libraries log through the standard library (from warning on) goes there too."""
    stream = stream or sys.stderr
    plain = form == "text" or (form == "auto" and stream.isatty())
    log = Log(stream, level, plain=plain)
    root = logging.getLogger()
    root.handlers[:] = [_Forward(log)]
    root.setLevel(logging.WARNING)
    return log


class _Forward(logging.Handler):
    """Hands a library's record to the daemon's log.

    Anybody who can connect can make the HTTP library complain, so its complaints about a request are bounded, and
    are not repeated: they cite the request, which may carry a token.
    """

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log
        self._bound = RateBound(log, FORWARDED_A_SECOND)

    def emit(self, record: logging.LogRecord) -> None:
        if not self._bound.passes(time.monotonic()):
            return
        error = record.exc_info if record.exc_info and record.exc_info[0] else None
        if error is not None and error[0] is not None and error[0].__module__.startswith("aiohttp."):
            self._log.info("bad HTTP request", problem=error[0].__name__)
            return
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(record.getMessage(), source=record.name, **({"exc_info": error} if error else {}))


class RateBound:
    """Lets :data:`LINES_A_SECOND` lines a second pass and counts the others."""

    def __init__(self, log: Any, rate: int = LINES_A_SECOND) -> None:
        self._log = log
        self._rate = rate
        self._next_second = 0
        self._passed = 0
        self._left_out = 0

    def passes(self, now: float) -> bool:
        """Whether there is room for one more line at ``now`` seconds."""
        if self.is_full(now):
            self._left_out += 1
            return False
        self._passed += 1
        return True

    def is_full(self, now: float) -> bool:
        """Whether there is no room for another line at ``now`` seconds."""
        if now >= self._next_second:
            if self._left_out:
                self._log.warning("lines left out of the log", lines=self._left_out)
            self._next_second, self._passed, self._left_out = int(now) + 1, 0, 0
        return self._passed >= self._rate


class EventLog:
    """Writes published events as lines: what a person wants to know at ``info``, refreshes at ``debug``."""

    def __init__(self, log: Any, level: str) -> None:
        self._log = log
        self._debug = level == "debug"
        self._bound = RateBound(log)
        self._users: dict[int, int] = {}  # profiles that have users

    def wants(self, name: EventName, profile: int, users: int, now: float) -> bool:
        """Whether there would be a line about an event. If there is merely no room for it, that is counted here."""
        if name == "status" and not self._debug and users == self._users.get(profile, 0):
            return False
        if not self._bound.is_full(now):
            return True
        self._note(profile, users)
        self._bound.passes(now)
        return False

    def publish(self, event: Event, now: float) -> None:
        """Log ``event``."""
        words = self._words(event)
        if words is None:
            if not self._debug:
                return
            words = "status"
        if not self._bound.passes(now):
            return
        write = self._log.debug if words == "status" else self._log.info
        if event.event in TROUBLE:
            write = self._log.warning
        write(words, profile=event.name or event.profile, **_facts(event))

    def _words(self, event: Event) -> str | None:
        """What happened in a word or two; ``None`` for what only a debugging reader wants."""
        state = event.state
        before = self._users.get(event.profile, 0)
        after = state.users if state is not None else before
        self._note(event.profile, 0 if event.event == "destroyed" else after)
        if event.event != "status":
            return event.event.replace("_", " ")
        if after > before:
            return "in use"
        return "left" if after < before else None

    def _note(self, profile: int, users: int) -> None:
        if users:
            self._users[profile] = users
        else:
            self._users.pop(profile, None)


def _facts(event: Event) -> dict[str, Any]:
    state = event.state
    if state is None:
        return {}
    facts: dict[str, Any] = {"users": state.users}
    if state.status == "registered":
        facts.update(target=state.target, expires=state.expires_granted)
    reason = state.last_error if event.event == "error" and state.last_error else state.reason
    if reason.code != "none":
        facts.update(code=reason.code, reason=reason.text)
    if state.next_try is not None:
        facts.update(attempt=state.attempt, retry_in=round(max(state.next_try - event.at, 0), 1))
    return facts
