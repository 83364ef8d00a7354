"""ICMP errors about our datagrams, from the error queue of a Linux socket (ip(7), IP_RECVERR; recvmsg(2))."""

from __future__ import annotations

import errno
import socket
import struct

_IP_RECVERR = 11  # <linux/in.h>
_IPV6_RECVERR = 25  # <linux/in6.h>
_MSG_ERRQUEUE = 0x2000  # <linux/socket.h>

_extended_error = struct.Struct("=IBBBBII")  # struct sock_extended_err: ee_errno first
_ANCILLARY = socket.CMSG_SPACE(_extended_error.size + 28)  # followed by the offender's sockaddr_in6 at most
_MAXIMUM_ERRORS = 256  # read in one go; the socket stays readable for the rest


def report_icmp_errors(udp: socket.socket) -> None:
    """Let the error queue of a socket collect ICMP errors."""
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        udp.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def read_icmp_errors(udp: socket.socket) -> dict[tuple[str, int], int]:
    """Empty the error queue: the destinations that were not reached, each with its last `errno` value.

    EMSGSIZE (ICMP "fragmentation needed", ICMPv6 "packet too big") is no failure: the kernel has learned the path's
    MTU and fragments the retransmission (RFC 1191 §6.2).
    """
    found: dict[tuple[str, int], int] = {}
    for _ in range(_MAXIMUM_ERRORS):
        try:
            _, ancillary, _, address = udp.recvmsg(0, _ANCILLARY, _MSG_ERRQUEUE)
        except OSError:
            break
        if not address:
            continue
        for level, kind, data in ancillary:
            is_error = (level, kind) in (
                (socket.IPPROTO_IP, _IP_RECVERR),
                (socket.IPPROTO_IPV6, _IPV6_RECVERR),
            )
            if is_error and len(data) >= _extended_error.size:
                number = _extended_error.unpack_from(data)[0]
                if number != errno.EMSGSIZE or address[:2] not in found:
                    found[address[:2]] = number
    return found
