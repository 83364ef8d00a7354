"""A long outage of every registrar, and its end: nobody waits for the back-off that has grown meanwhile."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.recovery import LOOKED, TOGETHER
from sipprofile.testing.simulation.world import World

PROFILES = 20
LONG = 2400.0  # seconds: longer than the longest lease here, long enough for the longest back-off


def outlast(seed: int = 1) -> None:
    """Register everybody, cut all registrars off, and have them back. Raises :class:`Violation`."""
    with tempfile.TemporaryDirectory(prefix="sipprofile-simulation-") as directory:
        world = World(
            random.Random(f"outage {seed}"), PROFILES, seed, ServiceSettings(), Path(directory) / "s.db", None
        )
        world.begin()
        for number in sorted(world.operator.ledger.profiles):
            world.applications[0].enable(number)
        world.pass_time(60.0)
        dead = {address for site in world.sites.values() for address in site.addresses}
        ended = world.outages.begun()
        world.network.conditions.dead = dead
        world.pass_time(LONG * (1.0 + random.Random(seed).random()))
        world.network.conditions.dead = set()
        ended()
        world.pass_time(2 * TOGETHER + LOOKED)  # a canary goes once in that time, then everybody
        if wrong := world.settled.unregistered():
            at = f"seed {seed} at {world.clock.now:.3f} s"
            raise Violation(Promise.BACK_TOGETHER, f"({at}) still not registered: {'; '.join(wrong)}")
