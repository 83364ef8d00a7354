"""One registrar, the service with a few profiles, programs that share them, and peers that call and are called."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipprofile.errors import SipProfileError
from sipprofile.records import ProfileRecord
from sipprofile.registration.actions import TransportKey
from sipprofile.service.effects import Publish
from sipprofile.service.operations import Control, Operation, Remove, Verb
from sipprofile.service.service import Service
from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.simulation.operator import EXPECTED, new_password
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sharing import tables
from sipprofile.testing.simulation.sharing.deaths import Deaths
from sipprofile.testing.simulation.sharing.deliveries import READ_WITHIN, Deliveries
from sipprofile.testing.simulation.sharing.exchanges import Exchanges
from sipprofile.testing.simulation.sharing.peers import Peer
from sipprofile.testing.simulation.sharing.programs import Program
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.template import Template
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import SuspendableClock, VirtualClock
from sipprofile.testing.virtual_network import VirtualNetwork

SITE = "one.test"
ADDRESSES = ("198.51.100.1", "198.51.100.2", "198.51.100.3")
PEERS = ("192.0.2.71", "192.0.2.72", "192.0.2.73")
PROFILES = 4
PROGRAMS = 4
CHECK_INTERVAL = 2.0  # seconds of simulated time
RECOVERED = 70.0  # seconds after a disturbance until everything is as if it had not been


class World:
    """All that takes part. It watches the service, see :class:`~..computer.Watcher`."""

    def __init__(
        self,
        chosen: random.Random,
        settings: ServiceSettings,
        path: Path,
        show: Callable[[str], None] | None,
        faults: list[str],
    ) -> None:
        """``faults``: the names of those of the catalogue that may happen."""

        def derived() -> random.Random:
            return random.Random(chosen.getrandbits(64))

        self.clock = clock = VirtualClock()
        self.trace = trace = Trace(clock, show)
        self.network = network = VirtualNetwork(clock, derived())
        self.site = site = Site(SITE, ADDRESSES, (), network, derived())
        site.publish(services=chosen.random() < 0.5, ttl=120.0)
        site.promise(chosen.choice((None, 20, 60)))
        proxy = ADDRESSES[0], 5060
        site.registrar.address = proxy
        site.registrar.record_route = chosen.random() < 0.5
        store = Template(PROFILES, chosen.getrandbits(16), document)
        store.copy(path)
        site.registrar.users.update(store.accounts)
        self.aors = {record.profile.id: record.profile.aor for record in store.records}
        self.held: set[int] = set()
        """Profiles that an operator holds down."""
        self.disturbed_at = 0.0
        """When a service was started or killed."""
        self.exchanges = Exchanges(lambda: clock.now)
        self.deaths = Deaths(lambda: clock.now, self.undisturbed_since)
        self.computer = computer = Computer(
            clock=SuspendableClock(clock),
            network=network,
            random=derived(),
            path=path,
            keys=store.keys,
            settings=settings,
            trace=trace,
            watcher=self,
        )
        self.deliveries = Deliveries(computer, self.exchanges)
        self.programs = [
            Program(f"app{number}", computer, clock, derived(), trace, self.deliveries, self.deaths)
            for number in range(PROGRAMS)
        ]
        self.deliveries.readers.extend(self.programs)
        self.peers = [
            Peer(f"peer{number}", address, proxy, network, clock, derived(), trace, self.deliveries, self.deaths)
            for number, address in enumerate(PEERS)
        ]
        self.outages = Outages(clock, network, (site,), None, derived(), trace, faults)
        self._asked = 0

    # What the computer tells

    def started(self, records: list[ProfileRecord], service: Service) -> None:
        """See Watcher."""
        self.disturbed_at = self.clock.now

    def sent(self, key: TransportKey, data: bytes) -> None:
        """See Watcher."""
        self.trace.note(f"sent {_first_line(data)}", data)
        self.exchanges.sent(data)

    def received(self, data: bytes, key: TransportKey) -> None:
        """See Watcher."""
        self.trace.note(f"received {_first_line(data)}", data)
        request = self.exchanges.received(data, key)
        if request is not None:
            self.deliveries.arrived(request)

    def published(self, effect: Publish) -> None:
        """See Watcher."""

    def down(self) -> None:
        """The service has ended: what it owed nobody will give."""
        self.disturbed_at = self.clock.now
        self.exchanges.restarted()
        self.deliveries.restarted()
        self.deaths.forget()

    # At any time

    def undisturbed_since(self, since: float) -> bool:
        """Whether nothing was wrong with the network, the registrar or the service since then."""
        latest = max(self.disturbed_at, self.outages.changed_at)
        return self.outages.active == 0 and since > latest + RECOVERED

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and look at the promises now and then."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.run_until(min(end, self.clock.now + CHECK_INTERVAL))
            self.check()

    def check(self) -> None:
        """What must be true now."""
        service = self.computer.service
        if service is None:
            return
        self.exchanges.check()
        self.deliveries.check()
        moment_ago = self.clock.now - READ_WITHIN
        deaf = {each.label for each in self.programs if each.reading_since is None or each.reading_since > moment_ago}
        self.deaths.check(deaf)
        tables.check_owners(service)

    def unregistered(self) -> list[int]:
        """Profiles that somebody has enabled and that are not registered."""
        service = self.computer.service
        if service is None:
            return sorted(self.aors)
        registered = service._registrations.by_profile
        wanted = {profile for program in self.programs for profile in program.enabled}
        return [number for number in sorted(wanted - self.held) if registered[number].status != "registered"]

    # The operator

    def control(self, profile: int, verb: Verb) -> None:
        """Say an operator's word about a profile."""

        def done(reply: dict[str, Any]) -> None:
            if reply["registration"].get("held", ""):
                self.held.add(profile)
                self.deaths.profile_ended(profile)
            else:
                self.held.discard(profile)

        self._ask(Control(profile, verb), done)

    def remove(self, profile: int) -> None:
        """Remove a profile, if nobody uses it."""

        def done(_: object) -> None:
            self.aors.pop(profile, None)
            self.deaths.profile_ended(profile)

        self._ask(Remove(profile), done)

    def _ask(self, operation: Operation, done: Callable[[Any], None]) -> None:
        if self.computer.service is None:
            return
        self._asked += 1
        self.trace.note(f"operator {self._asked} {operation}")

        def answered(result: Any) -> None:
            if isinstance(result, SipProfileError):
                if result.code not in EXPECTED:
                    raise Violation(Promise.ASKED, f"{operation} was refused: {result}")
            elif result is not None:
                done(result)

        self.computer.ask(operation, answered)


def document(chosen: random.Random, user: str) -> dict[str, Any]:
    """A profile of the account ``user``."""
    transport = ";transport=tcp" if chosen.random() < 0.25 else ""
    return {
        "name": user,
        "aor": f"sip:{user}@{SITE}",
        "registrar": {"uri": f"sip:{SITE}{transport}", "username": user, "password": new_password(chosen)},
        "register": chosen.choice(("always", "on-demand")),
        "expires": chosen.choice((300, 900, 3600)),
        "linger": chosen.choice((0, 5)),
        "linger_lost": chosen.choice((0, 10, 60)),
    }


def _first_line(data: bytes) -> str:
    return data.partition(b"\r\n")[0].decode(errors="replace")
