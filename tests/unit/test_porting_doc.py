"""docs/porting.md: each row of its tables names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/porting.md"
NOT_YET = "not yet"
NOT_OURS = "not ours"


def rows() -> list[tuple[int, list[str]]]:
    """(line number, cells) of every row of a table with a column "test"."""
    found = []
    tested = False
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if not line.startswith("|"):
            tested = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[-1] == "test":
            tested = True
        elif tested and not set(line) <= set("|-"):
            found.append((number, cells))
    return found


def names_in(path: Path) -> set[str]:
    """``test_x`` and ``TestY`` and ``TestY::test_x`` of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return {name for name in found if "test" in name.lower()}


@pytest.mark.parametrize(("number", "cells"), rows(), ids=lambda value: str(value) if isinstance(value, int) else "")
def test_each_row_names_a_test_that_exists(number: int, cells: list[str]) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`", cells[-1])
    if not named:
        assert cells[-1] in (NOT_YET, NOT_OURS), f"line {number} names no test: {cells[0]}"
        return
    for file, test in named:
        assert (ROOT / file).is_file(), f"line {number}: there is no {file}"
        assert not test or test in names_in(ROOT / file), f"line {number}: there is no {test} in {file}"


def test_there_are_rows() -> None:
    assert len(rows()) > 150
