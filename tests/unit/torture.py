"""What a torture message is for: accepted, answered with an error, or dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipprofile.sip.headers import parse_name_addr, parse_via, split_list
from sipprofile.sip.message import (
    MalformedMessage,
    Message,
    Request,
    Response,
    build_response,
    parse,
    validate_request,
)


def accepted(path: Path) -> Request:
    message = parse(path.read_bytes())
    assert isinstance(message, Request)
    validate_request(message)
    return message


def response(path: Path) -> Response:
    message = parse(path.read_bytes())
    assert isinstance(message, Response)
    return message


def assert_answered(path: Path, code: str, status: int) -> None:
    """The request is refused with this status, and the answer can be built."""
    message = parse(path.read_bytes())
    assert isinstance(message, Request)
    with pytest.raises(MalformedMessage) as caught:
        validate_request(message)
    assert (caught.value.code, caught.value.status) == (code, status)
    answer = parse(build_response(message, status, to_tag="t", source=("192.0.2.250", 5060)))
    assert isinstance(answer, Response)
    assert answer.status == status
    assert answer.headers("call-id") == message.headers("call-id")[:1]


def assert_dropped(path: Path, code: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse(path.read_bytes())
    assert caught.value.code == code


def uris(message: Message, name: str) -> list[str]:
    return [parse_name_addr(value).uri for line in message.headers(name) for value in split_list(line)]


def vias(message: Message) -> list[tuple[str, str, int | None, str | None]]:
    parsed = [parse_via(value) for line in message.headers("via") for value in split_list(line)]
    return [(via.transport, via.host, via.port, via.params.get("branch")) for via in parsed]
