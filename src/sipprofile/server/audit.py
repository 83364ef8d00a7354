"""The audit log: one JSON object a line, in a file of its own or in the service's log."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import SipProfileError
from ..service.content import encoded
from ..service.effects import Audit
from .logging import RateBound

LONGEST_PAUSE = 60.0  # seconds between complaints about a file that cannot be written


class AuditLog:
    """Writes the lines: all to the file ``path``, which only its owner may read, or as many as the log takes.

    The file is opened for appending: who rotates it copies and truncates it. Raises ``bad_configuration``.
    """

    def __init__(self, log: Any, path: str | None) -> None:
        self._log = log
        self._bound = RateBound(log)
        self._complained = float("-inf")
        self._file: int | None = None
        if path is not None:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                detail = f"service.audit: {path} cannot be written: {error.strerror}."
                raise SipProfileError("bad_configuration", detail, field="service.audit", value=path) from None

    def write(self, line: Audit, now: float) -> None:
        """Write one line; a full disk loses it, and the service's log says so."""
        given = msgspec.structs.asdict(line)
        at = datetime.fromtimestamp(given.pop("at"), UTC).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = {name: value for name, value in given.items() if value != ""}
        if not line.status:
            del facts["status"]
        if self._file is None:
            if self._bound.passes(now):
                self._log.info("sip request", **msgspec.json.decode(encoded(facts)))
            return
        try:
            os.write(self._file, encoded({"at": at, **facts}) + b"\n")
        except OSError as error:
            if now - self._complained >= LONGEST_PAUSE:
                self._complained = now
                self._log.error("the audit log cannot be written", reason=error.strerror)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
