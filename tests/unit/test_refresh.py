"""The arithmetic of renewal (RFC 3261 §10.2.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipprofile.registration import refresh_times
from sipprofile.registration.refresh import FINEST_GRID, LEASE_SHARE, latest_delay, refresh_delay
from sipprofile.registration.refresh_times import FEW, MOST, RefreshTimes
from sipprofile.registration.settings import RegistrationSettings


@pytest.mark.parametrize(
    ("granted", "earliest", "latest"),
    [
        (3600, 2880, 3240),
        (600, 480, 540),
        (400, 320, 360),
        (321, 256.8, 288.9),
        (320, 160, 192),
        (60, 30, 36),
        (2, 1, 1.2),
    ],
)
def test_a_tenth_is_left_and_up_to_a_tenth_is_jitter(granted: float, earliest: float, latest: float) -> None:
    assert refresh_delay(granted, 0.0) == pytest.approx(latest if granted > 320 else earliest)
    assert refresh_delay(granted, 1.0) == pytest.approx(earliest if granted > 320 else latest)


def test_a_long_lease_leaves_a_whole_transaction() -> None:
    assert 321 - refresh_delay(321, 0.0) >= 32


@given(st.integers(1, 2**32 - 1), st.floats(0, 1))
def test_it_is_always_inside_the_lease_and_before_the_last_moment(granted: int, fraction: float) -> None:
    delay = refresh_delay(granted, fraction)
    assert 0 < delay < granted
    assert delay <= latest_delay(granted) < granted


UNPACED = RegistrationSettings(rate=100_000.0, burst=100.0)


class TestSharedTimes:
    """Refreshes that are due at about the same time are sent together; never later for it, and never too many."""

    @given(st.integers(1, 2**32 - 1), st.floats(0, 1), st.floats(0, 1e7), st.integers(0, 300))
    def test_a_refresh_is_moved_by_little_and_never_later(
        self, granted: int, fraction: float, since: float, others: int
    ) -> None:
        times = RefreshTimes(UNPACED)
        for _ in range(others):
            times.next(since, granted, fraction)
        alone = since + refresh_delay(granted, fraction)
        assert alone - max(FINEST_GRID, granted / LEASE_SHARE) <= times.next(since, granted, fraction) <= alone

    @pytest.mark.parametrize(
        ("granted", "grid"), [(2, 0.0625), (7, 0.0625), (8, 0.125), (15, 0.25), (60, 0.25), (3600, 0.25)]
    )
    def test_those_of_long_leases_share_more(self, granted: int, grid: float) -> None:
        times = RefreshTimes(UNPACED)
        assert {times.next(1000.0, granted, step / 1000) % grid for step in range(100)} == {0.0}

    @pytest.mark.parametrize(
        ("settings", "most"),
        [(RegistrationSettings(), 25), (RegistrationSettings(rate=1.0, burst=1.0), 1), (UNPACED, MOST)],
        ids=["as it comes", "slow", "pacing lifted"],
    )
    def test_half_of_the_bucket_is_left_to_others(self, settings: RegistrationSettings, most: int) -> None:
        """Where more are due they are spread as finely as the finest grid allows."""
        times = RefreshTimes(settings)
        count = 8 * most
        found = [times.next(1000.0, 60, step / (6 * count)) for step in range(count)]  # in one second
        assert max(map(found.count, found)) <= most + 1

    def test_what_is_remembered_of_them_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refresh_times, "KEPT", 100)
        times = RefreshTimes(UNPACED)
        for since in range(1000):
            times.next(float(since), 60, 0.5)
            assert len(times) <= 100
        for since in range(1000):
            times.next(float(since), 1e6, 0.5)
            assert len(times) <= 100

    def test_a_time_that_many_have_is_one_object(self) -> None:
        times = RefreshTimes(UNPACED)
        found = [times.next(1000.0, 60, 0.5) for _ in range(10)]
        assert len(set(found)) == 1
        assert len(set(map(id, found))) <= FEW + 1
