"""The computer moves: another address, one that comes and goes, no network for a while."""

from __future__ import annotations

import random
from collections.abc import Callable

from sipprofile.testing.simulation.computer import ELSEWHERE, HOST, Computer
from sipprofile.testing.simulation.faults import Outages
from sipprofile.testing.virtual import SuspendableClock

FLAPS = 4
OFFLINE = 200.0  # seconds without a network at most

Journey = list[tuple[float, tuple[str, ...]]]
"""Seconds to wait, and the addresses after that."""


class Travel:
    """Changes the computer's addresses, one journey after the other."""

    def __init__(self, clock: SuspendableClock, computer: Computer, outages: Outages, random: random.Random) -> None:
        self._clock = clock
        self._computer = computer
        self._outages = outages
        self._random = random
        self._over = False
        self._under_way = False

    def move(self) -> None:
        """The other address takes the place of the present one, at once, or is there beside it for a while."""
        old = self._address()
        new = other(old)
        beside = [(0.0, (new, old))] if self._random.random() < 0.5 else []
        self._begin([*beside, (3.0 * self._random.random() * len(beside), (new,))])

    def flap(self) -> None:
        """The address vanishes and comes back, some times."""
        address = self._address()
        journey: Journey = []
        for _ in range(self._random.randrange(1, FLAPS)):
            journey += [(self._moment(), ()), (self._moment(), (address,))]
        self._begin(journey)

    def go_offline(self) -> None:
        """No network for a while, and then another one, or the same."""
        self._begin([(0.0, ()), (OFFLINE * self._random.random() ** 2, (self._random.choice((HOST, ELSEWHERE)),))])

    def end(self) -> None:
        """There is a network, and it stays."""
        self._over = True
        if self._computer.host.addresses != [self._address()]:
            self._computer.change_addresses(self._address())

    def _begin(self, journey: Journey) -> None:
        if not self._under_way:
            self._under_way = True
            self._go_on(self._outages.begun(), journey)

    def _go_on(self, ended: Callable[[], None], journey: Journey) -> None:
        if journey:
            self._clock.after(journey[0][0], self._arrive, ended, journey)
        else:
            self._under_way = False
            ended()

    def _arrive(self, ended: Callable[[], None], journey: Journey) -> None:
        if not self._over:
            self._computer.change_addresses(*journey[0][1])
            self._go_on(ended, journey[1:])

    def _address(self) -> str:
        return next(iter(self._computer.host.addresses), HOST)

    def _moment(self) -> float:
        return 0.1 + 3.0 * self._random.random() ** 2


def other(address: str) -> str:
    """The address that is not this one."""
    return ELSEWHERE if address == HOST else HOST
