"""Everything that takes part in one simulation, and the passing of time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.afterwards import Afterwards
from sipprofile.testing.simulation.applications import Application
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.simulation.operator import Operator
from sipprofile.testing.simulation.promises import Promises
from sipprofile.testing.simulation.schedule import Schedule
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.template import VARIANTS, template
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.simulation.wire import Wire
from sipprofile.testing.virtual import VirtualClock
from sipprofile.testing.virtual_network import VirtualNetwork

CHECK_INTERVAL = 10.0  # seconds of simulated time


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
    ) -> None:
        def derived() -> random.Random:
            return random.Random(chosen.getrandbits(64))

        self.clock = clock = VirtualClock()
        self.trace = trace = Trace(clock, show)
        self.network = network = VirtualNetwork(clock, derived())
        one = Site("one.test", ("198.51.100.1", "198.51.100.2", "198.51.100.3"), network, derived())
        two = Site("two.test", ("192.0.2.1", "192.0.2.2"), network, derived())
        self.sites = {site.name: site for site in (one, two)}
        one.others, two.others = {two.name: two}, {one.name: one}
        network.names = {
            "one.test": one.addresses[:2],
            "proxy.one.test": one.addresses[2:],
            "two.test": two.addresses[:1],
            "proxy.two.test": two.addresses[1:],
        }
        self.wire = Wire(trace, settings.registration, lambda: clock.now, lambda: self.promises.overdrawn())
        for site in (one, two):
            site.attempts = lambda aor: self.wire.attempts.get(f"<{aor}>", 0)
        self.promises = Promises(self.sites, self.wire)
        store = template(profiles, variant % VARIANTS)
        store.copy(path)
        self.computer = computer = Computer(
            clock=clock,
            network=network,
            random=derived(),
            path=path,
            keys=store.keys,
            settings=settings,
            trace=trace,
            watcher=self.promises,
        )
        self.operator = Operator(computer, derived(), trace, self.open_account)
        self.operator.ledger.adopt(store.records)
        self.applications = [
            Application(f"app{number}", computer, clock, derived(), trace, self.operator.touched)
            for number in range(4 + profiles // 25)
        ]
        self.promises.watch(computer, self.operator.ledger, self.applications)
        self.schedule = Schedule(
            clock=clock,
            computer=computer,
            applications=self.applications,
            operator=self.operator,
            outages=Outages(clock, network, (one, two), derived(), trace),
            sites=self.sites,
            random=derived(),
        )
        self.afterwards = Afterwards(self, derived())
        for user, password in store.accounts.items():
            self.open_account(user, password)

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
