"""Why a transport failed: the operating system's error number as a stable code and a sentence."""

from __future__ import annotations

import errno
import os

from sipprofile.net.addresses import destination

_REFUSED = frozenset({errno.ECONNREFUSED})
_UNREACHABLE = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINVAL,  # a destination that the bound local address cannot reach
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENODEV,
    }
)
_CLOSED = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.EPIPE})


def failure_code(number: int) -> str:
    """One of transport_refused, _unreachable, _timeout, _closed, _failed for an `errno` value."""
    if number in _REFUSED:
        return "transport_refused"
    if number in _UNREACHABLE:
        return "transport_unreachable"
    if number == errno.ETIMEDOUT:
        return "transport_timeout"
    if number in _CLOSED:
        return "transport_closed"
    return "transport_failed"


def failure_sentence(number: int, host: str, port: int, protocol: str) -> str:
    """What the operating system said about a destination."""
    reason = os.strerror(number) if number else "unknown error"
    return f"{destination(host, port)} over {protocol.upper()}: {reason}"
