"""Who is given which requests outside of dialogs: those who claimed them, all of them, in order, and nobody else."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from sipprofile.service.session_owner import SessionOwner
from sipprofile.sip.dialog import tag_of
from sipprofile.sip.message import Request
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sharing.claiming import winners
from sipprofile.testing.simulation.sharing.exchanges import EXCHANGE, Exchanges, exchange_of

READ_WITHIN = 2.0  # seconds in which a program that reads has read everything


class Reader(Protocol):
    """A program, as far as it reads."""

    @property
    def label(self) -> str:
        """Of its present session."""

    @property
    def reading_since(self) -> float | None:
        """``None`` while it has no session, or does not read."""


class _Arrival(msgspec.Struct, eq=False):
    """A request outside of dialogs that came in."""

    order: int
    at: float
    method: str
    profile: int
    expected: dict[str, int]
    """Claims by the labels of the sessions that must get it."""
    told: set[str] = set()
    certain: bool = True
    """False: its profile is not registered, so that it may be refused before anybody is asked."""
    wanted: bool = True
    """Somebody had claimed it."""


class Deliveries:
    """Compares what arrives at the service with what its sessions are told."""

    def __init__(self, computer: Computer, exchanges: Exchanges) -> None:
        self.readers: list[Reader] = []
        self.labels: dict[int, str] = {}
        """The labels of sessions by their number in the service that runs."""
        self._computer = computer
        self._exchanges = exchanges
        self._profiles: list[int] = []
        self._arrivals: dict[str, _Arrival] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._order = 0

    def new(self, profile: int = 0) -> str:
        """The number of a request that is about to be sent, for a profile or, with 0, for a peer."""
        self._profiles.append(profile)
        return str(len(self._profiles))

    def restarted(self) -> None:
        """What a killed service had is lost."""
        self.labels.clear()
        self._arrivals.clear()

    # What comes in

    def arrived(self, request: Request) -> None:
        """A request is about to be given to the service."""
        number = request.header(EXCHANGE.lower()) or ""
        exchange = exchange_of(number, request.header("call-id") or "")
        if not exchange or request.method == "CANCEL" or tag_of(request.header("to")):
            return
        known = self._arrivals.get(exchange)
        if known is not None and known.wanted:
            return
        service = self._computer.service
        profile = self._profiles[int(number) - 1]
        if service is None or not profile:
            return
        held = []
        for each in service._claims.of_profile(profile):
            assert isinstance(each.owner, SessionOwner)
            held.append((each.number, self.labels[each.owner.session.number], each.claim))
        registration = service._registrations.by_profile.get(profile)
        certain = registration is not None and registration.status == "registered"
        self._order += 1
        found = winners(held, request)
        now = self._computer.clock.now
        self._arrivals[exchange] = _Arrival(
            self._order, now, request.method, profile, found, set(), certain, bool(found)
        )
        served = self._exchanges.of(exchange)
        if served is not None:
            served.unwanted = not found

    # What programs see

    def told(self, reader: Reader, document: dict[str, Any]) -> None:
        """A session has read an event ``request`` outside of a dialog."""
        exchange = exchange_of(dict(document["headers"]).get(EXCHANGE, ""), document["call_id"])
        arrival = self._arrivals.get(exchange)
        text = f"{reader.label} got {document['method']} {exchange} by its claim {document['claim']}"
        if arrival is None:
            raise Violation(Promise.CLAIMED_ONLY, f"{text}, which never arrived")
        if reader.label not in arrival.expected:
            raise Violation(Promise.CLAIMED_ONLY, f"{text}, which is for {sorted(arrival.expected) or 'nobody'}")
        if arrival.expected[reader.label] != document["claim"]:
            raise Violation(Promise.CLAIMED_ONLY, f"{text} and not {arrival.expected[reader.label]}")
        if reader.label in arrival.told:
            raise Violation(Promise.ORDER, f"{text} twice")
        arrival.told.add(reader.label)
        key = reader.label, document["profile"]
        if arrival.order < self._last.get(key, 0):
            raise Violation(Promise.ORDER, f"{text} after what came later")
        self._last[key] = arrival.order

    def answered(self, reader: Reader, exchange: str, status: int) -> None:
        """The service has taken a final answer of a session."""
        arrival, served = self._arrivals.get(exchange), self._exchanges.of(exchange)
        if arrival is None or served is None:
            return
        alone = len(arrival.expected) == 1
        if (alone or status < 300) and served.final and served.status != status:
            text = f"{reader.label} answered {arrival.method} {exchange} with {status}, the caller got {served.status}"
            raise Violation(Promise.ONE_ANSWER, text)

    def refused(self, reader: Reader, exchange: str) -> None:
        """The service says that the request needs no answer of this session any more."""
        arrival, served = self._arrivals.get(exchange), self._exchanges.of(exchange)
        if arrival is not None and len(arrival.expected) == 1 and served is not None and not served.final:
            text = f"{reader.label} may not answer {arrival.method} {exchange}, which nobody has answered"
            raise Violation(Promise.ONE_ANSWER, text)

    def ended(self, label: str, profile: int | None = None) -> None:
        """A session has just ended, or given a profile up: what waited for it alone is answered."""
        for exchange, arrival in self._arrivals.items():
            if label not in arrival.expected or profile not in (None, arrival.profile):
                continue
            del arrival.expected[label]
            served = self._exchanges.of(exchange)
            if not arrival.expected and arrival.certain and served is not None and not served.final:
                text = f"{arrival.method} {exchange} was left without an answer when {label} ended"
                raise Violation(Promise.ONE_ANSWER, text)

    # At any time

    def check(self) -> None:
        """Who reads has read what came meanwhile and is older than a moment."""
        now = self._computer.clock.now
        since = {reader.label: reader.reading_since for reader in self.readers}
        for exchange, arrival in list(self._arrivals.items()):
            for label in sorted(arrival.expected.keys() - arrival.told):
                reading = since.get(label)
                # Callers of one that did not read, and has much unread, may hear 503 in its place.
                read = reading is not None and reading <= arrival.at
                if arrival.certain and read and now > arrival.at + READ_WITHIN:
                    raise Violation(Promise.ORDER, f"{label} was not told of {arrival.method} {exchange}")
            if now > arrival.at + 600.0:
                del self._arrivals[exchange]
