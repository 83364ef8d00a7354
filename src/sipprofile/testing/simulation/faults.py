"""The faults of a simulation: each is switched on by a schedule and switches itself off after a while."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sipprofile.testing.faults import Faults
from sipprofile.testing.simulation.catalogue import LINK, NAMES, NETWORK, NOT_YET, REGISTRAR, Draw
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.simulation.trace import Trace
from sipprofile.testing.virtual import VirtualClock
from sipprofile.testing.virtual_links import Conditions, Link
from sipprofile.testing.virtual_names import VirtualNames
from sipprofile.testing.virtual_nat import VirtualNat
from sipprofile.testing.virtual_network import VirtualNetwork

LONGEST = 240.0  # seconds that a fault lasts
LONGER = 0.05  # probability of five times as long, which lets the back-off grow


class Outages:
    """Everything that can be wrong with the network and the registrars."""

    def __init__(
        self,
        clock: VirtualClock,
        network: VirtualNetwork,
        sites: Sequence[Site],
        nat: VirtualNat | None,
        random: random.Random,
        trace: Trace,
        only: Collection[str] = (),
    ) -> None:
        """``only``: the names of the faults to draw from; empty: all that the service can cope with."""
        self.changed_at = 0.0
        """When a fault last began or ended."""
        self.active = 0
        """How many faults there are now."""
        self._clock = clock
        self._network = network
        self._sites = sites
        self._nat = nat
        self._random = random
        self._trace = trace
        self._over = False
        self._of_network = _drawn_from({**NETWORK, **LINK, **NAMES}, only)
        self._of_registrar = _drawn_from(REGISTRAR, only)

    def network_fault(self) -> None:
        """Something is wrong with the network or its name servers for a while."""
        if not self._of_network:
            return
        site = self._random.choice(self._sites)
        name, draw = self._random.choice(self._of_network)
        changes = draw(self._random, site)
        if name in LINK:
            address = self._random.choice(site.addresses)
            self._for_a_while(
                self._network.links.setdefault(address, Link()), Link(), changes, f"the link to {address}"
            )
        elif name in NAMES:
            self._for_a_while(self._network.names, VirtualNames(), changes, "the name server")
        else:
            self._for_a_while(self._network.conditions, Conditions(), changes)

    def registrar_fault(self) -> None:
        """Something is wrong with a registrar for a while."""
        if self._of_registrar:
            site = self._random.choice(self._sites)
            _, draw = self._random.choice(self._of_registrar)
            self._for_a_while(site.registrar.faults, Faults(), draw(self._random, site), site.name)

    def move(self) -> None:
        """A server moves to another address, and its domain says so."""
        site = self._random.choice(self._sites)
        old, new = site.move()
        self._note(f"{site.name} moves from {old} to {new}")

    def weigh(self) -> None:
        """A domain changes the weights and priorities of its servers."""
        site = self._random.choice(self._sites)
        self._note(f"{site.name} weighs its servers anew")
        site.weigh()

    def rebind(self) -> None:
        """The NAT in front of the service, if there is one, forgets everything; it may get another address."""
        if self._nat is not None:
            address = self._random.choice(self._nat.addresses)
            self._note(f"the NAT rebinds to {address}")
            self._nat.rebind(address)

    def swallow(self) -> None:
        """The connections to a server lose everything in silence from now on."""
        site = self._random.choice(self._sites)
        address = self._random.choice(site.addresses)
        self._note(f"connections to {address} swallow everything")
        self._network.swallow(address)

    def registrar_restart(self) -> None:
        """A registrar restarts: its bindings, nonces and connections are gone."""
        site = self._random.choice(self._sites)
        self._note(f"{site.name} restarts")
        site.restart()

    def nonce_change(self) -> None:
        """A registrar accepts none of the nonces it gave."""
        site = self._random.choice(self._sites)
        self._note(f"{site.name} forgets its nonces")
        site.forget_nonces()

    def begun(self) -> Callable[[], None]:
        """Another kind of fault begins; what is returned is to be called when it is over."""
        self.active += 1
        self.changed_at = self._clock.now
        return self._ended

    def _ended(self) -> None:
        if not self._over:
            self.active -= 1
            self.changed_at = self._clock.now

    def end(self) -> None:
        """No fault any more."""
        self._over = True
        self.active = 0
        self.changed_at = self._clock.now
        self._set(self._network.conditions, Conditions(), _fields(Conditions))
        self._set(self._network.names, VirtualNames(), ["silent", "failing", "missing", "negative_ttl"])
        self._network.links.clear()
        for site in self._sites:
            self._set(site.registrar.faults, Faults(flow_timer=site.flow_timer), _fields(Faults))

    def _for_a_while(self, place: Any, healthy: Any, changes: dict[str, Any], name: str = "the network") -> None:
        seconds = 5.0 + (LONGEST - 5.0) * self._random.random() ** 2
        if self._random.random() < LONGER:
            seconds *= 5.0
        self._trace.note(
            f"{name}: {', '.join(f'{key}={shown(value)}' for key, value in changes.items())} for {seconds:.0f} s"
        )
        self.begun()
        for key, value in changes.items():
            setattr(place, key, value)
        self._clock.after(seconds, self._heal, place, healthy, list(changes))

    def _heal(self, place: Any, healthy: Any, names: list[str]) -> None:
        if not self._over:
            self._set(place, healthy, names)
        self._ended()

    def _note(self, text: str) -> None:
        self.changed_at = self._clock.now
        self._trace.note(text)

    def _set(self, place: Any, healthy: Any, names: list[str]) -> None:
        for name in names:
            setattr(place, name, getattr(healthy, name))


def _drawn_from(catalogue: Mapping[str, Draw], only: Collection[str]) -> list[tuple[str, Draw]]:
    return [(name, draw) for name, draw in catalogue.items() if (name in only if only else name not in NOT_YET)]


def _fields(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def shown(value: Any) -> str:
    """The same text for the same value, sets included."""
    return str(sorted(value)) if isinstance(value, set) else str(value)
