"""How long to wait after all targets failed (RFC 5626 §4.5); ``fraction`` is a random number from 0 to 1."""

from __future__ import annotations


def backoff(failures: int, base: float, maximum: float, fraction: float) -> float:
    """Seconds to wait after ``failures`` consecutive failures (1 or more): min(maximum, base·2ⁿ) × 0.5…1."""
    return min(maximum, base * 2.0 ** min(failures, 32)) * (0.5 + 0.5 * fraction)
