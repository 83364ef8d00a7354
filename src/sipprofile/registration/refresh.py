"""When a lease is renewed (RFC 3261 §10.2.4). Pure arithmetic; ``fraction`` is a random number from 0 to 1."""

from __future__ import annotations

LONG_LEASE = 320.0  # above this the margin is at least 32 s = 64·T1, one whole transaction

WAKE_UP_GRID = 0.05  # seconds


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


def on_grid(at: float) -> float:
    """``at`` moved back to a time that refreshes share, so that one wake-up serves many of them."""
    return at - at % WAKE_UP_GRID


def refresh_at(sent_at: float, granted: float, fraction: float) -> float:
    """When to renew a lease that was asked for at ``sent_at``."""
    return on_grid(sent_at + refresh_delay(granted, fraction))
