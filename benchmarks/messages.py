"""``python -m benchmarks.messages``: MESSAGE transactions through one profile. See README.md.

In: SIPp sends to the profile's contact, a session that has claimed MESSAGE answers each with 200. Out: a session sends,
and ``responder.c`` answers. SIPp, the session and the responder share core 1; the daemon has core 0.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cold import OTHER_CORE
from benchmarks.raw_session import RawSession
from benchmarks.sharing import registered

MESSAGES = 20_000
WINDOW = 200  # requests on the way; the service ends a session that leaves more unread
RATES = (2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000)
LIMIT = 60.0  # seconds for one run
LIMITS = f"\n[limits]\nsession_requests = {10 * MESSAGES}\nrequests = {10 * MESSAGES}\n"

SCENARIO = """\
<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="messages">
  <send retrans="500"><![CDATA[
    MESSAGE [$contact] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    Max-Forwards: 70
    From: <sip:bob@bench.example>;tag=[pid]s[call_number]
    To: <sip:user1@bench.example>
    Call-ID: [call_id]
    CSeq: 1 MESSAGE
    Content-Type: text/plain
    Content-Length: [len]

    Are you there?
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="200"/>
</scenario>
"""


def main() -> None:
    os.sched_setaffinity(0, {OTHER_CORE})
    print(
        "| MESSAGE through one profile | a second | CPU µs each | failed | retransmitted |\n|:---|---:|---:|---:|---:|"
    )
    with registered(LIMITS) as daemon:
        session = RawSession(daemon.socket)
        session.ask('{"id":1,"op":"enable","profile":1}')
        before, begin = daemon.usage().cpu, time.perf_counter()
        failed = outgoing(session, MESSAGES)
        row("out", MESSAGES / (time.perf_counter() - begin), daemon.usage().cpu - before, MESSAGES, failed, 0)
        session.ask('{"id":2,"op":"claim","profile":1,"claim":{"methods":["MESSAGE"]}}')
        contact = json.loads(session.ask('{"id":3,"op":"hold","profile":1}'))["ok"]["profiles"][0]["registration"]
        for rate in RATES:
            before = daemon.usage().cpu
            seconds, failed, retransmitted = incoming(session, contact["registered_contact"], rate)
            row(
                f"in, {rate:,} offered",
                MESSAGES / seconds,
                daemon.usage().cpu - before,
                MESSAGES,
                failed,
                retransmitted,
            )


def outgoing(session: RawSession, count: int) -> int:
    """Send MESSAGEs, :data:`WINDOW` at a time; how many did not get a 200."""
    what = '"op":"send","profile":1,"method":"MESSAGE","uri":"sip:user2@bench.example"'
    body = f'{what},"body":{{"text":"hi"}},"content_type":"text/plain"'
    sent = answered = failed = 0
    while answered < count:
        while sent < count and sent - answered < WINDOW:
            sent += 1
            session.send(f'{{"id":{sent + 10},{body}}}')
        frame = session.frame()
        if frame.startswith((b'{"event":"response"', b'{"event":"failed"')):
            answered += 1
            failed += b'"status":200' not in frame
        elif b'"error"' in frame[:40]:
            raise RuntimeError(f"the service refused a request: {frame.decode()}")
    return failed


def incoming(session: RawSession, contact: str, rate: int) -> tuple[float, int, int]:
    """Have SIPp send, and answer; seconds from the first to the last, how many failed and were sent again."""
    with TemporaryDirectory(prefix="sipprofile-bench") as name:
        scenario = Path(name, "messages.xml")
        scenario.write_text(SCENARIO.replace("[$contact]", contact))
        target = contact.rpartition("@")[2].partition(";")[0]
        command = ["sipp", target, "-sf", str(scenario), "-m", str(MESSAGES), "-r", str(rate), "-i", "127.0.0.1"]
        command += ["-trace_stat", "-stf", f"{name}/stat.csv", "-fd", "1", "-l", "5000", "-nostdin", "-timeout", "50"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sipp:
            first = last = 0.0
            answered = 0
            end = time.monotonic() + LIMIT
            while answered < MESSAGES and sipp.poll() is None and time.monotonic() < end:
                frame = session.frame()
                if not frame.startswith(b'{"event":"request"'):
                    continue
                first = first or time.perf_counter()
                number = re.search(rb'"request":(\d+)', frame)
                assert number is not None
                session.send(f'{{"id":7,"op":"respond","request":{number[1].decode()},"status":200}}')
                answered += 1
                last = time.perf_counter()
            sipp.wait(LIMIT)
        return last - first, *_statistics(Path(name, "stat.csv"))


def _statistics(path: Path) -> tuple[int, int]:
    """Failed calls and retransmissions, from SIPp's last line."""
    lines = path.read_text().splitlines()
    values = dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False))
    return int(values["FailedCall(C)"]), int(values["Retransmissions(C)"])


def row(name: str, rate: float, cpu: float, count: int, failed: int, retransmitted: int) -> None:
    """One line of the table."""
    print(f"| {name} | {rate:,.0f} | {cpu / count * 1e6:.0f} | {failed} | {retransmitted} |", flush=True)


if __name__ == "__main__":
    main()
