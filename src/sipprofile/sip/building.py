"""Requests and responses as bytes (RFC 3261 §7, §8.2.6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sipprofile.sip.headers import parse_name_addr, parse_via, split_list
from sipprofile.sip.names import REASONS
from sipprofile.sip.syntax import LWS, SipSyntaxError, split_outside_quotes

if TYPE_CHECKING:
    from sipprofile.sip.message import Request


def build_request(method: str, uri: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request with these headers in this order and its Content-Length, which is always ours.

    Raises ValueError for a line break in any part.
    """
    return _build(f"{method} {uri} SIP/2.0", headers, body)


def build_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str,
    source: tuple[str, int] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """A response to a request (RFC 3261 §8.2.6), also to one that `validate_request` refused.

    `to_tag` goes into a To without tag, but not of a 100. `source` is the address the request came from; with
    it the top Via gets its received and rport (§18.2.1, RFC 3581 §4). Raises ValueError for a line break.
    """
    vias = request.headers("via")
    if vias and source is not None:
        vias[0] = _via_with_source(vias[0], source)
    lines = [("Via", via) for via in vias]
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = request.header(name.lower())
        if value is not None:
            if name == "To" and to_tag and status != 100:
                value = _with_tag(value, to_tag)
            lines.append((name, value))
    if status == 100:
        lines += [("Timestamp", value) for value in request.headers("timestamp")]  # RFC 3261 §8.2.6.1
    lines += headers
    return _build(f"SIP/2.0 {status} {REASONS.get(status, '') if reason is None else reason}", lines, body)


def _build(start_line: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    lines = [start_line]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in ("content-length", "l")]
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    text = "\r\n".join(lines)
    breaks = len(lines) + 1
    if text.count("\n") != breaks or text.count("\r") != breaks:
        raise ValueError("a start line or header with a line break cannot be sent; remove the CR or LF")
    return text.encode("utf-8", "surrogateescape") + body


def _with_tag(to: str, tag: str) -> str:
    try:
        return to if "tag" in parse_name_addr(to).params else f"{to};tag={tag}"
    except SipSyntaxError:
        return to


def _via_with_source(line: str, source: tuple[str, int]) -> str:
    """The Via line with the source of the request noted in its top value (RFC 3261 §18.2.1, RFC 3581 §4)."""
    address, port = source
    try:
        top = split_list(line)[0]
        via = parse_via(top)
    except (SipSyntaxError, IndexError):
        return line
    asks_for_port = "rport" in via.params
    if not asks_for_port and via.host.strip("[]") == address.lower():
        return line
    kept = [
        part
        for part in split_outside_quotes(top, ";")
        if part.partition("=")[0].strip(LWS).lower() not in ("received", "rport")
    ]
    kept.append(f"received={address}")
    if asks_for_port:
        kept.append(f"rport={port}")
    return ";".join(part.strip(LWS) for part in kept) + line[line.index(top) + len(top) :]
