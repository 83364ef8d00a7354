"""SIP over WebSocket with a real Kamailio (RFC 7118)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .certificates import OpenSslAuthority
from .conftest import require
from .kamailio import Kamailio
from .secured import (
    SHORT_LEASE,
    Add,
    Start,
    add_over,
    deregisters,
    refreshes_on_one_connection,
    registers_again_when_the_server_restarts,
    the_binding,
    transports,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OpenSslAuthority:
    require(OpenSslAuthority.program(), "openssl", "openssl")
    require(Kamailio.module("tls"), "Kamailio's TLS", "kamailio-tls-modules")
    require(Kamailio.module("websocket"), "Kamailio's WebSocket", "kamailio-websocket-modules")
    return OpenSslAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def good(authority: OpenSslAuthority) -> Path:
    return authority.issue("good", "DNS:localhost")


@pytest.fixture
def start_ws(start_kamailio: Start, good: Path) -> Start:
    """Starts a Kamailio that listens for WebSocket, with and without TLS."""
    return lambda **settings: start_kamailio(**{"certificate": good, "websocket": True, **settings})


@pytest.mark.parametrize("transport", ["ws", "wss"])
class TestRegistering:
    def test_registers_refreshes_and_gives_back(
        self, start_ws: Start, add_alice: Add, authority: OpenSslAuthority, transport: str
    ) -> None:
        kamailio = start_ws(max_expires=SHORT_LEASE)
        profile = add_over(add_alice, kamailio, transport, {"ca": authority.pem})
        refreshes_on_one_connection(kamailio, profile)
        assert transports(kamailio) == {transport}
        contact = the_binding(kamailio).contact
        assert contact.endswith(".invalid;transport=ws")
        deregisters(kamailio, profile)

    def test_a_lost_connection_is_made_again(
        self, start_ws: Start, add_alice: Add, authority: OpenSslAuthority, transport: str
    ) -> None:
        kamailio = start_ws()
        profile = add_over(add_alice, kamailio, transport, {"ca": authority.pem})
        registers_again_when_the_server_restarts(kamailio, profile)

    def test_another_path_is_refused(
        self, start_ws: Start, add_alice: Add, authority: OpenSslAuthority, transport: str
    ) -> None:
        kamailio = start_ws()
        profile = add_over(add_alice, kamailio, transport, {"ca": authority.pem})
        profile.wait(status="registered")
        profile.patch(registrar={"extensions": {"ws-path": "/chat"}})
        refused = profile.wait_until(lambda state: state["last_error"] is not None, "the refusal is told")
        assert (refused["status"], refused["last_error"]["code"]) == ("registered", "websocket_refused")
        profile.patch(registrar={"extensions": {"ws-path": "/sip"}})
        profile.wait(status="registered", last_error=None)


def test_a_wrong_name_is_told_before_anything_is_sent(
    start_ws: Start, add_alice: Add, authority: OpenSslAuthority
) -> None:
    kamailio = start_ws(certificate=authority.issue("wrong", "DNS:other.test"))
    add_over(add_alice, kamailio, "wss", {"ca": authority.pem}).wait(reason="tls_wrong_name")
    assert kamailio.register_log() == []
