"""Everything that takes part in one simulation, and the passing of time."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from pathlib import Path

from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.afterwards import Afterwards
from sipprofile.testing.simulation.applications import Application
from sipprofile.testing.simulation.computer import ELSEWHERE, HOST, Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.simulation.operator import Operator, new_document
from sipprofile.testing.simulation.promises import Promises
from sipprofile.testing.simulation.schedule import Schedule
from sipprofile.testing.simulation.settled import Settled
from sipprofile.testing.simulation.sites import FLOW_TIMERS, NUMERIC, TTLS, Site
from sipprofile.testing.simulation.template import VARIANTS, template
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.simulation.travel import Travel
from sipprofile.testing.simulation.usual import usual_document
from sipprofile.testing.simulation.wire import Wire
from sipprofile.testing.virtual import SuspendableClock, VirtualClock
from sipprofile.testing.virtual_nat import VirtualNat
from sipprofile.testing.virtual_network import VirtualNetwork

CHECK_INTERVAL = 10.0  # seconds of simulated time
PUBLIC = ("203.0.113.200", "203.0.113.201")
NAT = 0.3  # probability that the service is behind one


class World:
    """The service on its computer, registrars, network, applications and an operator."""

    def __init__(
        self,
        chosen: random.Random,
        profiles: int,
        variant: int,
        settings: ServiceSettings,
        path: Path,
        show: Callable[[str], None] | None,
        only: Collection[str] = (),
        *,
        usual: bool = False,
    ) -> None:
        """``only``: the names of the faults that happen, of all those of the catalogue; empty: any of them. ``usual``:
        with profiles that most are like, see :mod:`.usual`."""

        def derived() -> random.Random:
            return random.Random(chosen.getrandbits(64))

        self.clock = clock = VirtualClock()
        self.trace = trace = Trace(clock, show)
        self.network = network = VirtualNetwork(clock, derived())
        one = Site(
            "one.test",
            ("198.51.100.1", "198.51.100.2", "198.51.100.3"),
            ("198.51.100.8", "198.51.100.9"),
            network,
            derived(),
        )
        two = Site("two.test", ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"), ("192.0.2.9",), network, derived())
        self.sites = {site.name: site for site in (one, two)}
        places = {**self.sites, **{NUMERIC[site.name]: site for site in (one, two)}}
        one.publish(services=False, ttl=chosen.choice(TTLS))
        two.publish(services=True, ttl=chosen.choice(TTLS))
        self.nat = None if usual else self._nat(chosen)
        for address in (HOST, ELSEWHERE):
            network.translate(address, self.nat)
        local = SuspendableClock(clock)
        self.wire = Wire(trace, settings.registration, lambda: clock.now, lambda: self.promises.overdrawn())
        flow_timer = None if usual else chosen.choice(FLOW_TIMERS)  # the same for both: each is the other's proxy
        for site in (one, two):
            site.promise(flow_timer)
            site.others = places
            site.attempts = lambda aor: self.wire.attempts.get(f"<{aor}>", 0)
        self.promises = Promises(self.sites, places, self.wire)
        document_of = usual_document if usual else new_document
        store = template(profiles, variant % VARIANTS, document_of)
        store.copy(path)
        self.computer = computer = Computer(
            clock=local,
            network=network,
            random=derived(),
            path=path,
            keys=store.keys,
            settings=settings,
            trace=trace,
            watcher=self.promises,
        )
        self.operator = Operator(computer, derived(), trace, self.open_account, document_of)
        self.operator.ledger.adopt(store.records)
        self.applications = [
            Application(f"app{number}", computer, local, derived(), trace, self.operator.touched)
            for number in range(4 + profiles // 25)
        ]
        self.outages = outages = Outages(clock, network, (one, two), self.nat, derived(), trace, only)
        self.promises.watch(computer, self.operator.ledger, outages, network)
        self.settled = Settled(self.promises, computer, self.operator.ledger, self.applications, self.sites)
        self.schedule = Schedule(
            clock=local,
            computer=computer,
            applications=self.applications,
            operator=self.operator,
            outages=outages,
            travel=Travel(local, computer, outages, derived()),
            sites=self.sites,
            random=derived(),
        )
        self.afterwards = Afterwards(self, derived())
        for user, password in store.accounts.items():
            self.open_account(user, password)

    def _nat(self, chosen: random.Random) -> VirtualNat | None:
        if chosen.random() >= NAT:
            return None
        return VirtualNat(PUBLIC, per_destination=chosen.random() < 0.5, lifetime=chosen.choice((35.0, 130.0, 300.0)))

    def open_account(self, user: str, password: str) -> None:
        """Every registrar knows the user from now on, or a new password of his."""
        for site in self.sites.values():
            site.registrar.users[user] = password

    def begin(self) -> None:
        """Start the service and every application."""
        self.computer.start()
        for application in self.applications:
            application.connect()
        self.pass_time(5.0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and look at the promises now and then."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.run_until(min(end, self.clock.now + CHECK_INTERVAL))
            self.promises.check_now()
