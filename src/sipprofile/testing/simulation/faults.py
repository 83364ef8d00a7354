"""The faults of a simulation: each is switched on by a schedule and switches itself off after a while."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from sipprofile.testing.faults import Faults
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import VirtualClock
from sipprofile.testing.virtual_network import Conditions, VirtualNetwork

LONGEST = 240.0  # seconds that a fault lasts


class Outages:
    """Everything that can be wrong with the network and the registrars."""

    def __init__(
        self,
        clock: VirtualClock,
        network: VirtualNetwork,
        sites: Sequence[Site],
        random: random.Random,
        trace: Trace,
    ) -> None:
        self._clock = clock
        self._network = network
        self._sites = sites
        self._random = random
        self._trace = trace
        self._over = False
        chance = random.random
        self._of_network: list[Callable[[], dict[str, Any]]] = [
            lambda: {"loss": 0.05 + 0.4 * chance()},
            lambda: {"delay": 0.05 + 0.6 * chance()},
            lambda: {"jitter": 0.1 + 2.0 * chance()},
            lambda: {"duplication": 0.1 + 0.4 * chance()},
            lambda: {"reordering": 0.1 + 0.4 * chance()},
            lambda: {"dead": {random.choice(random.choice(self._sites).addresses)}},
            lambda: {"dead": set(random.choice(self._sites).addresses)},
            lambda: {"closed": {random.choice(random.choice(self._sites).addresses)}},
        ]
        self._of_registrar: list[Callable[[], dict[str, Any]]] = [
            lambda: {"silent": True},
            lambda: {"status": 503, "retry_after": random.choice((5, 30, 90))},
            lambda: {"status": random.choice((403, 404, 408, 480, 500, 503, 600))},
            lambda: {"maximum_expires": random.choice((20, 45, 90))},
            lambda: {"min_expires": random.choice((200, 700, 1000))},
            lambda: {"grant_fraction": 0.2 + 0.5 * chance()},
            lambda: {"answer_delay": 0.2 + 3.0 * chance(), "trying": chance() < 0.5},
            lambda: {"drop": 0.3 * chance(), "drop_answers": 0.5 * chance()},
            lambda: {"max_contacts": 1},
            lambda: {"algorithms": ("SHA-256", "MD5")},
            lambda: {"qop": False},
            lambda: {"always_stale": True},
            lambda: {"nonce_lifetime": 5.0},
            lambda: {"reverse_contacts": True, "expires_in_header": True},
        ]

    def network_fault(self) -> None:
        """Something is wrong with the network for a while."""
        self._for_a_while(self._network.conditions, Conditions(), self._random.choice(self._of_network)())

    def registrar_fault(self) -> None:
        """Something is wrong with a registrar for a while."""
        site = self._random.choice(self._sites)
        self._for_a_while(site.registrar.faults, Faults(), self._random.choice(self._of_registrar)(), site.name)

    def registrar_restart(self) -> None:
        """A registrar restarts: its bindings, nonces and connections are gone."""
        site = self._random.choice(self._sites)
        self._trace.note(f"{site.name} restarts")
        site.restart()

    def nonce_change(self) -> None:
        """A registrar accepts none of the nonces it gave."""
        site = self._random.choice(self._sites)
        self._trace.note(f"{site.name} forgets its nonces")
        site.forget_nonces()

    def end(self) -> None:
        """No fault any more."""
        self._over = True
        self._set(self._network.conditions, Conditions(), [*Conditions.__slots__])
        for site in self._sites:
            self._set(site.registrar.faults, Faults(), [*Faults.__slots__])

    def _for_a_while(self, place: Any, healthy: Any, changes: dict[str, Any], name: str = "the network") -> None:
        seconds = 5.0 + (LONGEST - 5.0) * self._random.random() ** 2
        self._trace.note(
            f"{name}: {', '.join(f'{key}={shown(value)}' for key, value in changes.items())} for {seconds:.0f} s"
        )
        for key, value in changes.items():
            setattr(place, key, value)
        self._clock.after(seconds, self._heal, place, healthy, list(changes))

    def _heal(self, place: Any, healthy: Any, names: list[str]) -> None:
        if not self._over:
            self._set(place, healthy, names)

    def _set(self, place: Any, healthy: Any, names: list[str]) -> None:
        for name in names:
            setattr(place, name, getattr(healthy, name))


def shown(value: Any) -> str:
    """The same text for the same value, sets included."""
    return str(sorted(value)) if isinstance(value, set) else str(value)
