"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from benchmarks.peers.results import Report, Run, middle, of, ratio

OURS = "sipprofile"
Item = TypeVar("Item")

COLD = (
    "N",
    "peer",
    "all registered, s",
    "registrations/s",
    "of sipprofile's",
    "CPU s/1,000",
    "kB each",
    "MB in all",
    "others on its core, %",
    "longest silence, ms",
    "retransmitted",
    "lapsed",
    "runs",
)
HELD = (
    "N",
    "peer",
    "refresh: CPU s/1,000",
    "REGISTERs each",
    "retransmitted",
    "lapsed",
    "restart: all held after, s",
    "REGISTERs each",
    "lapsed",
    "outage: datagrams each",
    "lapsed",
    "none lapsed after, s",
)


QUIET = 0.05
"""Of the core of the holders, taken by others: from more on the report says so."""


def text(report: Report) -> str:
    """Everything but the plots."""
    return "\n\n".join(
        [headline(report), *tables(report), *not_measured(report), "\n".join(["Settings:", "", *settings(report)])]
    )


def headline(report: Report) -> str:
    """The machine, and whether others disturbed it."""
    loads = [one.load for one in report.runs]
    load = f"load {report.load_before:.1f} before and {report.load_after:.1f} after"
    load += f", from {min(loads):.1f} to {max(loads):.1f} when runs began" if loads else ""
    taken = _taken(report)
    said = f"A quiet machine: in no run did other programs take more than {QUIET * 100:.0f} % of the holders' core."
    if not quiet(report):
        said = (
            f"Not a quiet machine: in {sum(one > QUIET for one in taken)} of {len(taken)} runs other programs took "
            f"part of the holders' core, {taken[-1] * 100:.0f} % of it at most; what is slower for that is not known."
        )
    return f"{report.machine}; {load}; {report.seconds / 60:.1f} minutes. {said}"


def quiet(report: Report) -> bool:
    """Whether others left the core of the holders alone."""
    return all(one <= QUIET for one in _taken(report))


def _taken(report: Report) -> list[float]:
    return sorted(one.others for one in report.runs if one.others is not None and not one.together)


def tables(report: Report) -> list[str]:
    held = held_rows(report)
    return [table(COLD, cold_rows(report)), *([table(HELD, held)] if held else [])]


def not_measured(report: Report) -> list[str]:
    """What is missing, and why; nothing when nothing is."""
    notes = [f"- {peer}: {reason}." for peer, reason in report.missing.items()]
    for reason in dict.fromkeys(one.reason for one in report.skipped):
        left_out = ", ".join(f"{one.peer} {one.count:,}" for one in report.skipped if one.reason == reason)
        notes.append(f"- {reason[0].upper()}{reason[1:]}: {left_out}.")
    failures = [(one, one.held_failure or (one.failure if one.together else "")) for one in report.runs]
    notes += [f"- {one.peer}, {one.count:,}: {failure}." for one, failure in failures if failure]
    return ["\n".join(["Not measured:", "", *notes])] if notes else []


def settings(report: Report) -> list[str]:
    return [f"- **{peer}**: {'; '.join(lines)}." for peer, lines in report.settings.items()]


def cold_rows(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for count, peer, found in _groups(one for one in report.runs if not one.together):
        done = [one for one in found if one.complete]
        if not done:
            others = found[0].others
            taken = "" if others is None else f"; others had {others * 100:.0f} % of its core"
            rows.append((f"{count:,}", peer, found[0].failure + taken))
            continue
        share = None if peer == OURS else ratio(report.runs, peer, OURS, count)
        rows.append(
            (
                f"{count:,}",
                peer,
                _middle(done, lambda one: one.seconds, "{:.2f}"),
                _middle(done, lambda one: one.per_second, "{:,.0f}"),
                "" if share is None else f"{share:.2f}",
                _middle(done, lambda one: one.cpu or None, "{:.3f}"),
                _middle(done, lambda one: None if one.memory is None else one.memory / 1000, "{:.1f}"),
                _middle(done, lambda one: None if one.total is None else one.total / 1e6, "{:,.0f}"),
                _middle(done, lambda one: None if one.others is None else one.others * 100, "{:.0f}"),
                _middle(done, lambda one: None if one.silence is None else one.silence * 1000, "{:,.0f}"),
                _middle(done, lambda one: one.retransmitted, "{:,.0f}"),
                _middle(done, lambda one: one.lapsed, "{:,.0f}"),
                f"{len(done)}" if len(done) == len(found) else f"{len(done)} of {len(found)}",
            )
        )
    return rows


def held_rows(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for count, peer, found in _groups(one for one in report.runs if one.refresh):
        refreshes = [one.refresh for one in found if one.refresh]
        restarts = [one.restart for one in found if one.restart]
        outages = [one.outage for one in found if one.outage]
        rows.append(
            (
                f"{count:,}",
                peer,
                _middle(refreshes, lambda one: one.cpu, "{:.3f}"),
                _middle(refreshes, lambda one: one.requests, "{:.2f}"),
                _middle(refreshes, lambda one: one.retransmitted, "{:,.0f}"),
                _middle(refreshes, lambda one: one.lapsed, "{:,.0f}"),
                _middle(restarts, lambda one: one.seconds, "{:.2f}") or "not in 60 s",
                _middle(restarts, lambda one: one.requests, "{:.2f}"),
                _middle(restarts, lambda one: one.lapsed, "{:,.0f}"),
                _middle(outages, lambda one: one.requests, "{:.1f}"),
                _middle(outages, lambda one: one.lapsed, "{:,.0f}"),
                _middle(outages, lambda one: one.recovered, "{:.1f}") or ("not in 90 s" if outages else ""),
            )
        )
    return rows


def table(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    full = [tuple(headings), *((*row, *[""] * (len(headings) - len(row))) for row in rows)]
    lines = [f"| {' | '.join(row)} |" for row in full]
    lines.insert(1, "|---:|:---|" + "---:|" * (len(headings) - 2))
    return "\n".join(lines)


def _groups(runs: Iterable[Run]) -> list[tuple[int, str, list[Run]]]:
    """By number, sipprofile first, the others as they came."""
    found = list(runs)
    peers = sorted(dict.fromkeys(one.peer for one in found), key=lambda peer: peer != OURS)
    counts = sorted({one.count for one in found})
    return [(count, peer, group) for count in counts for peer in peers if (group := of(found, peer, count))]


def _middle(found: Sequence[Item], value: Callable[[Item], float | None], form: str) -> str:
    median = middle(value(one) for one in found)
    return "" if median is None else form.format(median)
