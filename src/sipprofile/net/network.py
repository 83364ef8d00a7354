"""Changes of addresses, links and routes, told by the Linux kernel (rtnetlink(7)).

Two structures are read; a library for the whole of netlink would take 13 MB and 0.2 s for them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator

LOOK_AFTER = 0.1  # seconds; what changes together is looked at together
LOOK_EVERY = 30.0  # seconds between looks where the kernel does not tell
MAXIMUM_READS = 256  # in one go; the rest is read at the next wake-up
DUMP_LIMIT = 1.0  # seconds; the kernel answers at once

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # <linux/rtnetlink.h> RTMGRP_LINK, IPV4_IFADDR, _ROUTE, IPV6_IFADDR, _ROUTE
_REQUEST, _DUMP = 0x1, 0x300  # <linux/netlink.h> NLM_F_REQUEST, NLM_F_DUMP
_DONE, _ERROR = 3, 2  # NLMSG_DONE, NLMSG_ERROR
_NEW_ADDRESS, _GET_ADDRESS = 20, 22  # RTM_NEWADDR, RTM_GETADDR
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8  # <linux/if_addr.h> IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
_UNUSABLE = 0x40 | 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED: duplicate address detection, RFC 4862 §5.4
_SCOPE_LINK = 253  # RT_SCOPE_LINK; from here on an address is of a link or of this host alone
_header = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_address = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, interface
_attribute = struct.Struct("=HH")  # struct rtattr: length, type


class NetworkMonitor:
    """Calls ``changed(addresses)`` some time after each change, with the local addresses of :func:`local_addresses`.

    Where the kernel does not tell (:attr:`told` is false) it is called every 30 s, whether there was a change or not.
    """

    def __init__(self, changed: Callable[[frozenset[str] | None], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._epoll: select.epoll | None = None
        try:
            self._socket = _listening()
        except OSError:
            self._look = self._loop.call_later(LOOK_EVERY, self._look_around)
        else:
            # An overrun makes the socket report POLLERR, upon which uvloop stops watching it for good. An epoll around
            # it is merely readable then.
            self._epoll = select.epoll()
            self._epoll.register(self._socket, select.EPOLLIN)
            self._loop.add_reader(self._epoll.fileno(), self._ready)

    @property
    def told(self) -> bool:
        """Whether the kernel tells of changes."""
        return self._socket is not None

    def close(self) -> None:
        """Nothing is called any more."""
        if self._look is not None:
            self._look.cancel()
        if self._socket is not None and self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._socket.close()

    def _ready(self) -> None:
        """Something has changed, or more than the kernel could tell; what, is seen by looking."""
        assert self._socket is not None
        for _ in range(MAXIMUM_READS):
            try:
                self._socket.recv(1)  # the rest of the message is dropped
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    break
        if self._look is None:
            self._look = self._loop.call_later(LOOK_AFTER, self._look_around)

    def _look_around(self) -> None:
        self._look = None if self.told else self._loop.call_later(LOOK_EVERY, self._look_around)
        self._changed(local_addresses())


def _listening() -> socket.socket:
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        listener.bind((0, _GROUPS))
    except OSError:
        listener.close()
        raise
    return listener


def local_addresses() -> frozenset[str] | None:
    """The addresses of this machine that others can reach: neither loopback nor link-local nor being checked for
    duplicates. ``None`` when the kernel does not say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as route:
            route.settimeout(DUMP_LIMIT)
            length = _header.size + _address.size
            route.send(_header.pack(length, _GET_ADDRESS, _REQUEST | _DUMP, 1, 0) + _address.pack(0, 0, 0, 0, 0))
            return frozenset(_dumped(route))
    except OSError:
        return None


def _dumped(route: socket.socket) -> Iterator[str]:
    while True:
        data = route.recv(65536)
        while len(data) >= _header.size:
            length, kind, *_ = _header.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR or not _header.size <= length <= len(data):
                raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
            if kind == _NEW_ADDRESS:
                yield from usable_address(data[_header.size : length])
            data = data[_aligned(length) :]


def usable_address(message: bytes) -> Iterator[str]:
    """The address of an RTM_NEWADDR message if others can reach it."""
    if len(message) < _address.size:
        return
    family, _, flags, scope, _ = _address.unpack_from(message)
    attributes = message[_address.size :]
    found: dict[int, bytes] = {}
    while len(attributes) >= _attribute.size:
        length, kind = _attribute.unpack_from(attributes)
        if not _attribute.size <= length <= len(attributes):
            break
        found[kind] = attributes[_attribute.size : length]
        attributes = attributes[_aligned(length) :]
    if len(found.get(_FLAGS, b"")) == 4:
        (flags,) = struct.unpack("=I", found[_FLAGS])
    raw = found.get(_LOCAL) or found.get(_ADDRESS)  # IFA_ADDRESS is the other end of a point-to-point link
    expected = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family)
    if scope < _SCOPE_LINK and not flags & _UNUSABLE and raw is not None and len(raw) == expected:
        yield socket.inet_ntop(family, raw)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
