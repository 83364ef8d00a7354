"""The garbage collector has nothing to do: what is kept of a registration is no cycle, and is not even looked at."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from benchmarks.workload import refresh, registered

FEW, MANY = 50, 250


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """No collection but the test's own, and nothing to find before it."""
    registered(1)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_registering_and_refreshing_make_no_cycles() -> None:
    def cycles(count: int) -> int:
        service = registered(count)
        refresh(service, 1)
        return gc.collect()

    cycles(1)  # what is made once, as the compiled form of an answer is
    few = cycles(FEW)
    assert cycles(MANY) - few < (MANY - FEW) // 10


def test_a_collection_takes_no_longer_with_more_registrations() -> None:
    """It stalls the loop, by 50 to 260 ms when it has to look at 100,000 objects of each kind."""

    def looked_at(count: int) -> int:
        service = registered(count)
        gc.collect()
        assert service is not None
        return len(gc.get_objects())

    few = looked_at(FEW)
    assert looked_at(MANY) - few < (MANY - FEW) // 10
