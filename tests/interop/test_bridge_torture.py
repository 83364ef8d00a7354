"""What goes wrong on one side of a bridge: the other side hears of it rightly, and nothing of it is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running_service import RunningService

from .bridge_figures import wait_until_empty
from .bridge_sides import Called, Caller, write
from .bridge_torture import GIVES_UP, T1, T2, TORTURES, Torture, talks_long
from .conftest import SHORT_TIMES
from .kamailio import Kamailio
from .ports import free_port
from .sipp import Sipp
from .stored_profile import StoredProfile

CALLS = 6
LIMIT = 60  # seconds
USERS = {"alice": "secret", "bob": "sesame"}
EMPTY_AFTER = 2 * GIVES_UP / 1000 + 34  # seconds: timer D has 32 s whatever T1 is


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that gives up soon."""
    service = RunningService(tmp_path_factory.mktemp("daemon"))
    service.configuration = SHORT_TIMES.replace("[registration]\n", f"[registration]\nt1 = {T1}\nt2 = {T2}\n")
    service.start()
    yield service
    assert not [line for line in service.lines() if line.get("level") in ("error", "critical")]
    service.kill()


@pytest.fixture
def proxy(start_kamailio: Callable[..., Kamailio]) -> Kamailio:
    return start_kamailio(routes=True, users=USERS)


@pytest.fixture
def add_bridge(daemon: RunningService, proxy: Kamailio) -> Iterator[Callable[[int], int]]:
    """Stores Alice's profile with a bridge to a program at a port; the result is the bridge's own."""
    added: list[StoredProfile] = []

    def add(port: int) -> int:
        registrar = {"uri": proxy.uri, "username": "alice", "password": "secret"}
        bridge = {"uri": f"sip:127.0.0.1:{port}"}
        document = {"name": "alice", "aor": proxy.aor("alice"), "registrar": registrar, "bridge": bridge}
        added.append(StoredProfile(daemon, document))
        added[0].wait(status="registered")
        return int(added[0].wait_until(lambda state: bool(state["bridge_port"]), "a port")["bridge_port"])

    yield add
    for profile in added:
        profile.discard()


@pytest.fixture
def play(
    start_sipp: Callable[..., Sipp], add_bridge: Callable[[int], int], proxy: Kamailio, tmp_path: Path
) -> Callable[..., None]:
    """Plays both sides of calls: direction ``in``: the program behind the bridge is called; ``out``: it calls."""

    def play(torture: Torture, direction: str, calls: int = CALLS, **more: int) -> None:
        program = direction == "in"
        called = Called(hops=1 if program else 2)
        _, steps = torture(Caller("sip:nobody@127.0.0.1"), called)
        there = start_sipp(write(tmp_path / "called.xml", *steps), {}, calls=calls, limit=LIMIT, **more)
        port = add_bridge(there.port if program else free_port())
        if program:
            caller, remote = Caller(proxy.aor("alice")), f"127.0.0.1:{proxy.port}"
        else:
            proxy.bind("bob", f"sip:bob@{there.host}:{there.port}")
            caller, remote = Caller(f"sip:bob@127.0.0.1:{port}"), f"127.0.0.1:{port}"
        steps, _ = torture(caller, called)
        path = write(tmp_path / "caller.xml", *steps)
        here = start_sipp(path, {}, calls=calls, remote=remote, rate=20, limit=LIMIT, **more)
        for name, peer in (("caller", here), ("called", there)):
            verdict = peer.wait()
            found = verdict.exit_code, verdict.successful_calls, verdict.failed_calls
            assert found == (0, calls, 0), f"{name}: {verdict.errors}"

    return play


@pytest.mark.long
@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("torture", TORTURES, ids=lambda torture: torture.__name__)
def test_torture(torture: Torture, direction: str, play: Callable[..., None], daemon: RunningService) -> None:
    play(torture, direction)
    wait_until_empty(daemon, GIVES_UP / 1000 + 2, "transactions", 'open{direction="out"}')


@pytest.mark.long
@pytest.mark.parametrize("direction", ["in", "out"])
def test_every_fifth_message_is_lost(direction: str, play: Callable[..., None], daemon: RunningService) -> None:
    """On both sides, to them and from them: each call is set up and ended all the same, and nothing is left at all."""
    play(talks_long, direction, 100, lost=20, t2=round(1000 * T2))
    wait_until_empty(daemon, EMPTY_AFTER)
