"""Twenty calls a second through a bridge, in and out: none fails and nothing is left.

For a minute nothing is sent twice either, which a machine that is busy with other tests cannot promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import sipprofile
from running_service import RunningService

from .bridge_figures import wait_until_empty
from .bridge_sides import Called, Caller, called_of_a_call, caller_of_a_call, message, write
from .kamailio import Kamailio
from .sipp import Sipp, Verdict
from .stored_profile import StoredProfile

USERS = {"alice": "secret", "bob": "sesame"}
RATE = 20  # calls a second
MINUTE = pytest.param(60, marks=pytest.mark.long)
LINGER = 40.0  # seconds, within which an answered INVITE is forgotten: 64·T1 and the time that tests take
KEPT = "transactions", 'open{direction="out"}'
"""Tables with what absorbs retransmissions for 64·T1."""

StartSipp = Callable[..., Sipp]


@pytest.fixture
def proxy(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_kamailio(routes=True, users=USERS)


class Load:
    """SIPp on both sides of the bridge of Alice's profile; `calls` at :data:`RATE`."""

    def __init__(self, start: StartSipp, directory: Path, service: RunningService, proxy: Kamailio, calls: int) -> None:
        self._start = start
        self._directory = directory
        self._proxy = proxy
        self._calls = calls
        self._limit = calls // RATE + 40
        self.program = self._answering("program", Called(hops=1))
        self.outsider = self._answering("outsider", Called(hops=2))
        proxy.bind("bob", f"sip:bob@{self.outsider.host}:{self.outsider.port}")
        registrar = {"uri": proxy.uri, "username": "alice", "password": "secret"}
        bridge = {"uri": f"sip:127.0.0.1:{self.program.port}"}
        document = {"name": "alice", "aor": proxy.aor("alice"), "registrar": registrar, "bridge": bridge}
        self.profile = StoredProfile(service, document)
        self.profile.wait(status="registered")
        self._port = self.profile.wait_until(lambda state: bool(state["bridge_port"]), "a port")["bridge_port"]

    def call_in(self) -> Sipp:
        """Somebody outside calls Alice."""
        caller = Caller(self._proxy.aor("alice"))
        return self._asking("in", f"127.0.0.1:{self._proxy.port}", *caller_of_a_call(caller))

    def call_out(self) -> Sipp:
        """The program calls Bob."""
        bridge = f"127.0.0.1:{self._port}"
        return self._asking("out", bridge, *caller_of_a_call(Caller(f"sip:bob@{bridge}")))

    def text_in(self) -> Sipp:
        """Somebody outside sends Alice messages."""
        caller = Caller(self._proxy.aor("alice"))
        return self._asking("text", f"127.0.0.1:{self._proxy.port}", *message(caller))

    def _answering(self, name: str, called: Called) -> Sipp:
        scenario = write(self._directory / f"{name}.xml", *called_of_a_call(called))
        return self._start(scenario, {}, calls=self._calls, limit=self._limit)

    def _asking(self, name: str, remote: str, *steps: str) -> Sipp:
        scenario = write(self._directory / f"{name}.xml", *steps)
        return self._start(scenario, {}, calls=self._calls, remote=remote, rate=RATE, limit=self._limit)


@pytest.fixture
def load(start_sipp: StartSipp, tmp_path: Path, own_daemon: RunningService, proxy: Kamailio) -> Callable[[int], Load]:
    return lambda calls: Load(start_sipp, tmp_path / "scenarios", own_daemon, proxy, calls)


def succeeded(peer: Sipp, calls: int) -> Verdict:
    """SIPp itself says that each call went well."""
    verdict = peer.wait()
    assert (verdict.exit_code, verdict.successful_calls, verdict.failed_calls) == (0, calls, 0), verdict.errors
    return verdict


