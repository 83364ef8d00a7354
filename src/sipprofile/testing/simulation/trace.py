"""What happened in a simulation, as text for people and as a digest that shows whether two runs were the same."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from sipprofile.testing.simulation.promise import Promise, Violation
from sipprofile.testing.virtual import VirtualClock

LAST_LINES = 40

SECRET = "S3CR3T"
"""Every password of a simulation begins with this, so that it can be found wherever it leaks."""
_secret = SECRET.encode()


class Trace:
    """Every message, event, reply and fault of a simulation, in order, with the time."""

    def __init__(self, clock: VirtualClock, show: Callable[[str], None] | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.events = 0
        self._clock = clock
        self._show = show
        self._digest = hashlib.sha256()

    def note(self, text: str, data: bytes = b"") -> None:
        """Something happened; ``data`` is what left the service then, and must hold no secret."""
        line = f"{self._clock.now:12.4f} {text}"
        if _secret in data or SECRET in line:
            raise Violation(Promise.SECRETS, f"a secret left the service: {line}\n{data.decode(errors='replace')}")
        self.events += 1
        self._digest.update(line.encode())
        self._digest.update(data)
        self.lines.append(line)
        if self._show is not None:
            self._show(line)

    @property
    def digest(self) -> str:
        """The same for the same history."""
        return self._digest.hexdigest()
