"""A fault that never ends: where a registration is possible all the same, everybody must have one and keep it."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.catalogue import LINK, NAMES, NETWORK, REGISTRAR
from sipprofile.testing.simulation.computer import ELSEWHERE, HOST
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.world import World
from sipprofile.testing.virtual_links import Link

PROFILES = 8
SOON = 120.0  # seconds
LONG = 2400.0  # seconds

TOLERATED = (
    "delay",
    "jitter",
    "duplication",
    "reordering",
    "TCP refused",
    "TCP silent",
    "no fragments",
    "doubling link",
    "slow",
    "duplicate answers",
    "answers from another port",
    "420",
    "301 inside",
    "302 inside",
    "several algorithms",
    "unknown algorithm",
    "other scheme",
    "no qop",
    "other qop",
    "foreign realm",
    "proxy in front",
    "nonce for 5 s",
    "nonce for 3 s without stale",
    "new nonce each time",
    "new nonce each time without stale",
    "opaque",
    "short grants",
    "longer than wished",
    "part of the wish",
    "more than the wish",
    "contacts reordered",
    "contact alias",
    "contact port",
    "foreign contacts",
)
"""Faults of the catalogue with which registrations are made, refreshed and given back as without."""


def withstand(name: str, seed: int = 1) -> None:
    """Live with the fault ``name`` from the beginning. Raises :class:`Violation`."""
    chosen = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory(prefix="sipprofile-simulation-") as directory:
        world = World(chosen, PROFILES, seed, ServiceSettings(), Path(directory) / "store.db", None)
        for address in (HOST, ELSEWHERE):
            world.network.translate(address, None)  # many do not let an answer from another port pass
        _begin(world, name, chosen)
        try:
            _live(world, name)
        except Violation as violation:
            raise Violation(None, f"seed {seed} at {world.clock.now:.3f} s with {name!r}: {violation}") from violation


def _begin(world: World, name: str, chosen: random.Random) -> None:
    for site in world.sites.values():
        if name in REGISTRAR:
            changes, place = REGISTRAR[name](chosen, site), site.registrar.faults
            for key, value in changes.items():
                setattr(place, key, value)
        elif name in LINK:
            for address in site.addresses:
                world.network.links[address] = Link(**LINK[name](chosen, site))
        elif name in NAMES:
            for key, value in NAMES[name](chosen, site).items():
                setattr(world.network.names, key, value)
        else:
            for key, value in NETWORK[name](chosen, site).items():
                setattr(world.network.conditions, key, value)


def _live(world: World, name: str) -> None:
    world.begin()
    for number, known in sorted(world.operator.ledger.profiles.items()):
        uri = known.content["registrar"]["uri"]
        if name.endswith("inside") and ".test" not in uri:
            world.operator.control(number, "pause")  # there is no domain that it could be redirected inside of
        elif name.startswith("TCP") and "tcp" in uri:
            world.operator.control(number, "pause")
        else:
            world.applications[0].enable(number)
    world.pass_time(SOON)
    if wrong := world.settled.unregistered():
        raise Violation(Promise.BACK_IN_TIME, f"not registered after {SOON:.0f} s: {'; '.join(wrong)}")
    world.promises.told.clear()
    world.pass_time(LONG)
    if lost := [told for told in world.promises.told if told[0] in ("deregistered", "error")]:
        raise Violation(Promise.CALM, f"lost although nothing changed: {lost}")
    world.computer.down = lambda: None
    world.computer.stop(True)
    world.pass_time(10.0)
    if held := {site.name: bindings for site in world.sites.values() if (bindings := site.all_bindings())}:
        raise Violation(Promise.GIVEN_BACK, f"the service stopped and left {held}")
