"""Hostile input costs no more than its length: twice the bytes, never three times the time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from sipprofile.sip.digest import parse_challenges, verify
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.headers import parse_cseq, parse_name_addr, parse_params, parse_retry_after, parse_via, split_list
from sipprofile.sip.message import MalformedMessage, Request, parse, validate_request
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri

SIZES = (16_000, 32_000, 64_000)
ROUNDS = 120  # an upper bound; a quiet machine needs two


def read_message(data: bytes) -> None:
    message = parse(data)
    message.branch()
    list(message.items())
    if isinstance(message, Request):
        validate_request(message)


def frame_by_bytes(data: bytes) -> None:
    framer = StreamFramer()
    for position in range(0, len(data), 16):
        framer.feed(data[position : position + 16])


def equivalent(text: str) -> bool:
    return Uri.parse(text).equivalent(Uri.parse(text))


TEXTS: dict[str, str] = {
    "letters": "a",
    "spaces": " ",
    "commas": ",",
    "semicolons": ";",
    "open brackets": "<",
    "quotes": '"',
    "backslashes": "\\",
    "escaped quotes": '\\"',
    "quoted commas": '",',
    "names": "a=b,",
    "parameters": ";a=b",
    "words": "a ",
    "percent": "%",
    "escapes": "%41",
    "digits": "9",
    "schemes": "Digest ",
    "equals": "=",
    "at": "@",
    "dots": "a.",
    "colons": ":",
}
TEXT_PARSERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "uri": ("sip:", Uri.parse),
    "uri host": ("sip:a@b", Uri.parse),
    "uri params": ("sip:a@b;x", Uri.parse),
    "equivalent": ("sip:", equivalent),
    "split_list": ("", split_list),
    "split_list quoted": ('"', split_list),
    "name_addr": ("", parse_name_addr),
    "name_addr quoted": ('"', parse_name_addr),
    "name_addr params": ('<sip:a>;x="', parse_name_addr),
    "params": ("", parse_params),
    "via": ("SIP/2.0/UDP a", parse_via),
    "cseq": ("", parse_cseq),
    "retry_after": ("", parse_retry_after),
    "challenges": ("Digest ", lambda text: parse_challenges([text], proxy=False)),
    "challenges quoted": ('Digest realm="', lambda text: parse_challenges([text], proxy=False)),
    "verify": ("Digest ", lambda text: verify(text, method="REGISTER", ha1=lambda *_: None)),
}
HEADS: dict[str, bytes] = {
    "folds": b"\r\n ",
    "long folds": b"\r\n          ",
    "line feeds": b"\n",
    "carriage returns": b"\r",
    "headers": b"\r\na:b",
    "same names": b"\r\nv",
    "colons": b":",
    "blanks": b" \t",
    "lengths": b"\r\nl: 1",
    "commas": b",",
    "vias": b"SIP/2.0/UDP a;b,",
    "high bytes": b"\xff",
}


def assert_linear(parser: Callable[[object], object], make: Callable[[int], object]) -> None:
    inputs = [make(size) for size in SIZES]
    best = [float("inf")] * len(inputs)
    for _ in range(ROUNDS):
        for index, value in enumerate(inputs):
            start = time.process_time()  # of this process alone: other work on the machine must not count
            try:
                parser(value)
            except (SipSyntaxError, MalformedMessage):
                pass
            best[index] = min(best[index], time.process_time() - start)
        # Below 0.2 ms nothing is proved, and nothing is needed.
        if all(twice < max(3 * once, 0.0002) for once, twice in itertools.pairwise(best)):
            return
    pytest.fail(f"seconds for {SIZES} bytes: {best}")


@pytest.mark.parametrize("unit", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("parser", TEXT_PARSERS)
def test_text(parser: str, unit: str) -> None:
    prefix, function = TEXT_PARSERS[parser]
    assert_linear(function, lambda size: prefix + unit * (size // len(unit)))  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize(
    "start", [b"SIP/2.0 200 OK\r\nVia: ", b"OPTIONS sip:a SIP/2.0\r\nVia: "], ids=["200", "OPTIONS"]
)
def test_messages(start: bytes, unit: bytes) -> None:
    assert_linear(read_message, lambda size: start + unit * (size // len(unit)) + b"\r\n\r\n")  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [b"x", b"\r", b"\n", b"\r\nl: 1", b"\r\n ", b"\r\n", b"x\r\n"])
@pytest.mark.parametrize("start", [b"SIP/2.0 200 OK\r\n", b"SIP/2.0 200 OK\r\nl: 65000\r\n\r\n"], ids=["head", "body"])
def test_streams_in_small_pieces(start: bytes, unit: bytes) -> None:
    assert_linear(frame_by_bytes, lambda size: start + unit * (size // len(unit)))  # type: ignore[arg-type]


def test_a_quadratic_parser_would_be_noticed() -> None:
    def quadratic(text: object) -> None:
        rest = str(text)
        while rest:
            rest = rest[8:]

    with pytest.raises(pytest.fail.Exception):
        assert_linear(quadratic, lambda size: "a" * size)
