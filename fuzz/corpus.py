"""What fuzzing starts from: good values of each kind, and the torture messages of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fuzz.parsers import PARSERS
from fuzz.targets import HEADER_PARSERS
from sipprofile.sip.message import MalformedMessage, parse

DATA = Path(__file__).parents[1] / "tests" / "unit" / "data"
FOUND = DATA / "fuzz"
"""Inputs that once broke a promise, one folder per target; the unit tests read them all."""

_TABLED = {
    "message": ["message"],
    "header": HEADER_PARSERS,
    "uri": ["uri", "equivalent"],
    "challenge": ["challenges", "authentication_info", "verify"],
    "framing": ["framing"],
    "features": ["feature", "preferences"],
    "reginfo": ["reginfo"],
    "stun": ["stun"],
}


def seeds(target: str) -> list[bytes]:
    """The inputs a target begins with."""
    samples = [PARSERS[name].sample for name in _TABLED[target]]
    found = [path.read_bytes() for path in sorted((FOUND / target).glob("*"))]
    torture = [path.read_bytes() for path in sorted(DATA.glob("*.dat"))]
    if target == "message":
        return samples + found + torture
    if target == "framing":
        return [bytes([step]) + sample for step in (1, 16) for sample in samples + torture] + found
    if target == "header":
        return samples + found + list(_values(torture))
    return samples + found


def tokens(target: str) -> set[bytes]:
    """Byte sequences worth inserting: what the table repeats, and what precedes it."""
    parsers = [PARSERS[name] for name in _TABLED[target]]
    found = {unit for parser in parsers for unit in parser.units.values()}
    found |= {word for parser in parsers for word in parser.sample.replace(b"=", b"= ").split()}
    return {token for token in found if 1 < len(token) <= 64}


def _values(messages: list[bytes]) -> Iterator[bytes]:
    for data in messages:
        try:
            message = parse(data)
        except MalformedMessage:
            continue
        for _, value in message.items():
            yield value.encode("utf-8", "surrogateescape")
