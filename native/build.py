"""Compile ``native/*.c`` to ``sipprofile._native``: for installations (hatch_build.py) and scripts/build-native.

Nothing but a C compiler and Python's headers is needed. Where they are missing the service works without, only slower.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "native"
PACKAGE = ROOT / "src/sipprofile"
FILE_NAME = f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-ffp-contract=off", "-fwrapv", "-shared", "-fvisibility=hidden")
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers")
SWITCH = "SIPPROFILE_NATIVE"
"""In the environment: ``0`` leaves the compiled module out."""

COMPILED = "compiled the core's quick path"
WITHOUT = "the core's quick path is not compiled, so registrations cost more:"


CANNOT = 77
"""The exit code where the compiler, the headers or the wish for it are missing; 1 is a fault of the sources."""


class NotCompiled(Exception):
    """Why it was not done, in one sentence."""


class CannotCompile(NotCompiled):
    """It cannot be done here, or is not to be."""


def version() -> str:
    """What the module exports as ``VERSION``."""
    release = runpy.run_path(str(PACKAGE / "__init__.py"))["__version__"]
    return str(runpy.run_path(str(PACKAGE / "server/native_sources.py"))["version_of"](release, SOURCES))


def build(directory: Path, flags: tuple[str, ...] = ("-DNDEBUG",)) -> Path:
    """Compile into ``directory`` unless what is there is of these sources; raises ``NotCompiled``.

    The file appears whole or not at all, and one of other sources does not outlive a failure.
    """
    target = directory / FILE_NAME
    wanted = version()
    if os.environ.get(SWITCH) == "0":
        target.unlink(missing_ok=True)
        raise CannotCompile(f"{SWITCH}=0.")
    if target.exists() and wanted.encode() in target.read_bytes():
        return target
    target.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"_native.{os.getpid()}.partial.so"
    try:
        _compile(partial, (*flags, f'-DSIPPROFILE_VERSION="{wanted}"'))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _compile(target: Path, flags: tuple[str, ...]) -> None:
    if sys.implementation.name != "cpython":
        raise CannotCompile(f"it is for CPython, and this is {sys.implementation.name}.")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise CannotCompile("it needs the interpreter's lock, and this Python is built without.")
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise CannotCompile(f"there is no C compiler ({compiler[0]}); Debian's package is gcc, with libc6-dev.")
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    if not any(Path(directory, "Python.h").exists() for directory in headers):
        raise CannotCompile(f"Python.h is not in {' or '.join(sorted(headers))}; Debian's package is python3-dev.")
    command = [
        *(*compiler, *FLAGS, *WARNINGS, *flags, *shlex.split(os.environ.get("CFLAGS", ""))),
        *(f"-I{directory}" for directory in sorted(headers)),
        *map(str, sorted(SOURCES.glob("*.c"))),
        *("-o", str(target), *shlex.split(os.environ.get("LDFLAGS", ""))),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.stdout:
        print(done.stdout, end="", file=sys.stderr)
    if done.returncode:
        raise NotCompiled(f"{compiler[0]} ended with {done.returncode}, its messages are above.")


CHECK = """
import sipprofile._native
try:
    from sipprofile.registration import native, registrations
except ModuleNotFoundError:
    raise SystemExit  # what sipprofile needs is not installed yet
if not native.usable():
    raise SystemExit("it does not fit the rest of the core")
"""


def _import() -> None:
    """See that what is in the package can be used; raises ``NotCompiled``."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", CHECK]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise NotCompiled(f"it cannot be used: {lines[-1] if lines else f'exit code {done.returncode}'}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/build-native PYTHON", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compile into nothing; a warning is an error")
    mode.add_argument("--into", type=Path, metavar="DIRECTORY", help="instead of beside the package")
    options, flags = parser.parse_known_args()
    if options.check or options.into is not None:
        os.environ.pop(SWITCH, None)  # is about what is used
    try:
        if options.check:
            with tempfile.TemporaryDirectory() as directory:
                build(Path(directory), ("-DNDEBUG", "-Werror", *flags))
            return 0
        if options.into is not None:
            build(options.into, tuple(flags))
            return 0
        build(PACKAGE, ("-DNDEBUG", *flags))
        _import()
        print(COMPILED)
    except NotCompiled as reason:
        print(WITHOUT, reason, file=sys.stderr)
        return CANNOT if isinstance(reason, CannotCompile) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
