"""Every pain of docs/pains.md that is claimed to be none of ours has tests that carry its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_YET = {14, 15, 16, 23}
"""Pains that the page says are not, or not wholly, dealt with."""

MARK = re.compile(r"^(?: *@|pytestmark = .*)pytest\.mark\.pain\((\d+)\)", re.MULTILINE)
MARKS = {int(number) for path in (ROOT / "tests").rglob("test_*.py") for number in MARK.findall(path.read_text())}


def test_the_page_has_all_of_them() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/pains.md").read_text(), re.M)
    assert [int(number) for number in rows] == list(range(1, 26))


@pytest.mark.parametrize("number", sorted(set(range(1, 26)) - NOT_YET))
def test_each_has_a_test(number: int) -> None:
    assert number in MARKS


def test_no_other_number_is_used() -> None:
    assert set(range(1, 26)) >= MARKS
