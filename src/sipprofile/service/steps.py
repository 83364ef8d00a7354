"""An operation that has to wait, written as a generator: it yields what it waits for and goes on with the answer.

``records, now = yield Read(query)`` is how all of them look. An answer that is an error is raised at the yield.
Operations on one profile take turns: ``yield Turn(profile)`` waits until those before it have ended, and the turn
ends with the generator. Who needs :data:`THE_DEFAULT` too takes it second; so nobody waits in a circle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import msgspec

from ..errors import SipProfileError
from ..records import ConfigurationWrite, Query
from ..sip.locating import Question
from .effects import Commit, Effect, ReadHistory, ReadProfiles
from .timers import Timers

THE_DEFAULT = 0
"""The turn of operations that may create or remove profiles or choose the default one."""


class Turn(msgspec.Struct, frozen=True, gc=False):
    """Wait until no earlier operation is busy with ``key``, a profile's id or :data:`THE_DEFAULT`."""

    key: int


class Read(msgspec.Struct, frozen=True, gc=False):
    """Wait for the profiles of a query."""

    query: Query


class Past(msgspec.Struct, frozen=True, gc=False):
    """Wait for the history of a profile."""

    profile: int


class Write(msgspec.Struct, frozen=True, gc=False):
    """Wait until everything in ``writes`` is on disk; a failure is raised as ``store_failed``."""

    writes: tuple[ConfigurationWrite, ...]


Topic = tuple[str, int | Question]
"""Something that can happen: a kind, and the profile or record set it happens to."""


class Until(msgspec.Struct, frozen=True, gc=False):
    """Wait for :meth:`Runner.happened` with ``topic``; the answer is ``None`` when ``deadline`` comes first."""

    topic: Topic
    deadline: float


Step = Turn | Read | Past | Write | Until
Steps = Generator[Step, tuple[Any, float], Any]


class _Course:
    """One operation under way."""

    __slots__ = ("done", "steps", "turns")

    def __init__(self, steps: Steps, done: Callable[[Any, float], None]) -> None:
        self.steps = steps
        self.done = done
        self.turns: list[int] = []


class Runner:
    """Drives the operations that wait."""

    def __init__(self, act: Callable[[Effect], None], timers: Timers) -> None:
        self._act = act
        self._timers = timers
        self._last_token = 0
        self._waiting: dict[int, _Course] = {}
        self._topics: dict[Topic, list[int]] = {}
        self._turns: dict[int, deque[_Course]] = {}
        """Whose turn it is and who waits for it, by key."""
        self._ready: deque[_Course] = deque()
        self._going_on = False

    @property
    def outstanding(self) -> int:
        """How many operations wait for the store or for something to happen."""
        return len(self._waiting)

    def busy(self, key: int) -> bool:
        """Whether an operation has the turn of ``key``."""
        return key in self._turns

    def run(self, steps: Steps, done: Callable[[Any, float], None], now: float) -> None:
        """Begin; ``done(result or error, now)`` is called at the end, which may be at once."""
        course = _Course(steps, done)
        self._advance(course, lambda: next(steps), now)
        self._go_on(now)

    def answered(self, token: int, answer: Any, now: float) -> None:
        """What the operation with ``token`` waited for is there, or the error that came instead."""
        course = self._waiting.pop(token, None)
        if course is None:
            return
        steps = course.steps
        if isinstance(answer, SipProfileError):
            self._advance(course, lambda: steps.throw(answer), now)
        else:
            self._advance(course, lambda: steps.send((answer, now)), now)
        self._go_on(now)

    def awaited(self, topic: Topic) -> bool:
        """Whether somebody waits for ``topic``."""
        return topic in self._topics

    def happened(self, topic: Topic, what: Any, now: float) -> None:
        """Wake everybody who waits for ``topic``."""
        for token in self._topics.pop(topic, ()):
            self.answered(token, what, now)

    def give_up(self, error: SipProfileError, now: float) -> None:
        """Raise ``error`` to everybody who waits for something to happen; who waits for the store goes on."""
        topics, self._topics = self._topics, {}
        for tokens in topics.values():
            for token in tokens:
                self.answered(token, error, now)

    def _advance(self, course: _Course, resume: Callable[[], Step], now: float) -> None:
        try:
            step = resume()
            while isinstance(step, Turn):
                if not self._take_turn(course, step.key):
                    return
                step = course.steps.send((None, now))
        except StopIteration as end:
            self._end(course, end.value, now)
        except SipProfileError as error:
            self._end(course, error, now)
        except BaseException:
            self._end(course, SipProfileError("internal"), now)
            raise
        else:
            self._wait(course, step)

    def _wait(self, course: _Course, step: Read | Past | Write | Until) -> None:
        self._last_token += 1
        token = self._last_token
        self._waiting[token] = course
        if isinstance(step, Read):
            self._act(ReadProfiles(token, step.query))
        elif isinstance(step, Past):
            self._act(ReadHistory(token, step.profile))
        elif isinstance(step, Write):
            self._act(Commit(token, step.writes))
        else:
            self._topics.setdefault(step.topic, []).append(token)
            self._timers.at(step.deadline, self._expired, step.topic, token)

    def _expired(self, topic: Topic, token: int, now: float) -> None:
        tokens = self._topics.get(topic, [])
        if token in tokens:
            tokens.remove(token)
            if not tokens:
                del self._topics[topic]
            self.answered(token, None, now)

    def _take_turn(self, course: _Course, key: int) -> bool:
        course.turns.append(key)
        queue = self._turns.setdefault(key, deque())
        queue.append(course)
        return queue[0] is course

    def _end(self, course: _Course, result: Any, now: float) -> None:
        for key in course.turns:
            queue = self._turns[key]
            queue.popleft()
            if queue:
                self._ready.append(queue[0])
            else:
                del self._turns[key]
        course.done(result, now)

    def _go_on(self, now: float) -> None:
        """Advance those whose turn has come; a loop, because a long queue of them must not nest."""
        if self._going_on:
            return
        self._going_on = True
        try:
            while self._ready:
                course = self._ready.popleft()
                self._advance(course, partial(course.steps.send, (None, now)), now)
        finally:
            self._going_on = False
