"""examples/agent-acme, installed: the running service finds it by its entry point and registers its way."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest

from sipprofile.sip.message import Request, build_response, parse

from .conftest import RunningService


@pytest.fixture(autouse=True)
def _installed() -> None:
    if "acme" not in [entry.name for entry in entry_points(group="sipprofile.agents")]:
        pytest.fail("the example agent is not installed: make setup")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """A UDP socket in the place of Acme's registrar."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server


def profile(port: int, **changes: Any) -> dict[str, Any]:
    document = {
        "name": "office",
        "type": "acme",
        "aor": "sip:alice@acme.example",
        "registrar": {"uri": f"sip:127.0.0.1:{port}"},
        "extensions": {"acme.site": "berlin"},
        "register": "always",
    }
    return {**document, **changes}


def test_types_lists_it(daemon: RunningService) -> None:
    types = {entry["name"]: entry for entry in daemon.request("GET", "/v1/types").document["types"]}
    assert types["acme"]["class"] == "other"
    assert "acme.site" in types["acme"]["extensions"]


def test_its_rules_hold_at_save(daemon: RunningService) -> None:
    answer = daemon.request("POST", "/v1/profiles", profile(5060, extensions={}))
    assert (answer.status, answer.document["code"]) == (422, "missing_field")
    assert answer.document["field"] == "extensions.acme.site"


def test_its_header_is_sent_and_its_judgement_decides_when_to_try_again(
    daemon: RunningService, peer: socket.socket
) -> None:
    created = daemon.request("POST", "/v1/profiles", profile(peer.getsockname()[1]))
    assert created.status == 201, created.document
    data, source = peer.recvfrom(65_535)
    request = parse(data)
    assert isinstance(request, Request)
    assert request.header("x-acme-site") == "berlin"
    headers = [("Reason", "acme;cause=17")]
    peer.sendto(build_response(request, 480, to_tag="1", headers=headers, source=source), source)

    def planned() -> float | None:
        state = daemon.request("GET", f"/v1/profiles/{created.document['id']}").document["registration"]
        next_try: float | None = state.get("next_try")
        return next_try

    left = daemon.wait_until(planned, "a next try") - time.time()
    assert 12 < left <= 16, "the usual back-off begins at 15 s and is drawn at random up to 30 s"
