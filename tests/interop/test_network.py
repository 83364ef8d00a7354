"""The real daemon on a machine whose addresses, routes and links change, seen from Kamailio at the other end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .application import Application
from .conftest import require
from .distant_kamailio import DistantKamailio
from .dnsmasq import Dnsmasq
from .kamailio import Kamailio, Registered
from .namespace import Namespace, require_namespaces
from .stored_profile import StoredProfile, alice

ALICE = "sip:alice@example.test"
REGISTRAR, REGISTRAR_6 = "198.51.100.10", "2001:db8:1::10"
ANOTHER = {4: ("203.0.113.1", "203.0.113.2", 24), 6: ("2001:db8:2::1", "2001:db8:2::2", 64)}
SETTLED = 4.0  # seconds: 0.1 to look, 1 to 2 without a change, the transaction, and a busy machine
QUIET = 3.0  # seconds in which a second reaction would have come


class Machine:
    """A machine with two links to the registrar's; the service runs on it."""

    def __init__(self, near: Namespace, far: Namespace) -> None:
        self.near = near
        self.far = far
        near.link(far)
        near.link(far, number=1)
        far.ip("address", "add", f"{REGISTRAR}/32", "dev", "lo")
        far.ip("-6", "address", "add", f"{REGISTRAR_6}/128", "dev", "lo", "nodad")
        self.route("192.0.2.2")
        self.route("2001:db8::2")

    def route(self, gateway: str) -> None:
        """Everything goes through ``gateway`` from now on."""
        self.near.ip("-6" if ":" in gateway else "-4", "route", "replace", "default", "via", gateway)

    def no_route(self, family: int) -> None:
        self.near.ip(f"-{family}", "route", "delete", "default")

    def move(self, family: int) -> str:
        """The first link gets another address and loses its own; the result is the new one."""
        ours, theirs, length = ANOTHER[family]
        nodad = ["nodad"] if family == 6 else []
        self.far.ip(f"-{family}", "address", "add", f"{theirs}/{length}", "dev", "veth0", *nodad)
        old = "192.0.2.1/30" if family == 4 else "2001:db8::1/126"
        self.near.ip(f"-{family}", "address", "delete", old, "dev", "veth0")
        self.near.ip(f"-{family}", "address", "add", f"{ours}/{length}", "dev", "veth0", *nodad)
        self.route(theirs)
        return ours


@pytest.fixture
def machine() -> Iterator[Machine]:
    require_namespaces()
    with Namespace() as near, Namespace() as far:
        yield Machine(near, far)


@pytest.fixture
def registrar(machine: Machine, tmp_path: Path) -> Iterator[DistantKamailio]:
    require(Kamailio.program(), "kamailio", "kamailio")
    with DistantKamailio(tmp_path / "kamailio", machine.far, (REGISTRAR, REGISTRAR_6)) as kamailio:
        yield kamailio


