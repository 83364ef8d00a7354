"""STUN for SIP (RFC 8489, RFC 5626 §8): the test vectors of RFC 5769, answers of every kind, and whatever may come."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipprofile.sip.stun import MAXIMUM_RESPONSE, StunError, binding_request, is_stun, parse_response

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
"""Of the test vectors."""

REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b1"
    "51263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599"
    "fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5"
    "bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def attribute(kind: int, value: bytes, padding: bytes = b"\0") -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + padding * (-len(value) % 4)


def response(*attributes: bytes, kind: int = 0x0101, length: int | None = None) -> bytes:
    body = b"".join(attributes)
    return struct.pack(">HH", kind, len(body) if length is None else length) + b"\x21\x12\xa4\x42" + TRANSACTION + body


PLAIN = attribute(0x0001, bytes.fromhex("0001138ac0000207"))  # 192.0.2.7:5002


class TestVectors:
    """RFC 5769 §2."""

    def test_an_ipv4_response(self) -> None:
        found = parse_response(IPV4)
        assert (found.transaction, found.error, found.mapped) == (TRANSACTION, 0, ("192.0.2.1", 32853))

    def test_an_ipv6_response(self) -> None:
        assert parse_response(IPV6).mapped == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)

    def test_a_request_is_stun_but_no_response(self) -> None:
        assert is_stun(REQUEST)
        with pytest.raises(StunError, match="type 0x0001"):
            parse_response(REQUEST)

    @pytest.mark.parametrize("vector", [IPV4, IPV6])
    def test_any_changed_byte_is_noticed_by_the_fingerprint(self, vector: bytes) -> None:
        for position in range(20, len(vector) - 8):
            with pytest.raises(StunError):
                parse_response(vector[:position] + bytes([vector[position] ^ 1]) + vector[position + 1 :])


class TestRequest:
    def test_it_has_a_header_and_nothing_else(self) -> None:
        assert binding_request(TRANSACTION) == bytes.fromhex("000100002112a442") + TRANSACTION
        assert is_stun(binding_request(TRANSACTION))

    @pytest.mark.parametrize("size", [0, 11, 13])
    def test_a_transaction_id_has_12_bytes(self, size: int) -> None:
        with pytest.raises(ValueError, match="12 bytes"):
            binding_request(bytes(size))


class TestDemultiplexing:
    """RFC 5626 §8."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n\r\n",
            b"\r\n" * 20,
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\n",
            IPV4[:19],
            b"\x41" + IPV4[1:],
            IPV4[:4] + b"\x21\x12\xa4\x43" + IPV4[8:],  # RFC 3489 had no cookie
        ],
    )
    def test_what_is_not_stun(self, data: bytes) -> None:
        assert not is_stun(data)
        with pytest.raises(StunError):
            parse_response(data)


class TestResponse:
    def test_mapped_address_of_an_old_server(self) -> None:
        """RFC 3489 §11.2.1, with attributes that nobody needs any more."""
        old = attribute(0x0004, bytes.fromhex("0001138ac0000209")), attribute(0x0005, bytes.fromhex("0001138ac0000208"))
        assert parse_response(response(PLAIN, *old)).mapped == ("192.0.2.7", 5002)

    def test_the_xored_address_goes_first(self) -> None:
        xored = attribute(0x0020, bytes.fromhex("0001a147e112a643"))
        assert parse_response(response(PLAIN, xored)).mapped == ("192.0.2.1", 32853)

    def test_no_address_at_all(self) -> None:
        assert parse_response(response()).mapped is None

    def test_an_error(self) -> None:
        code = attribute(0x0009, b"\0\0\x04\x14Unknown Attribute")
        found = parse_response(response(code, attribute(0x000A, b"\0\x24"), kind=0x0111))
        assert (found.error, found.mapped) == (420, None)

    def test_optional_attributes_are_passed_over(self) -> None:
        assert parse_response(response(attribute(0x8022, b"x" * 5), PLAIN)).mapped == ("192.0.2.7", 5002)

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (response(attribute(0x0030, b"")), "must be understood"),
            (response(kind=0x0111), "without a code"),
            (response(attribute(0x0009, b"\0\0\x04"), kind=0x0111), "cut off"),
            (response(attribute(0x0009, b"\0\0\x01\x00"), kind=0x0111), "error code is 100"),
            (response(attribute(0x0009, b"\0\0\x04\xff"), kind=0x0111), "error code is 655"),
            (response(attribute(0x0001, b"\0\3\0\0\0\0\0\0")), "no known family"),
            (response(attribute(0x0001, b"\0\1\0\0\0\0\0")), "no known family"),
            (response(attribute(0x0020, b"\0\2\0\0\0\0\0\0")), "no known family"),
            (response(attribute(0x0020, b"")), "no known family"),
            (response(b"\0\1\0\x08\0\1"), "length"),
            (response(b"\0\1\0\x09\0\1\0\0\0\0\0\0"), "cut off"),
            (response(PLAIN, length=8), "length"),
            (response(PLAIN) + b"x", "length"),
            (response(attribute(0x8022, b"x" * MAXIMUM_RESPONSE)), "longer than"),
            (response(kind=0x0102), "type 0x0102"),
            (response(attribute(0x8028, b"\0\0\0\0")), "fingerprint is wrong"),
            (response(attribute(0x8028, b"\0\0\0")), "fingerprint is wrong"),
        ],
    )
    def test_what_cannot_be_read(self, data: bytes, sentence: str) -> None:
        with pytest.raises(StunError, match=sentence):
            parse_response(data)

    def test_nothing_follows_the_fingerprint(self) -> None:
        head = response(length=16)
        fingerprint = attribute(0x8028, struct.pack(">I", zlib.crc32(head) ^ 0x5354554E))
        with pytest.raises(StunError, match="follows its fingerprint"):
            parse_response(head + fingerprint + attribute(0x8022, b"abcd"))


class TestWhateverMayCome:
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        for candidate in (data, response(data), response(data, kind=0x0111), IPV4[:20] + data):
            try:
                parse_response(candidate)
            except StunError:
                pass

    @given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=24)), max_size=8))
    def test_any_attributes(self, attributes: list[tuple[int, bytes]]) -> None:
        try:
            parse_response(response(*(attribute(kind, value) for kind, value in attributes)))
        except StunError:
            pass
