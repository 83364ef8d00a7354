"""What must hold for any bytes: one function per group of parsers.

Each returns quietly, whatever it is given. A parser that raises what is not documented, or an answer that
contradicts itself, comes out as an exception. Nothing here needs atheris.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from fuzz.parsers import DOCUMENTED, PARSERS, text
from sipprofile.sip.digest import (
    authorization,
    ha1,
    parse_authentication_info,
    parse_challenges,
    strongest,
    verify,
)
from sipprofile.sip.features import MAXIMUM_PREFERENCES, parse_feature, parse_preferences, rejected, score
from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.headers import parse_name_addr, split_list
from sipprofile.sip.message import (
    MAXIMUM_HEADERS,
    MalformedMessage,
    Request,
    Response,
    build_response,
    parse,
    validate_request,
)
from sipprofile.sip.reginfo import MAXIMUM_ELEMENTS, parse_reginfo
from sipprofile.sip.stun import TRANSACTION_SIZE, StunError, is_stun, parse_response
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.transport import port_of, protocol_of, with_scheme
from sipprofile.sip.uri import Uri

HEADER_PARSERS = [name for name in PARSERS if name not in ("message", "framing", "reginfo", "stun")]


def message(data: bytes) -> None:
    """A message gives its parts, is refused, or is answered; the answer is a message again."""
    try:
        received = parse(data)
    except MalformedMessage:
        return
    items = list(received.items())
    assert len(items) + len(received.malformed()) <= MAXIMUM_HEADERS
    names = {name.rstrip(" \t").lower() for name, _ in items}
    for name in names:
        values = received.headers(name)
        assert values == [] or received.header(name) == values[0]
    for line in received.headers("contact") + received.headers("service-route"):
        for value in split_list(line):
            with suppress(SipSyntaxError):
                parse_name_addr(value)
    received.branch()
    with suppress(MalformedMessage):
        received.cseq()
    repr(received)
    if isinstance(received, Response):
        assert 100 <= received.status <= 699
        assert isinstance(received.reason, str)
        return
    with suppress(MalformedMessage):
        validate_request(received)
    _answer(received)


def _answer(request: Request) -> None:
    sent = parse(build_response(request, 400, to_tag="t", source=("192.0.2.1", 5060)))
    assert isinstance(sent, Response)
    assert sent.status == 400
    assert sent.headers("call-id") == request.headers("call-id")[:1]
    assert len(sent.headers("via")) == len(request.headers("via"))


def header(data: bytes) -> None:
    """Any text is a header value or a syntax error, and a name-addr that was read is read again as the same."""
    for name in HEADER_PARSERS:
        with suppress(*DOCUMENTED):
            PARSERS[name].read(data)
    try:
        found = parse_name_addr(text(data))
        written = str(found)
    except SipSyntaxError:
        return
    if found.uri != "*":
        assert parse_name_addr(written) == found, written


def uri(data: bytes) -> None:
    """A URI that was read is written as text that means the same, and says where it leads."""
    try:
        found = Uri.parse(text(data))
    except SipSyntaxError:
        return
    assert Uri.parse(str(found)) == found
    assert found.equivalent(found)
    repr(found)
    protocol_of(found)
    assert 0 < port_of(found) < 65536
    changed = found.with_params(transport="tcp", **{"+x y": "é;"})
    assert Uri.parse(str(changed)) == changed
    for scheme in ("sip", "sips"):
        other = with_scheme(found, scheme)
        assert Uri.parse(str(other)) == other
    assert Uri.parse(str(found.without_params_and_headers())).params == ()


def challenge(data: bytes) -> None:
    """Each challenge that was read can be answered, and a server finds the answer right."""
    value = text(data)
    parse_authentication_info(value)
    verify(value, method="REGISTER", ha1=lambda *_: "0" * 32)
    found = parse_challenges(value.split("\n"), proxy=False)
    assert (strongest(found) is None) == (not found)
    for one in found[:8]:
        stored = ha1(one.algorithm, 'é"\\', one.realm, "secret")
        answer = authorization(
            one, username='é"\\', ha1=stored, method="REGISTER", uri="sip:b", nonce_count=1, cnonce="c"
        )
        assert "\n" not in answer
        assert "\r" not in answer
        credentials = verify(answer, method="REGISTER", ha1=lambda *_, stored=stored: stored)
        assert credentials is not None, answer
        assert (credentials.realm, credentials.nonce) == (one.realm, one.nonce)


def framing(data: bytes) -> None:
    """A stream gives the same messages and the same end however it was cut into pieces."""
    if not data:
        return
    step, stream = data[0] % 61 + 1, data[1:]
    assert _messages(stream, step) == _messages(stream, len(stream) or 1)


def _messages(stream: bytes, step: int) -> tuple[list[bytes], str]:
    framer = StreamFramer()
    found: list[bytes] = []
    try:
        for position in range(0, len(stream), step):
            found += framer.feed(stream[position : position + step])
        framer.feed(b"")
    except MalformedMessage as error:
        code = error.code
    else:
        code = ""
    messages = [one for one in found if one.strip(b"\r\n")]
    for one in messages:
        with suppress(MalformedMessage):
            parse(one)
    assert stream.startswith(b"".join(found))
    return messages, code


def features(data: bytes) -> None:
    """Values meet from either side; a preference that was read fits who has all that it names."""
    value = text(data)
    with suppress(SipSyntaxError):
        name, values = parse_feature(value)
        assert values.meets(values) or values.none_of
        assert 0 <= score(parse_preferences(f"*;{value}"), {name: values}) <= 1
    try:
        found = parse_preferences(value)
    except SipSyntaxError:
        return
    assert len(found) <= MAXIMUM_PREFERENCES
    for one in found:
        for other in found:
            for name in one.features.keys() & other.features.keys():
                assert one.features[name].meets(other.features[name]) == other.features[name].meets(one.features[name])
        assert score(found, one.features) <= 1
        rejected(found, one.features)


def reginfo(data: bytes) -> None:
    """A document within its limits, whose values are within theirs, or a documented error."""
    try:
        found = parse_reginfo(data)
    except DOCUMENTED:
        return
    contacts = [contact for registration in found.registrations for contact in registration.contacts]
    assert len(contacts) < MAXIMUM_ELEMENTS
    assert 0 <= found.version < 2**32
    for contact in contacts:
        assert contact.uri
        assert contact.q is None or 0 <= contact.q <= 1
        with suppress(SipSyntaxError):
            Uri.parse(contact.uri)


def stun(data: bytes) -> None:
    """A success with an address that can be, an error with its code, or what is no response; never SIP."""
    try:
        found = parse_response(data)
    except StunError:
        return
    assert is_stun(data)
    assert len(found.transaction) == TRANSACTION_SIZE
    assert found.error == 0 or 300 <= found.error <= 699
    assert found.mapped is None or 0 <= found.mapped[1] < 65536
    with suppress(MalformedMessage):
        raise AssertionError(parse(data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "header": header,
    "uri": uri,
    "challenge": challenge,
    "framing": framing,
    "features": features,
    "reginfo": reginfo,
    "stun": stun,
}
