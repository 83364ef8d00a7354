"""One simulation from its seed: a time of faults, then a time without, in which every promise must come true."""

from __future__ import annotations

import random
import shlex
import tempfile
import traceback
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from sipprofile.registration.settings import RegistrationSettings
from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.promise import Violation
from sipprofile.testing.simulation.usual import PROFILES, usual_settings
from sipprofile.testing.simulation.world import World

FEW, MANY = 20, 50  # profiles
MANY_EVERY = 10  # seeds
ACTIONS = 60  # things that happen, and one more for every four profiles
EVENTS = 2_500  # after which nothing else is made to happen; the time without faults has as many again
BETWEEN = 10.0  # seconds between two things that happen, on average


class Result(msgspec.Struct, frozen=True):
    """What a simulation in which every promise was kept was like."""

    seed: int
    digest: str
    """The same seed gives the same."""
    events: int
    registers: int
    starts: int
    kills: int
    seconds: float
    """Simulated time."""


def profiles_of(seed: int) -> int:
    """How many profiles the simulation of a seed has when it is not told."""
    return MANY if seed % MANY_EVERY == 0 else FEW


def simulate(
    seed: int,
    *,
    profiles: int | None = None,
    only: Collection[str] = (),
    usual: bool = False,
    show: Callable[[str], None] | None = None,
) -> Result:
    """Run one simulation. Raises :class:`Violation`.

    ``only``: names of the :mod:`~sipprofile.testing.simulation.catalogue`, the only faults there will be; empty: those
    that the service copes with. ``usual``: with registrations that most are like, see :mod:`.usual`. ``show`` gets
    every line of the trace.
    """
    usually = PROFILES if usual else profiles_of(seed)
    profiles = usually if profiles is None else profiles
    with tempfile.TemporaryDirectory(prefix="sipprofile-simulation-") as directory:
        chosen = random.Random(seed)
        settings = usual_settings(settings_of(chosen)) if usual else settings_of(chosen)
        world = World(chosen, profiles, seed, settings, Path(directory) / "store.db", show, only, usual=usual)
        try:
            world.begin()
            for _ in range(ACTIONS + profiles // 4):
                if world.trace.events > EVENTS:
                    break
                world.schedule.act()
                world.pass_time(chosen.expovariate(1 / BETWEEN))
            world.schedule.end()
            world.afterwards.run()
        except Exception as error:
            command = f"python -m sipprofile.testing.simulation --seed {seed} --trace"
            if usual:
                command += " --usual"
            if profiles != usually:
                command += f" --profiles {profiles}"
            command += "".join(f" --fault {shlex.quote(name)}" for name in only)
            last = "\n".join(world.trace.lines)
            where = "" if isinstance(error, Violation) else "".join(traceback.format_exception(error)) + "\n"
            at = f"seed {seed} at {world.clock.now:.3f} s"
            text = f"{type(error).__name__}: {error}\n({at}) To repeat it: {command}"
            promise = error.promise if isinstance(error, Violation) else None
            raise Violation(promise, f"{last}\n\n{where}{text}") from error
        return Result(
            seed,
            world.trace.digest,
            world.trace.events,
            world.wire.registers,
            world.computer.starts,
            world.computer.kills,
            world.clock.now,
        )


def settings_of(chosen: random.Random) -> ServiceSettings:
    """Settings of one service; a short probe interval keeps the end of a simulation near."""
    registration = RegistrationSettings(
        rate=chosen.choice((2.0, 10.0, 50.0)),
        burst=chosen.choice((3.0, 10.0, 50.0)),
        probe_interval=600.0,
        backoff_maximum=chosen.choice((60.0, 300.0, 1800.0)),
        backoff_base=chosen.choice((2.0, 30.0)),
    )
    return ServiceSettings(registration=registration, resume_grace=chosen.choice((10.0, 30.0)))
