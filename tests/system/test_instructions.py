"""What a registration and a refresh cost, counted in instructions: what makes them dearer is noticed on any machine."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.instructions import RECORDED, RECORDED_REFRESH, TOLERANCE, measured
from interop.missing import cannot_run


@pytest.fixture(scope="module")
def costs() -> tuple[float, float]:
    """Of a registration and of a refresh."""
    if shutil.which("valgrind") is None:
        cannot_run("valgrind is not installed; `apt-get install valgrind` brings it")
    return measured()


def test_a_cold_registration_costs_no_more_than_it_did(costs: tuple[float, float]) -> None:
    _hold(costs[0], RECORDED)


def test_a_refresh_costs_no_more_than_it_did(costs: tuple[float, float]) -> None:
    _hold(costs[1], RECORDED_REFRESH)


def _hold(now: float, recorded: float) -> None:
    assert now <= recorded * (1 + TOLERANCE), "profile it, or record what it costs now in benchmarks/instructions.py"
    assert now >= recorded * (1 - TOLERANCE), "it has become cheaper: record what it costs now, so that it stays so"
