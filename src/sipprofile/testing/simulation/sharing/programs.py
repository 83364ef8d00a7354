"""Programs that share profiles: they claim, crash, stop reading, lose their connection and come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.process import Process
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sharing.claiming import new_claim
from sipprofile.testing.simulation.sharing.conduct import Conduct
from sipprofile.testing.simulation.sharing.deaths import Deaths
from sipprofile.testing.simulation.sharing.deliveries import Deliveries
from sipprofile.testing.simulation.sharing.exchanges import EXCHANGE, exchange_of
from sipprofile.testing.simulation.sharing.peers import MEANT, SENDER
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import VirtualClock

ALWAYS = frozenset(("shutting_down", "not_found", "not_enabled"))
EXPECTED: dict[str, frozenset[str]] = {
    "enable": frozenset(("already_enabled", "store_failed", "forcibly_disabled")),
    "claim": frozenset(("claim_in_use",)),
    "send": frozenset(("not_registered", "invalid_state", "paused", "forcibly_disabled", "quota_exceeded")),
    "respond": frozenset(("invalid_state", "quota_exceeded")),
    "cancel": frozenset(("invalid_state",)),
    "ack": frozenset(("invalid_state",)),
    "stop-refresh": frozenset(),
    "fetch-bindings": frozenset(("not_registered", "paused", "forcibly_disabled", "quota_exceeded")),
    "end": frozenset(("invalid_state",)),
}
"""Errors that a program may get because others act at the same time, by command."""
Done = Callable[[dict[str, Any] | None], None]
"""Called with the answer to a command, ``None`` when it was refused."""


class Program(Process):
    """It claims, sends and answers."""

    def __init__(
        self,
        name: str,
        computer: Computer,
        clock: VirtualClock,
        random: random.Random,
        trace: Trace,
        deliveries: Deliveries,
        deaths: Deaths,
    ) -> None:
        super().__init__(name, computer, clock, random, trace)
        self.reading_since: float | None = None
        self.claims: dict[int, int] = {}
        """Profiles by the numbers of the claims on them."""
        self.dialogs: dict[int, int] = {}
        """Profiles by the numbers of the dialogs through them."""
        self.waiting: set[int] = set()
        """Requests that it has not answered yet."""
        self._made: dict[int, int] = {}
        """Dialogs by the requests that its answers have made them for."""
        self.conduct = Conduct(self, clock, deliveries)
        self._deliveries = deliveries
        self._deaths = deaths
        self._refusal = ""
        """The code of the last error."""

    @property
    def label(self) -> str:
        """Of its present session: another one after each loss."""
        return f"{self.name}/{self._connections}"

    # What a schedule does with it

    def enable(self, profile: int) -> None:
        """Want a profile; ask for it now, or when there is a connection again, and then claim something."""
        self.wants.add(profile)
        if self._session is not None:
            self._deaths.revived(self.label, profile)
            self.ask("enable", lambda ok: self._enabled(profile, ok), profile=profile)

    def disable(self, profile: int) -> None:
        """Not want it any more."""
        self.wants.discard(profile)
        self.ask("disable", lambda ok: None if ok is None else self._given_up(profile), profile=profile)

    def claim(self, profile: int) -> None:
        """Claim something."""

        def claimed(ok: dict[str, Any] | None) -> None:
            if ok is not None:
                self.claims[ok["claim"]] = profile

        self.ask("claim", claimed, profile=profile, claim=new_claim(self.random))

    def unclaim(self) -> None:
        """Give a claim back."""
        if self.claims:
            number = self.random.choice(sorted(self.claims))

            def given_back(ok: dict[str, Any] | None) -> None:
                self.claims.pop(number, None)

            self.ask("unclaim", given_back, claim=number)

    def stop(self) -> None:
        """Read nothing from now on."""
        self._trace.note(f"{self.name} stops reading")
        self.stopped, self.reading_since = True, None

    def go_on(self) -> None:
        """Read again, whatever has come."""
        if self.stopped:
            self._trace.note(f"{self.name} reads again")
            self.stopped = False
            if self._session is None:
                self.connect()
            else:
                self.reading_since = self._clock.now
                self._reading = False
                self.wake()

    # Commands and frames

    def ask(self, op: str, done: Done = lambda ok: None, **members: Any) -> None:
        """Send a command, if there is a session."""
        if self._session is None or self.stopped:
            return
        shown = " ".join(str(members[name]) for name in ("method", "profile", "dialog", "request") if name in members)
        self._command(op, (op, members, done), shown, members)

    def has(self, dialog: int) -> bool:
        """Whether it has a dialog still."""
        return dialog in self.dialogs

    def _opened(self) -> None:
        assert self._session is not None
        self._deliveries.labels[self._session] = self.label
        self.reading_since = self._clock.now
        self.ask("hello", version=1, app=self.name, resume=self._token)

    def _gone(self) -> None:
        """Its session has ended; whoever had to do with it hears of that."""
        label = self.label
        self.reading_since = None
        for known in (self.enabled, self.claims, self.dialogs, self.waiting, self._made, self._asked):
            known.clear()
        self._deaths.holder_gone(label)
        self._deaths.died(label)
        self._clock.after(0.0, self._deliveries.ended, label)

    def _answered(self, frame: dict[str, Any]) -> None:
        op, members, done = self._asked.pop(frame["id"])
        error = frame.get("error")
        if error is None:
            if op == "hello":
                self._token = frame["ok"]["session"]
            done(frame["ok"])
            return
        if error["code"] not in ALWAYS and error["code"] not in EXPECTED.get(op, ()):
            raise Violation(Promise.ASKED, f"{self.label}: {op} {members} was refused: {error}")
        self._refusal = error["code"]
        done(None)

    # What it hears

    def _event(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "request":
            self._requested(event)
        elif name == "response":
            if event["dialog"] is not None and event["status"] < 300:
                self.in_dialog(event["dialog"], event["profile"], event)
            self.conduct.responded(event)
        elif name == "dialog":
            if event["state"] == "terminated":
                self._over(event["dialog"])
        elif name == "withdrawn":
            self._refused(event["request"])
        elif name in ("destroyed", "forcibly_disabled"):
            self.wants.discard(event["profile"])
            if event["profile"] in self.enabled:
                self._given_up(event["profile"])

    def _requested(self, event: dict[str, Any]) -> None:
        number, dialog, headers = event["request"], event["dialog"], dict(event["headers"])
        if event["claim"] is not None or dialog is None:
            if event["claim"] not in self.claims:
                text = f"{self.label} got {event['method']} by the claim {event['claim']}, which is not its"
                raise Violation(Promise.CLAIMED_ONLY, text)
            self._deliveries.told(self, event)
        else:
            if headers.get(MEANT, "") not in ("", self.label):
                text = f"{self.label} got {event['method']}, which is for {headers[MEANT]}"
                raise Violation(Promise.CLAIMED_ONLY, text)
            if event["method"] == "BYE":
                self._over(dialog)
        if not event["answered"]:
            self.waiting.add(number)
            self.conduct.requested(event)

    def respond(self, event: dict[str, Any], status: int, done: Done = lambda ok: None, **members: Any) -> None:
        """Answer a request, if it waits still."""
        number = event["request"]
        if number not in self.waiting:
            return
        exchange = exchange_of(dict(event["headers"]).get(EXCHANGE, ""), event["call_id"])
        if status >= 300:
            self._refused(number)
        elif status >= 200:
            self.waiting.discard(number)
        label = self.label
        members.setdefault("headers", [])
        members["headers"] = [*members["headers"], [SENDER, f"{label} {event['profile']}"]]

        def answered(ok: dict[str, Any] | None) -> None:
            if ok is None:
                if event["claim"] is not None and self._refusal == "invalid_state":
                    self._deliveries.refused(self, exchange)
                return
            if status >= 200 and event["claim"] is not None:
                self._deliveries.answered(self, exchange, status)
            if ok["dialog"] is not None and status < 300:
                self.in_dialog(ok["dialog"], event["profile"], event)
                self._made[number] = ok["dialog"]
            done(ok)

        self.ask("respond", answered, request=number, status=status, **members)

    def _refused(self, request: int) -> None:
        """A request has, or needs, no answer that makes a dialog; an early one that it had is over."""
        self.waiting.discard(request)
        early = self._made.pop(request, None)
        if early is not None:
            self._over(early)

    def in_dialog(self, dialog: int, profile: int, event: dict[str, Any]) -> None:
        """It has a dialog, perhaps for long."""
        if dialog not in self.dialogs and event.get("final", True):
            self.dialogs[dialog] = profile
        other, _, _ = dict(event["headers"]).get(SENDER, "").partition(" ")
        if other:
            self._deaths.began(self.label, str(dialog), other, profile, event.get("method", "some"))

    def _over(self, dialog: int) -> None:
        self.dialogs.pop(dialog, None)
        self._deaths.ended(self.label, str(dialog))

    def end(self, dialog: int) -> None:
        """End a dialog."""
        if dialog in self.dialogs:
            self._over(dialog)
            self.ask("end", dialog=dialog)

    def _enabled(self, profile: int, ok: dict[str, Any] | None) -> None:
        if ok is None:
            if profile not in self.enabled:
                self.wants.discard(profile)
            return
        self.enabled.add(profile)
        self.wants.add(profile)
        for _ in range(self.random.randrange(1, 4)):
            self.claim(profile)

    def _given_up(self, profile: int) -> None:
        """It has no part in a profile any more."""
        self.enabled.discard(profile)
        for known in (self.claims, self.dialogs):
            for number in [number for number, of in known.items() if of == profile]:
                del known[number]
        self._deaths.holder_gone(self.label, profile)
        self._deaths.died(self.label, profile)
        self._clock.after(0.0, self._deliveries.ended, self.label, profile)
