"""What is published of a report: its runs, plots and tables, and the extract in README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.peers.plot import memory_plot, rate_plot, write
from benchmarks.peers.results import Report, Run, middle, of, ratio
from benchmarks.peers.table import OURS, headline, not_measured, quiet, settings, table, tables
from benchmarks.splice import splice

REPOSITORY = Path(__file__).parents[2]
USUAL = 10_000
"""The number that is shown beside the largest."""
RATES, MEMORY = "registrations-per-second", "memory"
COLUMNS = ("N", "holder", "registrations/s", "CPU s/1,000", "kB each")

PLOTS = f"""\
![registrations per second over the number of registrations](published/{RATES}.png)
![memory per registration over the number of registrations](published/{MEMORY}.png)

The same as [SVG](published/{RATES}.svg), [SVG](published/{MEMORY}.svg) and with every run as
[JSON](published/results.json)."""


def publish(report: Report, repository: Path = REPOSITORY) -> None:
    """Write all of it. Raises ValueError when a page has no place for it."""
    directory = repository / "benchmarks" / "published"
    directory.mkdir(exist_ok=True)
    save(report, directory / "results.json")
    plot(report, directory)
    page = repository / "benchmarks" / "README.md"
    splice(page, "results", "\n\n".join([headline(report), *tables(report), *not_measured(report), PLOTS]))
    splice(page, "settings", "\n".join(settings(report)))
    splice(repository / "README.md", "benchmarks", extract(report))


def save(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def plot(report: Report, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    write(rate_plot(report), directory / RATES)
    write(memory_plot(report), directory / MEMORY)


def extract(report: Report) -> str:
    """The largest number that sipprofile held, the comparisons that it allows, and a table of the holders."""
    counts = sorted({one.count for one in report.runs if one.peer == OURS and one.alone})
    holders = [peer for peer in report.settings if any(one.total for one in report.runs if one.peer == peer)]
    shown = [count for count in counts if count in (USUAL, counts[-1])]
    rows = [row for count in shown for peer in holders if (row := _row(report, peer, count))]
    said = [*_largest(report, counts), *compared(report), *_refreshed(report)]
    if not quiet(report):
        said.append("Other programs ran on the machine meanwhile.")
    parts = [
        " ".join(said),
        table(COLUMNS, rows),
        f"![registrations per second over their number](benchmarks/published/{RATES}.png)",
        "[How this was measured, and what it does not show](benchmarks/README.md).",
    ]
    return "\n\n".join(part for part in parts if part)


def compared(report: Report) -> list[str]:
    """A sentence for each other holder, with the most registrations that both got: what sipprofile does beside it."""
    said = []
    for peer in report.settings:
        counts = {one.count for one in report.runs if one.peer == peer and one.total and one.alone}
        for count in sorted(counts, reverse=True):
            facts = [
                (_times(report, peer, count, lambda run: run.per_second), "registrations a second"),
                (_times(report, peer, count, lambda run: run.memory), "memory"),
                (_times(report, peer, count, lambda run: run.cpu), "CPU time"),
            ]
            known = [f"{times} times its {what}" for times, what in facts if times]
            if known and peer != OURS:
                said.append(f"Beside {peer} with {count:,}: {', '.join(known)}.")
                break
    return said


def _largest(report: Report, counts: Sequence[int]) -> list[str]:
    runs = [one for one in of(report.runs, OURS, counts[-1]) if one.alone] if counts else []
    rate, total = middle(one.per_second for one in runs), middle(one.total for one in runs)
    if not rate or not total:
        return []
    return [f"{OURS} registers {counts[-1]:,} from nothing at {rate:,.0f} a second, and needs {total / 1e6:,.0f} MB."]


def _refreshed(report: Report) -> list[str]:
    """CPU time of refreshes, with the largest number that sipprofile was looked at with."""
    count = max((one.count for one in report.runs if one.peer == OURS and one.refresh), default=0)
    costs = {
        peer: cost
        for peer in report.settings
        if (cost := middle(one.refresh.cpu for one in of(report.runs, peer, count) if one.refresh)) is not None
    }
    if OURS not in costs:
        return []
    others = ", ".join(f"{peer} {cost:.3f}" for peer, cost in costs.items() if peer != OURS)
    beside = f" ({others})" if others else ""
    return [f"1,000 refreshes take {costs[OURS]:.3f} s of CPU time with {count:,}{beside}."]


def _times(report: Report, peer: str, count: int, value: Callable[[Run], float | None]) -> str:
    found = ratio(report.runs, OURS, peer, count, value)
    return "" if found is None else f"{found:,.0f}" if found >= 10 else f"{found:.2g}"


def _row(report: Report, peer: str, count: int) -> tuple[str, ...] | None:
    runs = [one for one in of(report.runs, peer, count) if not one.together]
    if not runs:
        return None
    done = [one for one in runs if one.alone]
    rate, cpu = middle(one.per_second for one in done), middle(one.cpu for one in done)
    memory = middle(one.memory for one in done)
    if rate is None or cpu is None or memory is None:
        return f"{count:,}", peer, "not all registered", "", ""
    return f"{count:,}", peer, f"{rate:,.0f}", f"{cpu:.3f}", f"{memory / 1000:.1f}"
