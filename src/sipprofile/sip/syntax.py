"""The errors, the limits and the tiny scanners shared by all parsers of this package (RFC 3261 §25.1)."""

from __future__ import annotations

import functools
import re
from ipaddress import AddressValueError, IPv6Address
from operator import itemgetter

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]"  # RFC 3261 §25.1 token characters
MAXIMUM_MESSAGE = 98_304  # bytes; a body of 64 kB with its headers. No datagram is as large
MAXIMUM_HEADERS = 256  # header lines, continuation lines included
REMEMBERED = 64  # characters of a host and port that are worth remembering
LWS = " \t\r\n"  # linear white space, after unfolding only SP and HTAB are met

_token = re.compile(TOKEN + "+").fullmatch
_rest_of_quoted = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL).match
_quoted_pair = re.compile(r"\\(.)", re.DOTALL)
_quoted_character = itemgetter(1)  # a template is ten times as slow
_hostname = re.compile(r"[A-Za-z0-9_\-.]+").fullmatch


class SipSyntaxError(ValueError):
    """Text that does not follow the grammar of RFC 3261; the message names the offending part."""


class MalformedMessage(ValueError):
    """Bytes that are no usable SIP message.

    `code` is stable: too_large, too_many_headers, start_line, version, header, content_length, uri_scheme.
    `status` is the answer a request deserves, None when there is nobody to answer.
    """

    def __init__(self, code: str, status: int | None, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = status


def is_token(text: str) -> bool:
    """True when `text` is a token of RFC 3261 §25.1, as method names and header names must be."""
    return _token(text) is not None


def excerpt(text: str) -> str:
    """`text` in quotes for an error message, cut to 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def quoted_end(text: str, start: int) -> int:
    """The index after the closing quote of the quoted string that opens at `start`.

    Raises SipSyntaxError when it is never closed.
    """
    found = _rest_of_quoted(text, start + 1)
    if found is not None:
        return found.end()
    raise SipSyntaxError(f"the quoted string {excerpt(text[start:])} is not closed; add the missing quote")


def quote(text: str) -> str:
    """`text` as a quoted string with `"` and `\\` escaped (RFC 3261 §25.1).

    Raises SipSyntaxError for CR and LF, which no quoted string can carry.
    """
    if "\r" in text or "\n" in text:
        raise SipSyntaxError("a quoted string cannot contain a line break; remove it")
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def unquote(text: str) -> str:
    """The value of a quoted string, escapes undone; other text is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    text = text[1:-1]
    return _quoted_pair.sub(_quoted_character, text) if "\\" in text else text


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """`text` cut at every `separator` (one character) that is not inside a quoted string.

    Raises SipSyntaxError when a quoted string is never closed.
    """
    if '"' not in text:
        return text.split(separator)
    parts = []
    begin = position = 0
    next_separator = _separator_or_quote[separator].search
    while (found := next_separator(text, position)) is not None:
        if found.group() == '"':
            position = quoted_end(text, found.start())
            continue
        parts.append(text[begin : found.start()])
        begin = position = found.end()
    parts.append(text[begin:])
    return parts


_separator_or_quote = {separator: re.compile(f'[{separator}"]') for separator in ",;"}


def parse_host(text: str) -> str:
    """A host name, IPv4 address or bracketed IPv6 address in lower case (RFC 3261 §25.1).

    Underscores are allowed, because container and Windows names have them. Raises SipSyntaxError.
    """
    if text.startswith("["):
        try:
            if not text.endswith("]") or "%" in text:
                raise AddressValueError
            IPv6Address(text[1:-1])
        except AddressValueError:
            raise SipSyntaxError(f"{excerpt(text)} is not an IPv6 address in brackets") from None
        return text.lower()
    if len(text) > 255 or _hostname(text) is None:
        raise SipSyntaxError(f"{excerpt(text)} is not a host name or an address")
    labels = text.removesuffix(".").split(".")
    if "" in labels or any(label[0] == "-" or label[-1] == "-" for label in labels):
        raise SipSyntaxError(f"the host {excerpt(text)} has an empty label or one that begins or ends in '-'")
    if labels[-1].isdecimal() and (
        len(labels) != 4 or not all(label.isdecimal() and decimal(label, 256) != 256 for label in labels)
    ):
        raise SipSyntaxError(f"{excerpt(text)} is not an IPv4 address")
    return text.lower()


def parse_host_port(text: str) -> tuple[str, int | None]:
    """The host and the port, None when absent, of `host[:port]`. Raises SipSyntaxError."""
    return _known_host_port(text) if len(text) <= REMEMBERED else _parse_host_port(text)


def _parse_host_port(text: str) -> tuple[str, int | None]:
    host, colon, digits = text, "", ""
    if text.startswith("["):
        bracket = text.find("]") + 1
        if bracket:
            host, rest = text[:bracket].strip(LWS), text[bracket:].strip(LWS)
            colon, digits = rest[:1], rest[1:]
            if colon not in ("", ":"):
                raise SipSyntaxError(f"{excerpt(rest)} after the address {excerpt(host)} is not a port")
    else:
        host, colon, digits = text.partition(":")
    host = parse_host(host.strip(LWS))
    if not colon:
        return host, None
    port = decimal(digits.strip(LWS), 65536)
    if not port or port > 65535:
        raise SipSyntaxError(f"the port {excerpt(digits)} is not a number from 1 to 65535")
    return host, port


_known_host_port = functools.lru_cache(maxsize=4096)(_parse_host_port)  # every message names the same few


def decimal(digits: str, maximum: int) -> int | None:
    """The number, or `maximum` if it is more; None for anything but decimal digits.

    Long strings of digits are never converted, because that takes more than linear time.
    """
    if not (digits.isascii() and digits.isdecimal()):
        return None
    significant = digits.lstrip("0")
    return maximum if len(significant) > 10 else min(int(significant or "0"), maximum)
