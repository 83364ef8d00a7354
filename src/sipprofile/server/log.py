"""Lines of the log, for a person or for a machine. Every line is an event, in words that do not vary, and its facts."""

from __future__ import annotations

import contextlib
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLOURS = {"debug": "32", "info": "32", "warning": "33", "error": "31"}  # SGR parameters, ECMA-48 §8.3.117
EVENT_WIDTH = 30  # columns
LEVEL_WIDTH = 9


class Log:
    """Writes lines of ``level`` and above.

    Keyword arguments are the facts; ``exc_info`` adds a traceback, without local variables, which may be secrets.

    A stream on a full disk or a closed pipe loses lines; what the service does must not depend on its log.
    """

    def __init__(self, stream: TextIO, level: str, *, plain: bool) -> None:
        self._stream = stream
        self._least = LEVELS[level]
        self._line = self._plain if plain else _json
        self._colours = stream.isatty()

    def debug(self, event: str, **facts: Any) -> None:
        """Only for those who look for a mistake."""
        self._write("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """What a person wants to know."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Something is not as it should be."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Something does not work."""
        self._write("error", event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """The exception that is being handled."""
        self._write("error", event, {**facts, "exc_info": sys.exc_info()})

    def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if LEVELS[level] < self._least:
            return
        error = facts.pop("exc_info", None)
        trace = "".join(traceback.format_exception(*error)).rstrip("\n") if error else ""
        line = self._line(level, event, facts, trace)
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def _plain(self, level: str, event: str, facts: dict[str, Any], trace: str) -> str:
        shown = self._coloured
        words = [
            shown("2", f"{datetime.now():%H:%M:%S}"),
            f"[{shown('1;' + COLOURS[level], level.ljust(LEVEL_WIDTH))}]",
            shown("1", event.ljust(EVENT_WIDTH) if facts else event),
            *(f"{shown('36', name)}={shown('35', _value(facts[name]))}" for name in sorted(facts)),
        ]
        return " ".join(words) + (f"\n{trace}" if trace else "")

    def _coloured(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


def _value(value: Any) -> str:
    """Texts with anything but visible characters in them, or quotes and equals signs, are quoted."""
    if isinstance(value, str) and value.isprintable() and not any(sign in value for sign in " \"'="):
        return value
    return repr(value)


def _json(level: str, event: str, facts: dict[str, Any], trace: str) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    entry = {**facts, "event": event, "level": level, "timestamp": now}
    if trace:
        entry["exception"] = trace
    return msgspec.json.encode(entry, enc_hook=repr).decode()
