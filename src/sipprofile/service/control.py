"""An operator's words: force-disable, pause, resume, retry-now and the choice of the default profile."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SipProfileError
from ..records import Held, Query, SetDefault, SetHeld
from .changes import Changes
from .operations import Control
from .registry import Entry, Registry
from .steps import THE_DEFAULT, Read, Steps, Turn, Write
from .usage import Usage


class Controls:
    """What an operator can do to a registration. ``detach_sessions`` makes every session forget that it uses one."""

    def __init__(
        self, registry: Registry, usage: Usage, changes: Changes, detach_sessions: Callable[[int], None]
    ) -> None:
        self._registry = registry
        self._usage = usage
        self._changes = changes
        self._detach_sessions = detach_sessions

    def control(self, operation: Control) -> Steps:
        """Do what ``operation`` says and answer with the profile's document."""
        entry = self._registry.find(operation.profile)
        verb = operation.verb
        if verb == "force-disable":
            yield from self.force_disable(entry)
        elif verb == "pause":
            yield from self.set_held(entry, "paused")
        elif verb == "resume":
            yield from self.set_held(entry, "")
        elif verb == "retry-now":
            yield Turn(entry.id)
            self._registry.check_there(entry)
            self.retry_now(entry)
        else:
            yield from self._make_default(entry)
        records, _ = yield Read(Query(ids=(entry.id,), limit=1))
        return self._registry.document(self._registry.only(entry, records))

    def force_disable(self, entry: Entry) -> Steps:
        """Detach every user at once, without SIP, until somebody enables, changes or resumes the profile."""
        registry = self._registry
        yield Turn(entry.id)
        self._registry.check_there(entry)
        if entry.held == "forcibly_disabled":
            return
        _, now = yield Write((SetHeld(entry.id, "forcibly_disabled"),))
        registry.on_gone(entry.id, "forcibly_disabled")
        entry.held = "forcibly_disabled"
        self._detach_sessions(entry.id)
        self._usage.detach(entry, now)
        told = registry.announced
        if registry.served(entry):
            registry.registrations.hold(entry.id, "forcibly_disabled", now)
            if not entry.always:
                registry.registrations.want(entry.id, False, now, reason="forcibly_disabled")
        if told == registry.announced:
            registry.announce("forcibly_disabled", entry)

    def set_held(self, entry: Entry, held: Held) -> Steps:
        """Pause (users stay, the registration is given back) or resume."""
        yield Turn(entry.id)
        self._registry.check_there(entry)
        yield from self.write_held(entry, held)

    def write_held(self, entry: Entry, held: Held) -> Steps:
        """The same, by somebody who has the profile's turn."""
        registry = self._registry
        if entry.held == held:
            return
        _, now = yield Write((SetHeld(entry.id, held),))
        if held:
            registry.on_gone(entry.id, held)
        entry.held = held
        told = registry.announced
        if registry.served(entry):
            registry.registrations.hold(entry.id, held, now)
        if told == registry.announced:
            registry.announce("status", entry)

    def retry_now(self, entry: Entry, *, operator: bool = True) -> None:
        """Try at once, whatever the back-off says (``RefreshEnableL``); refused credentials only for an operator."""
        if entry.held == "forcibly_disabled":
            raise SipProfileError("forcibly_disabled", f"The profile {entry.name!r} was forcibly disabled.")
        if entry.held:
            raise SipProfileError("paused", f"The profile {entry.name!r} is paused.")
        self._registry.check_served(entry)
        self._registry.registrations.retry_now(entry.id, self._registry.now, operator=operator)

    def _make_default(self, entry: Entry) -> Steps:
        yield Turn(entry.id)
        yield Turn(THE_DEFAULT)
        self._registry.check_there(entry)
        before = self._registry.default
        if before == entry.id:
            return
        yield Write((SetDefault(entry.id),))
        self._registry.default = entry.id
        yield from self._changes.tell_updated(before)
        yield from self._changes.tell_updated(entry.id)
