"""What a seed is worth: the same history everywhere, a failure that can be repeated, thousands more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from mutations import cseq_from_the_start

from sipprofile.testing.simulation.promise import Violation
from sipprofile.testing.simulation.run import simulate

FIRST_LONG_SEED = 1_001
LONG_SEEDS = 2_000
CHUNK = 50
PROCESSES = 2
COMMAND = (sys.executable, "-m", "sipprofile.testing.simulation")


def violation_of(seed: int) -> str:
    """What a seed found, or an empty text."""
    try:
        simulate(seed)
    except Violation as violation:
        return str(violation)
    return ""


@pytest.mark.long
class TestThousandsOfSeedsThatNothingElseUses:
    @pytest.mark.parametrize("first", range(FIRST_LONG_SEED, FIRST_LONG_SEED + LONG_SEEDS, CHUNK * PROCESSES))
    def test_every_promise_is_kept(self, first: int) -> None:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(violation_of, range(first, first + CHUNK * PROCESSES), chunksize=5))
        assert not any(found), "\n\n".join(filter(None, found))


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


class TestAFailureCanBeRepeated:
    def test_it_says_how(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cseq_from_the_start(monkeypatch)
        with pytest.raises(Violation) as raised:
            simulate(1, profiles=10)
        text = str(raised.value)
        assert "To repeat it: python -m sipprofile.testing.simulation --seed" in text
        assert text.endswith("--trace --profiles 10")
        assert "CSEQ: CSeq went back" in text
        assert "(seed 1 at " in text

    def test_the_command_shows_what_happens(self) -> None:
        command = [*COMMAND, "--seed", "7", "--profiles", "5", "--trace"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "REGISTER sip:" in printed
        assert "seed 7:" in printed.splitlines()[-1]