def passed(peer: Sipp, calls: int) -> None:
    """And that nothing had to be sent again."""
    verdict = succeeded(peer, calls)
    assert verdict.errors == ""
    for column in ("Retransmissions(C)", "FailedMaxUDPRetrans(C)", "DeadCallMsgs(C)"):
        assert _count(verdict, column) == 0, column


def _count(verdict: Verdict, column: str) -> int:
    return int(verdict.statistics[column])


def routed_once(proxy: Kamailio, calls: int) -> int:
    """Kamailio has seen each request of each call once; how many INVITEs it has challenged before."""
    challenged = len(proxy.routed("INVITE")) - calls
    assert len({one.call_id for one in proxy.routed("INVITE")}) == len(proxy.sent("INVITE")) == calls
    for method in ("ACK", "BYE"):
        assert len({one.call_id for one in proxy.routed(method)}) == len(proxy.routed(method)) == calls, method
    assert {one.status for one in proxy.replied("INVITE")} <= {100, 180, 200}
    assert len([one for one in proxy.replied("INVITE") if one.status == 200]) == calls, "no 200 came twice"
    assert [one.status for one in proxy.replied("BYE")] == [200] * calls
    return challenged


class TestTwentyCallsASecond:
    def test_for_ten_seconds_in(self, load: Callable[[int], Load], own_daemon: RunningService) -> None:
        both = load(10 * RATE)
        for peer in (both.call_in(), both.program):
            succeeded(peer, 10 * RATE)
        wait_until_empty(own_daemon, 5.0, *KEPT)

    def test_for_ten_seconds_out(self, load: Callable[[int], Load], own_daemon: RunningService) -> None:
        both = load(10 * RATE)
        for peer in (both.call_out(), both.outsider):
            succeeded(peer, 10 * RATE)
        wait_until_empty(own_daemon, 5.0, *KEPT)

    @pytest.mark.parametrize("seconds", [MINUTE])
    def test_in(self, load: Callable[[int], Load], own_daemon: RunningService, proxy: Kamailio, seconds: int) -> None:
        calls = RATE * seconds
        both = load(calls)
        for peer in (both.call_in(), both.program):
            passed(peer, calls)
        assert routed_once(proxy, calls) == 0
        wait_until_empty(own_daemon, 2.0, *KEPT)

    @pytest.mark.parametrize("seconds", [MINUTE])
    def test_out(self, load: Callable[[int], Load], own_daemon: RunningService, proxy: Kamailio, seconds: int) -> None:
        calls = RATE * seconds
        both = load(calls)
        for peer in (both.call_out(), both.outsider):
            passed(peer, calls)
        assert 1 <= routed_once(proxy, calls) < calls / 10, "one nonce serves many calls"
        wait_until_empty(own_daemon, 2.0, *KEPT)

    @pytest.mark.parametrize("seconds", [MINUTE])
    async def test_in_and_out_while_another_program_takes_messages(
        self, load: Callable[[int], Load], own_daemon: RunningService, proxy: Kamailio, seconds: int
    ) -> None:
        """Sixty requests a second; the bridge sees no message, and the other program no call."""
        calls = RATE * seconds
        both = load(calls)
        texts: list[str] = []

        async def answer(line: sipprofile.Line) -> None:
            async for request in line.requests():
                texts.append(request.method)
                await request.respond(200)

        async with sipprofile.use("alice", app="bot", url=own_daemon.url, timeout=10, claims=["MESSAGE"]) as line:
            answering = asyncio.create_task(answer(line))
            peers = both.call_in(), both.call_out(), both.text_in(), both.program, both.outsider
            for peer in peers:
                await asyncio.to_thread(passed, peer, calls)
            answering.cancel()
        assert texts == ["MESSAGE"] * calls
        assert "MESSAGE sip:" not in both.program.messages()
        routed_once(proxy, 2 * calls)
        wait_until_empty(own_daemon, 2.0, *KEPT)
        await asyncio.sleep(LINGER)
        wait_until_empty(own_daemon, 2.0)
