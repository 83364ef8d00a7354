"""How things look: tables, times, states. Plain text; rich is for ``watch`` alone."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

COLOURS = {"registered": "green", "registering": "yellow", "unregistering": "yellow", "unregistered": "red"}
COLUMNS = ("ID", "NAME", "TYPE", "AOR", "STATUS", "REASON", "LEASE", "NEXT TRY", "USERS")


def as_json(value: Any) -> str:
    """``value`` as JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=repr), indent=2).decode()


def as_json_line(value: Any) -> str:
    """``value`` as JSON on one line."""
    return msgspec.json.encode(value, enc_hook=repr).decode()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the words of a status column are coloured (click takes colours out for a file or pipe)."""
    widths = [max(len(line[index]) for line in (columns, *rows)) for index in range(len(columns))]
    lines = [click.style(_line(columns, widths), bold=True)]
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        for index, column in enumerate(columns):
            if column == "STATUS":
                padded[index] = click.style(padded[index], fg=COLOURS.get(row[index]))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def steps_shown(steps: Sequence[dict[str, Any]]) -> str:
    """The steps of ``test``, one below the other, and below one that failed what to do. Wrapped on a terminal only."""
    width = max(len(step["step"]) for step in steps)
    indent = " " * (width + len("  failed  "))
    room = max(40, shutil.get_terminal_size().columns) - len(indent) if sys.stdout.isatty() else sys.maxsize
    lines = []
    for step in steps:
        mark = click.style("ok    ", fg="green") if step["ok"] else click.style("failed", fg="red")
        said = [line for key in ("detail", "remedy") for line in textwrap.wrap(step.get(key, ""), room)]
        lines.append(f"{step['step'].ljust(width)}  {mark}  {said[0] if said else ''}".rstrip())
        lines += [indent + line for line in said[1:]]
    return "\n".join(lines)


def pairs_shown(parts: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Names and values in two columns below the title of each part; of PEM and the like the first line."""
    width = max(len(name) for pairs in parts.values() for name, _ in pairs)
    lines = []
    for title, pairs in parts.items():
        lines.append(click.style(title, bold=True))
        for name, value in pairs:
            first, *others = value.strip().splitlines() or [""]
            shown = click.style(first, fg=COLOURS.get(first)) if name == "status" else first
            lines.append(f"  {name.ljust(width)}  {shown}{f' (and {len(others)} more lines)' if others else ''}")
    return "\n".join(lines)


def profile_row(document: dict[str, Any], now: float) -> list[str]:
    """One line of ``list`` and ``watch``, in the order of :data:`COLUMNS`; ``now`` is UTC."""
    state = document.get("registration", {})
    ends, next_try = state.get("lease_ends"), state.get("next_try")
    return [
        str(document["id"]),
        document["name"] + ("*" if document.get("default") else ""),
        document.get("type", ""),
        document.get("aor", ""),
        state.get("status", "unregistered"),
        why(state),
        "" if ends is None else duration(ends - now),
        "" if next_try is None else duration(next_try - now),
        str(state.get("users", 0)),
    ]


def why(state: dict[str, Any]) -> str:
    """The reason of a status, short: the last error while the lease still holds, else the reason."""
    if held := state.get("held"):
        return str(held)
    reason = state.get("last_error") or state.get("reason", {})
    code = reason.get("code", "none")
    if code == "response":
        return str(reason.get("status_code", ""))
    return "" if code == "none" else str(code)


def duration(seconds: float) -> str:
    """``3 s``, ``12 min 3 s``, ``2 h 5 min``, ``3 d 4 h``; the past is ``0 s``."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, length)
        if count or (parts and len(parts) == 1):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def moment(utc: float | None) -> str:
    """A time on the local clock."""
    return "" if utc is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(utc))


def clock(utc: float | None) -> str:
    """The time of day on the local clock."""
    return time.strftime("%H:%M:%S", time.localtime(utc or time.time()))


def event_line(event: dict[str, Any]) -> str:
    """One event in words, as ``watch`` and ``use`` print it."""
    words = [clock(event.get("at")), event.get("name") or "", event["event"]]
    state = event.get("state")
    if state:
        words.append(state.get("status", "unregistered"))
        reason = state.get("last_error") or state.get("reason", {})
        if reason.get("text"):
            words.append(reason["text"])
        if state.get("next_try") is not None:
            words.append(f"Next try at {clock(state['next_try'])}.")
        elif state.get("lease_ends") is not None:
            words.append(f"Lease until {clock(state['lease_ends'])}.")
    return " ".join(word for word in words if word)
