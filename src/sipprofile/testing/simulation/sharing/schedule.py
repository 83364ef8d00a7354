"""What happens to a shared registration, drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from sipprofile.testing.simulation.sharing.programs import Program
from sipprofile.testing.simulation.sharing.world import World

POINTS = 60  # a kill comes at one of the next so many points where it can
METHODS = ("MESSAGE", "MESSAGE", "INVITE", "INVITE", "SUBSCRIBE", "NOTIFY", "OPTIONS", "INFO", "REFER")
FEWEST = 2  # profiles that are never removed


class Schedule:
    """Does one random thing after the other."""

    def __init__(self, world: World, chosen: random.Random) -> None:
        self._world = world
        self._random = chosen
        self._over = False
        self._away = 1.0
        world.computer.down = self._down
        outages = world.outages
        use: list[tuple[int, Callable[[], None]]] = [
            (30, self._peer_sends),
            (8, self._peer_in_call),
            (3, self._peer_unsubscribes),
            (24, self._program_sends),
            (10, self._program_in_dialog),
            (6, self._claim),
            (4, self._unclaim),
            (5, self._enable),
            (2, self._disable),
        ]
        harm: list[tuple[int, Callable[[], None]]] = [
            (5, self._crash),
            (4, self._disconnect),
            (5, self._start),
            (4, self._stop),
            (4, self._go_on),
        ]
        rest: list[tuple[int, Callable[[], None]]] = [
            (2, self._control),
            (5, self._resume),
            (1, self._remove),
            (3, outages.network_fault),
            (2, outages.registrar_fault),
            (1, outages.registrar_restart),
            (1, outages.nonce_change),
            (1, outages.swallow),
            (2, self._kill),
            (1, self._restart),
        ]
        self._any = [*use, *harm, *rest]
        self._calm = [*use, *harm, (2, self._control), (5, self._resume)]

    def act(self) -> None:
        """Anything."""
        self._one_of(self._any)

    def act_calmly(self) -> None:
        """Anything but what disturbs the network, the registrar or the service."""
        self._one_of(self._calm)

    def end(self) -> None:
        """No more faults, and whoever was down comes back."""
        self._over = True
        world = self._world
        world.outages.end()
        for program in world.programs:
            program.go_on()
            if not program.running:
                program.restart()

    def use_something(self) -> None:
        """Every program enables some profile."""
        world = self._world
        for profile in sorted(world.aors):
            world.control(profile, "resume")
        for program in world.programs:
            for _ in range(2):
                self._enable(program)

    # Peers

    def _peer_sends(self) -> None:
        world, chosen = self._world, self._random
        profile = chosen.choice(sorted(world.aors))
        chosen.choice(world.peers).send(chosen.choice(METHODS), world.aors[profile], profile)

    def _peer_in_call(self) -> None:
        self._random.choice(self._world.peers).in_call()

    def _peer_unsubscribes(self) -> None:
        self._random.choice(self._world.peers).unsubscribe()

    # Programs

    def _program(self, *, using: bool = False) -> Program | None:
        running = [each for each in self._world.programs if each.connected and not each.stopped]
        if using:
            running = [each for each in running if each.enabled]
        return self._random.choice(running) if running else None

    def _program_sends(self) -> None:
        world, chosen = self._world, self._random
        program = self._program(using=True)
        if program is None:
            return
        profile = chosen.choice(sorted(program.enabled))
        if chosen.random() < 0.03:
            program.ask("fetch-bindings", profile=profile)
            return
        others = sorted(world.aors.keys() - {profile})
        if others and chosen.random() < 0.4:
            target = chosen.choice(others)
            program.conduct.send(profile, world.aors[target], target)
        else:
            program.conduct.send(profile, chosen.choice(world.peers).sip.uri, 0)

    def _program_in_dialog(self) -> None:
        with_dialogs = [each for each in self._world.programs if each.dialogs and not each.stopped]
        if with_dialogs:
            self._random.choice(with_dialogs).conduct.in_dialog()

    def _claim(self) -> None:
        program = self._program(using=True)
        if program is not None:
            program.claim(self._random.choice(sorted(program.enabled)))

    def _unclaim(self) -> None:
        program = self._program()
        if program is not None:
            program.unclaim()

    def _enable(self, program: Program | None = None) -> None:
        program = program or self._program()
        profile = self._random.choice(sorted(self._world.aors))
        if program is not None and profile not in program.wants:
            program.enable(profile)

    def _disable(self) -> None:
        program = self._program(using=True)
        if program is not None:
            program.disable(self._random.choice(sorted(program.enabled)))

    def _crash(self) -> None:
        connected = [program for program in self._world.programs if program.connected]
        if connected:
            self._random.choice(connected).crash()

    def _disconnect(self) -> None:
        program = self._program()
        if program is not None:
            program.disconnect(self._random.choice((0.0, 1.0, 5.0, 20.0)) * self._random.random())

    def _start(self) -> None:
        dead = [program for program in self._world.programs if not program.running]
        if dead:
            program = self._random.choice(dead)
            program.restart()
            self._enable(program)

    def _stop(self) -> None:
        program = self._program()
        if program is not None:
            program.stop()

    def _go_on(self) -> None:
        stopped = [program for program in self._world.programs if program.stopped]
        if stopped:
            self._random.choice(stopped).go_on()

    # The operator and the service

    def _control(self) -> None:
        profile = self._random.choice(sorted(self._world.aors))
        self._world.control(profile, self._random.choice(("pause", "force-disable", "retry-now")))

    def _resume(self) -> None:
        if self._world.held:
            self._world.control(self._random.choice(sorted(self._world.held)), "resume")

    def _remove(self) -> None:
        if len(self._world.aors) > FEWEST:
            self._world.remove(self._random.choice(sorted(self._world.aors)))

    def _kill(self) -> None:
        if self._world.computer.service is not None:
            self._away = self._random.choice((0.2, 2.0, 20.0)) * self._random.random()
            self._world.computer.light_fuse(self._random.randrange(1, POINTS))

    def _restart(self) -> None:
        self._away = 1.0 + self._random.random()
        self._world.computer.stop(self._random.random() < 0.3)

    def _down(self) -> None:
        self._world.down()
        self._world.clock.after(1.0 if self._over else self._away, self._world.computer.start)

    def _one_of(self, weighted: list[tuple[int, Callable[[], None]]]) -> None:
        weights = [weight for weight, _ in weighted]
        self._random.choices([action for _, action in weighted], weights)[0]()
