"""Access tokens (RFC 8898): a Kamailio that lets nobody in without one, over TLS."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .certificates import OpenSslAuthority
from .conftest import SHORT_TIMES, require
from .kamailio import Kamailio
from .stored_profile import StoredProfile, alice

Start = Callable[..., Kamailio]

COMMAND = """
import json, sys
print(json.dumps({"access_token": open(sys.argv[1]).read(), "token_type": "Bearer", "expires_in": 3600}))
"""


@pytest.fixture
def authority(tmp_path: Path) -> OpenSslAuthority:
    require(OpenSslAuthority.program(), "openssl", "openssl")
    require(Kamailio.module("tls"), "Kamailio's TLS", "kamailio-tls-modules")
    return OpenSslAuthority(tmp_path)


@pytest.fixture
def kamailio(start_kamailio: Start, authority: OpenSslAuthority) -> Kamailio:
    return start_kamailio(
        certificate=authority.issue("good", "DNS:localhost"), token="token-1", users={}, max_expires=6
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file that holds the token."""
    path = tmp_path / "token"
    path.write_text("token-1")
    return path


@pytest.fixture
def service(tmp_path: Path, secret: Path) -> Iterator[RunningService]:
    service = RunningService(tmp_path)
    command = json.dumps([sys.executable, "-c", COMMAND, str(secret)])
    service.configuration = f"""{SHORT_TIMES}
[token_sources.mounted]
file = {json.dumps(str(secret))}
[token_sources.printed]
command = {command}
"""
    service.start()
    yield service
    service.kill()


def profile(service: RunningService, kamailio: Kamailio, authority: OpenSslAuthority, source: str) -> dict[str, Any]:
    registrar = {"uri": kamailio.uri_over("tls"), "tls": {"ca": authority.pem}, "password": None}
    return alice(kamailio, registrar=registrar, token_source=source)


@pytest.mark.parametrize("source", ["mounted", "printed"])
def test_registers_and_refreshes_in_one_round_trip_each(
    kamailio: Kamailio, authority: OpenSslAuthority, service: RunningService, source: str
) -> None:
    stored = StoredProfile(service, profile(service, kamailio, authority, source))
    stored.wait(status="registered")
    kamailio.wait_until(lambda: len(kamailio.register_log()) >= 2, 10, "a refresh")
    assert {register.verdict for register in kamailio.register_log()} == {1}
    assert len(kamailio.bindings(kamailio.aor("alice"))) == 1
    assert "token-1" not in service.log.read_text()
    assert all(b"token-1" not in path.read_bytes() for path in service.state.iterdir())


def test_a_token_that_is_replaced_is_fetched_anew(
    kamailio: Kamailio, authority: OpenSslAuthority, service: RunningService, secret: Path
) -> None:
    stored = StoredProfile(service, profile(service, kamailio, authority, "printed"))
    since = stored.wait(status="registered")["since"]
    time.sleep(0.5)
    secret.write_text("token-2")
    kamailio.set_token("token-2")
    kamailio.wait_until(
        lambda: [register.verdict for register in kamailio.register_log()].count(1) >= 3,
        30,
        "the new one is used",
    )
    assert -2 in [register.verdict for register in kamailio.register_log()]
    assert stored.wait(status="registered")["since"] == since


def test_the_end_of_a_jwt_is_obeyed(
    kamailio: Kamailio, authority: OpenSslAuthority, service: RunningService, secret: Path
) -> None:
    """One that has ended is not even sent."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() - 10}).encode()).decode().rstrip("=")
    secret.write_text(f"e30.{claims}.c2ln")
    stored = StoredProfile(service, profile(service, kamailio, authority, "mounted"))
    stored.wait(status="unregistered", reason="token_unavailable")
    assert kamailio.register_log() == []
    assert "has ended already" in service.log.read_text()
    secret.write_text("token-1")
    stored.wait(status="registered", limit=15)


def test_a_source_that_the_configuration_lacks_is_refused_at_save(
    kamailio: Kamailio, authority: OpenSslAuthority, service: RunningService
) -> None:
    answer = service.request("POST", "/v1/profiles", profile(service, kamailio, authority, "cloud"))
    assert (answer.status, answer.document["code"], answer.document["field"]) == (422, "invalid_value", "token_source")
    assert "mounted, printed" in answer.document["detail"]
