"""PJSIP's registration client, of which pjsua has one for each account; its application is pjsip_holder.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.child import Child
from benchmarks.peers.peer import RECEIVE_BUFFER
from benchmarks.process import Usage
from benchmarks.responder import BUILD

PACKAGES = BUILD / "pjsua"
SOURCE = Path(__file__).with_name("pjsip_holder.c")
LIBRARIES = ("libpj-*.so*", "libpjlib-util-*.so*", "libpjsip-[0-9a-f]*.so*", "libpjsip-ua-*.so*")


class Pjsip:
    name = "PJSIP"
    holds = True
    keeps_leases = False
    largest = 100_000

    def __init__(self) -> None:
        self._directory = Path()
        self._count, self._port = 0, 0
        self._child: Child | None = None

    def missing(self) -> str:
        if not self._libraries():
            return "not installed: scripts/install-bench-peers puts a wheel with its libraries into benchmarks/build"
        try:
            self._program()
        except RuntimeError as error:
            return str(error).strip().splitlines()[0]
        return ""

    def settings(self) -> list[str]:
        return [
            f"2.14.1, the libraries of the wheel pjsua2-pybind11 {self._version()} from PyPI, one pjsip_regc for each "
            "account as in pjsua; pjsua itself has room for 8 accounts there, which is fixed when it is compiled",
            f"one thread, receive buffer {RECEIVE_BUFFER >> 20} MB, 262,143 slots for transactions (1,023 by itself), "
            "no log; the application begins 64 at a time and what failed again after 5 s",
            "it refreshes 5 s before the end of a lease",
        ]

    def prepare(self, directory: Path, count: int, port: int) -> None:
        self._directory, self._count, self._port = directory, count, port

    def start(self) -> None:
        command = [str(self._program()), str(self._port), str(self._count)]
        self._child = Child(command, self._directory / "log")

    def usage(self) -> Usage | None:
        return self._child.usage() if self._child else None

    def stop(self) -> float:
        return self._child.stop() if self._child else 0.0

    @staticmethod
    def _libraries() -> list[Path]:
        found = [sorted(PACKAGES.glob(f"*.libs/{name}")) for name in LIBRARIES]
        return [libraries[-1] for libraries in found] if all(found) else []

    @staticmethod
    def _version() -> str:
        found = sorted(PACKAGES.glob("pjsua2_pybind11-*.dist-info"))
        return found[-1].name.removesuffix(".dist-info").partition("-")[2] if found else "?"

    def _program(self) -> Path:
        """Compiled when it is not yet. Raises RuntimeError with what the compiler says."""
        program = PACKAGES / "pjsip_holder"
        if program.exists() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
            return program
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise RuntimeError("there is no C compiler for its application")
        libraries = self._libraries()
        directory = libraries[0].parent
        # The wheel's libraries know nothing of where the others are: the old kind of run path counts for them too.
        paths = f"-Wl,--disable-new-dtags,-rpath,{directory},-rpath-link,{directory}"
        command = [compiler, "-O2", "-o", str(program), str(SOURCE), *map(str, libraries), paths]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise RuntimeError(f"its application does not compile: {made.stderr}")
        return program
