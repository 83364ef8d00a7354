"""The virtual clock and network that simulations are built on."""

from __future__ import annotations

import random

import pytest

from sipprofile.registration.actions import TransportKey
from sipprofile.testing.virtual import ComputerClock, VirtualClock
from sipprofile.testing.virtual_network import BREAKS_AFTER, VirtualNetwork, VirtualTransports

SERVER = "192.0.2.1"
LOCAL = ("203.0.113.9", 5060)
UDP = TransportKey("udp", SERVER, 5060)
TCP = TransportKey("tcp", SERVER, 5060)


class World:
    """A client, and a server that answers each message with the same in capitals."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = VirtualClock(0.0)
        self.network = VirtualNetwork(self.clock, random.Random(seed))
        self.received: list[bytes] = []
        self.opened: list[TransportKey] = []
        self.failed: list[tuple[float, TransportKey, str]] = []
        self.network.serve(SERVER, lambda data, source: self.network.answer(data.upper(), SERVER, source))
        self.transports = VirtualTransports(
            self.network,
            LOCAL,
            received=lambda data, source, key: self.received.append(data),
            opened=lambda key, local: self.opened.append(key),
            failed=lambda key, code, text: self.failed.append((self.clock.now, key, code)),
        )

    def send(self, key: TransportKey, count: int = 1) -> None:
        for number in range(count):
            self.transports.send(key, f"m{number:03}".encode())


class TestTheClock:
    def test_what_is_due_happens_in_order_and_at_its_time(self) -> None:
        clock = VirtualClock(0.0)
        seen: list[tuple[str, float]] = []

        def note(name: str) -> None:
            seen.append((name, clock.now))
            if name == "early":
                clock.after(0.5, note, "then")

        clock.after(2.0, note, "late")
        clock.after(1.0, note, "early")
        clock.after(1.0, note, "next")
        clock.run_until(1.9)
        assert seen == [("early", 1.0), ("next", 1.0), ("then", 1.5)]
        assert clock.now == 1.9
        clock.run_until(5.0)
        assert seen[-1] == ("late", 2.0)

    def test_a_reboot_begins_the_boot_time_again_and_keeps_the_wall_clock(self) -> None:
        clock = VirtualClock(100.0)
        computer = ComputerClock(clock, wall=1e9)
        utc, boot = computer.now + computer.wall_offset, computer.boot_id
        computer.reboot()
        assert (computer.now, computer.now + computer.wall_offset) == (0.0, utc)
        assert computer.boot_id != boot
        computer.set_wall(60.0)
        assert computer.now + computer.wall_offset == utc + 60.0


class TestDatagrams:
    def test_they_arrive_after_the_delay(self) -> None:
        world = World()
        world.network.conditions.delay = 1.0
        world.send(UDP)
        world.clock.run_until(1.9)
        assert not world.received
        world.clock.run_until(2.1)
        assert world.received == [b"M000"]

    def test_loss_duplication_and_reordering(self) -> None:
        world = World()
        conditions = world.network.conditions
        conditions.loss, conditions.duplication, conditions.jitter = 0.2, 0.2, 1.0
        world.send(UDP, 300)
        world.clock.run_until(10.0)
        assert 150 < len(set(world.received)) < 250
        assert len(world.received) > len(set(world.received))
        assert world.received != sorted(world.received)

    def test_the_same_seed_is_the_same_network(self) -> None:
        worlds = [World(7), World(7), World(8)]
        for world in worlds:
            world.network.conditions.loss = world.network.conditions.jitter = 0.5
            world.send(UDP, 50)
            world.clock.run_until(10.0)
        assert worlds[0].received == worlds[1].received != worlds[2].received

    def test_a_closed_port_is_told_and_a_dead_host_is_not(self) -> None:
        world = World()
        world.network.conditions.closed.add(SERVER)
        world.send(UDP)
        world.clock.run_until(10.0)
        assert [(key, code) for _, key, code in world.failed] == [(UDP, "transport_refused")]
        world.network.conditions.closed.clear()
        world.network.conditions.dead.add(SERVER)
        world.send(UDP)
        world.clock.run_until(100.0)
        assert len(world.failed) == 1
        assert not world.received

    def test_a_stopped_program_gets_nothing(self) -> None:
        world = World()
        world.send(UDP)
        world.transports.stop()
        world.clock.run_until(10.0)
        assert not world.received


class TestConnections:
    @pytest.fixture
    def world(self) -> World:
        world = World()
        world.transports.open(TCP)
        world.clock.run_until(1.0)
        assert world.opened == [TCP]
        return world

    def test_everything_arrives_in_order_whatever_the_jitter(self, world: World) -> None:
        world.network.conditions.jitter = 1.0
        world.network.conditions.loss = 0.5
        world.send(TCP, 50)
        world.clock.run_until(60.0)
        assert world.received == [f"M{number:03}".encode() for number in range(50)]

    def test_a_restart_of_the_server_resets_it(self, world: World) -> None:
        world.network.break_connections(SERVER)
        assert [code for _, _, code in world.failed] == ["transport_closed"]
        world.send(TCP)
        world.clock.run_until(2.0)
        assert [code for _, _, code in world.failed] == ["transport_closed", "transport_closed"]

    def test_a_dead_host_breaks_it_after_a_while(self, world: World) -> None:
        world.network.conditions.dead.add(SERVER)
        world.send(TCP)
        world.clock.run_until(1.0 + BREAKS_AFTER + 0.1)
        assert [code for _, _, code in world.failed] == ["transport_timeout"]

    def test_a_closed_port_refuses_it(self) -> None:
        world = World()
        world.network.conditions.closed.add(SERVER)
        world.transports.open(TCP)
        world.clock.run_until(1.0)
        assert [code for _, _, code in world.failed] == ["transport_refused"]
        assert not world.opened
