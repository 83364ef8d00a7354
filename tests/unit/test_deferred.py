"""What a start does not need is imported when the process has little else to do, and not before."""

from __future__ import annotations

import asyncio
from itertools import accumulate

import pytest

from sipprofile.server.deferred import IDLE, INTERVAL, idle


@pytest.mark.parametrize(
    ("loads", "looks"),
    [
        ([0.0], 1),
        ([1.0, 0.9, 0.5, IDLE / 2], 4),  # it registers what is always registered
        ([0.0, 1.0, 1.0], 1),  # it has waited long enough
        ([1.0, IDLE + 0.01, IDLE - 0.01], 3),
    ],
)
def test_waits_until_little_else_is_done(loads: list[float], looks: int) -> None:
    used = accumulate((load * INTERVAL for load in loads), initial=7.0)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    asyncio.run(idle(lambda: next(used), sleep))
    assert slept == [INTERVAL] * looks
