"""The operator of a simulation: creates, changes, removes and controls profiles, and notes what was answered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sipprofile.errors import SipProfileError
from sipprofile.service.operations import Control, Create, Operation, Patch, Remove, Replace, Verb
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.ledger import Ledger
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sites import NUMERIC
from sipprofile.testing.simulation.trace import SECRET, Trace

EXPECTED = frozenset(("not_found", "in_use", "forcibly_disabled", "paused", "store_failed", "shutting_down"))
HOSTS = ("one.test", "two.test")
LARGE = (700, 1400)  # octets of a header that make a request too large for UDP, or even for one packet
LEASES = (120, 600, 900, 900, 1800, 3600)  # seconds


class Operator:
    """Asks for what a schedule says. ``account(user, password)`` opens an account at every registrar,
    ``document_of`` makes the profile of a user."""

    def __init__(
        self,
        computer: Computer,
        random: random.Random,
        trace: Trace,
        account: Callable[[str, str], None],
        document_of: Callable[[random.Random, str], dict[str, Any]],
    ) -> None:
        self.ledger = Ledger()
        self.asked = 0
        self._computer = computer
        self._random = random
        self._trace = trace
        self._account = account
        self._document_of = document_of
        self._names = 0

    def create(self) -> None:
        """A new profile with an account of its own."""
        self._names += 1
        document = self._document_of(self._random, f"new{self._names}")
        user, password = f"new{self._names}", document["registrar"]["password"]
        self._account(user, password)
        self.ledger.creating[user] = password
        self._ask(Create(document), lambda reply: self.ledger.saved(reply, password))

    def patch(self, number: int, **changes: Any) -> None:
        """Change members of a profile."""
        self._save(number, Patch(number, changes), changes.get("registrar", {}).get("password"))

    def replace(self, number: int, **changes: Any) -> None:
        """Save the profile anew with some members changed; the password is kept."""
        known = self.ledger.profiles[number]
        self._save(number, Replace(number, {**known.content, **changes}), None)

    def remove(self, number: int) -> None:
        """Remove a profile, if nobody uses it."""
        self.ledger.profiles[number].removing = True
        self._ask(Remove(number), lambda _: self.ledger.gone(number), lambda: self._not_removed(number))

    def control(self, number: int, verb: Verb) -> None:
        """Say an operator's word."""
        touched = self.touched(number)

        def done(reply: dict[str, Any]) -> None:
            known = self.ledger.profiles.get(number)
            if known is not None and known.touched == touched:
                known.held = reply["registration"].get("held", "")

        self._ask(Control(number, verb), done)

    def touched(self, number: int) -> int:
        """Somebody is about to do what may change whether a profile is held."""
        known = self.ledger.profiles.get(number)
        if known is None:
            return 0
        known.held = None
        known.touched += 1
        return known.touched

    def _not_removed(self, number: int) -> None:
        if number in self.ledger.profiles:
            self.ledger.profiles[number].removing = False

    def _save(self, number: int, operation: Operation, password: str | None) -> None:
        self.touched(number)
        if password is not None:
            self.ledger.profiles[number].doubt.append(password)
        self._ask(operation, lambda reply: self.ledger.saved(reply, password))

    def _ask(
        self, operation: Operation, done: Callable[[Any], None], refused: Callable[[], None] = lambda: None
    ) -> None:
        if self._computer.service is None:
            refused()
            return
        self.asked += 1
        name = type(operation).__name__
        self._trace.note(f"operator {self.asked} {name} {getattr(operation, 'profile', '')}")

        def answered(result: Any) -> None:
            if isinstance(result, SipProfileError):
                if result.code not in EXPECTED:
                    raise Violation(Promise.ASKED, f"{name} was refused: {result}")
                refused()
            elif self._computer.service is not None:
                done(result)

        self._computer.ask(operation, answered)


def new_document(random: random.Random, user: str) -> dict[str, Any]:
    """A profile of the account ``user``."""
    host = random.choice(HOSTS)
    document: dict[str, Any] = {
        "name": user,
        "aor": f"sip:{user}@{host}",
        "registrar": registrar(random, host, user, new_password(random)),
        "register": random.choice(("always", "on-demand", "on-demand")),
        "expires": random.choice(LEASES),
        "linger": random.choice((0, 0, 5, 40)),
        "linger_lost": random.choice((0, 10, 10, 60)),
    }
    if random.random() < 0.15:
        document["proxies"] = [{"uri": f"sip:proxy.{host}"}]
    if random.random() < 0.1:
        document["headers"] = [f"X-Large: {'x' * random.choice(LARGE)}"]
    return document


def registrar(random: random.Random, host: str, user: str, password: str) -> dict[str, Any]:
    """Server parameters: most accounts are reached over UDP."""
    transport = ";transport=tcp" if random.random() < 0.2 else ""
    if random.random() < 0.15:
        host = NUMERIC[host]
    return {"uri": f"sip:{host}{transport}", "username": user, "password": password}


def new_password(random: random.Random) -> str:
    """A password that can be recognized wherever it leaks."""
    return f"{SECRET}-{random.getrandbits(48):012x}"
