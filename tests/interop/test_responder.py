"""The registrar of the benchmarks counts what it says it counts (benchmarks/responder.c)."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import require
from .raw_client import RawClient

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from responder import Counters, Responder


@pytest.fixture
def start_responder() -> Iterator[Callable[..., Responder]]:
    require(shutil.which("cc"), "a C compiler", "gcc")
    running: list[Responder] = []

    def start(*, expires: int = 3600, core: int | None = None) -> Responder:
        responder = Responder(expires=expires, core=core)
        running.append(responder.__enter__())
        return responder

    yield start
    for responder in running:
        responder.__exit__(None, None, None)


def changed(counters: Counters) -> dict[str, int]:
    """The counts that are not zero."""
    fields = {name: getattr(counters, name) for name in counters.__struct_fields__}
    return {name: value for name, value in fields.items() if type(value) is int and value}


class TestResponder:
    def test_challenges_accepts_refreshes_and_removes(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        with RawClient(responder.port) as client:
            assert client.register().status == 401
            assert client.challenge is not None
            assert client.challenge.qop == ("auth",)
            answer = client.register("any", expires=7200)
            assert (answer.status, answer.header("contact")) == (200, f"{client.contact};expires=3600")
            assert f";rport={client.port};received=127.0.0.1" in (answer.header("via") or "")
            assert ";tag=" in (answer.header("to") or "")
            first = responder.counters()
            assert 0 < first.first_accepted == first.last_accepted <= first.now <= time.monotonic()
            assert client.register("any", expires=60).header("contact") == f"{client.contact};expires=60"
            assert responder.counters().active == 1
            assert client.register("any", expires=0).header("contact") is None
        assert changed(responder.counters()) == {
            "received": 4,
            "requests": 4,
            "challenged": 1,
            "accepted": 3,
            "distinct": 1,
            "refreshes": 1,
            "deregistered": 1,
        }

    def test_counts_users_not_registrations(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        for user in ("alice", "bob", "alice"):
            with RawClient(responder.port, user) as client:
                client.register()
                client.register("any")
        counters = responder.counters()
        assert (counters.accepted, counters.distinct, counters.refreshes, counters.active) == (3, 2, 1, 2)

    def test_tells_a_retransmission_from_a_refresh(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        with RawClient(responder.port) as client:
            credentials = ("Authorization", 'Digest username="alice"')
            contact = ("Contact", client.contact)
            for _ in range(3):
                answer = client.request("REGISTER", contact, credentials, branch="z9hG4bK-same")
                client.cseq -= 1
                assert answer.status == 200
        counters = responder.counters()
        assert (counters.accepted, counters.retransmissions, counters.refreshes) == (1, 2, 0)

    def test_notices_a_lapsed_binding_once(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder(expires=1)
        with RawClient(responder.port) as client:
            client.register()
            client.register("any")
            deadline = time.monotonic() + 5
            while responder.counters().lapsed == 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert responder.counters().active == 0
            client.register("any")
        counters = responder.counters()
        assert (counters.lapsed, counters.refreshes, counters.active) == (1, 0, 1)

    def test_is_silent_during_an_outage(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        with RawClient(responder.port) as client:
            responder.set_outage(True)
            with pytest.raises(TimeoutError):
                client.register()
            responder.set_outage(False)
            responder.set_outage(False)
            assert client.register().status == 401
        assert (responder.counters().unanswered, responder.counters().outage) == (1, False)

    def test_survives_what_is_not_sip(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        with RawClient(responder.port) as client:
            for data in (b"", b"\r\n\r\n", b"nonsense", b"REGISTER sip:x SIP/2.0\r\nVia", b"\0" * 9000):
                client.send(data)
            assert client.request("OPTIONS").status == 200
        counters = responder.counters()
        assert (counters.malformed, counters.keepalives, counters.others) == (3, 2, 1)

    def test_runs_on_the_core_it_is_given(self, start_responder: Callable[..., Responder]) -> None:
        core = max(os.sched_getaffinity(0))
        responder = start_responder(core=core)
        assert os.sched_getaffinity(responder.pid) == {core}

    def test_stops_with_its_last_counters(self, start_responder: Callable[..., Responder]) -> None:
        responder = start_responder()
        with RawClient(responder.port) as client:
            client.register()
        assert responder.stop().challenged == 1
        with pytest.raises(RuntimeError, match="not running"):
            responder.counters()
