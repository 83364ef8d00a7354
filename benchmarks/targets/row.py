"""A line of the table: what was aimed at, what was measured, whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One figure, in the unit that its texts name."""

    what: str
    target: str
    """Empty when the figure is only there to compare others with."""
    measured: str
    met: bool | None = None
    """None without a target, or when nothing was measured."""
    figures: tuple[float, ...] = ()
    """What was measured, for programs; the first one is held against the target."""


def at_most(what: str, limit: float, unit: str, figure: float, *more: float, text: str = "") -> Row:
    """A row whose figure should not be larger than `limit`."""
    return Row(what, f"≤ {number(limit)} {unit}", text or f"{number(figure)} {unit}", figure <= limit, (figure, *more))


def at_least(what: str, limit: float, unit: str, figure: float, *more: float, text: str = "") -> Row:
    """A row whose figure should not be smaller than `limit`."""
    return Row(what, f"≥ {number(limit)} {unit}", text or f"{number(figure)} {unit}", figure >= limit, (figure, *more))


def number(value: float) -> str:
    """With three digits or more."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def percentile(ordered: list[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(rows: Iterable[Row]) -> str:
    """As Markdown."""
    lines = ["| what | target | measured | met |", "|:---|:---|:---|:---|"]
    lines += [f"| {row.what} | {row.target} | {row.measured} | {_met(row)} |" for row in rows]
    return "\n".join(lines)


def _met(row: Row) -> str:
    if row.met is None:
        return ""
    return "yes" if row.met else "**no**"
