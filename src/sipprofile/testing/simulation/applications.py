"""Virtual applications: they hold, enable and disable profiles, crash, lose their connection and come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.process import Process
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import SuspendableClock

EXPECTED = frozenset(("not_found", "not_enabled", "already_enabled", "shutting_down", "store_failed"))
"""Errors that an application may get because others act at the same time."""


class Application(Process):
    """It holds and enables profiles, and remembers what it was told of them."""

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
        super().__init__(name, computer, clock, random, trace)
        self.states: dict[int, dict[str, Any]] = {}
        """The last state seen of each profile it holds, in the present session."""
        self._asks = asks

    # What a schedule does with it

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

    # Frames

    def _opened(self) -> None:
        self.states.clear()
        self._asked.clear()
        self._ask("hello", 0, version=1, app=self.name, resume=self._token)

    def _gone(self) -> None:
        self.enabled.clear()

    def _ask(self, op: str, profile: int, **members: Any) -> None:
        if profile:
            members["profile"] = profile
        self._command(op, (op, profile), profile or "", members)

    def _answered(self, frame: dict[str, Any]) -> None:
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
