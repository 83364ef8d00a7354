"""Every parser of ``sipprofile.sip``: what calls it, what it may raise, and the bytes that are hard on it.

The linear-time test, the benchmark, the property tests and the fuzz targets all read this table. A parser that is
missing here makes tests/unit/test_parser_table.py fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sipprofile.sip.digest import parse_authentication_info, parse_challenges, verify
from sipprofile.sip.features import parse_feature, parse_preferences
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.headers import (
    parse_cseq,
    parse_delta_seconds,
    parse_name_addr,
    parse_params,
    parse_retry_after,
    parse_via,
    split_list,
)
from sipprofile.sip.message import MalformedMessage, Request, parse, validate_request
from sipprofile.sip.reginfo import MalformedReginfo, parse_reginfo
from sipprofile.sip.stun import StunError, parse_response
from sipprofile.sip.syntax import SipSyntaxError, parse_host, parse_host_port
from sipprofile.sip.uri import Uri

DOCUMENTED = (SipSyntaxError, MalformedMessage, MalformedReginfo, StunError)
"""What a parser may raise, and nothing else."""

TEXTS: dict[str, bytes] = {
    "letters": b"a",
    "spaces": b" ",
    "commas": b",",
    "semicolons": b";",
    "open brackets": b"<",
    "quotes": b'"',
    "backslashes": b"\\",
    "escaped quotes": b'\\"',
    "quoted commas": b'",',
    "names": b"a=b,",
    "parameters": b";a=b",
    "words": b"a ",
    "percent": b"%",
    "escapes": b"%41",
    "digits": b"9",
    "schemes": b"Digest ",
    "equals": b"=",
    "at": b"@",
    "dots": b"a.",
    "colons": b":",
    "high bytes": b"\xff",
}
LINES: dict[str, bytes] = {
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
STREAM: dict[str, bytes] = {
    "letters": b"x",
    "carriage returns": b"\r",
    "line feeds": b"\n",
    "lengths": b"\r\nl: 1",
    "folds": b"\r\n ",
    "line breaks": b"\r\n",
    "lines": b"x\r\n",
}
BINARY: dict[str, bytes] = {
    "zeros": b"\0",
    "empty attributes": b"\x80\0\0\0",
    "attributes": b"\x80\0\0\x01a\0\0\0",
    "addresses": b"\0\x01\0\x08\0\x01\x13\x8a\xc0\0\x02\x07",
    "high bytes": b"\xff",
}
XML: dict[str, bytes] = {
    "letters": b"a",
    "line feeds": b"\n",
    "brackets": b"<",
    "ends": b"]]>",
    "elements": b"<a/>",
    "nested elements": b"<a>",
    "attributes": b' a="b"',
    "references": b"&amp;",
    "character references": b"&#65;",
    "entities": b"&e;",
    "comments": b"<!---->",
    "characters": b"<![CDATA[x]]>",
    "instructions": b"<?a?>",
    "document types": b"<!DOCTYPE",
    "entity declarations": b'<!ENTITY a "&a;&a;">',
    "contacts": b'<contact id="1" state="active" event="created"><uri>sip:a@b</uri>' + b" " * 60 + b"</contact>",
    "parameters": b'<unknown-param name="a">' + b"b" * 60 + b"</unknown-param>",
    "namespaces": b'<x:a xmlns:x="y"/>',
    "high bytes": b"\xff",
}


class Parser(NamedTuple):
    """How a parser is called with bytes from the network, and where in them the hostile part begins."""

    read: Callable[[bytes], object]
    sample: bytes
    """A value that is read without complaint."""
    starts: dict[str, bytes]
    """The places of the grammar that hostile bytes are put at, by name; each with what precedes them there."""
    units: dict[str, bytes] = TEXTS
    """What is repeated there."""
    end: bytes = b""

    def hostile(self, start: str, unit: str, size: int) -> bytes:
        """About ``size`` bytes of one unit at one place."""
        repeated = self.units[unit]
        return self.starts[start] + repeated * (size // len(repeated)) + self.end


def text(data: bytes) -> str:
    """A header value as the messages give it."""
    return data.decode("utf-8", "surrogateescape")


def read_message(data: bytes) -> None:
    message = parse(data)
    message.branch()
    list(message.items())
    if isinstance(message, Request):
        validate_request(message)


def read_stream(data: bytes) -> None:
    framer = StreamFramer()
    for position in range(0, len(data), 16):
        framer.feed(data[position : position + 16])


def read_uri(data: bytes) -> Uri:
    return Uri.parse(text(data))


def compare_uri(data: bytes) -> bool:
    return Uri.parse(text(data)).equivalent(Uri.parse(text(data)))


RESPONSE = b"SIP/2.0 200 OK\r\n"
SAMPLE = RESPONSE + b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
STUN_RESPONSE = b"\1\1\0\x0c\x21\x12\xa4\x42" + b"t" * 12
REGINFO = b'<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="0" state="full">'
REGISTRATION = REGINFO + b'<registration aor="sip:a@b" id="r" state="active">'
CONTACT = REGISTRATION + b'<contact id="1" state="active" event="created"><uri>sip:a@b</uri>'

PARSERS: dict[str, Parser] = {
    "uri": Parser(
        read_uri,
        b"sips:alice:x@example.com:5061;lr;transport=tcp?a=b",
        {"user": b"sip:", "host": b"sip:a@b", "parameters": b"sip:a@b;x", "headers": b"sip:a@b?"},
    ),
    "equivalent": Parser(compare_uri, b"sip:%41lice@example.com", {"user": b"sip:", "parameters": b"sip:a@b;x"}),
    "host": Parser(lambda data: parse_host(text(data)), b"example.com", {"name": b"", "IPv6": b"["}),
    "host_port": Parser(
        lambda data: parse_host_port(text(data)), b"[2001:db8::1]:5060", {"host": b"", "IPv6": b"[", "port": b"a:"}
    ),
    "split_list": Parser(lambda data: split_list(text(data)), b'"a, b" <sip:a>, <sip:b>', {"all": b"", "quoted": b'"'}),
    "name_addr": Parser(
        lambda data: parse_name_addr(text(data)),
        b'"A \\" B" <sip:a@b>;tag=1',
        {"all": b"", "quoted": b'"', "bracketed": b"<sip:", "parameter": b'<sip:a>;x="'},
    ),
    "params": Parser(lambda data: parse_params(text(data)), b';a="b;c";d', {"all": b"", "quoted": b'a="'}),
    "via": Parser(
        lambda data: parse_via(text(data)),
        b"SIP/2.0/UDP a.example:5060;branch=z9hG4bK1;rport",
        {"protocol": b"", "host": b"SIP/2.0/UDP a", "parameter": b"SIP/2.0/UDP a;x"},
    ),
    "cseq": Parser(lambda data: parse_cseq(text(data)), b"1 REGISTER", {"number": b"", "method": b"1 "}),
    "delta_seconds": Parser(lambda data: parse_delta_seconds(text(data)), b"3600", {"all": b""}),
    "retry_after": Parser(
        lambda data: parse_retry_after(text(data)), b"18000;duration=3600", {"all": b"", "comment": b"1 ("}
    ),
    "challenges": Parser(
        lambda data: parse_challenges([text(data)], proxy=False),
        b'Digest realm="a \\"b\\"", nonce="n", qop="auth,auth-int", algorithm=MD5, stale=true, '
        b'opaque="o\\x", userhash=true, charset=UTF-8',
        {"all": b"", "parameters": b"Digest ", "quoted": b'Digest realm="'},
    ),
    "authentication_info": Parser(
        lambda data: parse_authentication_info(text(data)),
        b'nextnonce="n\\"", qop=auth, rspauth="0", cnonce="c", nc=00000001',
        {"parameters": b"", "quoted": b'nextnonce="'},
    ),
    "verify": Parser(
        lambda data: verify(text(data), method="REGISTER", ha1=lambda *_: "0" * 32),
        b'Digest username="a", realm="r", nonce="n", uri="sip:r", response="0", qop=auth, nc=00000001, cnonce="c"',
        {"parameters": b"Digest ", "user": b'Digest realm="", nonce="", uri="", response="", username="'},
    ),
    "feature": Parser(
        lambda data: parse_feature(text(data)),
        b'language="en,!de,#1:5"',
        {"tag": b"+", "values": b'language="', "string": b'description="<', "number": b'priority="#='},
        end=b'"',
    ),
    "preferences": Parser(
        lambda data: parse_preferences(text(data)),
        b'*;audio;language="en,de";require, *;+g.oma.sip-im;explicit',
        {"all": b"", "tags": b"*;", "values": b'*;language="', "elements": b"*;audio,"},
    ),
    "message": Parser(
        read_message,
        SAMPLE,
        {"200": RESPONSE + b"Via: ", "OPTIONS": b"OPTIONS sip:a SIP/2.0\r\nVia: ", "start line": b"SIP/2.0 200 "},
        LINES,
        b"\r\n\r\n",
    ),
    "framing": Parser(
        read_stream, SAMPLE, {"head": RESPONSE, "body": RESPONSE + b"l: 65000\r\n\r\n", "keepalives": b""}, STREAM
    ),
    "stun": Parser(
        parse_response,
        STUN_RESPONSE + BINARY["addresses"],
        {"all": b"", "attributes": STUN_RESPONSE[:2] + b"\x07\xe8" + STUN_RESPONSE[4:]},
        BINARY,
    ),
    "reginfo": Parser(
        parse_reginfo,
        CONTACT + b'<unknown-param name="reg-id">1</unknown-param></contact></registration></reginfo>',
        {
            "prolog": b"",
            "attributes": REGINFO[:-1],
            "registration": REGISTRATION,
            "contact": CONTACT,
            "text": CONTACT + b"<display-name>",
        },
        XML,
        b"</display-name></contact></registration></reginfo>",
    ),
}
