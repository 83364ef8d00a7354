"""The results, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec


class Measurement(msgspec.Struct, frozen=True):
    """One run. CPU times are seconds per 1,000 profiles, sizes are bytes."""

    case: str
    profiles: int
    seconds: float
    """From the first REGISTER at the registrar to the last accepted one."""
    per_second: float
    cpu: float
    """Of all threads, from "enable" or the start to "registered", written to disk and told."""
    main_cpu: float
    """The part of the event loop's thread."""
    refresh_cpu: float | None
    empty: int
    """A daemon without profiles."""
    loaded: float
    """Per profile that is loaded and not registered."""
    resident: float
    """Per registered profile, beyond a daemon without any."""
    proportional: float
    retransmitted: int
    lapsed: int
    enable_median: float | None
    """Seconds from sending an enable to reading its answer, with hundreds of others on the way."""
    enable_worst: float | None
    """Of 99 in 100."""


class Ceiling(msgspec.Struct, frozen=True):
    """What a bare loop does."""

    profiles: int
    per_second: float
    cpu: float


class Report(msgspec.Struct, frozen=True):
    """Everything."""

    machine: str
    measurements: tuple[Measurement, ...]
    ceilings: tuple[Ceiling, ...]
    instance: float | None
    """Bytes of the client library per profile instance, beside the record it shows."""


HEADINGS = (
    "case",
    "N",
    "registrations/s",
    "seconds",
    "CPU s/1,000",
    "(loop)",
    "refresh CPU s/1,000",
    "loaded kB",
    "registered kB RSS",
    "PSS",
    "base MB",
    "enable p50/p99 ms",
    "retransmitted",
    "lapsed",
)


def text(report: Report) -> str:
    """The tables as Markdown."""
    rows = [_row(one) for one in report.measurements]
    rows += [
        ("bare loop", f"{one.profiles:,}", f"{one.per_second:,.0f}", "", f"{one.cpu:.3f}") for one in report.ceilings
    ]
    parts = [report.machine, _table(HEADINGS, rows)]
    if report.instance is not None:
        parts.append(f"client: {report.instance:.0f} bytes per profile instance")
    return "\n\n".join(parts)


def _row(one: Measurement) -> tuple[str, ...]:
    return (
        one.case,
        f"{one.profiles:,}",
        f"{one.per_second:,.0f}",
        f"{one.seconds:.2f}",
        f"{one.cpu:.3f}",
        f"{one.main_cpu:.3f}",
        "" if one.refresh_cpu is None else f"{one.refresh_cpu:.3f}",
        f"{one.loaded / 1000:.2f}",
        f"{one.resident / 1000:.2f}",
        f"{one.proportional / 1000:.2f}",
        f"{one.empty / 1e6:.0f}",
        ""
        if one.enable_median is None or one.enable_worst is None
        else f"{one.enable_median * 1e3:.0f}/{one.enable_worst * 1e3:.0f}",
        f"{one.retransmitted}",
        f"{one.lapsed}",
    )


def _table(headings: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    full = [tuple(headings), *((*row, *[""] * (len(headings) - len(row))) for row in rows)]
    widths = [max(len(row[column]) for row in full) for column in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in full
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)
