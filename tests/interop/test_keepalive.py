"""Keepalives as a real registrar sees them: Kamailio answers pings on every transport, and STUN on its SIP port."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService
from sipprofile.net import stream
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey
from sipprofile.sip.stun import binding_request, parse_response

from .certificates import OpenSslAuthority
from .conftest import SHORT_TIMES, require
from .kamailio import Kamailio, Settings
from .namespace import Namespace, require_namespaces
from .stored_profile import StoredProfile, alice

FLOW_TIMER = 2  # seconds


@pytest.fixture
def keeping(tmp_path: Path) -> RunningService:
    """A service, not started, whose STUN gives up after 8 s instead of 40."""
    service = RunningService(tmp_path)
    service.configuration = SHORT_TIMES + "t1 = 0.1\n"
    return service


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Loopback addresses and routes of our own."""
    require_namespaces()
    with Namespace() as namespace, namespace.inside():
        yield namespace


def metric(service: RunningService, name: str) -> float:
    found = re.search(rf"^sipprofile_{name}_total (\S+)$", service.request("GET", "/metrics").document, re.MULTILINE)
    assert found is not None
    return float(found[1])


def connection(kamailio: Kamailio) -> str:
    """Where Kamailio says Alice's binding is."""
    (binding,) = kamailio.bindings(kamailio.aor("alice"))
    return binding.contact


def reasons(service: RunningService, name: str) -> list[str]:
    document: Any = service.request("GET", f"/v1/profiles/by-name/{name}").document
    found = service.request("GET", f"/v1/profiles/{document['id']}/history").document
    return [row.get("code", "none") for row in found["history"]]


@pytest.mark.pain(10)
class TestEveryTransport:
    """RFC 5626 §3.5, RFC 7118 §6: asked for with Flow-Timer, a missing answer would end each flow after ten seconds."""

    def test_kamailio_answers_them_all(self, keeping: RunningService, tmp_path: Path) -> None:
        require(Kamailio.program(), "kamailio", "kamailio")
        authority = OpenSslAuthority(tmp_path)
        settings = Settings(
            users=dict.fromkeys(("udp", "tcp", "tls", "ws", "wss"), "secret"),
            certificate=authority.issue("good", "DNS:localhost"),
            websocket=True,
            stun=True,
            flow_timer=FLOW_TIMER,
        )
        with Kamailio(tmp_path / "kamailio", settings) as kamailio:
            keeping.start()
            try:
                profiles = []
                for name in settings.users:
                    host = kamailio.host if name == "udp" else "localhost"
                    registrar = {
                        "uri": kamailio.uri_over(name, host),
                        "username": name,
                        "tls": {"ca": authority.pem},
                        "extensions": {"ws-path": "/sip"},
                    }
                    document = alice(kamailio, name=name, aor=kamailio.aor(name), registrar=registrar)
                    profiles.append(StoredProfile(keeping, document))
                for profile in profiles:
                    profile.wait(status="registered")
                before = {user: kamailio.bindings(kamailio.aor(user)) for user in settings.users}
                time.sleep(13)
                assert metric(keeping, "keepalive_failures") == 0
                assert metric(keeping, "keepalives_sent") >= 5 * 5
                for profile in profiles:
                    assert profile.state()["status"] == "registered"
                after = {user: kamailio.bindings(kamailio.aor(user)) for user in settings.users}
                assert {user: (row.contact, row.cseq) for user, (row,) in after.items()} == {
                    user: (row.contact, row.cseq) for user, (row,) in before.items()
                }
            finally:
                keeping.kill()


