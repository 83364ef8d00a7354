"""Kamailio with its `uac` module: registrations from a table, a process that begins them, others that are answered."""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from benchmarks.peers.child import Child, free_port
from benchmarks.peers.peer import DOMAIN, EXPIRES, RECEIVE_BUFFER, password, user
from benchmarks.process import Usage

RECEIVERS = 2
SHARED, PRIVATE = 2048, 512  # megabytes; only what is touched counts
SCHEMAS = Path("/usr/share/kamailio/db_sqlite")

CONFIGURATION = f"""\
debug=-1
log_stderror=yes
children={RECEIVERS}
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=no
use_dst_blocklist=no
maxbuffer={RECEIVE_BUFFER}
listen=udp:127.0.0.1:@port@
loadmodule "tm.so"
loadmodule "pv.so"
loadmodule "db_sqlite.so"
loadmodule "uac.so"
modparam("uac", "restore_mode", "none")
modparam("uac", "reg_db_url", "sqlite://@database@")
modparam("uac", "reg_contact_addr", "127.0.0.1:@port@")
modparam("uac", "reg_timer_interval", 1)
modparam("uac", "reg_retry_interval", 30)
modparam("uac", "reg_hash_size", 16)
modparam("uac", "reg_keep_callid", 1)
request_route {{
    drop;
}}
"""


class Kamailio:
    name = "Kamailio uac"
    holds = True
    keeps_leases = False
    largest = 100_000

    def __init__(self) -> None:
        self._directory = Path()
        self._child: Child | None = None

    def missing(self) -> str:
        if self._program() is None or not SCHEMAS.is_dir():
            return "kamailio or kamailio-sqlite-modules is not installed (scripts/install-counterparts)"
        if not any(glob.glob(f"{place}/kamailio/modules/uac.so") for place in ("/usr/lib*", "/usr/lib/*")):
            return "its uac module is not installed"
        return ""

    def settings(self) -> list[str]:
        program = self._program() or "kamailio"
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
        return [
            " ".join(said.split()[1:3]),
            "registrations from SQLite, loaded at its start",
            "reg_timer_interval 1 s, reg_retry_interval 30 s, reg_hash_size 16 (65,536 slots), reg_keep_callid 1",
            f"maxbuffer {RECEIVE_BUFFER >> 20} MB, {RECEIVERS} UDP receivers, no TCP, no DNS, no blocklist",
            "it refreshes 4 s before the end of a lease, each time with two round trips",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        database = directory / "uac.sqlite"
        self._directory = directory
        text = CONFIGURATION.replace("@port@", str(free_port())).replace("@database@", str(database))
        (directory / "kamailio.cfg").write_text(text)
        if database.exists():
            return
        with sqlite3.connect(database) as table:
            for schema in ("standard", "uac"):
                table.executescript((SCHEMAS / f"{schema}-create.sql").read_text())
            table.executemany(
                "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, realm, auth_username,"
                " auth_password, auth_proxy, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (f"u{one}", user(one), DOMAIN, user(one), DOMAIN, "", user(one), password(one), registrar, EXPIRES)
                    for registrar in [f"sip:127.0.0.1:{port}"]
                    for one in range(1, count + 1)
                ),
            )
        table.close()

    def start(self) -> None:
        program = self._program()
        assert program is not None
        command = [program, "-DD", "-E", "-f", str(self._directory / "kamailio.cfg"), "-Y", str(self._directory)]
        command += ["-P", str(self._directory / "pid"), "-m", str(SHARED), "-M", str(PRIVATE)]
        self._child = Child(command, self._directory / "log")

    def usage(self) -> Usage | None:
        return self._child.usage() if self._child else None

    def stop(self) -> float:
        return self._child.stop() if self._child else 0.0

    @staticmethod
    def _program() -> str | None:
        return shutil.which("kamailio", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
