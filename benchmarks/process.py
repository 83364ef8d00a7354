"""What a process has used, as the kernel counts it (proc_pid_schedstat, proc_pid_smaps)."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """CPU time in seconds since its start, memory in bytes now."""

    cpu: float
    """All threads."""
    main_cpu: float
    """The first thread: the event loop."""
    resident: int
    proportional: int
    """Resident, with every shared page divided by the number of processes that share it."""


def usage(pid: int) -> Usage:
    """The usage of a running process; its threads must not end meanwhile."""
    threads = {task.name: _on_cpu(task) for task in Path(f"/proc/{pid}/task").iterdir()}
    memory = _kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return Usage(sum(threads.values()), threads[str(pid)], memory["Rss"] * 1024, memory["Pss"] * 1024)


def _on_cpu(task: Path) -> float:
    """In nanoseconds, where stat counts clock ticks."""
    return int(task.joinpath("schedstat").read_text().split()[0]) / 1e9


def _kilobytes(rollup: str) -> dict[str, int]:
    rows = (line.split() for line in rollup.splitlines()[1:])
    return {name.rstrip(":"): int(value) for name, value, *_ in rows}
