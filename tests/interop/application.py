"""A program that shares a profile: `python application.py URL NAME`, and the class that runs it as a child process.

It takes `enable`, `disable` and `quit` on standard input, one a line, and prints one JSON object a line: first
`{"event": "ready"}` when it holds the profile, then `{"event": "done", "command": …}` and what it is told.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import sipprofile
from sipprofile.client.events import EventStream

START_LIMIT = 30.0  # seconds
EVENT_LIMIT = 10.0


def say(**members: object) -> None:
    print(json.dumps(members), flush=True)


async def listen(stream: EventStream) -> None:
    async for event in stream:
        state = event.state if isinstance(event, sipprofile.Event) else None
        if state is None:
            say(event=event.event, status=None)
        else:
            say(event=event.event, status=state.status, contact=state.registered_contact, flow=state.flow)


async def main(url: str, name: str) -> None:
    async with sipprofile.Sip(f"example.{name}", url=url) as sip, sipprofile.ProfileRegistry(sip) as registry:
        profile = await registry.profile(name=name)
        listening = asyncio.create_task(listen(registry.events(profile)))
        say(event="ready", status=profile.status)
        while (command := (await asyncio.to_thread(sys.stdin.readline)).strip()) not in ("quit", ""):
            await (registry.enable(profile) if command == "enable" else registry.disable(profile))
            say(event="done", command=command)
        listening.cancel()


class Application:
    """The program above, running."""

    def __init__(self, url: str, name: str) -> None:
        self.heard: list[dict[str, Any]] = []
        """What it printed so far."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: str) -> None:
        """Have it do something; the result is heard as `done`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def wait_for(self, event: str, *, count: int = 1, limit: float = EVENT_LIMIT) -> dict[str, Any]:
        """The `count`-th event of this name. Raises AssertionError with what was heard instead."""
        deadline = time.monotonic() + limit
        while len(found := [line for line in list(self.heard) if line["event"] == event]) < count:
            assert time.monotonic() < deadline, f"not heard {count} times within {limit} s: {event}: {self.heard}"
            time.sleep(0.01)
        return found[count - 1]

    def kill(self) -> None:
        """SIGKILL: it says goodbye to nobody."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.heard.append(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._reader.join(5)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
