"""After an outage everybody comes back: together, and not too late for the sake of the bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipprofile.registration.registration import QUEUED, Registration
from sipprofile.registration.settings import RegistrationSettings
from sipprofile.service.registry import Entry, Registry
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sites import Site
from sipprofile.testing.virtual import ComputerClock

if TYPE_CHECKING:
    from sipprofile.testing.simulation.wire import Wire

TOGETHER = 60.0  # seconds
LOOKED = 45.0  # seconds: to find the addresses again, or to try the first target in vain
UNREACHABLE = frozenset(("timeout", "target_down", "transport_refused", "transport_timeout", "transport_closed"))


class Recovery:
    """Checks :attr:`Promise.BACK_TOGETHER`."""

    def __init__(self, place: Callable[[Entry], tuple[Site, str]], wire: Wire, settings: RegistrationSettings) -> None:
        self._place = place
        self._wire = wire
        self._settings = settings
        self._told_at: dict[int, float] = {}

    def told(self, profile: int, now: float) -> None:
        """The state of a profile was told, be it the old one again."""
        self._told_at[profile] = now

    def check(self, registry: Registry, clocks: ComputerClock) -> None:
        """Nobody who found a target down still waits although others were served there."""
        for number in registry.ids:
            entry = registry.get(number)
            assert entry is not None
            registration = registry.registrations.by_profile[number]
            if registration.status == "unregistered" and registry.wanted(entry) and not entry.held:
                self._check(registry, entry, registration, clocks)

    def _check(self, registry: Registry, entry: Entry, registration: Registration, clocks: ComputerClock) -> None:
        state = registry.state(entry)
        if state.target is None or state.reason.code not in UNREACHABLE:
            return
        _, aor = self._place(entry)
        tried = self._wire.tried_at.get(f"<{aor}>", 0.0)
        failed = clocks.real(max(registration.since, self._told_at.get(entry.id, 0.0)))
        served = self._wire.first_served(state.target, max(tried, failed))
        if served is None:
            return
        queue = (len(registry.ids) + self._settings.burst) / self._settings.rate
        if clocks.real(clocks.now) - served > TOGETHER + LOOKED + queue:
            raise Violation(
                Promise.BACK_TOGETHER,
                f"{entry.name} ({entry.id}) waits for {state.target}, where others were served {served:.1f}: {state}",
            )


def check_lapse(registration: Registration) -> None:
    """A lease of ``registration`` has ended; checks :attr:`Promise.NO_LAPSE_IN_THE_QUEUE`."""
    if any(flow.phase == QUEUED for flow in registration.flows):
        raise Violation(Promise.NO_LAPSE_IN_THE_QUEUE, f"the lease of {registration.profile} ended in the queue")
