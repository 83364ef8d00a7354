"""The arithmetic of renewal (RFC 3261 §10.2.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipprofile.registration.refresh import WAKE_UP_GRID, latest_delay, on_grid, refresh_delay


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


@given(at=st.floats(min_value=0, max_value=1e9))
def test_a_refresh_is_moved_to_a_shared_time_and_never_later(at: float) -> None:
    assert at - WAKE_UP_GRID <= on_grid(at) <= at
    assert on_grid(on_grid(at) + WAKE_UP_GRID / 2) == pytest.approx(on_grid(at), abs=1e-6)
