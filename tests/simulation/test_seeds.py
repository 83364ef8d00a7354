"""The whole service keeps its promises whatever goes wrong, and a service that breaks one is found out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sipprofile import profile
from sipprofile.registration import acceptance, machine, restart
from sipprofile.registration import registration as memory
from sipprofile.registration.pacing import Pacer
from sipprofile.service import registry
from sipprofile.service.registry import Entry
from sipprofile.service.usage import Usage
from sipprofile.store.store import Store
from sipprofile.testing.simulation.run import simulate
from sipprofile.testing.simulation.trace import Violation

SEEDS = 100
LONG_SEEDS = 1_000
COMMAND = (sys.executable, "-m", "sipprofile.testing.simulation")


class TestEveryPromiseIsKept:
    """Every tenth seed has 200 profiles, the others have 30."""

    @pytest.mark.parametrize("seed", range(1, SEEDS + 1))
    def test_seed(self, seed: int) -> None:
        simulate(seed)

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(SEEDS + 1, SEEDS + LONG_SEEDS + 1))
    def test_another_seed(self, seed: int) -> None:
        simulate(seed)


class TestTheSameSeedIsTheSameHistory:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_in_another_process_too(self, seed: int) -> None:
        """Another process orders its sets of texts in another way."""
        first = simulate(seed)
        assert simulate(seed) == first
        command = [*COMMAND, "--seed", str(seed)]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert first.digest[:16] in printed.stdout

    def test_another_seed_is_another_history(self) -> None:
        assert simulate(4).digest != simulate(5).digest


def no_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "refresh_delay", lambda granted, fraction: granted + 1e9)


def no_deregistration(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip(room: Any, registration: Any, flow: Any, now: float) -> None:
        acceptance.removed(room, registration, flow, now, None)

    monkeypatch.setattr(machine, "deregister", skip)


def cseq_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    restored = restart.restored_flow

    def forgetful(room: Any, stored: Any) -> Any:
        flow = restored(room, stored)
        flow.cseq = 0
        return flow

    monkeypatch.setattr(restart, "restored_flow", forgetful)


def no_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BREAKER", 10**9)


def users_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    disable = Usage.disable

    def everybody(self: Usage, entry: Entry, now: float) -> None:
        entry.users = 1
        disable(self, entry, now)

    monkeypatch.setattr(Usage, "disable", everybody)


def no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pacer, "draw", lambda self, now: True)


def saves_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "commit", lambda self, writes: None)


def passwords_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(shown: profile.Profile) -> dict[str, Any]:
        document = public(shown)
        if shown.registrar is not None:
            document["registrar"]["password"] = shown.registrar.password
        return document

    public = profile.public
    monkeypatch.setattr(registry, "public", careless)


class TestABrokenServiceIsFoundOut:
    """If a simulation noticed nothing of these it would prove nothing."""

    @pytest.mark.parametrize(
        ("breaks", "seeds", "said"),
        [
            (no_refresh, 3, "without any fault"),
            (no_deregistration, 3, "is not wanted and the registrar holds"),
            (cseq_from_the_start, 3, "CSeq went back"),
            (no_breaker, 12, "refused credentials"),
            (users_lost, 6, ""),
            (no_bucket, 6, "more attempts"),
            (saves_lost, 3, ""),
            (passwords_shown, 3, "a secret left the service"),
        ],
        ids=lambda value: value.__name__ if callable(value) else "",
    )
    def test_by_some_seed(
        self, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None], seeds: int, said: str
    ) -> None:
        breaks(monkeypatch)
        found = []
        for seed in range(1, seeds + 1):
            try:
                simulate(seed)
            except Violation as violation:
                found.append(str(violation))
                if said in found[-1]:
                    return
        assert not found, f"found, but in other words: {found}"
        pytest.fail(f"none of {seeds} seeds noticed it")


class TestAFailureCanBeRepeated:
    def test_it_says_how(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cseq_from_the_start(monkeypatch)
        with pytest.raises(Violation) as raised:
            simulate(1, profiles=10)
        text = str(raised.value)
        assert "To repeat it: python -m sipprofile.testing.simulation --seed" in text
        assert text.endswith("--trace --profiles 10")

    def test_the_command_shows_what_happens(self) -> None:
        command = [*COMMAND, "--seed", "7", "--profiles", "5", "--trace"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "REGISTER sip:" in printed
        assert "seed 7:" in printed.splitlines()[-1]
