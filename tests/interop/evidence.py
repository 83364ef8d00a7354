"""Shows on a terminal what the tests assert: `python tests/interop/evidence.py`.

Kamailio's location table while two programs share a profile, and what tshark sees while the service is killed and
started again. Needs kamailio and tshark, and may have to be run by root for the capture.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from interop.application import Application
from interop.kamailio import Kamailio, Settings
from interop.stored_profile import StoredProfile, alice
from running_service import RunningService

CONFIGURATION = "[sip]\nbind = ['127.0.0.1']\n"
LEASE = 12  # seconds; the refresh comes after 6 to 7.2 s


def show(what: str, kamailio: Kamailio) -> None:
    """The location table as it is now."""
    print(f"\n{what}\n")
    table = kamailio.location()
    if not table:
        print("    Kamailio's location table is empty.")
    for aor, bindings in table.items():
        for binding in bindings:
            print(f"    {aor}  ->  {binding.contact}")
            print(f"        expires in {binding.expires} s, Call-ID {binding.call_id}, CSeq {binding.cseq}")
    accepted = [register for register in kamailio.register_log() if register.authorized]
    removing = sum(register.expires == "0" for register in accepted)
    print(f"    accepted so far: {len(accepted) - removing} REGISTER, {removing} de-REGISTER")


def shared_use(directory: Path) -> None:
    """Two programs, one binding; one is killed, the other leaves."""
    print("== Two programs share a profile")
    service = RunningService(directory)
    service.configuration = CONFIGURATION
    with Kamailio(directory / "kamailio") as kamailio:
        try:
            service.start()
            profile = StoredProfile(service, alice(kamailio, register="on-demand", linger_lost=1))
            show("before: the profile is stored, nobody uses it", kamailio)
            with Application(service.url, "alice") as one, Application(service.url, "alice") as two:
                for program in (one, two):
                    program.wait_for("ready", limit=30)
                for program in (one, two):
                    program.tell("enable")
                for program in (one, two):
                    program.wait_for("done")
                state = profile.wait(status="registered", users=2)
                show(f"during: the programs {one.pid} and {two.pid} use it; users: {state['users']}", kamailio)
                one.kill()
                state = profile.wait(users=1)
                show(f"{one.pid} was killed with SIGKILL; users: {state['users']}", kamailio)
                two.tell("disable")
                two.wait_for("deregistered")
                show(f"after: {two.pid} has disabled it", kamailio)
                print(f"\n    heard by {two.pid}: " + ", ".join(line["event"] for line in two.heard))
        finally:
            service.kill()


def restart(directory: Path) -> None:
    """kill -9 of the service and its restart, as seen on the wire until the next refresh."""
    print("\n\n== The service is killed with SIGKILL and started again")
    service = RunningService(directory)
    service.configuration = CONFIGURATION
    with Kamailio(directory / "kamailio", Settings(max_expires=LEASE)) as kamailio:
        happened: list[tuple[float, str]] = []

        def note(what: str) -> None:
            happened.append((time.time(), f"-- {what}"))

        with captured(directory, kamailio.port, happened):
            try:
                service.start()
                profile = StoredProfile(service, alice(kamailio))
                before = profile.wait(status="registered")
                note(f"registered; the refresh is due at {clock(before['refresh_at'])}")
                time.sleep(1)
                note("kill -9")
                service.kill()
                service.start()
                state = profile.state()
                note(f"started again: {state['status']}; the refresh is due at {clock(state['refresh_at'])}")
                profile.wait_until(lambda state: state["lease_ends"] > before["lease_ends"] + 1, "the refresh")
                note("refreshed")
            finally:
                service.kill()
        print("\n    Every packet to and from Kamailio; UDP with 4 bytes is the keepalive (RFC 5626 §3.5.1):\n")
        for at, text in sorted(happened):
            print(f"    {clock(at)}  {text}")
        print("\n    What Kamailio saw: CSeq " + ", ".join(str(seen.cseq) for seen in kamailio.register_log()))
        print(f"    under {len({seen.call_id for seen in kamailio.register_log()})} Call-ID")


@contextmanager
def captured(directory: Path, port: int, packets: list[tuple[float, str]]) -> Iterator[None]:
    """Adds tshark's line for every packet of the loopback's `port` to `packets`, with its time."""
    program = shutil.which("tshark")
    if program is None:
        sys.exit("tshark is not installed")
    command = [program, "-i", "lo", "-l", "-n", "-t", "e", "-f", f"port {port}", "-d", f"udp.port=={port},sip"]
    out, errors = directory / "packets.txt", directory / "tshark.log"
    with out.open("wb") as standard, errors.open("wb") as error:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=standard, stderr=error)
    try:
        deadline = time.monotonic() + 10
        while b"Capturing on" not in errors.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"tshark does not capture:\n{errors.read_text()}")
            time.sleep(0.05)
        time.sleep(0.5)  # "Capturing on" is said shortly before the first packet is seen
        yield
        time.sleep(1)  # the last packets are on their way through tshark's buffers
    finally:
        process.terminate()
        process.wait(5)
    for line in out.read_text().splitlines():
        _, at, text = line.split(maxsplit=2)
        packets.append((float(at), text))


def clock(at: float) -> str:
    """Time of day with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"


if __name__ == "__main__":
    if Kamailio.program() is None:
        sys.exit("kamailio is not installed")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as temporary:
        for number, story in enumerate((shared_use, restart)):
            place = Path(temporary, str(number))
            os.mkdir(place)
            story(place)
