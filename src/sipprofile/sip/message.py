"""Received SIP messages: one linear scanner that indexes the headers (RFC 3261 §7)."""

from __future__ import annotations

from collections.abc import Iterator

from sipprofile.sip.building import build_request, build_response
from sipprofile.sip.headers import parse_cseq, parse_via, split_list
from sipprofile.sip.names import CANONICAL_NAMES, REASONS
from sipprofile.sip.syntax import (
    LWS,
    MAXIMUM_HEADERS,
    MAXIMUM_MESSAGE,
    MalformedMessage,
    SipSyntaxError,
    decimal,
    excerpt,
    is_token,
)
from sipprofile.sip.validation import validate_request

__all__ = [
    "MAXIMUM_HEADERS",
    "MAXIMUM_MESSAGE",
    "REASONS",
    "MalformedMessage",
    "Message",
    "Request",
    "Response",
    "build_request",
    "build_response",
    "parse",
    "validate_request",
]

_STATUSES = {str(status).encode(): status for status in range(100, 700)}


class Message:
    """A received message. Headers are asked for by their long name in lower case."""

    __slots__ = ("_head", "_index", "body")

    def __init__(self, head: bytes, index: dict[str, bytes | list[bytes]], body: bytes) -> None:
        self._head = head  # start line and headers as received
        self._index = index  # the value of each header, or the values where it has several lines
        self.body = body

    @property
    def start_line(self) -> str:
        """The first line as received."""
        return self._head.splitlines()[0].decode("utf-8", "surrogateescape")

    def header(self, name: str) -> str | None:
        """The first value of a header, stripped and unfolded, or None. It may be a list: see `split_list`."""
        value = self._index.get(name)
        if value is None:
            return None
        if type(value) is list:
            value = value[0]
        return value.decode("utf-8", "surrogateescape").strip(LWS)  # type: ignore[union-attr]

    def headers(self, name: str) -> list[str]:
        """The value of every line of that header in their order, not split at commas."""
        value = self._index.get(name)
        if value is None:
            return []
        return [_text(line) for line in (value if isinstance(value, list) else [value])]

    def items(self) -> Iterator[tuple[str, str]]:
        """Every readable header line in the order of the message, the name as the sender wrote it."""
        for line in _unfold(self._head.splitlines()[1:]):
            if not _is_malformed(line):
                name, _, value = line.partition(b":")
                yield _text(name), _text(value)

    def malformed(self) -> list[str]:
        """The header lines that cannot be read. They are left out everywhere else."""
        lines = self._head.splitlines()[1:]
        for line in lines:
            name, colon, _ = line.partition(b":")
            if not colon or (name not in CANONICAL_NAMES and _is_malformed(line)):
                return [_text(line) for line in _unfold(lines) if _is_malformed(line)]
        return []

    def is_repeated(self, name: str) -> bool:
        """Whether the header has several lines."""
        return type(self._index.get(name)) is list

    def has_stray_line_breaks(self) -> bool:
        """True when a CR or LF stands alone. Each counts as the end of a line, yet no sender may do so."""
        pairs = self._head.count(b"\r\n")
        return self._head.count(b"\r") != pairs or self._head.count(b"\n") != pairs

    def branch(self) -> str | None:
        """The branch parameter of the top Via, None when there is none that can be read."""
        via = self.header("via")
        if via is None:
            return None
        start = via.find(";branch=") + 8
        if start > 7:
            end = via.find(";", start)
            branch = via[start:] if end < 0 else via[start:end]
            if " " not in branch and "," not in via and '"' not in via:
                return branch
        try:
            return parse_via(split_list(via)[0]).params.get("branch")
        except (SipSyntaxError, IndexError):
            return None

    @property
    def head_size(self) -> int:
        """Bytes of the start line and the headers."""
        return len(self._head)

    def cseq(self) -> tuple[int, str]:
        """The CSeq number and method. Raises MalformedMessage (header, 400) when missing or unreadable."""
        value = self.header("cseq")
        if value is None:
            raise MalformedMessage("header", 400, "the CSeq header is missing")
        digits, _, method = value.partition(" ")
        if len(digits) < 10 and digits.isdecimal() and method.isalpha() and value.isascii():
            return int(digits), method
        try:
            cseq = parse_cseq(value)
        except SipSyntaxError as error:
            raise MalformedMessage("header", 400, str(error)) from None
        return cseq.number, cseq.method


