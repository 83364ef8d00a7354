"""Messages on streams: RFC 3261 §18.3 and §7.5, RFC 5626 §3.5.1."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import MAXIMUM_MESSAGE, MalformedMessage

ONE = b"SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
TWO = b"NOTIFY sip:a@b SIP/2.0\r\nl : 11\r\nCSeq: 1 NOTIFY\r\n\r\nhello\r\n\r\n.."
FOLDED = b"SIP/2.0 200 OK\r\nCONTENT-LENGTH:\r\n  2\r\nX-Content-Length: 7\r\n\r\nab"
PING = b"\r\n\r\n"
PONG = b"\r\n"


def assert_refused(code: str, *chunks: bytes) -> None:
    framer = StreamFramer()
    for chunk in chunks[:-1]:
        framer.feed(chunk)
    with pytest.raises(MalformedMessage) as caught:
        framer.feed(chunks[-1])
    assert caught.value.code == code


class TestMessages:
    def test_one_at_a_time(self) -> None:
        framer = StreamFramer()
        for message in (ONE, TWO, FOLDED):
            assert framer.feed(message) == [message]

    def test_several_at_once(self) -> None:
        assert StreamFramer().feed(ONE + TWO + FOLDED + ONE) == [ONE, TWO, FOLDED, ONE]

    def test_byte_by_byte(self) -> None:
        framer = StreamFramer()
        found = [message for byte in ONE + TWO + FOLDED for message in framer.feed(bytes([byte]))]
        assert found == [ONE, TWO, FOLDED]

    def test_nothing_before_it_is_complete(self) -> None:
        framer = StreamFramer()
        assert framer.feed(TWO[:-1]) == []
        assert framer.feed(b"") == []
        assert framer.feed(TWO[-1:]) == [TWO]

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from([ONE, TWO, FOLDED]), max_size=6),
        st.lists(st.integers(0, 400), max_size=8),
    )
    def test_any_segmentation(self, messages: list[bytes], cuts: list[int]) -> None:
        stream = b"".join(messages)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        framer = StreamFramer()
        found = [m for start, end in itertools.pairwise(edges) for m in framer.feed(stream[start:end])]
        assert found == messages

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=40) | st.sampled_from([ONE, b"\r\n\r\n", b"l: 3\r\n"]), max_size=6))
    def test_any_bytes(self, chunks: list[bytes]) -> None:
        framer = StreamFramer()
        stream = b"".join(chunks)
        found = b""
        for chunk in chunks:
            try:
                found += b"".join(framer.feed(chunk))
            except MalformedMessage:
                break
        assert stream.startswith(found)


class TestKeepalives:
    """RFC 5626 §3.5.1 and §4.4.1: a double CRLF is a ping, a single one the pong."""

    def test_ping_and_pong(self) -> None:
        framer = StreamFramer()
        assert framer.feed(PING) == [PING]
        assert framer.feed(PONG) == [PONG]
        assert framer.feed(PONG) == [PONG]

    def test_between_messages(self) -> None:
        assert StreamFramer().feed(PONG + ONE + PING + TWO + PONG) == [PONG, ONE, PING, TWO, PONG]

    def test_half_a_pong_waits(self) -> None:
        framer = StreamFramer()
        assert framer.feed(b"\r") == []
        assert framer.feed(b"\n") == [PONG]

    def test_a_line_break_inside_a_message_is_none(self) -> None:
        framer = StreamFramer()
        assert framer.feed(TWO[:-11]) == []
        assert framer.feed(b"hello\r\n\r\n..") == [TWO]


class TestErrors:
    @pytest.mark.parametrize(
        "line",
        [b"X: y", b"Content-Length: -1", b"Content-Length:", b"Content-Length: 5x", b"l: 1\r\nContent-Length: 2"],
    )
    def test_content_length_is_mandatory(self, line: bytes) -> None:
        assert_refused("content_length", b"SIP/2.0 200 OK\r\n" + line + b"\r\n\r\n")

    def test_equal_lengths_are_one(self) -> None:
        message = b"SIP/2.0 200 OK\r\nl: 1\r\nContent-Length: 1\r\n\r\nx"
        assert StreamFramer().feed(message) == [message]

    @pytest.mark.parametrize("length", [b"%d" % MAXIMUM_MESSAGE, b"9" * 5000])
    def test_too_long_a_body(self, length: bytes) -> None:
        assert_refused("too_large", b"SIP/2.0 200 OK\r\nContent-Length: " + length + b"\r\n\r\n")

    def test_headers_without_end(self) -> None:
        assert_refused("too_large", b"x" * MAXIMUM_MESSAGE, b"x")

    def test_the_largest_message_passes(self) -> None:
        head = b"SIP/2.0 200 OK\r\nContent-Length: 65536\r\n\r\n"
        assert StreamFramer().feed(head + b"x" * 65536) == [head + b"x" * 65536]

    def test_messages_before_the_error_are_delivered(self) -> None:
        framer = StreamFramer()
        assert framer.feed(ONE + b"SIP/2.0 200 OK\r\n\r\n") == [ONE]
        for _ in range(2):
            with pytest.raises(MalformedMessage):
                framer.feed(b"")
