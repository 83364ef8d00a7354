"""Profile documents to be stored."""

from __future__ import annotations

from typing import Any

LINE: dict[str, Any] = {
    "name": "line",
    "type": "ietf",
    "aor": "sip:alice@example.test",
    "registrar": {"uri": "sip:127.0.0.1:9", "username": "alice", "password": "hunter2"},
}


def named(name: str, **changes: Any) -> dict[str, Any]:
    return {**LINE, "name": name, **changes}
