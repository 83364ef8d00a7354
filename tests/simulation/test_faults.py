"""Every fault of the catalogue by itself: for a while, and for ever where a registration is possible all the same."""

from __future__ import annotations

import pytest

from sipprofile.testing.simulation.catalogue import LINK, NAMES, NETWORK, NOT_YET, REGISTRAR
from sipprofile.testing.simulation.outage import outlast
from sipprofile.testing.simulation.run import simulate
from sipprofile.testing.simulation.standing import TOLERATED, withstand

CATALOGUE = [*NETWORK, *LINK, *NAMES, *REGISTRAR]


class TestTheCatalogue:
    def test_no_name_is_used_twice(self) -> None:
        assert len(CATALOGUE) == len(set(CATALOGUE))

    def test_what_is_named_elsewhere_is_there(self) -> None:
        assert set(TOLERATED) <= set(CATALOGUE)
        assert set(NOT_YET) <= set(CATALOGUE)


class TestForEver:
    @pytest.mark.parametrize("name", [name for name in TOLERATED if name not in NOT_YET])
    def test_registrations_are_made_and_kept(self, name: str) -> None:
        withstand(name)

    @pytest.mark.long
    @pytest.mark.parametrize("name", [name for name in TOLERATED if name not in NOT_YET])
    def test_with_other_seeds(self, name: str) -> None:
        for seed in range(2, 12):
            withstand(name, seed)


class TestALongOutage:
    @pytest.mark.parametrize("seed", range(1, 6))
    def test_everybody_is_back_soon_after_its_end(self, seed: int) -> None:
        outlast(seed)


@pytest.mark.long
class TestForAWhile:
    @pytest.mark.parametrize("name", CATALOGUE)
    def test_nothing_else_goes_wrong(self, name: str) -> None:
        for seed in range(5_001, 5_006):
            simulate(seed, profiles=12, only=(name,))
