"""Headers and bodies in frames."""

from __future__ import annotations

import json

import pytest

from sipprofile.errors import SipProfileError
from sipprofile.service.content import Body, body_of, encoded, headers_of
from sipprofile.sip.message import Message, parse

HEAD = (
    b"MESSAGE sip:alice@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n"
    b"From: <sip:bob@example.test>;tag=1\r\n"
    b"To: <sip:alice@example.test>\r\n"
    b"Call-ID: one\r\n"
    b"CSeq: 1 MESSAGE\r\n"
)


def message(body: bytes = b"", *lines: bytes) -> Message:
    headers = b"".join(line + b"\r\n" for line in lines)
    return parse(HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)


class TestHeaders:
    def test_every_readable_line_in_its_order_as_it_was_written(self) -> None:
        found = headers_of(
            message(b"", b"X-Two: b", b"s: compact", b"no header", b"X-Two: a", b"X-Folded: one\r\n two")
        )
        assert found[5:] == [
            ("X-Two", "b"),
            ("s", "compact"),
            ("X-Two", "a"),
            ("X-Folded", "one two"),
            ("Content-Length", "0"),
        ]

    @pytest.mark.parametrize("name", [b"Authorization", b"PROXY-AUTHORIZATION", b"authorization"])
    def test_credentials_are_not_shown(self, name: bytes) -> None:
        text = json.dumps(headers_of(message(b"", name + b': Digest username="a", response="deadbeef"')))
        assert "deadbeef" not in text
        assert "uthorization" not in text.lower()

    def test_bytes_that_are_no_utf8_are_shown_safely(self) -> None:
        frame = encoded({"headers": headers_of(message(b"", b"Subject: caf\xe9"))})
        assert ["Subject", "caf\ufffd"] in json.loads(frame)["headers"]


class TestBodies:
    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "TEXT/HTML; charset=utf-8",
            "application/sdp",
            "application/pidf+xml",
            "application/json",
            "application/vnd.example+json",
            "application/simple-message-summary",
            "message/sipfrag;version=2.0",
        ],
    )
    def test_text_is_shown_as_text(self, kind: str) -> None:
        assert body_of(message("grüße".encode()), kind) == {"text": "grüße"}

    @pytest.mark.parametrize("kind", [None, "application/octet-stream", "image/png", "application/isup"])
    def test_anything_else_is_base64(self, kind: str | None) -> None:
        assert json.loads(encoded({"body": body_of(message(b"hi"), kind)})) == {"body": {"base64": "aGk="}}

    def test_what_claims_to_be_text_and_is_not(self) -> None:
        assert body_of(message(b"\xff\xfe"), "text/plain") == {"base64": b"\xff\xfe"}

    def test_none(self) -> None:
        assert body_of(message(b""), "text/plain") is None

    def test_given_in_either_form(self) -> None:
        assert Body(text="grüße").octets() == "grüße".encode()
        assert Body(text="").octets() == b""
        assert Body(base64=b"\xff").octets() == b"\xff"

    @pytest.mark.parametrize("body", [Body(), Body(text="a", base64=b"b")])
    def test_neither_or_both_is_refused(self, body: Body) -> None:
        with pytest.raises(SipProfileError) as caught:
            body.octets()
        assert (caught.value.code, caught.value.field) == ("invalid_value", "body")
