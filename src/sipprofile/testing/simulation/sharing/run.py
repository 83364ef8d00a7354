"""One seed of a shared registration: a time of faults, a time without, and the end of everybody."""

from __future__ import annotations

import random
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from sipprofile.registration.settings import RegistrationSettings
from sipprofile.service.settings import ServiceSettings
from sipprofile.testing.simulation.catalogue import NETWORK
from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.simulation.sharing import tables
from sipprofile.testing.simulation.sharing.schedule import Schedule
from sipprofile.testing.simulation.sharing.world import RECOVERED, World

ACTIONS = 160  # with faults, and as many without
BETWEEN = 1.0  # seconds between two things that happen, on average
REGISTRAR = ("silent", "lossy", "slow", "duplicate answers", "503 with Retry-After", "callers challenged")
RETURN = 300.0  # seconds in which everybody is registered when faults have ended
QUIET = 300.0  # seconds: the longest ringing and what follows from its end


class Result(msgspec.Struct, frozen=True):
    """What a simulation in which every promise was kept was like."""

    seed: int
    digest: str
    """The same seed gives the same."""
    events: int
    requests: int
    """That came in at the service."""
    endings: int
    """Dialogs of which one side has heard that the other is gone."""
    kills: int
    seconds: float


def share(seed: int, *, show: Callable[[str], None] | None = None) -> Result:
    """Run one simulation. Raises :class:`Violation`. ``show`` gets every line of the trace."""
    with tempfile.TemporaryDirectory(prefix="sipprofile-simulation-") as directory:
        chosen = random.Random(f"sharing {seed}")
        world = World(chosen, settings_of(chosen), Path(directory) / "store.db", show, [*NETWORK, *REGISTRAR])
        try:
            _run(world, chosen)
        except Exception as error:
            command = f"python -m sipprofile.testing.simulation --shared --seed {seed} --trace"
            last = "\n".join(world.trace.lines)
            where = "" if isinstance(error, Violation) else "".join(traceback.format_exception(error)) + "\n"
            at = f"shared seed {seed} at {world.clock.now:.3f} s"
            text = f"{type(error).__name__}: {error}\n({at}) To repeat it: {command}"
            promise = error.promise if isinstance(error, Violation) else None
            raise Violation(promise, f"{last}\n\n{where}{text}") from error
        computer = world.computer
        return Result(
            seed,
            world.trace.digest,
            world.trace.events,
            world.exchanges.served,
            world.deaths.heard,
            computer.kills,
            world.clock.now,
        )


def _run(world: World, chosen: random.Random) -> None:
    schedule = Schedule(world, random.Random(chosen.getrandbits(64)))
    world.computer.start()
    for program in world.programs:
        program.connect()
    schedule.use_something()
    world.pass_time(5.0)
    for _ in range(ACTIONS):
        schedule.act()
        world.pass_time(chosen.expovariate(1 / BETWEEN))
    world.trace.note("no faults from here on")
    schedule.end()
    world.pass_time(RECOVERED)
    schedule.use_something()
    world.pass_time(5.0)
    end = world.clock.now + RETURN
    while late := world.unregistered():
        if world.clock.now > end:
            raise Violation(Promise.BACK_IN_TIME, f"the profiles {late} are not registered again")
        world.pass_time(5.0)
    world.trace.note("calm")
    for _ in range(ACTIONS):
        schedule.act_calmly()
        world.pass_time(chosen.expovariate(1 / BETWEEN))
    world.trace.note("everybody leaves")
    for program in world.programs:
        program.crash()
    world.pass_time(QUIET)
    service = world.computer.service
    assert service is not None
    tables.check_empty(service)


def settings_of(chosen: random.Random) -> ServiceSettings:
    """Settings of one service: short back-off, so that calls are what time is spent with."""
    registration = RegistrationSettings(backoff_base=2.0, backoff_base_alive=2.0, backoff_maximum=30.0)
    return ServiceSettings(
        registration=registration,
        resume_grace=10.0,
        unread=chosen.choice((12, 256)),
        session_dialogs=chosen.choice((5, 100)),
    )
