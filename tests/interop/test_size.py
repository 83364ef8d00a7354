"""Requests that are too large for UDP (RFC 3261 §18.1.1), with Kamailio behind an Ethernet."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running_service import RunningService

from .conftest import SHORT_TIMES
from .kamailio import Kamailio
from .namespace import Namespace, require_namespaces, routed
from .stored_profile import StoredProfile, alice

LARGE = [f"X-Large-{number}: {'x' * 190}" for number in range(7)]  # 1,400 bytes

Namespaces = tuple[Namespace, Namespace]


@pytest.fixture
def service(tmp_path: Path, joined_namespaces: Namespaces) -> Iterator[RunningService]:
    """A service on the near side."""
    near, _ = joined_namespaces
    service = RunningService(tmp_path)
    service.configuration = SHORT_TIMES.replace("127.0.0.1", near.address)
    service.wrapper = near.command()
    service.start()
    yield service
    service.kill()


@pytest.fixture
def start_far(start_kamailio: Callable[..., Kamailio], joined_namespaces: Namespaces) -> Callable[..., Kamailio]:
    """Starts a Kamailio on the far side."""
    return lambda **settings: start_kamailio(namespace=joined_namespaces[1], **settings)


def held_at(namespace: Namespace, port: int) -> list[str]:
    """The connections there that the kernel has set up."""
    return namespace.run("ss", "-Htn", "state", "established", f"sport = :{port}").splitlines()


def contact_of(kamailio: Kamailio) -> str:
    """The one in the location table, after all requests were let settle."""
    [bindings] = kamailio.location().values()
    [binding] = bindings
    return binding.contact


class TestRegister:
    def test_goes_by_tcp_and_the_contact_stays_udp(
        self, service: RunningService, start_far: Callable[..., Kamailio], joined_namespaces: Namespaces
    ) -> None:
        near, _ = joined_namespaces
        kamailio = start_far(max_expires=8)
        profile = StoredProfile(service, alice(kamailio, headers=LARGE))
        state = profile.wait(status="registered")
        assert state["target"] == f"udp:{kamailio.host}:{kamailio.port}"
        assert {seen.transport for seen in kamailio.register_log()} == {"tcp"}
        contact = contact_of(kamailio)
        assert re.fullmatch(rf"sip:\w+@{near.address}:\d+", contact), contact
        profile.wait_until(lambda now: now["lease_ends"] > state["lease_ends"] + 1, "a refresh")
        assert {seen.transport for seen in kamailio.register_log()} == {"tcp"}
        assert contact_of(kamailio) == contact
        profile.control("pause")
        profile.wait(status="unregistered")
        assert kamailio.location() == {}
        assert {seen.transport for seen in kamailio.register_log()} == {"tcp"}

    def test_that_is_small_goes_by_udp(self, service: RunningService, start_far: Callable[..., Kamailio]) -> None:
        kamailio = start_far()
        profile = StoredProfile(service, alice(kamailio, headers=LARGE[:2]))
        profile.wait(status="registered")
        assert {seen.transport for seen in kamailio.register_log()} == {"udp"}

    def test_without_tcp_it_goes_by_udp(self, service: RunningService, start_far: Callable[..., Kamailio]) -> None:
        """The connection is refused."""
        kamailio = start_far(tcp=False, max_expires=8)
        self._registers_by_udp(service, kamailio, limit=3)

    def test_where_tcp_is_filtered_it_goes_by_udp(
        self, service: RunningService, start_far: Callable[..., Kamailio], joined_namespaces: Namespaces
    ) -> None:
        """Nothing comes back for 4 s."""
        _, far = joined_namespaces
        far.swallow("tcp")
        kamailio = start_far(max_expires=20)
        took = self._registers_by_udp(service, kamailio, limit=6)
        assert took > 3.5

    def _registers_by_udp(self, service: RunningService, kamailio: Kamailio, limit: float) -> float:
        """How long the first time took; the second time must be at once."""
        start = time.monotonic()
        profile = StoredProfile(service, alice(kamailio, headers=LARGE))
        state = profile.wait(status="registered", limit=limit)
        took = time.monotonic() - start
        before = len(kamailio.register_log())
        assert contact_of(kamailio).startswith("sip:")
        start = time.monotonic()
        profile.patch(expires=3000)
        profile.wait_until(lambda now: now["lease_ends"] > state["lease_ends"], "the second REGISTER", 2)
        assert time.monotonic() - start < 2
        assert len(kamailio.register_log()) > before
        assert {seen.transport for seen in kamailio.register_log()} == {"udp"}
        return took


class TestIncoming:
    def test_a_large_request_comes_by_tcp_to_the_udp_contact(
        self, service: RunningService, start_far: Callable[..., Kamailio], joined_namespaces: Namespaces
    ) -> None:
        """Kamailio itself changes to TCP; the one who asks sees the answer of the service."""
        near, far = joined_namespaces
        kamailio = start_far(forwards=True)
        profile = StoredProfile(service, alice(kamailio))
        profile.wait(status="registered")
        contact = contact_of(kamailio)
        port = int(contact.rpartition(":")[2])
        with far.inside():
            caller = socket.create_connection((kamailio.host, kamailio.port), timeout=10)
        with contextlib.closing(caller):
            for method, event, status in (("OPTIONS", "", 200), ("NOTIFY", "Event: reg\r\n", 489)):
                host, own_port = caller.getsockname()
                request = (
                    f"{method} {kamailio.aor('alice')} SIP/2.0\r\n"
                    f"Via: SIP/2.0/TCP {host}:{own_port};branch=z9hG4bK{method}\r\n"
                    f"Max-Forwards: 70\r\nFrom: <sip:bob@example.test>;tag=1\r\nTo: <{kamailio.aor('alice')}>\r\n"
                    f"Call-ID: {method}-large\r\nCSeq: 1 {method}\r\n{event}"
                    + "".join(f"{line}\r\n" for line in LARGE)
                    + "Content-Length: 0\r\n\r\n"
                )
                caller.sendall(request.encode())
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += caller.recv(65536)
                assert answer.startswith(f"SIP/2.0 {status} ".encode()), answer
        connections = near.run("ss", "-Htn", "state", "established", f"sport = :{port}")
        assert kamailio.host in connections, "Kamailio has connected to the port of the UDP contact"

    def test_a_stranger_cannot_hold_many_connections(
        self, service: RunningService, start_far: Callable[..., Kamailio], joined_namespaces: Namespaces
    ) -> None:
        near, far = joined_namespaces
        kamailio = start_far()
        profile = StoredProfile(service, alice(kamailio))
        profile.wait(status="registered")
        port = int(contact_of(kamailio).rpartition(":")[2])
        with contextlib.ExitStack() as connections, far.inside():
            for _ in range(200):
                connection = connections.enter_context(socket.socket())
                connection.settimeout(5)
                with contextlib.suppress(ConnectionError):
                    connection.connect((near.address, port))
            # The kernel takes connections before the service does; each is closed as soon as that sees it.
            deadline = time.monotonic() + 5
            held = held_at(near, port)
            while len(held) > 20 and time.monotonic() < deadline:
                time.sleep(0.05)
                held = held_at(near, port)
            assert 0 < len(held) <= 20
        assert profile.state()["status"] == "registered"


class TestPathMtu:
    """RFC 1191: a router between the two knows what the interfaces do not."""

    def test_is_learned_from_the_router(self, tmp_path: Path, start_kamailio: Callable[..., Kamailio]) -> None:
        require_namespaces()
        with routed(mtu=1200) as (near, _, far), running(tmp_path, near) as service:
            kamailio = start_kamailio(namespace=far)
            profile = StoredProfile(service, alice(kamailio, headers=[*LARGE[:2], f"X-More: {'x' * 110}"]))
            profile.wait(status="registered")
            before = kamailio.register_log()
            assert {seen.transport for seen in before} == {"udp"}
            profile.patch(expires=3000)
            kamailio.wait_until(lambda: len(kamailio.register_log()) > len(before), 5, "the second REGISTER")
            after = kamailio.register_log()[len(before) :]
            assert {seen.transport for seen in after} == {"tcp"}, "more than 1,000 bytes do not go by UDP now"


@contextlib.contextmanager
def running(directory: Path, namespace: Namespace) -> Iterator[RunningService]:
    service = RunningService(directory)
    service.configuration = SHORT_TIMES.replace("127.0.0.1", namespace.address)
    service.wrapper = namespace.command()
    service.start()
    try:
        yield service
    finally:
        service.kill()
