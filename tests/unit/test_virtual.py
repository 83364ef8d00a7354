"""The virtual clock and network that simulations are built on."""

from __future__ import annotations

import random

import pytest

from sipprofile.registration.actions import TransportKey
from sipprofile.sip.locating import Question, Srv
from sipprofile.testing.virtual import ComputerClock, SuspendableClock, VirtualClock
from sipprofile.testing.virtual_links import Link
from sipprofile.testing.virtual_names import VirtualNames
from sipprofile.testing.virtual_nat import VirtualNat
from sipprofile.testing.virtual_network import VirtualHost, VirtualNetwork
from sipprofile.testing.virtual_transports import BREAKS_AFTER, VirtualTransports

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


class TestSuspension:
    def test_time_goes_on_and_what_was_due_happens_at_the_end_in_order(self) -> None:
        clock = VirtualClock(0.0)
        local = SuspendableClock(clock)
        seen: list[tuple[str, float]] = []
        for at in (1.0, 2.0, 9.0):
            local.at(at, lambda at: seen.append((f"due at {at}", clock.now)), at)
        local.suspend(5.0)
        clock.run_until(10.0)
        assert seen == [("due at 1.0", 5.0), ("due at 2.0", 5.0), ("due at 9.0", 9.0)]


class TestLinks:
    def test_the_pairs_own_link_comes_before_the_hosts_and_the_networks(self) -> None:
        world = World()
        pair, host = Link(delay=3.0), Link(delay=2.0)
        assert world.network.link(LOCAL[0], SERVER) is world.network.conditions
        world.network.links[SERVER] = host
        assert world.network.link(LOCAL[0], SERVER) is host
        world.network.links[frozenset((LOCAL[0], SERVER))] = pair
        assert world.network.link(SERVER, LOCAL[0]) is pair
        world.send(UDP)
        world.clock.run_until(5.9)
        assert not world.received
        world.clock.run_until(6.1)
        assert world.received

    def test_a_large_datagram_is_lost_in_silence_where_fragments_are_dropped(self) -> None:
        world = World()
        world.network.conditions.mtu = 576
        for dropped, size, arrives in ((True, 548, True), (True, 549, False), (False, 5000, True)):
            world.received.clear()
            world.network.conditions.fragments_dropped = dropped
            world.transports.send(UDP, b"x" * size)
            world.clock.run_until(world.clock.now + 1.0)
            assert bool(world.received) is arrives
        assert not world.failed


class TestAddresses:
    def test_one_vanishes_and_the_route_takes_the_other(self) -> None:
        world = World()
        sources: list[tuple[str, int]] = []
        world.network.serve(SERVER, lambda data, source: sources.append(source))
        host = VirtualHost(world.network, (LOCAL[0], "2001:db8::1"))
        transports = VirtualTransports(
            world.network,
            LOCAL,
            received=lambda *arguments: None,
            opened=lambda key, local: world.opened.append(key),
            failed=lambda key, code, text: world.failed.append((world.clock.now, key, code)),
            host=host,
        )
        transports.open(TCP)
        world.clock.run_until(1.0)
        host.remove(LOCAL[0])
        transports.send(UDP, b"lost")
        host.add("203.0.113.10")
        transports.send(UDP, b"arrives")
        transports.send(TCP, b"lost too")
        world.clock.run_until(30.0)
        assert sources == [("203.0.113.10", LOCAL[1])]
        assert [code for _, _, code in world.failed] == ["transport_unreachable", "transport_timeout"]


class TestNat:
    PUBLIC = ("198.51.100.77", "198.51.100.78")

    def world(self, **options: object) -> tuple[World, VirtualNat, list[tuple[str, int]]]:
        world = World()
        nat = VirtualNat(self.PUBLIC, **options)  # type: ignore[arg-type]
        world.network.translate(LOCAL[0], nat)
        sources: list[tuple[str, int]] = []

        def receive(data: bytes, source: tuple[str, int]) -> None:
            sources.append(source)
            world.network.answer(data.upper(), SERVER, source)

        for server in (SERVER, "192.0.2.2"):
            world.network.serve(server, receive)
        return world, nat, sources

    def test_the_server_sees_the_public_source_and_its_answer_arrives(self) -> None:
        world, _, sources = self.world()
        world.send(UDP)
        world.clock.run_until(1.0)
        assert sources[0][0] == self.PUBLIC[0]
        assert world.received == [b"M000"]

    @pytest.mark.parametrize(("per_destination", "mappings"), [(False, 1), (True, 2)])
    def test_a_mapping_for_each_destination_or_for_all(self, per_destination: bool, mappings: int) -> None:
        world, _, sources = self.world(per_destination=per_destination)
        world.send(UDP)
        world.send(TransportKey("udp", "192.0.2.2", 5060))
        world.clock.run_until(1.0)
        assert len(set(sources)) == mappings
        world.received.clear()
        world.network.answer(b"from elsewhere", SERVER, sources[0], 5099)
        world.clock.run_until(2.0)
        assert bool(world.received) is not per_destination

    def test_an_unused_mapping_is_forgotten_and_what_comes_then_is_dropped(self) -> None:
        world, _, sources = self.world(lifetime=30.0)
        world.send(UDP)
        world.clock.run_until(29.0)
        world.network.answer(b"in time", SERVER, sources[0])
        world.clock.run_until(31.0)
        world.network.answer(b"too late", SERVER, sources[0])
        world.clock.run_until(40.0)
        assert world.received == [b"M000", b"in time"]
        world.send(UDP)
        world.clock.run_until(41.0)
        assert sources[1] != sources[0]

    def test_rebinding_changes_the_source_and_kills_connections_without_a_word(self) -> None:
        world, nat, sources = self.world()
        world.transports.open(TCP)
        world.clock.run_until(1.0)
        world.send(UDP)
        world.send(TCP)
        world.clock.run_until(2.0)
        nat.rebind(self.PUBLIC[1])
        world.network.answer(b"to the old one", SERVER, sources[0])
        world.send(UDP)
        world.send(TCP)
        world.clock.run_until(10.0)
        assert not world.failed
        assert sources[2][0] == self.PUBLIC[1]
        assert b"to the old one" not in world.received
        world.clock.run_until(60.0)
        assert [(key, code) for _, key, code in world.failed] == [(TCP, "transport_timeout")]


class TestNames:
    def test_records_have_a_time_to_live(self) -> None:
        names = VirtualNames()
        names.put("a.test", (SERVER,), ttl=20.0)
        srv = Srv(10, 1, 5060, "a.test")
        names.put_records(Question("_sip._udp.test", "SRV"), (srv,))
        assert names.look_up(Question("a.test")) == ((SERVER,), 20.0, "", 0.0)
        assert names.look_up(Question("_sip._udp.test", "SRV")) == ((srv,), names.ttl, "", 0.0)

    def test_every_way_to_fail(self) -> None:
        names = VirtualNames()
        names.put("a.test", (SERVER,))
        names.missing = {"test"}
        assert names.look_up(Question("a.test"))[1:3] == (names.negative_ttl, "resolve_not_found")
        names.missing = {"other", "x.a.test"}
        assert not names.look_up(Question("a.test")).failure
        assert names.look_up(Question("b.test")).failure == "resolve_not_found"
        names.failing = True
        assert names.look_up(Question("a.test")).failure == "resolve_failed"
        names.silent = True
        looked = names.look_up(Question("a.test"))
        assert (looked.failure, looked.delay) == ("resolve_timeout", 10.0)