@pytest.fixture
def start_service(machine: Machine, tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    """The service on that machine, with these lines in the ``[sip]`` part of its configuration."""
    service = RunningService(tmp_path)

    def start(*lines: str) -> RunningService:
        service.configuration = "\n".join(["[sip]", *lines, ""])
        with machine.near.inside():
            service.start()
        return service

    yield start
    service.kill()


Start = Callable[..., RunningService]


def uri_of(family: int, transport: str) -> str:
    host = REGISTRAR if family == 4 else f"[{REGISTRAR_6}]"
    return f"sip:{host}:5060;transport={transport}"


def add(service: RunningService, registrar: Kamailio, uri: str, **changes: Any) -> StoredProfile:
    profile = StoredProfile(service, alice(registrar, registrar={"uri": uri}, **changes))
    if changes.get("register", "always") == "always":
        profile.wait(status="registered")
    return profile


def registers(registrar: Kamailio) -> list[Registered]:
    """Every REGISTER, retransmissions left out."""
    found = {(register.call_id, register.cseq): register for register in reversed(registrar.register_log())}
    return sorted(found.values(), key=lambda register: register.cseq)


def contacts(registrar: Kamailio) -> list[str]:
    return [binding.contact for binding in registrar.bindings(ALICE)]


def moves_to(registrar: Kamailio, address: str, limit: float = SETTLED) -> None:
    """Alice is at ``address`` and nowhere else soon."""
    registrar.wait_until(
        lambda: len(found := contacts(registrar)) == 1 and f"@{address}:" in found[0],
        limit,
        f"Alice is at {address} alone; she is at {contacts(registrar)}",
    )


def made(registrar: Kamailio, since: int) -> list[Registered]:
    """The requests since then that made or renewed a binding, challenged ones and removals left out."""
    time.sleep(QUIET)
    return [each for each in registers(registrar)[since:] if each.authorized and ";expires=0" not in each.contact]


@pytest.mark.pain(11)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
class TestAddress:
    @pytest.mark.parametrize("family", [4, 6])
    def test_another_one_is_registered_once(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start, transport: str, family: int
    ) -> None:
        profile = add(start_service(), registrar, uri_of(family, transport))
        before = len(registers(registrar))
        address = machine.move(family)
        shown = f"[{address}]" if family == 6 else address
        moves_to(registrar, shown)
        (register,) = made(registrar, before)
        assert register.transport == transport
        assert register.source.startswith(address)
        state = profile.wait(status="registered")
        assert state["flow"].startswith(f"{shown}:")
        assert f"@{shown}:" in state["registered_contact"]

    def test_a_route_over_the_other_link_is_followed(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start, transport: str
    ) -> None:
        """The old address still works: the new binding stands before the old one goes."""
        profile = add(start_service(), registrar, uri_of(4, transport))
        since = profile.state()["since"]
        before = len(registers(registrar))
        machine.route("192.0.2.6")
        moves_to(registrar, "192.0.2.5")
        (register,) = made(registrar, before)
        assert register.source.startswith("192.0.2.5")
        assert profile.state()["since"] == since

    def test_a_link_that_was_down_is_used_again(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start, transport: str
    ) -> None:
        """Without a way the lease holds; a connection whose address is gone does not."""
        profile = add(start_service(), registrar, uri_of(4, transport))
        before = len(registers(registrar))
        machine.near.ip("address", "delete", "192.0.2.1/30", "dev", "veth0")
        machine.near.ip("link", "set", "veth0", "down")
        if transport == "udp":
            state = profile.wait_until(lambda state: state["last_error"] is not None, "the failure shows", SETTLED)
            assert state["status"] == "registered"
            assert state["last_error"]["code"] == "transport_unreachable"
        else:
            profile.wait(status="unregistered", limit=SETTLED)
        time.sleep(2)
        machine.near.ip("link", "set", "veth0", "up")
        machine.near.ip("address", "add", "192.0.2.1/30", "dev", "veth0")
        machine.route("192.0.2.2")
        profile.wait_until(lambda state: not state["last_error"] and state["status"] == "registered", "it is", SETTLED)
        moves_to(registrar, "192.0.2.1")
        assert len(made(registrar, before)) == 1


@pytest.mark.pain(11)
class TestNothingOfOurs:
    def test_many_interfaces_that_come_and_go(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start
    ) -> None:
        add(start_service(), registrar, uri_of(4, "udp"))
        before = len(registrar.register_log())
        for number in range(100):
            link = f"d{number}"
            machine.near.ip_all(
                (f"link add {link} type veth peer name e{number}", f"link set {link} up", f"link delete {link}")
            )
        time.sleep(QUIET)
        assert len(registrar.register_log()) == before

    def test_more_than_the_kernel_can_tell(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start
    ) -> None:
        """Its queue overflows while the service does not read; the change that counts is lost in it and seen all the
        same. A later one is seen as well."""
        service = start_service()
        add(service, registrar, uri_of(4, "udp"))
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        machine.near.ip_all(
            command
            for number in range(100)
            for command in (f"link add d{number} type veth peer name e{number}", f"link delete d{number}")
        )
        moved = machine.move(4)
        service.process.send_signal(signal.SIGCONT)
        moves_to(registrar, moved)
        time.sleep(QUIET)
        machine.route("192.0.2.6")
        moves_to(registrar, "192.0.2.5")

    def test_an_address_that_is_gone_and_back(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start
    ) -> None:
        add(start_service(), registrar, uri_of(4, "udp"))
        before = len(registrar.register_log())
        for _ in range(5):
            machine.near.ip("address", "delete", "192.0.2.1/30", "dev", "veth0")
            machine.near.ip("address", "add", "192.0.2.1/30", "dev", "veth0")
            machine.route("192.0.2.2")
        time.sleep(QUIET)
        assert len(registrar.register_log()) == before


@pytest.mark.pain(11)
class TestBoundAddress:
    def test_one_that_vanishes_and_returns(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start
    ) -> None:
        profile = add(start_service('bind = ["192.0.2.1"]'), registrar, uri_of(4, "udp"))
        machine.near.ip("address", "delete", "192.0.2.1/30", "dev", "veth0")
        machine.route("192.0.2.6")
        state = profile.wait_until(lambda state: state["last_error"] is not None, "the failure shows", SETTLED)
        assert state["last_error"]["code"] == "transport_unreachable"
        machine.near.ip("address", "add", "192.0.2.1/30", "dev", "veth0")
        machine.route("192.0.2.2")
        profile.wait_until(lambda state: state["last_error"] is None, "it is registered again", SETTLED)
        moves_to(registrar, "192.0.2.1")


@pytest.mark.pain(11)
class TestUsers:
    def test_a_program_learns_the_new_contact(
        self,
        machine: Machine,
        registrar: DistantKamailio,
        start_service: Start,
        start_application: Callable[[RunningService, str], Application],
    ) -> None:
        service = start_service()
        add(service, registrar, uri_of(4, "udp"), register="on-demand")
        program = start_application(service, "alice")
        program.wait_for("ready", limit=30)
        program.tell("enable")
        program.wait_for("registered")
        program.heard.clear()
        address = machine.move(4)
        moves_to(registrar, address)
        told = program.wait_for("status")
        assert f"@{address}:" in told["contact"]
        assert told["flow"].startswith(f"{address}:")
        assert "deregistered" not in [each["event"] for each in program.heard]


@pytest.mark.pain(24)
class TestBothFamilies:
    """The registrar has A and AAAA records; Contact and Via show the family that is really used."""

    @pytest.fixture
    def names(self, machine: Machine, tmp_path: Path) -> Iterator[Dnsmasq]:
        require(Dnsmasq.program(), "dnsmasq", "dnsmasq-base")
        with ExitStack() as running:
            with machine.near.inside():
                records = [f"host-record=both.test,{REGISTRAR},{REGISTRAR_6}"]
                dnsmasq = running.enter_context(Dnsmasq(tmp_path / "dnsmasq", records))
            yield dnsmasq

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_the_one_that_works_is_used(
        self, machine: Machine, registrar: DistantKamailio, start_service: Start, names: Dnsmasq, transport: str
    ) -> None:
        service = start_service(f'nameservers = ["{names.address}"]')
        profile = add(service, registrar, f"sip:both.test:5060;transport={transport}")
        moves_to(registrar, "192.0.2.1")
        machine.near.ip("address", "delete", "192.0.2.1/30", "dev", "veth0")
        registrar.wait_until(
            lambda: any("@[2001:db8::1]:" in contact for contact in contacts(registrar)), SETTLED, "IPv6 is used"
        )
        register = registers(registrar)[-1]
        assert register.source.startswith("2001:db8::1")
        assert profile.wait(status="registered")["target"] == f"{transport}:[{REGISTRAR_6}]:5060"
        machine.near.ip("address", "add", "192.0.2.1/30", "dev", "veth0")
        machine.route("192.0.2.2")
        machine.near.ip("-6", "address", "delete", "2001:db8::1/126", "dev", "veth0")
        machine.near.ip("-6", "route", "flush", "default")
        moves_to(registrar, "192.0.2.1", SETTLED + 1)
        assert profile.wait(status="registered")["target"] == f"{transport}:{REGISTRAR}:5060"
