"""Messages: RFC 3261 §7, §8.1.1, §8.2 and §18."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.sip.message import (
    MAXIMUM_HEADERS,
    MAXIMUM_MESSAGE,
    MalformedMessage,
    Request,
    Response,
    build_request,
    build_response,
    parse,
    validate_request,
)

REGISTER = (
    "REGISTER sip:example.com SIP/2.0",
    "Via: SIP/2.0/UDP 192.0.2.10:5062;rport;branch=z9hG4bKa1",
    "Max-Forwards: 70",
    "From: <sip:alice@example.com>;tag=f1",
    "To: <sip:alice@example.com>",
    "Call-ID: c1@192.0.2.10",
    "CSeq: 17 REGISTER",
    "Contact: <sip:k3j4@192.0.2.10:5062>",
    "Content-Length: 0",
)
OK = (
    "SIP/2.0 200 OK",
    "Via: SIP/2.0/UDP 192.0.2.10:5062;rport=5062;branch=z9hG4bKa1;received=192.0.2.10",
    "From: <sip:alice@example.com>;tag=f1",
    "To: <sip:alice@example.com>;tag=t1",
    "Call-ID: c1@192.0.2.10",
    "CSeq: 17 REGISTER",
    "Contact: <sip:k3j4@192.0.2.10:5062>;expires=3600",
    "Contact: <sip:other@192.0.2.11>;expires=10, <sip:third@192.0.2.12>",
    "Content-Length: 0",
)


def data(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode() + body


def request(*lines: str, body: bytes = b"") -> Request:
    message = parse(data(*lines, body=body))
    assert isinstance(message, Request)
    return message


def response(*lines: str, body: bytes = b"") -> Response:
    message = parse(data(*lines, body=body))
    assert isinstance(message, Response)
    return message


def replaced(lines: tuple[str, ...], old: str, new: str | None) -> list[str]:
    assert any(line.startswith(old) for line in lines)
    return [new if line.startswith(old) else line for line in lines if new is not None or not line.startswith(old)]


def assert_refused(code: str, status: int | None, message: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse(message)
    assert (caught.value.code, caught.value.status) == (code, status)


def assert_invalid(code: str, status: int, *lines: str, body: bytes = b"") -> None:
    with pytest.raises(MalformedMessage) as caught:
        validate_request(request(*lines, body=body))
    assert (caught.value.code, caught.value.status) == (code, status)


class TestStartLine:
    """§7.1 and §7.2."""

    def test_request(self) -> None:
        message = request(*REGISTER)
        assert (message.method, message.uri, message.version) == ("REGISTER", "sip:example.com", "SIP/2.0")
        validate_request(message)

    def test_response(self) -> None:
        message = response(*OK)
        assert (message.status, message.reason) == (200, "OK")

    @pytest.mark.parametrize(
        ("line", "status", "reason"),
        [
            ("SIP/2.0 100 ", 100, ""),
            ("SIP/2.0 100", 100, ""),
            ("sip/2.0 404 Not here", 404, "Not here"),
            ("SIP/2.0 699 Ärger", 699, "Ärger"),
        ],
    )
    def test_response_lines_accepted(self, line: str, status: int, reason: str) -> None:
        message = response(line, *OK[1:])
        assert (message.status, message.reason) == (status, reason)

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("SIP/2.0 99 Low", "start_line"),
            ("SIP/2.0 700 High", "start_line"),
            ("SIP/2.0 2000 Long", "start_line"),
            ("SIP/2.0 4294967301 better not break the receiver", "start_line"),
            ("SIP/2.0 +20 OK", "start_line"),
            ("SIP/2.0  200 OK", "start_line"),
            ("SIP/2.0 2_0 OK", "start_line"),
            ("SIP/3.0 200 OK", "version"),
            ("SIP/2.0", "version"),
            ("SIP/", "version"),
        ],
    )
    def test_response_lines_refused(self, line: str, code: str) -> None:
        assert_refused(code, None, data(line, *OK[1:]))

    @pytest.mark.parametrize(
        "line",
        [
            "REGISTER",
            "REGISTER sip:example.com",
            "REGISTER SIP/2.0",
            "GET / HTTP/1.1",
            "RE@STER sip:h SIP/2.0",
        ],
    )
    def test_request_lines_refused(self, line: str) -> None:
        assert_refused("start_line", 400, data(line, *REGISTER[1:]))

    def test_empty_lines_before_the_message(self) -> None:
        """§7.5: ignored."""
        message = parse(b"\r\n\r\n\r\n" + data(*OK))
        assert isinstance(message, Response)
        assert message.cseq() == (17, "REGISTER")


class TestHeaders:
    """§7.3."""

    def test_names_fold_case_and_compact_forms(self) -> None:
        message = response("SIP/2.0 200 OK", "v: a", "F : b", "t\t: c", "CALL-id: d", "cSeQ: 1 X", "X-Odd: e", "L: 0")
        assert message.header("via") == "a"
        assert message.header("from") == "b"
        assert message.header("to") == "c"
        assert message.header("call-id") == "d"
        assert message.header("cseq") == "1 X"
        assert message.header("x-odd") == "e"
        assert message.header("content-length") == "0"

    def test_absent(self) -> None:
        assert response(*OK).header("expires") is None
        assert response(*OK).headers("expires") == []

    def test_every_line_in_order(self) -> None:
        assert response(*OK).headers("contact") == [
            "<sip:k3j4@192.0.2.10:5062>;expires=3600",
            "<sip:other@192.0.2.11>;expires=10, <sip:third@192.0.2.12>",
        ]
        assert response(*OK).header("contact") == "<sip:k3j4@192.0.2.10:5062>;expires=3600"

    def test_two_empty_lines_of_one_header_stay_two(self) -> None:
        assert response("SIP/2.0 200 OK", "Supported:", "k:").headers("supported") == ["", ""]

    def test_items_keep_order_and_spelling(self) -> None:
        message = response("SIP/2.0 200 OK", "b: 1", "junk", "A : 2", "b: 3", " 4")
        assert list(message.items()) == [("b", "1"), ("A", "2"), ("b", "3 4")]
        assert message.malformed() == ["junk"]

    def test_folded_lines(self) -> None:
        """§7.3.1."""
        message = response("SIP/2.0 200 OK", "Subject: one", "  two", "\tthree", " ", "To:", " <sip:a@b>", "Via: x")
        assert message.header("subject") == "one two three"
        assert message.header("to") == "<sip:a@b>"
        assert message.header("via") == "x"

    def test_a_first_line_cannot_be_a_continuation(self) -> None:
        message = response("SIP/2.0 200 OK", "  Via: x", "To: y")
        assert message.header("via") is None
        assert message.header("to") == "y"

    def test_malformed_header_hurts_nobody_else(self) -> None:
        message = response(*OK, "Foobar roobar", "sp ace: x", ": y", "(): z", 'Warning: "open')
        assert message.cseq() == (17, "REGISTER")
        assert message.branch() == "z9hG4bKa1"
        assert len(message.headers("contact")) == 2
        assert message.malformed() == ["Foobar roobar", "sp ace: x", ": y", "(): z"]

    def test_bytes_that_are_not_utf_8_survive(self) -> None:
        message = parse(b'SIP/2.0 200 Z\xfcrich\r\nTo: "Z\xfc" <sip:a@b>\r\nServer: \xc3\xa9\r\n\r\n')
        assert isinstance(message, Response)
        assert (message.header("to") or "").encode("utf-8", "surrogateescape") == b'"Z\xfc" <sip:a@b>'
        assert message.header("server") == "é"
        assert message.reason.encode("utf-8", "surrogateescape") == b"Z\xfcrich"

    def test_no_value_ever_holds_a_line_break(self) -> None:
        message = request(*REGISTER, "X-A: one\nX-B: two\rX-C: three")
        assert [message.header(name) for name in ("x-a", "x-b", "x-c")] == ["one", "two", "three"]
        with pytest.raises(MalformedMessage) as caught:
            validate_request(message)
        assert caught.value.status == 400

    def test_the_end_of_the_headers_is_needed(self) -> None:
        """A datagram cut inside the headers would look like an answer without Contact."""
        assert_refused("header", 400, data(*OK)[:-2])
        assert_refused("header", 400, b"")
        assert_refused("header", 400, b"\r\n\r\n")

    def test_limits(self) -> None:
        lines = [f"X-{number}: y" for number in range(MAXIMUM_HEADERS - len(OK) + 1)]
        assert response(*OK, *lines).status == 200
        assert_refused("too_many_headers", 400, data(*OK, *lines, "X: y"))
        assert_refused("too_many_headers", 400, data("SIP/2.0 200 OK", *["X-a: y"] * (MAXIMUM_HEADERS + 1)))
        assert_refused("too_large", 513, data(*OK, body=b"x" * MAXIMUM_MESSAGE))
        whole = data(*OK[:-1])
        assert parse(whole + b"x" * (MAXIMUM_MESSAGE - len(whole))).body.endswith(b"x")


class TestQuickFields:
    @pytest.mark.parametrize(
        ("via", "branch"),
        [
            ("SIP/2.0/UDP h;branch=z9hG4bK.a-1", "z9hG4bK.a-1"),
            ("SIP/2.0/UDP h;branch=a;rport", "a"),
            ("SIP/2.0/UDP h;rport , SIP/2.0/UDP g;branch=b", None),
            ("SIP/2.0/UDP h;branch=a, SIP/2.0/UDP g;branch=b", "a"),
            ("SIP/2.0/UDP h ; Branch = a", "a"),
            ('SIP/2.0/UDP h;x=";branch=b";branch=a', "a"),
            ("SIP/2.0/UDP h", None),
            ("nonsense", None),
            ("", None),
        ],
    )
    def test_branch(self, via: str, branch: str | None) -> None:
        assert response("SIP/2.0 200 OK", f"Via: {via}").branch() == branch

    @pytest.mark.parametrize("value", ["17 REGISTER", " 0017\t REGISTER ", "17   REGISTER"])
    def test_cseq(self, value: str) -> None:
        assert response("SIP/2.0 200 OK", f"CSeq: {value}").cseq() == (17, "REGISTER")

    @pytest.mark.parametrize("value", ["", "x REGISTER", "17", "2147483648 REGISTER", "٣ REGISTER", "1 RÉ"])
    def test_bad_cseq(self, value: str) -> None:
        with pytest.raises(MalformedMessage):
            response("SIP/2.0 200 OK", f"CSeq: {value}").cseq()
        with pytest.raises(MalformedMessage):
            response("SIP/2.0 200 OK").cseq()


class TestBody:
    """§18.3."""

    def test_without_content_length_the_rest_is_the_body(self) -> None:
        assert response(*OK[:-1], body=b"abc").body == b"abc"

    def test_bytes_after_content_length_are_ignored(self) -> None:
        assert response(*OK[:-1], "Content-Length: 2", body=b"abc").body == b"ab"
        assert response(*OK[:-1], "l : 0", body=b"abc").body == b""

    def test_a_response_that_ends_early_is_discarded(self) -> None:
        assert_refused("content_length", None, data(*OK[:-1], "Content-Length: 4", body=b"abc"))
        assert_refused("content_length", None, data(*OK[:-1], "Content-Length: " + "9" * 5000, body=b"abc"))

    def test_an_unreadable_content_length_is_ignored_in_a_response(self) -> None:
        assert response(*OK[:-1], "Content-Length: -1", body=b"abc").body == b"abc"
        assert response(*OK, "Content-Length: 1", body=b"abc").body == b"abc"


class TestValidation:
    """§8.2.2, §16.3, §20."""

    def test_minimal_requests_of_rfc_2543(self) -> None:
        validate_request(
            request(
                "OPTIONS sip:h SIP/2.0",
                "v: SIP/2.0/UDP g",
                "f: sip:a@b",
                "t: sip:c@d",
                "i: 1",
                "CSeq: 1 OPTIONS",
            )
        )

    @pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
    def test_mandatory_headers(self, name: str) -> None:
        assert_invalid("header", 400, *replaced(REGISTER, name, None))
        assert_invalid("header", 400, *replaced(REGISTER, name, f"{name}:"))

    @pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards"])
    def test_single_valued_headers(self, name: str) -> None:
        line = next(line for line in REGISTER if line.startswith(name))
        assert_invalid("header", 400, *REGISTER, line)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("CSeq", "CSeq: 17 INVITE"),
            ("CSeq", "CSeq: 2147483648 REGISTER"),
            ("From", 'From: "open <sip:a@b>'),
            ("From", "From: alice"),
            ("To", "To: <sip:a@b"),
            ("To", "To: <tel:+1201>"),
            ("Via", "Via: SIP/2.0/UDP h;;,;,,"),
            ("Via", "Via: SIP/2.0/UDP h, junk"),
            ("Contact", "Contact: sip:a@b?Route=%3Csip:c%3E"),
            ("Max-Forwards", "Max-Forwards: 256"),
            ("Max-Forwards", "Max-Forwards: x"),
            ("Max-Forwards", "Foobar roobar"),
        ],
    )
    def test_bad_values(self, old: str, new: str) -> None:
        assert_invalid("header", 400, *replaced(REGISTER, old, new))

    @pytest.mark.parametrize("value", ["-1", "1", "x", "9" * 5000])
    def test_content_length(self, value: str) -> None:
        assert_invalid("content_length", 400, *replaced(REGISTER, "Content-Length", f"Content-Length: {value}"))

    @pytest.mark.parametrize(
        ("line", "code", "status"),
        [
            ("REGISTER sip:h SIP/3.0", "version", 505),
            ("REGISTER tel:+1201 SIP/2.0", "uri_scheme", 416),
            ("REGISTER soap.beep://192.0.2.1 SIP/2.0", "uri_scheme", 416),
            ("REGISTER example.com SIP/2.0", "start_line", 400),
            ("REGISTER <sip:h> SIP/2.0", "start_line", 400),
            ("REGISTER sip:h; lr SIP/2.0", "start_line", 400),
            ("REGISTER  sip:h SIP/2.0", "start_line", 400),
            ("REGISTER sip:h SIP/2.0 ", "start_line", 400),
            ("REGISTER sip:h?a=b SIP/2.0", "start_line", 400),
        ],
    )
    def test_request_line(self, line: str, code: str, status: int) -> None:
        assert_invalid(code, status, line, *REGISTER[1:])


class TestBuildResponse:
    """§8.2.6."""

    def built(self, *lines: str, status: int = 200, **options: object) -> Response:
        message = parse(build_response(request(*lines), status, to_tag="t1", **options))  # type: ignore[arg-type]
        assert isinstance(message, Response)
        return message

    def test_copied_headers(self) -> None:
        lines = [*replaced(REGISTER, "Via", "Via: SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b"), "v: SIP/2.0/UDP c"]
        answer = self.built(*lines)
        assert (answer.status, answer.reason) == (200, "OK")
        assert answer.headers("via") == ["SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b", "SIP/2.0/UDP c"]
        assert answer.header("from") == "<sip:alice@example.com>;tag=f1"
        assert answer.header("to") == "<sip:alice@example.com>;tag=t1"
        assert answer.header("call-id") == "c1@192.0.2.10"
        assert answer.header("cseq") == "17 REGISTER"
        assert answer.header("content-length") == "0"

    def test_a_tag_in_to_stays(self) -> None:
        answer = self.built(*replaced(REGISTER, "To", "To: Bob <sip:bob@h>;TAG=x"))
        assert answer.header("to") == "Bob <sip:bob@h>;TAG=x"

    def test_trying_has_no_new_tag_but_the_timestamp(self) -> None:
        answer = self.built(*REGISTER, "Timestamp: 54", status=100)
        assert answer.header("to") == "<sip:alice@example.com>"
        assert answer.header("timestamp") == "54"
        assert self.built(*REGISTER, "Timestamp: 54").header("timestamp") is None

    def test_extra_headers_and_body(self) -> None:
        answer = self.built(*REGISTER, reason="Fine", headers=[("Contact", "<sip:x>"), ("Server", "s")], body=b"hi")
        assert answer.reason == "Fine"
        assert answer.header("contact") == "<sip:x>"
        assert (answer.header("content-length"), answer.body) == ("2", b"hi")

    @pytest.mark.parametrize(
        ("via", "source", "expected"),
        [
            ("SIP/2.0/UDP 192.0.2.1;branch=b", ("192.0.2.1", 9), "SIP/2.0/UDP 192.0.2.1;branch=b"),
            ("SIP/2.0/UDP h;branch=b", ("192.0.2.1", 9), "SIP/2.0/UDP h;branch=b;received=192.0.2.1"),
            ("SIP/2.0/UDP h;received=10.0.0.1", ("192.0.2.1", 9), "SIP/2.0/UDP h;received=192.0.2.1"),
            ("SIP/2.0/UDP [2001:DB8::1]", ("2001:db8::1", 9), "SIP/2.0/UDP [2001:DB8::1]"),
            (
                "SIP/2.0/UDP 192.0.2.1;rport;branch=b",
                ("192.0.2.1", 9),
                "SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1;rport=9",
            ),
            (
                "SIP/2.0/UDP h ;branch=b , SIP/2.0/UDP g;rport",
                ("192.0.2.1", 9),
                "SIP/2.0/UDP h;branch=b;received=192.0.2.1 , SIP/2.0/UDP g;rport",
            ),
            ('SIP/2.0/UDP h;x="a;rport"', ("192.0.2.1", 9), 'SIP/2.0/UDP h;x="a;rport";received=192.0.2.1'),
            ("junk;rport", ("192.0.2.1", 9), "junk;rport"),
        ],
    )
    def test_source_in_the_top_via(self, via: str, source: tuple[str, int], expected: str) -> None:
        """§18.2.1 and RFC 3581 §4."""
        assert self.built(*replaced(REGISTER, "Via", f"Via: {via}"), source=source).header("via") == expected

    def test_a_refused_request_can_be_answered(self) -> None:
        answer = self.built("OPTIONS sip:h SIP/9.0", "Via: junk\rX", 'To: "open', status=505, source=("192.0.2.1", 9))
        assert answer.status == 505
        assert answer.header("via") == "junk"
        assert answer.header("to") == '"open'

    def test_line_breaks_are_refused(self) -> None:
        for headers in ([("Server", "a\r\nX: y")], [("Server", "a\n")], [("Ser\rver", "a")]):
            with pytest.raises(ValueError, match="line break"):
                build_response(request(*REGISTER), 200, to_tag="t", headers=headers)
        with pytest.raises(ValueError, match="line break"):
            build_request("REGISTER", "sip:h\r\nX: y", [])


names = st.from_regex(r"[A-Z][A-Za-z0-9-]{1,10}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20).map(
    lambda text: text.strip(" \t")
)


class TestProperties:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(names, values), max_size=12),
        st.binary(max_size=30),
        st.from_regex("[A-Z]{1,10}", fullmatch=True),
    )
    def test_request_round_trip(self, headers: list[tuple[str, str]], body: bytes, method: str) -> None:
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        message = parse(build_request(method, "sip:example.com", headers, body))
        assert isinstance(message, Request)
        assert (message.method, message.uri, message.body) == (method, "sip:example.com", body)
        assert list(message.items()) == [*headers, ("Content-Length", str(len(body)))]
        for name, _ in headers:
            assert message.headers(name.lower()) == [v for n, v in headers if n.lower() == name.lower()]

    @settings(deadline=None)
    @given(
        st.binary(max_size=200)
        | st.binary(max_size=60).map(lambda tail: b"SIP/2.0 200 OK\r\nVia: " + tail + b"\r\n\r\n")
        | st.binary(max_size=60).map(lambda tail: data(*REGISTER)[:-2] + tail + b"\r\n\r\n")
        | st.tuples(st.integers(0, 400), st.binary(max_size=3)).map(
            lambda change: data(*REGISTER)[: change[0]] + change[1] + data(*REGISTER)[change[0] + 1 :]
        )
    )
    def test_any_bytes(self, noise: bytes) -> None:
        try:
            message = parse(noise)
        except MalformedMessage:
            return
        message.branch()
        for name, value in message.items():
            assert "\n" not in name + value
        if isinstance(message, Request):
            answered = parse(build_response(message, 400, to_tag="t", source=("192.0.2.1", 5060)))
            assert isinstance(answered, Response)
        with contextlib.suppress(MalformedMessage):
            message.cseq()
        if isinstance(message, Request):
            with contextlib.suppress(MalformedMessage):
                validate_request(message)
