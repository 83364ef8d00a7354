"""RFC 3263 with a real name server and real registrars: a domain alone leads to the registrar that is up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .conftest import SHORT_TIMES, require
from .dnsmasq import Dnsmasq
from .kamailio import Kamailio
from .stored_profile import StoredProfile, alice

ALICE = "sip:alice@example.test"
LEASE = 5  # seconds; the refresh comes after 2.5 to 3 s, without DNS 1.8 s later
Start = Callable[..., Kamailio]

HOSTS = ["host-record=one.example.test,127.0.0.1", "host-record=two.example.test,127.0.0.1"]


def naptr(service: str, replacement: str, preference: int = 10) -> str:
    return f"naptr-record=example.test,10,{preference},s,{service},,{replacement}"


def srv(name: str, host: str, kamailio: Kamailio, priority: int, weight: int = 0) -> str:
    return f"srv-host={name},{host}.example.test,{kamailio.port},{priority},{weight}"


class World:
    """Two registrars, the name server that leads to them, and a service that asks it."""

    def __init__(self, start: Start, directory: Path, running: ExitStack) -> None:
        self.one, self.two = (start(max_expires=LEASE) for _ in range(2))
        self.names = Dnsmasq(directory / "dnsmasq", self.by_udp())
        running.enter_context(self.names)
        self.service = RunningService(directory)
        self.service.configuration = SHORT_TIMES.replace("[sip]", f"[sip]\nnameservers = ['{self.names.address}']")
        running.callback(self.service.kill)
        self.service.start()

    def by_udp(self) -> list[str]:
        """The first registrar is preferred."""
        return [
            *HOSTS,
            naptr("SIP+D2U", "_sip._udp.example.test"),
            naptr("SIP+D2S", "_sip._sctp.example.test", 5),
            srv("_sip._udp.example.test", "two", self.two, 20),
            srv("_sip._udp.example.test", "one", self.one, 10),
        ]

    def add(self, uri: str = "sip:example.test", **changes: Any) -> StoredProfile:
        return StoredProfile(self.service, alice(self.one, registrar={"uri": uri}, **changes))


def target(kamailio: Kamailio, protocol: str = "udp") -> str:
    return f"{protocol}:127.0.0.1:{kamailio.port}"


@pytest.fixture
def world(start_kamailio: Start, tmp_path: Path) -> Iterator[World]:
    require(Dnsmasq.program(), "dnsmasq", "dnsmasq-base")
    with ExitStack() as running:
        yield World(start_kamailio, tmp_path, running)


class TestFailover:
    """RFC 3263 §4.3: the next target before any back-off."""

    def test_the_second_is_used_while_the_first_is_down_and_the_first_when_it_is_back(self, world: World) -> None:
        world.one.stop()
        profile = world.add()
        profile.wait(status="registered", target=target(world.two), limit=40)
        assert world.two.bindings(ALICE)

        world.one.start()
        world.two.stop()
        profile.wait(status="registered", target=target(world.one), reason="none", limit=40)
        assert world.one.bindings(ALICE)

        world.two.start()
        other = world.add(name="again", aor="sip:alice@example.test")
        other.wait(status="registered", target=target(world.one), limit=20)
        assert not world.two.bindings(ALICE)

    def test_nothing_but_what_is_supported_is_asked_for(self, world: World) -> None:
        world.add().wait(status="registered", target=target(world.one), limit=20)
        service, transport, *addresses = world.names.queries()
        assert (service, transport) == (("NAPTR", "example.test"), ("SRV", "_sip._udp.example.test"))
        assert sorted(addresses) == [
            (kind, f"{host}.example.test") for kind in ("A", "AAAA") for host in ("one", "two")
        ]


class TestOtherWays:
    def test_without_naptr_the_srv_records_of_each_transport_count(self, world: World) -> None:
        world.names.change([*HOSTS, srv("_sip._tcp.example.test", "two", world.two, 1)])
        profile = world.add()
        profile.wait(status="registered", target=target(world.two, "tcp"), limit=20)

    def test_a_given_transport_is_asked_for_alone(self, world: World) -> None:
        world.names.change([*world.by_udp(), srv("_sip._tcp.example.test", "two", world.two, 1)])
        profile = world.add("sip:example.test;transport=tcp")
        profile.wait(status="registered", target=target(world.two, "tcp"), limit=20)
        assert {kind for kind, _ in world.names.queries()} == {"SRV", "A", "AAAA"}

    def test_an_explicit_port_is_neither_naptr_nor_srv(self, world: World) -> None:
        profile = world.add(f"sip:one.example.test:{world.one.port}", aor=ALICE)
        profile.wait(status="registered", target=target(world.one), limit=20)
        assert {kind for kind, _ in world.names.queries()} == {"A", "AAAA"}

    def test_a_numeric_host_asks_nobody(self, world: World) -> None:
        profile = world.add(world.one.uri)
        profile.wait(status="registered", target=target(world.one), limit=20)
        assert world.names.queries() == []


class TestTimeToLive:
    def test_a_change_is_noticed_at_the_next_refresh(self, world: World) -> None:
        profile = world.add()
        profile.wait(status="registered", target=target(world.one), limit=20)
        world.names.change(
            [
                *HOSTS,
                naptr("SIP+D2U", "_sip._udp.example.test"),
                srv("_sip._udp.example.test", "two", world.two, 1),
            ]
        )
        profile.wait(status="registered", target=target(world.two), limit=20)
        assert world.two.bindings(ALICE)

    def test_records_survive_the_name_server_that_goes_away(self, world: World) -> None:
        profile = world.add()
        before = profile.wait(status="registered", target=target(world.one), limit=20)
        world.names.stop()
        state = profile.wait_until(
            lambda state: (state["lease_ends"] or 0) > before["lease_ends"] + 1, "a refresh without DNS", 10
        )
        assert (state["status"], state["since"]) == ("registered", before["since"])
