"""Hostile input costs no more than its length: twice the bytes, never three times the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from fuzz.parsers import DOCUMENTED, PARSERS
from sipprofile.sip.reginfo import MAXIMUM_ELEMENTS, NAMESPACE, MalformedReginfo, parse_reginfo

SIZES = (16_000, 32_000, 64_000)
ROUNDS = 120  # an upper bound; a quiet machine needs two


def assert_linear(parser: Callable[[bytes], object], make: Callable[[int], bytes]) -> None:
    inputs = [make(size) for size in SIZES]
    best = [float("inf")] * len(inputs)
    for _ in range(ROUNDS):
        for index, value in enumerate(inputs):
            start = time.process_time()  # of this process alone: other work on the machine must not count
            try:
                parser(value)
            except DOCUMENTED:
                pass
            best[index] = min(best[index], time.process_time() - start)
        # Below 0.2 ms nothing is proved, and nothing is needed.
        if all(twice < max(3 * once, 0.0002) for once, twice in itertools.pairwise(best)):
            return
    pytest.fail(f"seconds for {SIZES} bytes: {best}")


@pytest.mark.parametrize(
    ("parser", "start", "unit"),
    [
        pytest.param(name, start, unit, id=f"{name} {start}-{unit}")
        for name, parser in PARSERS.items()
        for start in parser.starts
        for unit in parser.units
    ],
)
def test_parser(parser: str, start: str, unit: str) -> None:
    entry = PARSERS[parser]
    assert_linear(entry.read, lambda size: entry.hostile(start, unit, size))


def test_a_long_namespace_with_many_names_in_it() -> None:
    """Half of the document is the name of a namespace, the other half uses it over and over."""

    def document(size: int) -> bytes:
        head = f'<reginfo xmlns="{NAMESPACE}" xmlns:x="{"u" * (size // 2)}" version="0" state="full">'
        return (head + '<x:a x:b=""/>' * min(size // 26, MAXIMUM_ELEMENTS - 1) + "</reginfo>").encode()

    assert parse_reginfo(document(16_000)).registrations == ()
    assert_linear(parse_reginfo, document)


def test_many_names_of_a_long_namespace_in_one_element() -> None:
    def document(size: int) -> bytes:
        attributes = "".join(f' x:a{number}=""' for number in range(size // 24))
        return f'<reginfo xmlns="{NAMESPACE}" xmlns:x="{"u" * (size // 2)}"{attributes}/>'.encode()

    with pytest.raises(MalformedReginfo, match="version"):
        parse_reginfo(document(16_000))
    assert_linear(parse_reginfo, document)


def test_a_quadratic_parser_would_be_noticed() -> None:
    def quadratic(data: bytes) -> None:
        rest = data
        while rest:
            rest = rest[8:]

    with pytest.raises(pytest.fail.Exception):
        assert_linear(quadratic, lambda size: b"a" * size)
