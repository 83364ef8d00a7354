"""The structured header fields that registration and dispatch read (RFC 3261 §20 and §25.1)."""

from __future__ import annotations

import functools
import re

import msgspec

from sipprofile.sip.syntax import (
    LWS,
    SipSyntaxError,
    decimal,
    excerpt,
    is_token,
    parse_host_port,
    quote,
    quoted_end,
    split_outside_quotes,
    unquote,
)

__all__ = [
    "MAXIMUM_CSEQ",
    "MAXIMUM_DELTA_SECONDS",
    "CSeq",
    "NameAddr",
    "Via",
    "is_token",
    "parse_cseq",
    "parse_delta_seconds",
    "parse_name_addr",
    "parse_params",
    "parse_retry_after",
    "parse_via",
    "quote",
    "split_list",
    "unquote",
]

MAXIMUM_CSEQ = 2**31 - 1  # RFC 3261 §8.1.1.5
MAXIMUM_DELTA_SECONDS = 2**32 - 1  # RFC 3261 §20.19

_list_delimiter = re.compile('["<,]').search
_has_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.").match
_not_in_addr_spec = re.compile(r'[\s<>"?,]').search
_not_in_uri = re.compile(r'[\s<>"]').search


class NameAddr(msgspec.Struct, frozen=True):
    """A name-addr or addr-spec with its header parameters, as in To, From, Contact and Route."""

    display: str
    uri: str
    params: dict[str, str | None]

    def __str__(self) -> str:
        name = f"{quote(self.display)} " if self.display else ""
        return f"{name}<{self.uri}>" + "".join(map(_format_param, self.params.items()))


class Via(msgspec.Struct, frozen=True):
    """One Via value: the transport in upper case, the sent-by host and port, the parameters."""

    transport: str
    host: str
    port: int | None
    params: dict[str, str | None]