@pytest.mark.pain(10)
def test_a_connection_whose_packets_are_dropped_is_noticed(
    keeping: RunningService, namespace: Namespace, tmp_path: Path
) -> None:
    """Nobody says that the network is gone: no reset, no ICMP. The lease would hold for an hour."""
    require(Kamailio.program(), "kamailio", "kamailio")
    keeping.configuration = keeping.configuration.replace("127.0.0.1", "127.0.0.2")
    with Kamailio(tmp_path / "kamailio", Settings(flow_timer=FLOW_TIMER)) as kamailio:
        keeping.start()
        try:
            profile = StoredProfile(
                keeping, alice(kamailio, registrar={"uri": kamailio.uri_over("tcp", kamailio.host)})
            )
            profile.wait(status="registered")
            before = connection(kamailio)
            time.sleep(FLOW_TIMER + 1)
            assert connection(kamailio) == before
            namespace.lose("127.0.0.2")
            began = time.monotonic()
            profile.wait_until(lambda state: state["status"] != "registered", "it is noticed", 15)
            assert time.monotonic() - began < FLOW_TIMER + 10 + 1
            assert connection(kamailio) == before  # where the caller's requests would still be sent
            keeping.wait_until(lambda: "keepalive_lost" in reasons(keeping, "alice"), "the history says why")
            namespace.lose("127.0.0.2", end=True)
            profile.wait(5, status="registered")
            assert connection(kamailio) != before
            assert metric(keeping, "keepalive_failures") == 1
        finally:
            keeping.kill()


@pytest.mark.pain(10)
def test_tcp_itself_notices_that_nothing_is_acknowledged(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """tcp(7) TCP_USER_TIMEOUT: the second net, where no answer to a keepalive can be expected."""
    monkeypatch.setattr(stream, "UNACKNOWLEDGED_LIMIT", 1)

    async def main() -> None:
        opened: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        transports = Transports(
            bind=("127.0.0.2",),
            port=0,
            received=lambda *_: None,
            opened=lambda _, local, mtu: opened.set_result(local),
            failed=lambda _, code, sentence: failed.set_result(code),
            flush=lambda: None,
        )
        await transports.start()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            key = TransportKey("tcp", *listener.getsockname())
            transports.open(key)
            assert (await asyncio.wait_for(opened, 5))[0] == "127.0.0.2"
            namespace.lose("127.0.0.2")
            transports.send(key, b"\r\n\r\n")
            assert await asyncio.wait_for(failed, 10) == "transport_timeout"
        await transports.stop()

    asyncio.run(main())


@pytest.mark.pain(12)
class TestStun:
    """RFC 5626 §4.4.2."""

    def test_kamailio_sees_us_where_we_are(self, tmp_path: Path) -> None:
        require(Kamailio.program(), "kamailio", "kamailio")
        transaction = b"twelve bytes"
        with (
            Kamailio(tmp_path / "kamailio", Settings(stun=True)) as kamailio,
            contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp,
        ):
            udp.settimeout(5)
            udp.connect((kamailio.host, kamailio.port))
            udp.send(binding_request(transaction))
            response = parse_response(udp.recv(2048))
            assert (response.transaction, response.error, response.mapped) == (transaction, 0, udp.getsockname())

    def test_a_registrar_that_forgot_us_is_noticed(self, keeping: RunningService, tmp_path: Path) -> None:
        """Restarted without STUN and without our binding: long before the lease ends it has a binding again."""
        require(Kamailio.program(), "kamailio", "kamailio")
        with Kamailio(tmp_path / "kamailio", Settings(stun=True, flow_timer=FLOW_TIMER)) as kamailio:
            keeping.start()
            try:
                profile = StoredProfile(keeping, alice(kamailio))
                profile.wait(status="registered")
                time.sleep(2 * FLOW_TIMER)
                kamailio.restart(stun=False)
                kamailio.wait_until(
                    lambda: kamailio.bindings(kamailio.aor("alice")) != [], FLOW_TIMER + 8 + 3, "the binding is back"
                )
                profile.wait(status="registered")
                keeping.wait_until(lambda: "keepalive_lost" in reasons(keeping, "alice"), "the history says why")
            finally:
                keeping.kill()

    def test_without_evidence_a_silent_registrar_is_no_failure(self, keeping: RunningService, tmp_path: Path) -> None:
        require(Kamailio.program(), "kamailio", "kamailio")
        keeping.configuration += "udp_keepalive = 0.5\n"
        with Kamailio(tmp_path / "kamailio", Settings()) as kamailio:
            keeping.start()
            try:
                profile = StoredProfile(keeping, alice(kamailio))
                profile.wait(status="registered")
                keeping.wait_until(lambda: metric(keeping, "keepalives_sent") >= 6, "six keepalives")
                assert metric(keeping, "keepalive_failures") == 0
                assert profile.state()["status"] == "registered"
                accepted = [seen for seen in kamailio.register_log() if seen.authorized]
                assert len(accepted) == 1
            finally:
                keeping.kill()
