"""RFC 5626, 3327, 3608 and 5627 with real proxies: two Kamailio edges in front of a Kamailio registrar."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService

from .conftest import require
from .edge import Edge
from .kamailio import Binding, Kamailio
from .stored_profile import StoredProfile, alice

ALICE = "sip:alice@example.test"
AGAIN = 15.0  # seconds until a flow is back: with the service's short times, and Kamailio's own

StartEdge = Callable[..., Edge]
Add = Callable[..., StoredProfile]


@pytest.fixture
def start_edge(tmp_path: Path) -> Iterator[StartEdge]:
    """Starts an edge proxy in front of a registrar; it ends with the test."""
    require(Kamailio.module("outbound"), "Kamailio's outbound module", "kamailio-outbound-modules")
    with ExitStack() as running:

        def start(registrar: Kamailio, **settings: Any) -> Edge:
            directory = tmp_path / f"edge-{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Edge(directory, registrar, **settings))

        yield start


def proxies(*edges: Edge, transport: str = "tcp") -> list[dict[str, str]]:
    return [{"uri": f"{edge.uri};transport={transport}"} for edge in edges]


def flows(registrar: Kamailio) -> dict[int, Binding]:
    """Alice's bindings by reg-id."""
    bindings = registrar.bindings(ALICE)
    found = {binding.reg_id: binding for binding in bindings}
    assert len(found) == len(bindings), "two bindings of one flow"
    return found


def wait_for_flows(registrar: Kamailio, *numbers: int, limit: float = AGAIN) -> dict[int, Binding]:
    registrar.wait_until(lambda: set(flows(registrar)) == set(numbers), limit, f"flows {numbers}")
    return flows(registrar)


def shown(profile: StoredProfile) -> dict[int, dict[str, Any]]:
    """The flows as the service shows them."""
    return {flow.get("number", 1): flow for flow in profile.state()["flows"]}