class Request(Message):
    """A received request. `uri` is the Request-URI as written, `version` is 'SIP/2.0' in a good one."""

    __slots__ = ("method", "uri", "version")

    def __init__(self, head: bytes, index: dict[str, bytes | list[bytes]], body: bytes) -> None:
        super().__init__(head, index, body)
        self.method, _, rest = self.start_line.partition(" ")
        uri, _, self.version = rest.rstrip(" ").rpartition(" ")
        self.uri = uri.strip(LWS)

    def __repr__(self) -> str:
        return f"<Request {self.method}>"


class Response(Message):
    """A received response."""

    __slots__ = ("status",)

    def __init__(self, status: int, head: bytes, index: dict[str, bytes | list[bytes]], body: bytes) -> None:
        self.status = status
        self._head = head
        self._index = index
        self.body = body

    @property
    def reason(self) -> str:
        """The reason phrase as received, '' when there is none."""
        return self.start_line[12:]

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def parse(data: bytes) -> Request | Response:
    """Read one message, as a datagram or `StreamFramer` gives it (RFC 3261 §7, §18.3).

    A header that cannot be read hurts only who asks for it. A request that deserves an error is returned all
    the same, `validate_request` tells the error. Raises MalformedMessage for what can neither be used nor
    answered.
    """
    if len(data) > MAXIMUM_MESSAGE:
        raise MalformedMessage("too_large", 513, f"the message is longer than {MAXIMUM_MESSAGE} bytes")
    head, end, body = data.partition(b"\r\n\r\n")
    if not head or head[0] in b"\r\n":  # RFC 3261 §7.5
        head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not end:
        raise MalformedMessage("header", 400, "the message lacks the empty line that ends its headers")
    lines = head.splitlines()
    start_line = lines.pop(0)
    if len(lines) > MAXIMUM_HEADERS:
        raise MalformedMessage("too_many_headers", 400, f"there are more than {MAXIMUM_HEADERS} header lines")
    # Only a header that is folded, repeated or malformed needs the slower index.
    try:
        index: dict[str, bytes | list[bytes]] = {
            CANONICAL_NAMES[name]: value for name, _, value in [line.partition(b":") for line in lines]
        }
    except KeyError:
        index = _index_unusual(lines)
    else:
        if len(index) != len(lines):
            index = _index_unusual(lines)

    declared = index.get("content-length")
    missing = 0
    if declared == b" 0":
        body = b""
    elif isinstance(declared, bytes):
        # With a length that cannot be read, or several, the body is what the datagram holds.
        length = decimal(_text(declared), MAXIMUM_MESSAGE + 1)
        if length is not None:
            missing = length - len(body)
            body = body[:length]
    if start_line[:4].upper() != b"SIP/":
        request = Request(head, index, body)
        if not is_token(request.method) or not request.uri or request.version[:4].upper() != "SIP/":
            raise _bad_start_line(start_line, 400)
        return request
    if start_line[:8].upper() != b"SIP/2.0 ":
        raise MalformedMessage("version", None, f"{excerpt(_text(start_line))} is not a response of SIP/2.0")
    status = _STATUSES.get(start_line[8:11])
    if status is None or start_line[11:12] not in b" ":
        raise _bad_start_line(start_line, None)
    if missing > 0:  # RFC 3261 §18.3
        raise MalformedMessage("content_length", None, f"the response ends {missing} bytes too early")
    return Response(status, head, index, body)


def _index_unusual(lines: list[bytes]) -> dict[str, bytes | list[bytes]]:
    """The index of headers some of which are folded, repeated or malformed."""
    index: dict[str, bytes | list[bytes]] = {}
    for line in _unfold(lines):
        if _is_malformed(line):
            continue
        name, _, value = line.partition(b":")
        key = CANONICAL_NAMES[name]
        earlier = index.get(key)
        if earlier is None:
            index[key] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            index[key] = [earlier, value]
    return index


def _unfold(lines: list[bytes]) -> list[bytes]:
    """The header lines with their continuation lines joined to them (RFC 3261 §7.3.1)."""
    folded: list[list[bytes]] = []
    for line in lines:
        if folded and line[:1] in (b" ", b"\t"):
            folded[-1].append(line.strip(b" \t"))
        else:
            folded.append([line])
    return [b" ".join(parts) if len(parts) > 1 else parts[0] for parts in folded]


def _is_malformed(line: bytes) -> bool:
    name, colon, _ = line.partition(b":")
    return not colon or not is_token(name.rstrip(b" \t").decode("latin-1"))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").strip(LWS)


def _bad_start_line(line: bytes, status: int | None) -> MalformedMessage:
    return MalformedMessage("start_line", status, f"{excerpt(_text(line))} does not begin a SIP message")
