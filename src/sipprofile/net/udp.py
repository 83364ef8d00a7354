"""One UDP socket (RFC 3261 §18), without a transport of asyncio, which costs five times more a datagram."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

from sipprofile.net.addresses import address_family, is_numeric
from sipprofile.net.datagrams import Address, receiver, source_of
from sipprofile.net.failures import failure_code, failure_sentence
from sipprofile.net.icmp import read_icmp_errors, report_icmp_errors
from sipprofile.net.segments import FEWEST, groups, taken_apart
from sipprofile.registration.actions import TransportKey

RECEIVE_BUFFER = 4 << 20  # bytes; the answers to a burst wait here while the loop is busy
DATAGRAMS_PER_WAKE_UP = 32  # less than a millisecond; applications are read before the next
MANY = 16  # datagrams; while so many are dealt with, others come that may as well be dealt with at once
MAXIMUM_QUEUED = 10_000  # datagrams that the kernel did not take at once
MAXIMUM_ROUTES = 10_000
MAXIMUM_SOURCES = 1_000  # whose addresses are kept in both forms
LARGE = 1300  # bytes; RFC 3261 §18.1.1

_SO_RCVBUFFORCE = 33  # <asm/socket.h>; needs CAP_NET_ADMIN, goes beyond net.core.rmem_max
_IP_MTU_DISCOVER = 10  # <linux/in.h>, as the next four
_IP_PMTUDISC_DONT, _IP_PMTUDISC_WANT = 0, 1
_IP_MTU = 14
_IPV6_MTU_DISCOVER = 23  # <linux/in6.h>
_IPV6_MTU = 24
_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
_NOT_TAKEN_APART = frozenset((errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP))

_Ancillary = tuple[tuple[int, int, bytes], ...]


class UdpSocket:
    """A bound socket. Sends to many destinations, tells what arrives and which of them cannot be reached.

    `received(data, source, key)`, `failed(key, code, sentence)` and `flush()` are those of
    :class:`sipprofile.net.transports.Transports`; `narrowed(key)`: the path carries less than :meth:`path` has said.
    Both are always told later, never within `send`.

    Datagrams say "don't fragment", so that routers report the path's MTU and the kernel learns it (RFC 1191); what is
    longer than that MTU the kernel fragments itself. But such a report may be filtered on its way. So what is large and
    goes by UDP all the same, because its destination takes no TCP, may be fragmented on the way (IPv4; in IPv6 only the
    sender fragments).
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        received: Callable[[bytes, tuple[str, int], TransportKey], None],
        failed: Callable[[TransportKey, str, str], None],
        narrowed: Callable[[TransportKey], None],
        flush: Callable[[], None],
        local_port: int = 0,
    ) -> None:
        """Bind. `local_port` is that of the keys of what arrives. Raises OSError."""
        self._local_port = local_port
        self._received = received
        self._failed = failed
        self._narrowed = narrowed
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self.family = address_family(host)
        self.host = host
        self._large = LARGE if self.family == socket.AF_INET else 65536
        self.dropped = 0
        """Datagrams that were not sent because the kernel's queue and then ours were full."""
        self._routes: dict[TransportKey, tuple[tuple[str, int], _Ancillary]] = {}
        self._one_by_one: set[TransportKey] = set()
        """Destinations that the kernel does not take apart datagrams for, as behind some tunnels."""
        self._queue: deque[tuple[bytes, TransportKey]] = deque()
        self._received_from: dict[Address, tuple[tuple[str, int], TransportKey]] = {}
        self._untold: list[tuple[bytes, Address]] = []
        self._socket = socket.socket(self.family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if self.family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._learn_mtu()
            report_icmp_errors(self._socket)
            _enlarge_receive_buffer(self._socket)
            self._socket.bind((host, port))
            # An ICMP error makes the socket report POLLERR, upon which uvloop stops watching it for good. An
            # epoll around it is merely readable then.
            self._epoll = select.epoll()
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._receive = receiver(self._socket)
        self._epoll.register(self._socket, select.EPOLLIN)
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def path(self, key: TransportKey) -> tuple[str, int]:
        """The interface address that datagrams to `key` leave from, and the path's MTU as far as the kernel knows it (0
        when it does not). Raises OSError when there is no way."""
        if not is_numeric(key.host):
            raise OSError(errno.EINVAL, "not a numeric address")
        with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.bind((self.host, 0))
            probe.connect((key.host, key.port))
            host: str = probe.getsockname()[0]
            option = (
                (socket.IPPROTO_IPV6, _IPV6_MTU) if self.family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
            )
            try:
                return host, probe.getsockopt(*option)
            except OSError:
                return host, 0

    def send(self, key: TransportKey, data: bytes) -> None:
        """Send one datagram, or queue it while the kernel takes no more."""
        if self._queue:
            self._enqueue(data, key)
        elif not self._try_to_send(data, key):
            self._enqueue(data, key)
            self._epoll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)

    def send_many(self, key: TransportKey, datagrams: Sequence[bytes]) -> None:
        """Send datagrams whose order does not matter; those of one length together."""
        if len(datagrams) < FEWEST or self._queue or key in self._one_by_one:
            for data in datagrams:
                self.send(key, data)
            return
        for alike in groups(datagrams):
            if len(alike) < FEWEST or not self._sent_together(key, alike):
                for data in alike:
                    self.send(key, data)

    def _sent_together(self, key: TransportKey, alike: list[bytes]) -> bool:
        """False when each has to be sent alone, which also tells why it cannot be sent at all."""
        route = self._routes.get(key) or self._route(key)
        length = len(alike[0])
        if route is None or self._queue or not 0 < length <= self._large:
            return False
        address, ancillary = route
        try:
            self._socket.sendmsg(alike, (*ancillary, taken_apart(length)), 0, address)
        except OSError as error:
            if error.errno in _NOT_TAKEN_APART:
                self._one_by_one.add(key)
            return False
        return True

    def forget(self, key: TransportKey) -> None:
        """Nothing more goes to `key`, and nothing about it is told."""
        self._routes.pop(key, None)
        self._one_by_one.discard(key)

    def close(self) -> None:
        """Close; what is queued is lost."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._socket.close()
        self._queue.clear()
        self._untold.clear()
        self._routes.clear()

    def _try_to_send(self, data: bytes, key: TransportKey) -> bool:
        """False when the kernel takes nothing now."""
        route = self._routes.get(key) or self._route(key)
        if route is None:
            self._report(key, errno.EINVAL)
            return True
        address, ancillary = route
        for attempt in range(3):
            try:
                if len(data) > self._large:
                    self._send_large(data, ancillary, address)
                elif ancillary:
                    self._socket.sendmsg((data,), ancillary, 0, address)
                else:
                    self._socket.sendto(data, address)
                return True
            except OSError as error:
                number = error.errno or 0
            if number in _WOULD_BLOCK:
                return False
            if number == errno.ENOBUFS:  # the interface's queue is full: lost as on the wire, retransmitted
                self.dropped += 1
                return True
            # The first error may be that of an earlier datagram and only come up now (ip(7), IP_RECVERR): the
            # error queue tells whose it was, and this datagram has not been sent.
            if not self._report_icmp_errors() and attempt:
                break
        self._report(key, number)
        return True

    def _send_large(self, data: bytes, ancillary: _Ancillary, address: tuple[str, int]) -> None:
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        try:
            self._socket.sendmsg((data,), ancillary, 0, address)
        finally:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_WANT)

    def _learn_mtu(self) -> None:
        """Whatever the system's default is (net.ipv4.ip_no_pmtu_disc)."""
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_WANT)
        if self.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_WANT)

    def _route(self, key: TransportKey) -> tuple[tuple[str, int], _Ancillary] | None:
        """None for a host that is no numeric address: the socket would block to look it up."""
        if not is_numeric(key.host):
            return None
        if len(self._routes) >= MAXIMUM_ROUTES:
            self._routes.clear()
            self._one_by_one.clear()
        ancillary: _Ancillary = ()
        if key.dscp is not None:
            traffic_class = struct.pack("i", key.dscp << 2)  # RFC 2474 §3
            if self.family == socket.AF_INET6:
                ancillary = ((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class),)
            else:
                ancillary = ((socket.IPPROTO_IP, socket.IP_TOS, traffic_class),)
        route = self._routes[key] = ((key.host, key.port), ancillary)
        return route

    def _enqueue(self, data: bytes, key: TransportKey) -> None:
        if len(self._queue) >= MAXIMUM_QUEUED:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((data, key))

    def _send_queued(self) -> None:
        queue = self._queue
        while queue:
            data, key = queue[0]
            if not self._try_to_send(data, key):
                return
            queue.popleft()
        self._epoll.modify(self._socket, select.EPOLLIN)

    def _ready(self) -> None:
        if self._queue:
            self._send_queued()
        receive = self._receive
        received = self._received
        known = self._received_from.get
        count = 0
        try:
            while count < DATAGRAMS_PER_WAKE_UP:
                try:
                    untold = self._untold = receive(DATAGRAMS_PER_WAKE_UP - count)
                except OSError:
                    self._report_icmp_errors()
                    break
                if not untold:
                    if not count:  # woken up for the error queue alone
                        self._report_icmp_errors()
                    break
                came = len(untold)
                count += came
                for data, address in untold:
                    source, key = known(address) or self._source(address)
                    try:
                        received(data, source, key)
                    except Exception as error:  # those that come after it are nowhere else
                        self._loop.call_exception_handler({"message": "mistake in received", "exception": error})
                if came < MANY:
                    break
        finally:
            if count:
                self._flush()

    def _source(self, address: Address) -> tuple[tuple[str, int], TransportKey]:
        """Where a datagram comes from, and the key back there."""
        source = source_of(address)
        found = source, TransportKey("udp", source[0], source[1], local_port=self._local_port)
        if len(self._received_from) >= MAXIMUM_SOURCES:
            self._received_from.clear()
        if "%" not in source[0]:  # an interface may get another name
            self._received_from[address] = found
        return found

    def _report_icmp_errors(self) -> bool:
        """Tell what the error queue holds; False when it was empty."""
        errors = read_icmp_errors(self._socket)
        if errors:
            for key, (address, _) in self._routes.items():
                number = errors.get(address)
                if number == errno.EMSGSIZE:
                    self._loop.call_soon(self._narrowed, key)
                elif number is not None:
                    self._report(key, number)
        return bool(errors)

    def _report(self, key: TransportKey, number: int) -> None:
        sentence = failure_sentence(number, key.host, key.port, "udp")
        self._loop.call_soon(self._failed, key, failure_code(number), sentence)


def _enlarge_receive_buffer(udp: socket.socket) -> None:
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
