"""When a lease is renewed (RFC 3261 §10.2.4). Pure arithmetic; ``fraction`` is a random number from 0 to 1."""

from __future__ import annotations

LONG_LEASE = 320.0  # above this the margin is at least 32 s = 64·T1, one whole transaction

FINEST_GRID, WIDEST_GRID = 0.0625, 0.25
"""Seconds between the times that refreshes share. Each grid has half the distance of the next wider one."""
LEASE_SHARE = 60
"""A refresh is moved by less than this part of its lease, where that is more than the finest grid."""


def refresh_delay(granted: float, fraction: float) -> float:
    """Seconds from the grant to the refresh.

    A long lease is renewed when max(32 s, 10 %) is left, up to 10 % earlier so that many do not meet; a short one at
    50 to 60 % of its time.
    """
    if granted > LONG_LEASE:
        return granted - max(32.0, granted * 0.1) - granted * 0.1 * fraction
    return granted * (0.5 + 0.1 * fraction)


def latest_delay(granted: float) -> float:
    """Seconds from the grant to the time when a refresh must not wait for pacing any longer."""
    return granted - min(32.0, granted * 0.3)


def grid_of(granted: float) -> float:
    """Seconds between the times of refreshes of such leases."""
    grid = WIDEST_GRID
    while grid > FINEST_GRID and grid * LEASE_SHARE > granted:
        grid /= 2
    return grid
