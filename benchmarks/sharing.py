"""``python -m benchmarks.sharing``: one profile and many applications. See README.md."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cold import CORE, OTHER_CORE
from benchmarks.daemon import Daemon
from benchmarks.profiles import fill
from benchmarks.raw_session import RawSession
from benchmarks.responder import Responder

SESSIONS = 1_000
ROUNDS = 20
ENABLES = 1_000
STOPPED = 3.0  # seconds for which one session is stopped while the others go on

# What the stopped one does: it holds the profile and reads, until it is stopped.
READER = "import sys;from pathlib import Path;from benchmarks.raw_session import RawSession\n" + (
    'session = RawSession(Path(sys.argv[1]));session.ask(\'{"id":1,"op":"hold","profile":1}\')\n'
    "print('holds', flush=True)\nwhile True: session.frame()"
)


def main() -> None:
    os.sched_setaffinity(0, {OTHER_CORE})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("| one profile | p50 ms | p99 ms | worst ms |\n|:---|---:|---:|---:|")
    with registered() as daemon:
        row(f"an event to all of {SESSIONS:,} sessions that hold it", fan_out(daemon.socket))
    with registered() as daemon:
        row("enable of a registered profile", enables(daemon.socket, ENABLES))
        row("the same while a session is stopped", beside_a_stopped_one(daemon.socket))


@contextmanager
def registered(configuration: str = "") -> Iterator[Daemon]:
    """A daemon with one profile, registered."""
    with TemporaryDirectory(prefix="sipprofile-bench") as name, Responder(core=OTHER_CORE) as responder:
        daemon = Daemon(Path(name), CORE, configuration)
        fill(daemon.state, 1, responder.uri, "always")
        with daemon:
            while not responder.counters().accepted:
                time.sleep(0.05)
            yield daemon
            daemon.stop()


def fan_out(path: Path) -> list[float]:
    """Seconds from a command that changes the state until the last session has the event."""
    sessions = [RawSession(path) for _ in range(SESSIONS)]
    for session in sessions:
        session.ask('{"id":1,"op":"hold","profile":1}')
    one = RawSession(path)
    waited = []
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            selector.register(session.socket, selectors.EVENT_READ, session)
        for number in range(ROUNDS):
            time.sleep(0.2)
            begin = time.perf_counter()
            one.send(f'{{"id":2,"op":"{"disable" if number % 2 else "enable"}","profile":1}}')
            missing = SESSIONS
            while missing:
                for key, _ in selector.select(10):
                    key.data.take()
                    while (frame := key.data.next()) is not None:
                        missing -= frame.startswith(b'{"event"')
            waited.append(time.perf_counter() - begin)
    for session in (*sessions, one):
        session.close()
    return waited


def enables(path: Path, count: int) -> list[float]:
    """Seconds from an enable to its answer, one after the other."""
    session = RawSession(path)
    waited = []
    for _ in range(count):
        begin = time.perf_counter()
        session.ask('{"id":1,"op":"enable","profile":1}')
        waited.append(time.perf_counter() - begin)
        session.ask('{"id":2,"op":"disable","profile":1}')
    session.close()
    return waited


def beside_a_stopped_one(path: Path) -> list[float]:
    """The same beside a holder that is stopped with SIGSTOP and reads nothing."""
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        reader.send_signal(signal.SIGSTOP)
        end, waited = time.monotonic() + STOPPED, []
        while time.monotonic() < end:
            waited += enables(path, 200)
        reader.kill()
    return waited


def row(name: str, waited: list[float]) -> None:
    """One line of the table."""
    ordered = sorted(waited)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    print(f"| {name} | {p50 * 1000:.2f} | {p99 * 1000:.2f} | {ordered[-1] * 1000:.2f} |", flush=True)


if __name__ == "__main__":
    main()
