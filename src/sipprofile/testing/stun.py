"""The answer to a STUN Binding request on the registrar's SIP port (RFC 5626 §3.5.2, RFC 8489 §14.2)."""

from __future__ import annotations

import ipaddress
import struct

from sipprofile.sip.stun import MAGIC_COOKIE, transaction_of

_SUCCESS = 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_FAMILIES = {4: 1, 6: 2}


def binding_response(request: bytes, source: tuple[str, int]) -> bytes:
    """A Binding success response that tells ``source``, the address and port that the request came from."""
    transaction = transaction_of(request)
    address = ipaddress.ip_address(source[0])
    mask = (MAGIC_COOKIE + transaction)[: len(address.packed)]
    hidden = bytes(one ^ other for one, other in zip(address.packed, mask, strict=True))
    port = source[1] ^ int.from_bytes(MAGIC_COOKIE[:2], "big")
    value = struct.pack("!BBH", 0, _FAMILIES[address.version], port) + hidden
    attribute = struct.pack("!HH", _XOR_MAPPED_ADDRESS, len(value)) + value
    return struct.pack("!HH", _SUCCESS, len(attribute)) + MAGIC_COOKIE + transaction + attribute
