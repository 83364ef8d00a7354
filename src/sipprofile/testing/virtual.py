"""Virtual time and a virtual computer's clocks: nothing here reads a real clock, sleeps or opens a socket."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class VirtualClock:
    """Simulated time, and what is to happen when. Equal times happen in the order in which they were asked for."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        """Seconds; it only moves in :meth:`run_until`."""
        self._count = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def after(self, delay: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function(*arguments)`` ``delay`` seconds from now; there is no way to take it back."""
        self.at(self.now + delay, function, *arguments)

    def at(self, time: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function(*arguments)`` at ``time``, or as soon as possible when that has passed."""
        self._count += 1
        heapq.heappush(self._events, (max(time, self.now), self._count, function, arguments))

    def run_until(self, end: float) -> None:
        """Let time pass and everything happen that is due until ``end``, ``end`` included."""
        events = self._events
        while events and events[0][0] <= end:
            self.now, _, function, arguments = heapq.heappop(events)
            function(*arguments)
        self.now = max(self.now, end)


class SuspendableClock:
    """A :class:`VirtualClock` for the programs of one computer: while it is suspended none of them does anything.

    Time goes on all the same. What was due meanwhile happens at the end, in the order in which it was due.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.suspended = False
        self._clock = clock
        self._missed: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    @property
    def now(self) -> float:
        """Seconds."""
        return self._clock.now

    def after(self, delay: float, function: Callable[..., None], *arguments: Any) -> None:
        """See :meth:`VirtualClock.after`."""
        self._clock.after(delay, self.run, function, *arguments)

    def at(self, time: float, function: Callable[..., None], *arguments: Any) -> None:
        """See :meth:`VirtualClock.at`."""
        self._clock.at(time, self.run, function, *arguments)

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function(*arguments)`` now, or at the end of the suspension."""
        if self.suspended:
            self._missed.append((function, arguments))
        else:
            function(*arguments)

    def suspend(self, seconds: float) -> None:
        """Nothing happens for so long."""
        self.suspended = True
        self._clock.after(seconds, self._resume)

    def _resume(self) -> None:
        self.suspended = False
        missed, self._missed = self._missed, []
        for function, arguments in missed:
            self.run(function, *arguments)


class ComputerClock:
    """The clocks of one computer: CLOCK_BOOTTIME, a wall clock that may be wrong or set, and the boot's id."""

    def __init__(self, clock: VirtualClock | SuspendableClock, wall: float = 1_700_000_000.0) -> None:
        """``wall`` is UTC at the clock's time 0."""
        self._clock = clock
        self._booted_at = 0.0
        self._boots = 1
        self._wall = wall

    @property
    def now(self) -> float:
        """CLOCK_BOOTTIME: seconds since the computer was started."""
        return self._clock.now - self._booted_at

    @property
    def wall_offset(self) -> float:
        """UTC as this computer has it, minus :attr:`now`."""
        return self._wall + self._booted_at

    @property
    def boot_id(self) -> str:
        """Differs from boot to boot."""
        return f"boot-{self._boots}"

    def real(self, now: float) -> float:
        """The simulated time at which CLOCK_BOOTTIME is ``now``."""
        return now + self._booted_at

    def of_utc(self, utc: float) -> float:
        """The simulated time at which the wall clock, as it is set now, shows ``utc``."""
        return utc - self._wall

    def set_wall(self, by: float) -> None:
        """Set the wall clock forward, or back with a negative ``by``."""
        self._wall += by

    def reboot(self) -> None:
        """The computer starts again, now."""
        self._booted_at = self._clock.now
        self._boots += 1
