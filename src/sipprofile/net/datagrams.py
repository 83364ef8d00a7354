"""Datagrams from a UDP socket, as many as wait there with one system call (recvmmsg(2), Linux 2.6.33).

Python has no function for it, and `recvfrom` costs twice as much a datagram: for each it makes a system call, 64 kB of
memory that are then cut to size, and the text of an address.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from sipprofile.net.addresses import host_and_port

LARGEST = 65_535  # bytes, RFC 768
MOST = 32  # datagrams received at once
_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
_DONT_WAIT = int(socket.MSG_DONTWAIT)
_NAME = 32  # bytes before each datagram, for its source: a sockaddr_in or a sockaddr_in6
_SLOT = _NAME + LARGEST + 1
_NAME_LENGTH: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}  # ip(7), ipv6(7)

_header = struct.Struct("@PIPNPNi0PI0P")  # struct mmsghdr: a struct msghdr, recvmsg(2), and the datagram's length
_LENGTH_AT = struct.calcsize("@PIPNPNi0P")
_vector = struct.Struct("@PN")  # struct iovec, readv(2)
_ipv4 = struct.Struct("!2xH4s8x")  # struct sockaddr_in
_ipv6 = struct.Struct("!2xH4x16s")  # struct sockaddr_in6, whose scope is in the order of the machine
_scope = struct.Struct("=I")

Address = bytes | tuple[Any, ...]
"""Of a sender: the kernel's own form, or that of :mod:`socket`. It says more to :func:`source_of`."""
Receive = Callable[[int], list[tuple[bytes, Address]]]
"""The datagrams that wait, as many as that or :data:`MOST` at most; an empty list when there is none.

Raises OSError as `recvfrom` does; an error that comes up after a datagram is told by the next call or the error queue.
"""


def source_of(address: Address) -> tuple[str, int]:
    """The sender's address and port, as :func:`~sipprofile.net.addresses.host_and_port` tells them."""
    if isinstance(address, tuple):
        return host_and_port(address)
    if len(address) == _NAME_LENGTH[socket.AF_INET]:
        port, host = _ipv4.unpack(address)
        return socket.inet_ntop(socket.AF_INET, host), port
    port, host = _ipv6.unpack_from(address)
    return host_and_port((socket.inet_ntop(socket.AF_INET6, host), port, 0, *_scope.unpack_from(address, 24)))


def receiver(udp: socket.socket) -> Receive:
    """The way to receive that this machine has: one by one where recvmmsg(2) is missing or forbidden."""
    try:
        buffers = _buffers(udp.family)
    except (ImportError, AttributeError, MemoryError, OSError):
        return partial(_one_by_one, udp)
    return partial(buffers.receive, udp)


def _one_by_one(udp: socket.socket, most: int) -> list[tuple[bytes, Address]]:
    found: list[tuple[bytes, Address]] = []
    try:
        for _ in range(min(most, MOST)):
            found.append(udp.recvfrom(LARGEST))
    except BlockingIOError:
        pass
    except OSError:
        if not found:
            raise
    return found


class _Buffers:
    """What all sockets of an address family and a thread receive into, one after the other: nothing is left there.

    Of the 2 MB only those pages are in memory that a datagram was long enough to reach.
    """

    def __init__(self, family: int) -> None:
        """Raises ImportError, AttributeError, MemoryError or OSError where recvmmsg(2) cannot be called."""
        import ctypes  # not everywhere, and not always permitted: it may want memory that is written and executed

        def address(buffer: Any) -> int:
            return ctypes.addressof(ctypes.c_char.from_buffer(buffer))

        # The interpreter stays locked: nothing is waited for, and giving it away costs more than the system call.
        self._recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg
        self._errno = ctypes.get_errno
        self._name = _NAME_LENGTH[family]
        self._slots = mmap.mmap(-1, MOST * _SLOT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError, AttributeError):  # where there are none
            self._slots.madvise(mmap.MADV_NOHUGEPAGE)
        self._vectors = bytearray(MOST * _vector.size)
        self._headers = bytearray(MOST * _header.size)
        names, vectors = address(self._slots), address(self._vectors)
        for number in range(MOST):
            name, vector = names + number * _SLOT, vectors + number * _vector.size
            _vector.pack_into(self._vectors, number * _vector.size, name + _NAME, LARGEST)
            _header.pack_into(self._headers, number * _header.size, name, self._name, vector, 1, 0, 0, 0, 0)
        self._at = ctypes.c_void_p(address(self._headers))  # declared argument types would cost 1 µs a call
        self._lengths = memoryview(self._headers).cast("I")[_LENGTH_AT // 4 :: _header.size // 4]
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            self.receive(udp, 0)

    def receive(self, udp: socket.socket, most: int) -> list[tuple[bytes, Address]]:
        """See :data:`Receive`."""
        most = most if most < MOST else MOST
        while (count := self._recvmmsg(udp.fileno(), self._at, most, _DONT_WAIT, None)) < 0:
            number = self._errno()
            if number in _WOULD_BLOCK:
                return []
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
        found: list[tuple[bytes, Address]] = []
        slots, name = self._slots, self._name
        at = 0
        for size in self._lengths[:count]:
            begin = at + _NAME
            found.append((slots[begin : begin + size], slots[at : at + name]))
            at += _SLOT
        return found


_shared: WeakValueDictionary[tuple[int, int], _Buffers] = WeakValueDictionary()


def _buffers(family: int) -> _Buffers:
    """Those that there are for the sockets of this thread, whose loop it is; else new ones."""
    key = family, threading.get_ident()
    buffers = _shared.get(key)
    if buffers is None:
        buffers = _shared[key] = _Buffers(family)
    return buffers
