"""The demonstration's lines: when, who, what."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

WIDTH = 10
COLOURS = {
    "registrar": "\x1b[36m",
    "service": "\x1b[32m",
    "mail": "\x1b[33m",
    "phone": "\x1b[35m",
    "kamailio": "\x1b[36m",
    "bot": "\x1b[33m",
    "watcher": "\x1b[34m",
    "bob": "\x1b[37m",
    "voicemail": "\x1b[37m",
    "demo": "\x1b[1m",
    "story": "\x1b[1m",
}
PLAIN = "\x1b[0m"


class Narration:
    """Prints aligned lines, in colour on a terminal."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def say(self, who: str, what: str) -> None:
        """One line: the time, who it is about, what happened."""
        now = datetime.datetime.now()
        name = f"{who:<{WIDTH}}"
        if self._colour:
            name = f"{COLOURS.get(who, PLAIN)}{name}{PLAIN}"
        print(f"{now:%H:%M:%S}.{now.microsecond // 100_000}  {name}  {what}", flush=True)

    def chapter(self, title: str) -> None:
        """What comes next."""
        line = f"── {title}"
        print(f"\n{COLOURS['story']}{line}{PLAIN}" if self._colour else f"\n{line}", flush=True)

    def box(self, title: str, lines: Sequence[str]) -> None:
        """Lines in a frame, to be copied from."""
        width = max(len(line) for line in (title, *lines))
        print(f"\n  ┌─ {title} " + "─" * (width - len(title)) + "┐", flush=True)
        for line in lines:
            print(f"  │  {line:<{width}} │", flush=True)
        print("  └" + "─" * (width + 3) + "┘\n", flush=True)
