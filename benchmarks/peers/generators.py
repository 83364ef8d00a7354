"""What only registers, and holds nothing: the ceilings. SIPp for C, a bare loop for Python."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.child import Child
from benchmarks.peers.peer import DOMAIN, EXPIRES, HOLDER_CORE, RECEIVE_BUFFER, password, user
from benchmarks.process import Usage

OFFERED = 30_000  # registrations a second that SIPp begins at most
AT_ONCE = 200  # on the way at a time, SIPp
REPOSITORY = Path(__file__).parents[2]
CREDENTIALS = "[field1]\n"  # in the file of users


def _register(cseq: int, credentials: str = "") -> str:
    return f"""\
<send retrans="500"><![CDATA[

REGISTER sip:{DOMAIN} SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=[branch]
Max-Forwards: 70
From: <sip:[field0]@{DOMAIN}>;tag=[call_number]
To: <sip:[field0]@{DOMAIN}>
Call-ID: [call_id]
CSeq: {cseq} REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port]>
Expires: {EXPIRES}
{credentials}Content-Length: 0

]]></send>"""


SCENARIO = f"""\
<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="register">
{_register(1)}
<recv response="401" auth="true"></recv>
{_register(2, CREDENTIALS)}
<recv response="200"></recv>
</scenario>
"""


class Generator:
    """`start` begins; it ends by itself."""

    holds = False
    keeps_leases = False
    largest = 100_000

    def __init__(self) -> None:
        self._directory = Path()
        self._child: Child | None = None

    def usage(self) -> Usage | None:
        return self._child.usage() if self._child else None

    def stop(self) -> float:
        return self._child.stop() if self._child else 0.0


class Sipp(Generator):
    name = "SIPp"

    def __init__(self) -> None:
        super().__init__()
        self._count, self._port = 0, 0

    def missing(self) -> str:
        return "" if shutil.which("sipp") else "sip-tester is not installed (scripts/install-counterparts)"

    def settings(self) -> list[str]:
        said = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"SIPp (v[0-9.]+)", said)
        return [
            f"{version[1] if version else '?'}, a scenario with two REGISTER requests, users from a file",
            f"{OFFERED:,} registrations a second offered, {AT_ONCE} on the way at a time",
            f"receive buffer {RECEIVE_BUFFER >> 20} MB; it forgets a registration when it is accepted",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        self._directory, self._count, self._port = directory, count, port
        (directory / "register.xml").write_text(SCENARIO)
        lines = (
            f"{user(one)};[authentication username={user(one)} password={password(one)}]" for one in range(1, count + 1)
        )
        (directory / "users.csv").write_text("\n".join(["SEQUENTIAL", *lines, ""]))

    def start(self) -> None:
        program = shutil.which("sipp")
        assert program is not None
        command = [program, f"127.0.0.1:{self._port}", "-sf", "register.xml", "-inf", "users.csv", "-i", "127.0.0.1"]
        command += ["-m", str(self._count), "-r", str(OFFERED), "-rp", "1000", "-l", str(AT_ONCE), "-nostdin"]
        command += ["-buff_size", str(RECEIVE_BUFFER), "-timeout", "120s"]
        self._child = Child(command, self._directory / "log", self._directory)


class BareLoop(Generator):
    name = "bare Python loop"

    def __init__(self) -> None:
        super().__init__()
        self._count, self._port = 0, 0

    def missing(self) -> str:
        return ""

    def settings(self) -> list[str]:
        return [
            f"benchmarks/ceiling.py on CPython {platform.python_version()}: socket, formatting, three MD5 sums",
            "64 registrations on the way at a time; it keeps nothing and sends nothing again",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        self._directory, self._count, self._port = directory, count, port

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.ceiling", str(self._port), str(self._count), str(HOLDER_CORE)]
        self._child = Child(command, self._directory / "log", REPOSITORY)
