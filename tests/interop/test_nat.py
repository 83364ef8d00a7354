"""Behind a NAT: what a real registrar shows of us is learned, and settles (RFC 3581)."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running_service import RunningService

from .conftest import SHORT_TIMES, require
from .kamailio import Kamailio
from .namespace import Namespace, require_namespaces, routed
from .sipp import Sipp
from .stored_profile import StoredProfile, alice

pytestmark = pytest.mark.pain(12)


class TestMovingNat:
    """SIPp says in each answer that we come from another place."""

    @pytest.fixture
    def sipp(self, start_sipp: Callable[..., Sipp]) -> Sipp:
        return start_sipp("moving_nat", {"expires": "600"}, limit=20)

    @pytest.fixture
    def profile(self, sipp: Sipp, daemon: RunningService) -> Iterator[StoredProfile]:
        document = {
            "name": "alice",
            "aor": "sip:alice@example.test",
            "registrar": {"uri": sipp.uri},
            "register": "always",
        }
        profile = StoredProfile(daemon, document)
        yield profile
        profile.discard()

    def test_it_ends_in_one_contact(self, sipp: Sipp, profile: StoredProfile) -> None:
        state = profile.wait_until(
            lambda state: "203.0.113.3:40003" in (state["registered_contact"] or ""), "the third address"
        )
        assert state["status"] == "registered"
        time.sleep(3.5)
        assert profile.state()["registered_contact"] == state["registered_contact"]
        profile.control("pause")
        verdict = sipp.wait()
        assert (verdict.exit_code, verdict.successful_calls) == (0, 1), verdict.errors
        assert "receive timeout" in verdict.errors, "the silence that was waited for"


class Nat:
    """The router between the service and Kamailio; nftables gives our packets its address and a port."""

    def __init__(self, router: Namespace) -> None:
        self._router = router
        router.run("nft", "add", "table", "ip", "nat")
        router.run("nft", "add chain ip nat out { type nat hook postrouting priority 100 ; }")

    def map(self, lowest: int) -> None:
        """From now on new mappings use a hundred ports from here; all others are forgotten, as at a restart."""
        self._router.run("nft", "flush", "chain", "ip", "nat", "out")
        rule = f"oifname veth1 meta l4proto {{ tcp, udp }} masquerade to :{lowest}-{lowest + 99}"
        self._router.run("nft", f"add rule ip nat out {rule}")
        # An address that goes takes its masqueraded mappings with it.
        address = self._router.address
        self._router.ip("address", "delete", f"{address}/30", "dev", "veth1")
        self._router.ip("address", "add", f"{address}/30", "dev", "veth1")


class TestMasquerade:
    """A real NAT between the service and a real Kamailio."""

    @pytest.fixture
    def network(self) -> Iterator[tuple[Namespace, Namespace, Namespace]]:
        require(shutil.which("nft"), "nftables", "nftables")
        require_namespaces()
        with routed(1500) as namespaces:
            yield namespaces

    @pytest.fixture
    def service(self, tmp_path: Path, network: tuple[Namespace, ...]) -> Iterator[RunningService]:
        near = network[0]
        service = RunningService(tmp_path)
        service.configuration = SHORT_TIMES.replace("127.0.0.1", near.address).replace(
            "[registration]\n", "[registration]\nudp_keepalive = 1\n"
        )
        service.wrapper = near.command()
        service.start()
        yield service
        service.kill()

    def test_requests_find_us_and_a_new_mapping_is_learned(
        self,
        service: RunningService,
        network: tuple[Namespace, Namespace, Namespace],
        start_kamailio: Callable[..., Kamailio],
    ) -> None:
        _, router, far = network
        nat = Nat(router)
        nat.map(40_000)
        kamailio = start_kamailio(namespace=far, max_expires=6, forwards=True)
        profile = StoredProfile(service, alice(kamailio))
        state = profile.wait(status="registered")
        assert self.place(state).startswith(f"{router.address}:400"), state
        assert self.contacts(kamailio) == [state["registered_contact"]]
        assert len(kamailio.register_log()) == 2, "the challenge had taught it"
        assert self.reached(far, kamailio), "a request from outside arrives"

        nat.map(50_000)
        moved = profile.wait_until(lambda now: self.place(now).startswith(f"{router.address}:500"), "it moves", 15)
        kamailio.wait_until(
            lambda: self.contacts(kamailio) == [moved["registered_contact"]],
            5,
            "the new contact alone is left",
        )
        assert self.reached(far, kamailio)
        profile.control("pause")
        profile.wait(status="unregistered")
        assert self.contacts(kamailio) == []

    def place(self, state: dict[str, object]) -> str:
        """Host and port of the contact that is registered."""
        return str(state["registered_contact"] or "").rpartition("@")[2]

    def contacts(self, kamailio: Kamailio) -> list[str]:
        return [binding.contact for binding in kamailio.bindings(kamailio.aor("alice"))]

    def reached(self, far: Namespace, kamailio: Kamailio) -> bool:
        """Whether a request to Alice that comes to Kamailio gets to the service and its answer back."""
        with far.inside():
            caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.closing(caller):
            caller.settimeout(5)
            caller.connect((kamailio.host, kamailio.port))
            host, port = caller.getsockname()
            branch = f"z9hG4bK{time.monotonic_ns()}"
            caller.send(
                f"OPTIONS {kamailio.aor('alice')} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch={branch}\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:bob@example.test>;tag=1\r\nTo: <{kamailio.aor('alice')}>\r\n"
                f"Call-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
            )
            while (answer := caller.recv(65536)).startswith(b"SIP/2.0 1"):
                pass
        return answer.startswith(b"SIP/2.0 200 ")
