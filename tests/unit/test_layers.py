"""The shape of the house: the core touches nothing outside, layers point one way, files hold one idea."""

from __future__ import annotations

import ast
import functools
import gc
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/sipprofile"

WORDS = {"claims", "profile", "events", "errors", "records"}
"""Plain data, known to all layers."""

CORE = WORDS | {"sip", "registration", "agents", "useragent", "service"}

PURE = frozenset(
    re.findall(
        r"\w+",
        """
        __future__ abc base64 binascii bisect collections contextlib copy dataclasses enum functools hashlib
        heapq hmac ipaddress itertools math msgspec operator re string struct types typing uuid xml zlib
        """,
    )
)
"""What the core may import: modules that neither do I/O nor read a clock nor make randomness.

``xml`` for expat, which is given bytes and fetches nothing: no document type gets as far as it.
"""

ANNOTATIONS_ONLY = frozenset({"random"})
"""Imported under TYPE_CHECKING only: a generator is given as an argument."""

IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval", "__import__", "uuid1", "uuid4"})

BELOW: dict[str, set[str]] = {
    "claims": set(),
    "profile": {"claims", "errors"},
    "events": {"profile", "errors"},
    "errors": set(),
    "records": {"profile", "events", "errors"},
    "sip": set(),
    "agents": WORDS | {"sip"},
    "registration": WORDS | {"sip", "agents", "version"},
    "useragent": WORDS | {"sip", "agents", "registration"},
    "service": WORDS | {"sip", "agents", "registration", "useragent", "version"},
    "net": WORDS | {"sip", "registration"},
    "store": WORDS | {"sip"},
    "server": CORE | {"net", "store", "version"},
    "client": WORDS | {"sip", "version"},
    "cli": WORDS | {"client", "server", "store", "version"},
    "testing": CORE | {"net", "store", "server", "client", "version"},
}
"""Each layer and what it may import beside itself; ``version`` is the package's ``__init__``."""

LONGEST_FILE = 500  # lines; a file that grows past it holds two ideas

REGISTRY_HOSTS = tuple(f"{name}.org" for name in ("pypi", "pythonhosted", "debian", "npmjs"))
MACHINE_PATHS = re.compile(
    r"(?<![\w./~-])/(?:(?:work|home(?!/u/|/user|/alice)|root|Users)/[\w.-]+|(?:tmp)/(?:bash_|sp/))"
)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree, made once; CPython 3.11 miscounts its depth when the collector runs meanwhile."""
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def layer(path: Path) -> str:
    """The layer a file of the package belongs to: its folder, or its own name."""
    first = path.relative_to(PACKAGE).parts[0]
    return "version" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(absolute module name, line, only for annotations) of every import of a file, at any depth."""
    tree = tree_of(path)
    package = ("sipprofile", *path.relative_to(PACKAGE).parts[:-1])
    for_annotations = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in for_annotations
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = PACKAGE.parent / module.replace(".", "/") / alias.name
                name = f"{module}.{alias.name}" if inner.is_dir() or inner.with_suffix(".py").exists() else module
                yield name, node.lineno, id(node) in for_annotations


def _last_name(function: ast.expr) -> str:
    """``open`` of ``open(…)``, ``uuid4`` of ``uuid.uuid4(…)``; methods named ``open`` are somebody's own."""
    if isinstance(function, ast.Attribute):
        module = isinstance(function.value, ast.Name) and function.value.id in PURE
        return function.attr if module else ""
    return function.id if isinstance(function, ast.Name) else ""


def core_files() -> list[Path]:
    return [path for path in modules() if layer(path) in CORE]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


class TestTheCoreTouchesNothingOutside:
    @pytest.mark.parametrize("path", core_files(), ids=named)
    def test_it_imports_pure_modules_only(self, path: Path) -> None:
        wrong = []
        for name, line, annotation in imports(path):
            top = name.partition(".")[0]
            if top == "sipprofile" or top in PURE or (annotation and top in ANNOTATIONS_ONLY):
                continue
            wrong.append(f"{named(path)}:{line}: {name}")
        advice = "time, randomness and bytes come to the core as arguments:"
        assert not wrong, "\n".join([advice, *wrong])

    @pytest.mark.parametrize("path", core_files(), ids=named)
    def test_it_calls_nothing_that_does_io(self, path: Path) -> None:
        wrong = [
            f"{named(path)}:{node.lineno}: {ast.unparse(node.func)}()"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Call) and _last_name(node.func) in IMPURE_CALLS
        ]
        assert not wrong, "\n".join(wrong)

    @pytest.mark.parametrize("path", core_files(), ids=named)
    def test_it_never_awaits(self, path: Path) -> None:
        waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        wrong = [f"{named(path)}:{node.lineno}" for node in ast.walk(tree_of(path)) if isinstance(node, waiting)]
        assert not wrong, "\n".join(wrong)


class TestLayersPointOneWay:
    @pytest.mark.parametrize("path", [path for path in modules() if layer(path) != "version"], ids=named)
    def test_nothing_imports_upward(self, path: Path) -> None:
        own = layer(path)
        assert own in BELOW, f"{named(path)} belongs to no layer: name it in BELOW"
        allowed = BELOW[own] | {own}
        wrong = []
        for name, line, _ in imports(path):
            parts = name.split(".")
            if parts[0] != "sipprofile":
                continue
            target = parts[1] if len(parts) > 1 else "version"
            if target not in allowed:
                wrong.append(f"{named(path)}:{line}: {own} imports {target}")
        assert not wrong, "\n".join(wrong)

    def test_the_table_has_no_cycle(self) -> None:
        done: set[str] = {"version"}
        while ready := {name for name, below in BELOW.items() if name not in done and below <= done}:
            done |= ready
        assert set(BELOW) <= done, f"a cycle among {sorted(set(BELOW) - done)}"


class TestOneIdeaOneFile:
    def test_no_source_file_is_longer_than_500_lines(self) -> None:
        long = {
            named(path): lines
            for folder in ("src", "examples", "benchmarks", "docs", "fuzz", "scripts")
            for path in (ROOT / folder).rglob("*.py")
            if ".venv" not in path.parts and (lines := path.read_text().count("\n")) > LONGEST_FILE
        }
        assert not long


def repository_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # an unpacked source distribution
        found = [path for path in ROOT.rglob("*") if not {".venv", "var", "__pycache__"} & set(path.parts)]
    return [path for path in found if path.is_file()]


class TestTheRepositorySpeaksOfTheProductOnly:
    def test_no_paths_of_somebodys_machine_and_no_registry_hosts(self) -> None:
        wrong = []
        for path in repository_files():
            text = path.read_bytes().decode("utf-8", "replace")
            if "\0" in text:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                if MACHINE_PATHS.search(line) or any(host in line for host in REGISTRY_HOSTS):
                    wrong.append(f"{named(path)}:{number}: {line.strip()[:80]}")
        assert not wrong, "\n".join(wrong)
