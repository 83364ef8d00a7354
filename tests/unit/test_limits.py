"""The limits of what is read from the network: what just fits is read, what does not is refused with its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import sipprofile.sip
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import MAXIMUM_HEADERS, MAXIMUM_MESSAGE, MalformedMessage, parse
from sipprofile.sip.reginfo import MalformedReginfo

START = b"SIP/2.0 200 OK\r\n"


def padded(size: int) -> bytes:
    """A datagram of this size."""
    return START + b"\r\n" + b"x" * (size - len(START) - 2)


def with_lines(line: bytes, count: int) -> bytes:
    return START + line * count + b"\r\n"


def framed(size: int) -> bytes:
    """A message of this size on a stream."""
    head = START + b"Content-Length: %05d\r\n\r\n"
    head %= size - len(head % 0)
    return head + b"x" * (size - len(head))


def framed_head(size: int) -> bytes:
    """A message on a stream whose headers alone are of this size."""
    rest = b"\r\nl: 0\r\n\r\n"
    return START + b"X: " + b"x" * (size - len(START) - 3 - len(rest)) + rest


def feed(data: bytes) -> object:
    return StreamFramer().feed(data)


def feed_in_pieces(data: bytes) -> object:
    framer = StreamFramer()
    return [one for position in range(0, len(data), 1000) for one in framer.feed(data[position : position + 1000])]


LIMITS: dict[str, tuple[Callable[[bytes], object], Callable[[int], bytes], int, str, int]] = {
    "a datagram": (parse, padded, MAXIMUM_MESSAGE, "too_large", 513),
    "headers": (parse, lambda count: with_lines(b"X: y\r\n", count), MAXIMUM_HEADERS, "too_many_headers", 400),
    "continuation lines": (
        parse,
        lambda count: START + b"X: y\r\n" + b" z\r\n" * (count - 1) + b"\r\n",
        MAXIMUM_HEADERS,
        "too_many_headers",
        400,
    ),
    "a message on a stream": (feed, framed, MAXIMUM_MESSAGE, "too_large", 513),
    "a message in pieces": (feed_in_pieces, framed, MAXIMUM_MESSAGE, "too_large", 513),
    "headers on a stream": (feed, framed_head, MAXIMUM_MESSAGE, "too_large", 513),
    "headers in pieces": (feed_in_pieces, framed_head, MAXIMUM_MESSAGE, "too_large", 513),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit(name: str) -> None:
    read, make, limit, code, status = LIMITS[name]
    assert read(make(limit))
    with pytest.raises(MalformedMessage) as caught:
        read(make(limit + 1))
    assert (caught.value.code, caught.value.status) == (code, status)
    assert str(caught.value)


def raised_codes(*names: str) -> set[str]:
    """The first argument of every call of these in the package."""
    return {
        node.args[0].value
        for path in Path(sipprofile.sip.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args
        if isinstance(node.args[0], ast.Constant)
    }


def listed_codes(error: type[Exception]) -> set[str]:
    """The codes that the docstring says are stable."""
    listed = (error.__doc__ or "").partition("`code` is stable:")[2].partition(".\n")[0]
    return set(re.findall(r"[a-z]+(?:_[a-z]+)*(?=[,\s(]|$)", re.sub(r"\([^)]*\)", "", listed)))


def test_every_code_is_listed_where_the_error_is_documented() -> None:
    messages = raised_codes("MalformedMessage", "_bad_request")
    assert messages == listed_codes(MalformedMessage) >= {"too_large", "too_many_headers"}
    documents = raised_codes("MalformedReginfo")
    assert documents == listed_codes(MalformedReginfo) >= {"reginfo_too_large", "reginfo_too_deep", "reginfo_dtd"}
