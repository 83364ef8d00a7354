"""The plots of the report: registrations a second and memory over the number of registrations, for everybody."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from benchmarks.peers.drawing import Colour, Dot, Drawing, Line, Text, png, svg
from benchmarks.peers.results import Report, Run, middle, of

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 40, 50  # margins
GREY: Colour = (200, 200, 200)
BLACK: Colour = (40, 40, 40)
COLOURS: tuple[Colour, ...] = (
    (200, 30, 30),
    (30, 90, 200),
    (20, 140, 60),
    (150, 80, 180),
    (230, 140, 20),
    (110, 110, 110),
    (0, 160, 170),
)

Value = Callable[[Run], float | None]


def rate_plot(report: Report) -> Drawing:
    return _plot(report, "registrations a second, cold", lambda run: run.per_second, "{:,.0f}")


def memory_plot(report: Report) -> Drawing:
    return _plot(
        report,
        "kB of memory (PSS) per registration, beyond a holder of one",
        lambda run: None if run.memory is None else run.memory / 1000,
        "{:g}",
    )


def write(drawing: Drawing, path: Path) -> None:
    """Both files, `path` with .svg and with .png."""
    path.with_suffix(".svg").write_text(svg(drawing), encoding="utf-8")
    path.with_suffix(".png").write_bytes(png(drawing))


def _plot(report: Report, title: str, value: Value, form: str) -> Drawing:
    drawing = Drawing(WIDTH, HEIGHT, title)
    series = _series(report, value)
    counts = sorted({count for points in series.values() for count, _ in points})
    values = [found for points in series.values() for _, found in points]
    drawing.parts.append(Text(LEFT, 22, title))
    if not values:
        return drawing
    x, y = _scale(min(counts), max(counts), LEFT, WIDTH - RIGHT), _scale(min(values), max(values), HEIGHT - BOTTOM, TOP)
    for mark in _marks(min(values), max(values)):
        drawing.parts.append(Line(((LEFT, y(mark)), (WIDTH - RIGHT, y(mark))), GREY))
        drawing.parts.append(Text(LEFT - 8, y(mark) + 4, form.format(mark), "end"))
    for count in counts:
        drawing.parts.append(Line(((x(count), TOP), (x(count), HEIGHT - BOTTOM)), GREY))
        drawing.parts.append(Text(x(count), HEIGHT - BOTTOM + 18, f"{count:,}", "middle"))
    drawing.parts.append(Text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "registrations (logarithmic)", "middle"))
    labels = _spread({peer: y(points[-1][1]) for peer, points in series.items()})
    colours = dict(zip(report.settings, cycle(COLOURS), strict=False))  # the same in both plots
    for peer, points in series.items():
        colour = colours.get(peer, BLACK)
        places = tuple((x(count), y(found)) for count, found in points)
        drawing.parts.append(Line(places, colour, 2))
        drawing.parts += [Dot(right, down, colour) for right, down in places]
        drawing.parts.append(Text(places[-1][0] + 10, labels[peer] + 4, peer, colour=colour))
    return drawing


def _series(report: Report, value: Value) -> dict[str, list[tuple[int, float]]]:
    """The medians of those runs that got everything registered."""
    found: dict[str, list[tuple[int, float]]] = {}
    for peer in dict.fromkeys(one.peer for one in report.runs):
        for count in sorted({one.count for one in report.runs}):
            runs = [one for one in of(report.runs, peer, count) if one.alone]
            median = middle(value(one) for one in runs)
            if median is not None and median > 0:
                found.setdefault(peer, []).append((count, median))
    return dict(sorted(found.items()))


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    low, high = math.log10(low) - 0.05, math.log10(high) + 0.05
    return lambda value: first + (math.log10(value) - low) / (high - low) * (last - first)


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten between the two."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [mark for power in powers for step in (1, 2, 5) if low <= (mark := step * 10.0**power) <= high]


def _spread(places: dict[str, float]) -> dict[str, float]:
    """The same order, at least a line apart."""
    moved: dict[str, float] = {}
    last = 0.0
    for peer, place in sorted(places.items(), key=lambda item: item[1]):
        last = max(place, last + 15)
        moved[peer] = last
    return moved