@pytest.fixture
def registrar(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_kamailio(outbound=1)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_two_edges_are_two_flows(registrar: Kamailio, start_edge: StartEdge, add_alice: Add, transport: str) -> None:
    edges = [start_edge(registrar), start_edge(registrar)]
    profile = add_alice(registrar, proxies=proxies(*edges, transport=transport))
    found = wait_for_flows(registrar, 1, 2)
    assert found[1].instance == found[2].instance is not None
    assert profile.document()["instance_id"] in str(found[1].instance)
    for number, edge in zip((1, 2), edges, strict=True):
        assert f"@127.0.0.1:{edge.port}" in found[number].path
        assert ";ob" in found[number].path
        assert shown(profile)[number]["target"] == f"{transport}:127.0.0.1:{edge.port}"
        assert shown(profile)[number]["outbound"]
    assert found[1].call_id != found[2].call_id
    state = profile.wait(status="registered", reason="none")
    assert f":{edges[0].port}" in state["path"][0]


@pytest.mark.pain(8)
@pytest.mark.parametrize("lost", [1, 2])
def test_an_edge_that_dies_costs_one_flow_and_comes_back_with_its_reg_id(
    registrar: Kamailio, start_edge: StartEdge, add_alice: Add, lost: int
) -> None:
    edges = [start_edge(registrar), start_edge(registrar)]
    profile = add_alice(registrar, proxies=proxies(*edges))
    before = wait_for_flows(registrar, 1, 2)
    since = profile.wait(status="registered")["since"]
    edges[lost - 1].stop()
    profile.wait_until(lambda _: shown(profile)[lost].get("status", "unregistered") != "registered", "a lost flow")
    state = profile.wait(status="registered")
    assert state["since"] == since
    assert state["last_error"]["code"].startswith("transport_")
    assert shown(profile)[3 - lost]["status"] == "registered"
    time.sleep(0.5)
    edges[lost - 1].start()
    profile.wait_until(lambda _: shown(profile)[lost].get("status") == "registered", "the flow again", AGAIN)
    after = wait_for_flows(registrar, 1, 2)
    assert after[lost].cseq > before[lost].cseq
    assert after[lost].call_id == before[lost].call_id
    assert after[lost].contact != before[lost].contact  # another connection
    assert after[3 - lost].contact == before[3 - lost].contact
    state = profile.wait(status="registered", last_error=None)
    assert state["since"] == since


def test_both_edges_die_and_come_back(registrar: Kamailio, start_edge: StartEdge, add_alice: Add) -> None:
    edges = [start_edge(registrar), start_edge(registrar)]
    profile = add_alice(registrar, proxies=proxies(*edges))
    wait_for_flows(registrar, 1, 2)
    for edge in edges:
        edge.stop()
    profile.wait(status="unregistered")
    for edge in edges:
        edge.start()
    profile.wait(limit=AGAIN, status="registered", reason="none")
    profile.wait_until(
        lambda _: [f.get("status") for f in shown(profile).values()] == ["registered"] * 2, "both", AGAIN
    )
    wait_for_flows(registrar, 1, 2)


def test_a_pause_removes_both_bindings(registrar: Kamailio, start_edge: StartEdge, add_alice: Add) -> None:
    profile = add_alice(registrar, proxies=proxies(start_edge(registrar), start_edge(registrar)))
    wait_for_flows(registrar, 1, 2)
    profile.control("pause")
    profile.wait(status="unregistered", reason="paused")
    wait_for_flows(registrar)
    profile.control("resume")
    wait_for_flows(registrar, 1, 2)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_crash_of_the_service(
    registrar: Kamailio, start_edge: StartEdge, own_daemon: RunningService, transport: str
) -> None:
    edges = [start_edge(registrar), start_edge(registrar)]
    profile = StoredProfile(own_daemon, alice(registrar, proxies=proxies(*edges, transport=transport)))
    before = wait_for_flows(registrar, 1, 2)
    own_daemon.kill()
    own_daemon.start()
    after = before

    def both_again() -> bool:
        nonlocal after
        after = flows(registrar)
        return set(after) == {1, 2} and all(after[number].cseq > before[number].cseq for number in after)

    registrar.wait_until(both_again, AGAIN, "both flows registered again")
    assert {number: after[number].call_id for number in after} == {n: before[n].call_id for n in before}
    profile.wait(status="registered", reason="none")


def test_without_an_edge_that_does_outbound_it_is_registered_without(
    registrar: Kamailio, start_edge: StartEdge, add_alice: Add
) -> None:
    """The registrar answers 439 (RFC 5626 §11.6)."""
    edge = start_edge(registrar, outbound=False)
    profile = add_alice(registrar, proxies=proxies(edge))
    profile.wait(status="registered", reason="none")
    assert 439 in [answer.status for answer in registrar.answer_log()]
    (binding,) = registrar.bindings(ALICE)
    assert binding.reg_id == 0
    assert not shown(profile)[1].get("outbound")
    profile.control("retry-now")
    time.sleep(0.5)
    assert [answer.status for answer in registrar.answer_log()].count(439) == 1


def test_one_edge_of_two_does_outbound(registrar: Kamailio, start_edge: StartEdge, add_alice: Add) -> None:
    edges = [start_edge(registrar), start_edge(registrar, outbound=False)]
    profile = add_alice(registrar, proxies=proxies(*edges))
    wait_for_flows(registrar, 1)
    profile.wait(status="registered", reason="none")
    time.sleep(1)
    wait_for_flows(registrar, 1)
    assert list(shown(profile)) == [1]


def test_service_route_and_identities(
    start_kamailio: Callable[..., Kamailio], start_edge: StartEdge, add_alice: Add
) -> None:
    """RFC 3608, RFC 7315 §4.1; a grant without them clears them."""
    headers = ("Service-Route: <sip:home.example.test;lr>", "P-Associated-URI: <tel:+4930123>, <sip:al@example.test>")
    registrar = start_kamailio(outbound=1, granted=headers)
    profile = add_alice(registrar, proxies=proxies(start_edge(registrar)))
    state = profile.wait(status="registered")
    assert state["service_route"] == ["<sip:home.example.test;lr>"]
    assert state["registered_aors"] == ["tel:+4930123", "sip:al@example.test", ALICE]
    assert len(state["path"]) == 1
    registrar.restart(granted=())
    profile.control("retry-now")
    state = profile.wait_until(lambda state: state["service_route"] == [], "no Service-Route")
    assert state["registered_aors"] == [ALICE]


@pytest.mark.parametrize("outbound", [0, 1])
def test_gruu(start_kamailio: Callable[..., Kamailio], daemon: RunningService, add_alice: Add, outbound: int) -> None:
    """RFC 5627: Kamailio's public and temporary GRUU, over a refresh."""
    registrar = start_kamailio(gruu=True, outbound=outbound)
    profile = add_alice(registrar, gruu=True)
    state = profile.wait(status="registered")
    assert state["public_gruu"] == f"{ALICE};gr=urn:uuid:{profile.document()['instance_id']}"
    assert state["temporary_gruu"].startswith("sip:")
    assert state["temporary_gruu"].endswith(";gr")
    command = [sys.executable, "-m", "sipprofile.cli.main", "show", "alice", "--url", daemon.url]
    text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    for name in ("public_gruu", "temporary_gruu"):
        assert re.search(rf"{name} +{re.escape(state[name])}$", text, re.MULTILINE), text
    profile.control("retry-now")
    after = profile.wait_until(lambda now: now["lease_ends"] > state["lease_ends"], "a refresh")
    assert after["public_gruu"] == state["public_gruu"]
    profile.control("pause")
    assert profile.wait(status="unregistered")["temporary_gruu"] is None
