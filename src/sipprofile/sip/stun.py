"""STUN as SIP needs it on UDP: the Binding request and its answers (RFC 8489, RFC 5626 §8), without I/O.

Only what tells whether a flow lives and as whom the server sees us. Message integrity is not looked at: a keepalive
has no credentials (RFC 5626 §8), and who could forge an answer with our transaction id could as well drop it.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib

import msgspec

MAGIC_COOKIE = b"\x21\x12\xa4\x42"
TRANSACTION_SIZE = 12  # bytes
MAXIMUM_RESPONSE = 2048  # bytes; a Binding response has a hundred

_BINDING_REQUEST, _BINDING_SUCCESS, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_MAPPED_ADDRESS, _ERROR_CODE, _XOR_MAPPED_ADDRESS, _FINGERPRINT = 0x0001, 0x0009, 0x0020, 0x8028
_KNOWN = frozenset((*range(0x0001, 0x000C), 0x0014, 0x0015, _XOR_MAPPED_ADDRESS))
"""Attributes that must be understood and are, or are of RFC 3489 and say nothing here."""
_FINGERPRINT_MASK = 0x5354554E  # RFC 8489 §14.7
_header = struct.Struct(">HH4s12s")


class StunError(ValueError):
    """What came is no answer to a Binding request, or none that can be read; the text says why."""


class BindingResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer to the Binding request with this ``transaction`` id."""

    transaction: bytes
    error: int = 0
    """Code of an error response, 300 to 699; 0 for a success."""
    mapped: tuple[str, int] | None = None
    """Our address and port as the server sees them; ``None`` when it does not say."""


def is_stun(data: bytes) -> bool:
    """Whether a datagram on a SIP port is STUN: the two highest bits of its first octet are 0 (RFC 5626 §8), which
    CRLF's are too, and it has STUN's cookie."""
    return len(data) >= 20 and data[0] < 0x40 and data[4:8] == MAGIC_COOKIE


def transaction_of(data: bytes) -> bytes:
    """The transaction id of what :func:`is_stun` is true for."""
    return data[8:20]


def binding_request(transaction: bytes) -> bytes:
    """A Binding request without attributes (RFC 5626 §4.4.2). ``transaction`` is 12 random bytes, else ValueError."""
    if len(transaction) != TRANSACTION_SIZE:
        raise ValueError("a STUN transaction id has 12 bytes")
    return _header.pack(_BINDING_REQUEST, 0, MAGIC_COOKIE, transaction)


def parse_response(data: bytes) -> BindingResponse:
    """Read the answer to a Binding request. Raises StunError for anything else.

    XOR-MAPPED-ADDRESS goes before MAPPED-ADDRESS; an attribute that must be understood (RFC 8489 §14) and is not
    makes an answer unreadable, and so does a wrong FINGERPRINT.
    """
    if not is_stun(data):
        raise StunError("it is not STUN")
    if len(data) > MAXIMUM_RESPONSE:
        raise StunError(f"it is longer than {MAXIMUM_RESPONSE} bytes")
    kind, length, _, transaction = _header.unpack_from(data)
    if kind not in (_BINDING_SUCCESS, _BINDING_ERROR):
        raise StunError(f"it is of type {kind:#06x}, not a Binding response")
    if length % 4 or length != len(data) - 20:
        raise StunError(f"its length of {length} bytes is not that of the datagram")
    error = 0
    plain: tuple[str, int] | None = None
    xored: tuple[str, int] | None = None
    at = 20
    while at < len(data):
        attribute, size = struct.unpack_from(">HH", data, at)
        value = data[at + 4 : at + 4 + size]
        if len(value) != size:
            raise StunError(f"the attribute {attribute:#06x} is cut off")
        if attribute == _XOR_MAPPED_ADDRESS and xored is None:
            xored = _address(value, transaction)
        elif attribute == _MAPPED_ADDRESS and plain is None:
            plain = _address(value)
        elif attribute == _ERROR_CODE:
            error = _error(value)
        elif attribute == _FINGERPRINT:
            if size != 4 or int.from_bytes(value, "big") != zlib.crc32(data[:at]) ^ _FINGERPRINT_MASK:
                raise StunError("its fingerprint is wrong")
            if at + 8 != len(data):
                raise StunError("something follows its fingerprint")
        elif attribute < 0x8000 and attribute not in _KNOWN:
            raise StunError(f"the attribute {attribute:#06x} must be understood and is not")
        at += 4 + (size + 3 & ~3)
    if kind == _BINDING_ERROR:
        if not error:
            raise StunError("it is an error without a code")
        return BindingResponse(transaction, error)
    return BindingResponse(transaction, 0, xored or plain)


def _address(value: bytes, transaction: bytes | None = None) -> tuple[str, int]:
    """The value of (XOR-)MAPPED-ADDRESS (RFC 8489 §14.1, §14.2); with ``transaction`` it is XORed."""
    family = value[1] if len(value) > 3 else 0
    size = {1: 4, 2: 16}.get(family, -1)
    if len(value) != 4 + size:
        raise StunError("its address is of no known family")
    mask = MAGIC_COOKIE + transaction if transaction is not None else bytes(16)
    port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(mask[:2], "big")
    number = int.from_bytes(value[4:], "big") ^ int.from_bytes(mask[:size], "big")
    return str(ipaddress.IPv4Address(number) if size == 4 else ipaddress.IPv6Address(number)), port


def _error(value: bytes) -> int:
    """The code in ERROR-CODE (RFC 8489 §14.8): the hundreds, then the rest."""
    if len(value) < 4:
        raise StunError("its error code is cut off")
    code = (value[2] & 7) * 100 + value[3]
    if not 300 <= code <= 699 or value[3] > 99:
        raise StunError(f"its error code is {code}")
    return code
