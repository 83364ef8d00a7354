"""What the service itself says of its tables, and what its process has used."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from running_service import RunningService

TABLES = ("sipprofile_dialogs", "sipprofile_sip_requests_open", "sipprofile_sip_transactions", "sipprofile_bridged")


def tables(service: RunningService) -> dict[str, int]:
    """How much is in each table of dialogs, requests and transactions; by the metric with its label."""
    text = service.request("GET", "/metrics").document
    found = re.findall(rf"^((?:{'|'.join(TABLES)})(?:{{[^}}]*}})?) (\S+)$", text, re.MULTILINE)
    return {name: int(float(value)) for name, value in found}


def wait_until_empty(service: RunningService, limit: float, *kept: str) -> None:
    """Returns when all tables are empty but those whose names contain a word of `kept`."""
    deadline = time.monotonic() + limit
    while True:
        found = {name: size for name, size in tables(service).items() if not any(word in name for word in kept)}
        assert found, "there are such metrics"
        left = {name: size for name, size in found.items() if size}
        if not left:
            return
        assert time.monotonic() < deadline, f"left after {limit} s: {left}"
        time.sleep(0.1)


def processor_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Bytes of memory that are the process's own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE)) * 1024
