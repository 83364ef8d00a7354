"""The table of parsers names every parser there is, so that each is timed, fuzzed and given arbitrary bytes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from types import CodeType, FrameType

import pytest

import fuzz.parsers
import sipprofile.sip
from fuzz.parsers import PARSERS
from sipprofile.sip import headers


def public_parsers() -> Iterator[tuple[str, CodeType]]:
    """Every public function or method of the package whose name begins with ``parse``."""
    for info in pkgutil.walk_packages(sipprofile.sip.__path__, "sipprofile.sip."):
        module = importlib.import_module(info.name)
        for owner in (module, *(one for _, one in inspect.getmembers(module, inspect.isclass))):
            for name, found in inspect.getmembers(owner, inspect.isroutine):
                function = inspect.unwrap(getattr(found, "__func__", found))
                if name.startswith("parse") and getattr(function, "__module__", None) == info.name:
                    yield f"{info.name}.{name}", function.__code__


def called_from_the_table() -> set[CodeType]:
    """What the table itself calls with its samples; what those call in turn is not put to the test by that."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        caller = frame.f_back
        if event == "call" and caller is not None and caller.f_code.co_filename in (fuzz.parsers.__file__, __file__):
            called.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for parser in PARSERS.values():
            parser.read(parser.sample)
    finally:
        sys.setprofile(before)
    return called


def missing() -> set[str]:
    called = called_from_the_table()
    return {name for name, code in public_parsers() if code not in called}


def test_every_parser_is_in_the_table() -> None:
    assert not missing(), "name these in PARSERS of fuzz/parsers.py"


def test_the_parsers_are_found() -> None:
    names = {name.removeprefix("sipprofile.sip.") for name, _ in public_parsers()}
    assert names >= {"message.parse", "uri.parse", "headers.parse_via", "digest.parse_challenges"}


def test_a_parser_that_is_not_in_the_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_anything(value: str) -> str:
        return value

    parse_anything.__module__ = headers.__name__
    monkeypatch.setattr(headers, "parse_anything", parse_anything, raising=False)
    assert missing() == {"sipprofile.sip.headers.parse_anything"}


@pytest.mark.parametrize("name", PARSERS)
def test_every_sample_is_read(name: str) -> None:
    PARSERS[name].read(PARSERS[name].sample)
