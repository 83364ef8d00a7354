"""Applications share profiles, call and are called, crash and stop reading: what they were promised is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from sipprofile.testing.simulation.promise import Violation
from sipprofile.testing.simulation.sharing.run import share

SEEDS = 64
FIRST_LONG_SEED = 1_001
LONG_SEEDS = 2_000
CHUNK = 100
PROCESSES = 2
COMMAND = (sys.executable, "-m", "sipprofile.testing.simulation", "--shared")


def violation_of(seed: int) -> str:
    """What a seed found, or an empty text."""
    try:
        share(seed)
    except Violation as violation:
        return str(violation)
    return ""


class TestEveryPromiseIsKept:
    @pytest.mark.parametrize("seed", range(1, SEEDS + 1))
    def test_seed(self, seed: int) -> None:
        share(seed)

    @pytest.mark.long
    @pytest.mark.parametrize("first", range(FIRST_LONG_SEED, FIRST_LONG_SEED + LONG_SEEDS, CHUNK * PROCESSES))
    def test_seeds_that_nothing_else_uses(self, first: int) -> None:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(violation_of, range(first, first + CHUNK * PROCESSES), chunksize=5))
        assert not any(found), "\n\n".join(filter(None, found))


class TestTheSameSeedIsTheSameHistory:
    def test_in_another_process_too(self) -> None:
        """Another process orders its sets of texts in another way."""
        first = share(5)
        assert share(5) == first
        environment = {**os.environ, "PYTHONHASHSEED": "5"}
        command = [*COMMAND, "--seed", "5"]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert first.digest[:16] in printed.stdout

    def test_another_seed_is_another_history(self) -> None:
        assert share(6).digest != share(7).digest


class TestASeedIsWorthItsTime:
    def test_requests_come_in_and_applications_die_in_the_middle_of_dialogs(self) -> None:
        results = [share(seed) for seed in range(1, 9)]
        assert sum(result.requests for result in results) > 40 * len(results)
        assert sum(result.endings for result in results) > 2 * len(results)
        assert sum(result.kills for result in results) > 0


class TestAFailureCanBeRepeated:
    def test_the_command_shows_what_happens(self) -> None:
        command = [*COMMAND, "--seed", "8", "--trace"]
        printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode(errors="replace")
        assert "received INVITE sip:" in printed
        assert "seed 8:" in printed.splitlines()[-1]
