"""What a registration and a refresh cost, counted in instructions: what makes them dearer is noticed on any machine."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.instructions import RECORDED, TOLERANCE, measured
from interop.missing import cannot_run
from sipprofile.registration import native

Costs = dict[str, tuple[float, float]]
"""Of a registration and of a refresh, by how the core does what is usual."""


@pytest.fixture(scope="module")
def costs() -> Costs:
    if shutil.which("valgrind") is None:
        cannot_run("valgrind is not installed; `apt-get install valgrind` brings it")
    if native.module is None:
        cannot_run("the core's quick path is not compiled; scripts/build-native says why")
    return measured()


@pytest.mark.parametrize("way", RECORDED)
def test_a_cold_registration_costs_no_more_than_it_did(way: str, costs: Costs) -> None:
    _hold(costs[way][0], RECORDED[way][0])


@pytest.mark.parametrize("way", RECORDED)
def test_a_refresh_costs_no_more_than_it_did(way: str, costs: Costs) -> None:
    _hold(costs[way][1], RECORDED[way][1])


def _hold(now: float, recorded: float) -> None:
    assert now <= recorded * (1 + TOLERANCE), "profile it, or record what it costs now in benchmarks/instructions.py"
    assert now >= recorded * (1 - TOLERANCE), "it has become cheaper: record what it costs now, so that it stays so"
