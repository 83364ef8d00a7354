"""Where responses go (RFC 3261 §18.2.2, RFC 3581 §4)."""

from __future__ import annotations

from ..registration.actions import TransportKey
from ..sip.headers import Via, parse_via, split_list
from ..sip.message import Request
from ..sip.syntax import SipSyntaxError

DEFAULT_PORT = 5060  # RFC 3261 §18.2.2


def top_via(request: Request) -> Via | None:
    """The Via of whoever sent the request to us, ``None`` when it cannot be read."""
    try:
        return parse_via(split_list(request.header("via") or "")[0])
    except (SipSyntaxError, IndexError):
        return None


def return_path(via: Via, source: tuple[str, int], key: TransportKey) -> TransportKey:
    """Back on a connection, by UDP to the sender's host.

    ``maddr`` is not followed: it would let a stranger point us at others.
    """
    if key.protocol != "udp":
        return key
    port = source[1] if "rport" in via.params else via.port or DEFAULT_PORT
    return TransportKey("udp", source[0], port, key.dscp, local_port=key.local_port)
