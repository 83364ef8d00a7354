"""The whole service keeps its promises whatever goes wrong: the second of three parts, which workers share."""

from __future__ import annotations

import pytest

from sipprofile.testing.simulation.run import simulate


class TestEveryPromiseIsKept:
    """Every tenth seed has 50 profiles, the others have 20."""

    @pytest.mark.parametrize("seed", range(71, 141))
    def test_seed(self, seed: int) -> None:
        simulate(seed)
