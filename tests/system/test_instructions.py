"""What a registration costs, counted in instructions: a change that makes it dearer is noticed on any machine."""

from __future__ import annotations

import shutil

from benchmarks.instructions import RECORDED, TOLERANCE, measured
from interop.missing import cannot_run


def test_a_cold_registration_costs_no_more_than_it_did() -> None:
    if shutil.which("valgrind") is None:
        cannot_run("valgrind is not installed; `apt-get install valgrind` brings it")
    now = measured()
    assert now <= RECORDED * (1 + TOLERANCE), "profile it, or record what it costs now in benchmarks/instructions.py"
    assert now >= RECORDED * (1 - TOLERANCE), "it has become cheaper: record what it costs now, so that it stays so"
