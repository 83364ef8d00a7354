"""baresip, a soft phone with many accounts."""

from __future__ import annotations

import glob
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.child import Child, free_port
from benchmarks.peers.peer import DOMAIN, EXPIRES, password, user
from benchmarks.process import Usage

BUCKETS = 65_536
DEFAULT_BUFFER = Path("/proc/sys/net/core/rmem_default")
MODULES = ("/usr/lib*/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib*/baresip/modules")


class Baresip:
    name = "baresip"
    holds = True
    keeps_leases = False
    largest = 10_000

    def __init__(self) -> None:
        self._directory = Path()
        self._child: Child | None = None

    def missing(self) -> str:
        installed = shutil.which("baresip") and self._modules()
        return "" if installed else "baresip-core is not installed (scripts/install-counterparts)"

    def settings(self) -> list[str]:
        said = subprocess.run(["baresip", "-h"], capture_output=True, text=True, check=False)
        version = re.search(r"baresip v([0-9.]+)", said.stdout + said.stderr)
        return [
            f"version {version[1] if version else '?'}",
            "one line for each account in its accounts file, outbound to the registrar, regint 60",
            f"sip_trans_bsize {BUCKETS:,} (128 by itself); only the modules account and g711",
            f"its receive buffer is net.core.rmem_default, {DEFAULT_BUFFER.read_text().strip()} bytes here",
            "it refreshes after 90 % of a lease",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        self._directory = directory
        lines = [f"sip_listen 127.0.0.1:{free_port()}", "net_interface 127.0.0.1", f"sip_trans_bsize {BUCKETS}"]
        lines += [f"module_path {self._modules()}", "module g711.so", "module_tmp account.so"]
        (directory / "config").write_text("\n".join([*lines, ""]))
        (directory / "contacts").write_text("")
        with (directory / "accounts").open("w") as accounts:
            for one in range(1, count + 1):
                accounts.write(
                    f"<sip:{user(one)}@{DOMAIN}>;auth_user={user(one)};auth_pass={password(one)};"
                    f'outbound="sip:127.0.0.1:{port}";regint={EXPIRES}\n'
                )

    def start(self) -> None:
        program = shutil.which("baresip")
        assert program is not None
        self._child = Child([program, "-f", str(self._directory)], self._directory / "log", self._directory)

    def usage(self) -> Usage | None:
        return self._child.usage() if self._child else None

    def stop(self) -> float:
        return self._child.stop() if self._child else 0.0

    @staticmethod
    def _modules() -> str | None:
        return next((found for place in MODULES for found in glob.glob(place)), None)
