"""What happens in a simulation, drawn from its seed: applications, operators, faults, kills and restarts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sipprofile.testing.simulation.applications import Application
from sipprofile.testing.simulation.computer import Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.simulation.ledger import Known
from sipprofile.testing.simulation.operator import HOSTS, LEASES, Operator, new_password
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.travel import Travel
from sipprofile.testing.virtual import SuspendableClock

POINTS = 60  # a kill comes at one of the next so many points where it can
WRITTEN = 30.0  # seconds after which everything is on disk
POINTS_OF_A_CHANGE = 12
POPULAR = 4
PORTS = (5060, 5060, 5060, 5062)


class Schedule:
    """Does one random thing after the other."""

    def __init__(
        self,
        *,
        clock: SuspendableClock,
        computer: Computer,
        applications: Sequence[Application],
        operator: Operator,
        outages: Outages,
        travel: Travel,
        sites: Mapping[str, Site],
        random: random.Random,
    ) -> None:
        self._clock = clock
        self._computer = computer
        self._applications = applications
        self._operator = operator
        self._outages = outages
        self._travel = travel
        self._sites = sites
        self._random = random
        self._over = False
        self._away = 1.0
        self._reboots = False
        self._wall_set_at = 0.0
        self._disk_full_until = 0.0
        computer.down = self._service_down
        weighted: list[tuple[int, Callable[[], None]]] = [
            (18, self._enable),
            (8, self._disable),
            (2, self._hold),
            (3, self._application_crashes),
            (3, self._application_starts),
            (4, self._application_disconnects),
            (3, operator.create),
            (8, self._patch),
            (2, self._replace),
            (3, self._remove),
            (6, self._control),
            (6, self._password),
            (9, outages.network_fault),
            (9, outages.registrar_fault),
            (3, outages.registrar_restart),
            (3, outages.nonce_change),
            (2, outages.move),
            (1, outages.weigh),
            (3, outages.rebind),
            (2, outages.swallow),
            (2, travel.move),
            (1, travel.flap),
            (1, travel.go_offline),
            (2, self._suspend),
            (4, self._kill),
            (6, self._kill_in_a_change),
            (2, self._restart),
            (1, self._set_wall),
            (1, self._fill_disk),
        ]
        self._actions = [action for _, action in weighted]
        self._weights = [weight for weight, _ in weighted]

    def act(self) -> None:
        """Do something, unless nobody at the computer can."""
        if self._clock.suspended:
            return
        self._random.choices(self._actions, self._weights)[0]()

    def end(self) -> None:
        """No more faults, and whoever was down comes back."""
        self._over = True
        self._outages.end()
        self._travel.end()
        if self._computer.disk_full and self._computer.service is not None:
            self._computer.fill_disk(False)
        self._computer.disk_full = False

    # Applications

    def _enable(self) -> None:
        application = self._application()
        number = self._profile(popular=self._random.random() < 0.5)
        if application is not None and number is not None and number not in application.wants:
            application.enable(number)

    def _disable(self) -> None:
        users = [application for application in self._applications if application.wants]
        if users:
            application = self._random.choice(users)
            application.disable(self._random.choice(sorted(application.wants)))

    def _hold(self) -> None:
        application = self._application()
        number = self._profile()
        if application is not None and number is not None:
            application.hold(number)

    def _application_crashes(self) -> None:
        application = self._application()
        if application is not None:
            application.crash()

    def _application_starts(self) -> None:
        dead = [application for application in self._applications if not application.running]
        if dead:
            self._random.choice(dead).restart()

    def _application_disconnects(self) -> None:
        application = self._application()
        if application is not None:
            application.disconnect(self._random.choice((0.0, 1.0, 5.0, 20.0)) * self._random.random())

    def _application(self) -> Application | None:
        running = [application for application in self._applications if application.running]
        return self._random.choice(running) if running else None

    # Operators

    def _patch(self) -> None:
        number = self._profile()
        if number is None:
            return
        chosen, content = self._random, self._known(number).content
        user = content["registrar"]["username"]
        changes: dict[str, Any] = chosen.choice(
            (
                {"provider_name": f"Provider {chosen.getrandbits(16)}"},
                {"labels": {"site": str(chosen.getrandbits(4))}},
                {"expires": chosen.choice(LEASES)},
                {"contact_params": [f"q=0.{chosen.randrange(1, 9)}"]},
                {"headers": [f"X-Site: {chosen.getrandbits(16)}"]},
                {"contact_user": f"fixed-{number}-{chosen.getrandbits(16)}"},
                {"register": chosen.choice(("always", "on-demand"))},
                {"linger": chosen.choice((0, 10))},
                {"proxies": [{"uri": f"sip:proxy.{chosen.choice(HOSTS)}"}]},
                {"proxies": []},
                {"aor": f"sip:{user}@{chosen.choice(HOSTS)}"},
                {"registrar": {"uri": f"sip:{chosen.choice(HOSTS)}"}},
                {"registrar": {"uri": f"sip:{chosen.choice(HOSTS)};transport=tcp"}},
                {"default": True},
            )
        )
        self._changed(number)
        self._operator.patch(number, **changes)

    def _replace(self) -> None:
        number = self._profile()
        if number is not None:
            self._changed(number)
            self._operator.replace(number, provider_name="Replaced", expires=self._random.choice(LEASES))

    def _remove(self) -> None:
        number = self._profile()
        if number is not None and len(self._operator.ledger.profiles) > 5:
            self._operator.remove(number)

    def _control(self) -> None:
        number = self._profile()
        if number is not None:
            verbs = ("pause", "resume", "resume", "force-disable", "retry-now", "default")
            self._changed(number)
            self._operator.control(number, self._random.choice(verbs))  # type: ignore[arg-type]

    def _password(self) -> None:
        """The provider changes a password; somebody tells the service some time later, or forgets to."""
        always = [
            number
            for number, known in sorted(self._operator.ledger.profiles.items())
            if known.content["register"] == "always"
        ]
        if not always:
            return
        number = self._random.choice(always)
        server = self._known(number).content["registrar"]
        password = new_password(self._random)
        for site in self._sites.values():
            site.registrar.users[server["username"]] = password
        self._changed(number)
        if self._random.random() < 0.6:
            self._clock.after(600.0 * self._random.random() ** 2, self._tell_password, number, password)

    def _tell_password(self, number: int, password: str) -> None:
        if number in self._operator.ledger.profiles and not self._over:
            self._changed(number)
            self._operator.patch(number, registrar={"password": password})

    def _changed(self, number: int) -> None:
        """Credentials may be tried again after this."""
        for site in self._sites.values():
            site.changed(self._known(number).content["registrar"]["username"])

    def _profile(self, popular: bool = False) -> int | None:
        """Any profile, or one of the few that many applications share."""
        known = sorted(self._operator.ledger.profiles)
        return self._random.choice(known[:POPULAR] if popular else known) if known else None

    def _known(self, number: int) -> Known:
        return self._operator.ledger.profiles[number]

    # The service

    def _kill(self) -> None:
        if self._may_kill():
            self._away = self._random.choice((0.2, 2.0, 20.0, 100.0)) * self._random.random()
            self._reboots = self._random.random() < 0.2
            self._computer.light_fuse(self._random.randrange(1, POINTS))

    def _may_kill(self) -> bool:
        """What a full disk did not take, a killed service cannot know: one of the two at a time."""
        full = self._clock.now < self._disk_full_until + WRITTEN
        return self._computer.service is not None and not full

    def _kill_in_a_change(self) -> None:
        """Somebody asks for something, and the service does not live to finish it."""
        if self._may_kill():
            self._away = 2.0 * self._random.random()
            asks = (self._patch, self._patch, self._control, self._enable, self._disable, self._remove)
            self._random.choice(asks)()
            self._computer.light_fuse(self._random.randrange(1, POINTS_OF_A_CHANGE))

    def _restart(self) -> None:
        self._away = 1.0 + self._random.random()
        self._computer.stop(self._random.random() < 0.3)

    def _service_down(self) -> None:
        for site in self._sites.values():
            site.refusals.clear()  # what a kill has destroyed may be learnt again
        # Nobody can know that the clock was set if it was not written down before the power went.
        if self._reboots and self._clock.now > self._wall_set_at + WRITTEN:
            self._computer.clocks.reboot()
        self._reboots = False
        self._clock.after(1.0 if self._over else self._away, self._service_up)

    def _service_up(self) -> None:
        if not self._over and self._random.random() < 0.3:
            self._computer.port = self._random.choice(PORTS)
        self._computer.start()

    def _suspend(self) -> None:
        if self._computer.service is not None and not self._computer.doomed:
            self._computer.suspend(self._random.choice((5.0, 60.0, 900.0)) * self._random.random())

    def _set_wall(self) -> None:
        if self._computer.service is not None:
            self._wall_set_at = self._clock.now
            self._computer.set_wall(self._random.choice((-7200.0, -100.0, 100.0, 7200.0)))

    def _fill_disk(self) -> None:
        computer = self._computer
        if computer.service is not None and not computer.doomed and not computer.disk_full:
            computer.fill_disk(True)
            seconds = 20.0 * self._random.random()
            self._disk_full_until = self._clock.now + seconds
            self._clock.after(seconds, self._empty_disk)

    def _empty_disk(self) -> None:
        if self._computer.disk_full and self._computer.service is not None:
            self._computer.fill_disk(False)
        self._computer.disk_full = False