class CSeq(msgspec.Struct, frozen=True, gc=False):
    """A CSeq value (RFC 3261 §20.16)."""

    number: int
    method: str


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated header value, stripped, empty ones left out.

    Commas in quoted strings and in <> do not count. What follows an unclosed quote or bracket is one element.
    """
    if "," not in value:
        value = value.strip(LWS)
        return [value] if value else []
    if '"' not in value and "<" not in value:
        return [part for part in (part.strip(LWS) for part in value.split(",")) if part]
    parts = []
    begin = position = 0
    while (found := _list_delimiter(value, position)) is not None:
        position = found.end()
        delimiter = found.group()
        if delimiter == ",":
            parts.append(value[begin : found.start()])
            begin = position
        elif delimiter == "<":
            position = value.find(">", position) + 1 or len(value)
        else:
            try:
                position = quoted_end(value, found.start())
            except SipSyntaxError:
                break
    parts.append(value[begin:])
    return [part for part in (part.strip(LWS) for part in parts) if part]


def parse_params(text: str) -> dict[str, str | None]:
    """Header parameters `;name=value;name` with values unquoted and names in lower case.

    The leading semicolon is optional. Empty parameters are skipped and the first of two equal names wins,
    because deployed peers send both. Raises SipSyntaxError for an unclosed quote and a name that is no token.
    """
    params: dict[str, str | None] = {}
    for part in split_outside_quotes(text, ";"):
        name, equals, value = part.partition("=")
        name = name.strip(LWS).lower()
        if not is_token(name):
            if not name and not equals:
                continue
            raise SipSyntaxError(f"the parameter name {excerpt(name)} is not a token")
        if name not in params:
            params[name] = unquote(value.strip(LWS)) if equals else None
    return params


def parse_name_addr(value: str) -> NameAddr:
    """One To, From, Contact, Route or similar value (RFC 3261 §20, §20.10).

    A display name without the quotes it needs and space just inside <> are tolerated. `*` gives the URI `*`.
    Raises SipSyntaxError, among others for a URI with `?` or `,` outside <>, whose reading would be a guess.
    """
    value = value.strip(LWS)
    if value.startswith('"'):
        end = quoted_end(value, 0)
        display, rest = unquote(value[:end]), value[end:].strip(LWS)
        if not rest.startswith("<"):
            raise SipSyntaxError(f"after the display name {excerpt(display)} a URI in <> is missing")
        return _parse_bracketed(display, rest)
    bracket = value.find("<")
    if bracket >= 0:
        display = value[:bracket].strip(LWS)
        if '"' not in display and ";" not in display:
            return _parse_bracketed(display, value[bracket:])
    uri, _, params = value.partition(";")
    uri = uri.strip(LWS)
    if uri != "*":
        _check_uri(uri)
        bad = _not_in_addr_spec(uri)
        if bad is not None:
            raise SipSyntaxError(f"the URI {excerpt(uri)} must be in <> because of {bad.group()!r}")
    return NameAddr("", uri, parse_params(params))


def _parse_bracketed(display: str, text: str) -> NameAddr:
    uri, bracket, rest = text[1:].partition(">")
    uri = uri.strip(LWS)
    rest = rest.lstrip(LWS)
    if not bracket:
        raise SipSyntaxError(f"the URI {excerpt(uri)} lacks its closing '>'")
    _check_uri(uri)
    if _not_in_uri(uri):
        raise SipSyntaxError(f"the URI {excerpt(uri)} contains a character that needs a %-escape")
    if rest and rest[0] != ";":
        raise SipSyntaxError(f"{excerpt(rest)} after the URI is not a parameter; a ';' is missing")
    return NameAddr(display, uri, parse_params(rest))


def _check_uri(uri: str) -> None:
    if _has_scheme(uri) is None:
        raise SipSyntaxError(f"{excerpt(uri)} is not a URI; it needs a scheme such as 'sip:'")


def parse_via(value: str) -> Via:
    """One Via value, as `split_list` yields it (RFC 3261 §20.42). Raises SipSyntaxError.

    Empty parameters are refused here: a response is routed by this header, so nothing is guessed.
    """
    return _read_via(value)


@functools.lru_cache(maxsize=32)  # a request's is read to tell its transaction, to validate it and to answer it
def _read_via(value: str) -> Via:
    protocol, _, params = value.partition(";")
    parts = protocol.split("/", 2)
    if len(parts) != 3 or parts[0].strip(LWS).upper() != "SIP" or parts[1].strip(LWS) != "2.0":
        raise SipSyntaxError(f"the Via {excerpt(value)} does not begin with SIP/2.0/ and a transport")
    words = parts[2].split(None, 1)
    if len(words) != 2 or not is_token(words[0]):
        raise SipSyntaxError(f"the Via {excerpt(value)} lacks its transport or its host")
    host, port = parse_host_port(words[1].strip(LWS))
    if ";" in value and any(not part.strip(LWS) for part in split_outside_quotes(params, ";")):
        raise SipSyntaxError(f"the Via {excerpt(value)} has an empty parameter")
    return Via(words[0].upper(), host, port, parse_params(params))


def parse_cseq(value: str) -> CSeq:
    """A CSeq value; the number must be below 2**31 (RFC 3261 §8.1.1.5). Raises SipSyntaxError."""
    words = value.split()
    if len(words) != 2 or not is_token(words[1]):
        raise SipSyntaxError(f"the CSeq {excerpt(value)} is not a number and a method")
    number = decimal(words[0], MAXIMUM_CSEQ + 1)
    if number is None or number > MAXIMUM_CSEQ:
        raise SipSyntaxError(f"the CSeq number {excerpt(words[0])} is not a number below 2**31")
    return CSeq(number, words[1])


def parse_delta_seconds(value: str) -> int:
    """Seconds as in Expires and Min-Expires; more than 2**32 - 1 counts as that (RFC 3261 §20.19).

    Raises SipSyntaxError when it is not a number.
    """
    seconds = decimal(value.strip(LWS), MAXIMUM_DELTA_SECONDS)
    if seconds is None:
        raise SipSyntaxError(f"{excerpt(value)} is not a number of seconds")
    return seconds


def parse_retry_after(value: str) -> int:
    """The seconds of a Retry-After; comment and parameters are ignored (RFC 3261 §20.33).

    Raises SipSyntaxError when it does not begin with a number. Limits are the caller's to set.
    """
    return parse_delta_seconds(value.partition(";")[0].partition("(")[0])


def _format_param(item: tuple[str, str | None]) -> str:
    name, value = item
    if value is None:
        return f";{name}"
    return f";{name}={value if is_token(value) else quote(value)}"
