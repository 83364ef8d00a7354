"""Torture messages of our own, in the spirit of RFC 4475."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture import accepted, assert_answered, assert_dropped, response, uris, vias

from sipprofile.sip.digest import parse_challenges
from sipprofile.sip.headers import parse_name_addr, parse_retry_after, split_list
from sipprofile.sip.syntax import SipSyntaxError
from sipprofile.sip.uri import Uri

OURS = Path(__file__).parent / "data"


class TestMessages:
    def test_folded(self) -> None:
        message = accepted(OURS / "folded.dat")
        assert vias(message) == [
            ("TLS", "[2001:db8::17]", 5071, "z9hG4bKfold-1"),
            ("UDP", "relay.example.net", None, None),
        ]
        assert message.branch() == "z9hG4bKfold-1"
        sender = parse_name_addr(message.header("from") or "")
        assert (sender.display, sender.params) == ('Fold \\ "er"', {"tag": "ff1"})
        assert message.cseq() == (42, "REGISTER")
        assert message.header("subject") == ""
        assert message.body == b"abc"
        contacts = [parse_name_addr(value) for value in split_list(message.header("contact") or "")]
        assert [(contact.display, contact.params) for contact in contacts] == [
            ("", {"expires": "60"}),
            ("second, one", {"q": "0.5"}),
        ]

    def test_escapes(self) -> None:
        message = accepted(OURS / "escapes.dat")
        assert Uri.parse(message.uri).user == "%61lice%40home;x=y"
        to = Uri.parse(uris(message, "to")[0])
        assert to.user == "a,b;c=d?e/f&g=h+i$j"
        assert to.equivalent(Uri.parse("sip:a,b;c=d?e/f&g=h+i$j@example.net;name=v%25;lr"))
        assert message.header("call-id") == "e)s(c[a]p{e}s@%"

    def test_odd_method(self) -> None:
        message = accepted(OURS / "odd_method.dat")
        assert message.cseq() == (2**31 - 1, "!r%45g.*_+`'~-")
        assert message.header("x-!%*_+`'~.") == ';;,,"'
        assert parse_name_addr(message.header("from") or "").params == {"tag": "1", "user": "phone"}

    def test_rfc2543(self) -> None:
        message = accepted(OURS / "rfc2543.dat")
        assert (message.branch(), message.body) == (None, b"all that follows")

    def test_a_useful_answer_survives_its_malformed_headers(self) -> None:
        message = response(OURS / "response_with_junk.dat")
        assert (message.status, message.reason) == (401, "Пожалуйста, пароль")
        assert message.branch() == "z9hG4bKjunk"
        assert message.cseq() == (7, "REGISTER")
        (challenge,) = parse_challenges(message.headers("www-authenticate"), proxy=False)
        assert (challenge.realm, challenge.nonce) == ('a "b", c', "n1")
        assert message.malformed() == ["this line has no colon", "Bad Name: x"]
        for name in ("from", "to"):
            with pytest.raises(SipSyntaxError):
                parse_name_addr(message.header(name) or "")
        with pytest.raises(SipSyntaxError):
            parse_retry_after(message.header("retry-after") or "")

    @pytest.mark.parametrize(("name", "code"), [("response_cut", "content_length"), ("response_status", "start_line")])
    def test_dropped(self, name: str, code: str) -> None:
        assert_dropped(OURS / f"{name}.dat", code)

    @pytest.mark.parametrize(
        ("name", "code", "status"),
        [
            ("version", "version", 505),
            ("scheme", "uri_scheme", 416),
            ("angle_brackets", "start_line", 400),
            ("start_line_spaces", "start_line", 400),
            ("quote_open", "header", 400),
            ("cseq_method", "header", 400),
            ("cseq_huge", "header", 400),
            ("headers_missing", "header", 400),
            ("length_twice", "header", 400),
            ("length_negative", "content_length", 400),
            ("length_beyond", "content_length", 400),
        ],
    )
    def test_answered(self, name: str, code: str, status: int) -> None:
        assert_answered(OURS / f"{name}.dat", code, status)
