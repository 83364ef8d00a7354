"""Datagrams with one system call for many, and one by one where that is impossible: nobody sees a difference."""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from sipprofile.net import addresses, datagrams
from sipprofile.net.datagrams import LARGEST, MOST, Address, Receive, receiver, source_of
from sipprofile.net.icmp import report_icmp_errors

LOOPBACKS = ("127.0.0.1", "::1")


def bound(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((host, 0))
    udp.setblocking(False)
    return udp


class Ends:
    """A socket that receives, and two that send to it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.udp = bound(host)
        self.others = (bound(host), bound(host))
        self.receive: Receive = receiver(self.udp)

    def send(self, *messages: bytes) -> None:
        """In turn from one and the other."""
        for number, data in enumerate(messages):
            self.others[number % 2].sendto(data, self.udp.getsockname()[:2])

    def take(self, most: int = MOST) -> list[tuple[bytes, Address]]:
        """What waits, until there is nothing."""
        found = []
        while len(found) < most:
            some = self.receive(most - len(found))
            if not some:
                break
            found += some
        return found


@pytest.fixture(params=["recvmmsg", "recvfrom"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "recvfrom":
        monkeypatch.setattr(datagrams, "_buffers", missing(ImportError))
    return str(request.param)


@pytest.fixture(params=LOOPBACKS)
def ends(request: pytest.FixtureRequest, way: str) -> Iterator[Ends]:
    made = Ends(request.param)
    yield made
    for udp in (made.udp, *made.others):
        udp.close()


def missing(error: type[BaseException]) -> Any:
    def made(_: int) -> Any:
        raise error

    return made


class TestBothWays:
    def test_each_comes_whole_with_its_sender(self, ends: Ends) -> None:
        messages = [b"%d" % number * number for number in range(20)]  # the first one is empty
        ends.send(*messages)
        senders = [other.getsockname()[:2] for other in ends.others]
        told = [(data, source_of(address)) for data, address in ends.take()]
        assert told == [(data, senders[number % 2]) for number, data in enumerate(messages)]

    def test_sizes_do_not_mix(self, ends: Ends) -> None:
        sizes = (65_507, 1, 0, 40_000, 3, 65_507)
        for _ in range(2):
            ends.send(*(b"%d" % size * (size // len(str(size))) for size in sizes))
            for size, (data, _) in zip(sizes, ends.take(), strict=True):
                assert data == b"%d" % size * (size // len(str(size)))

    def test_no_more_than_asked_for(self, ends: Ends) -> None:
        ends.send(*(b"%d" % number for number in range(5)))
        assert [data for data, _ in ends.take(3)] == [b"0", b"1", b"2"]
        assert [data for data, _ in ends.take(3)] == [b"3", b"4"]

    def test_no_more_than_there_is_room_for(self, ends: Ends) -> None:
        ends.send(*(b"%d" % number for number in range(MOST + 5)))
        first = ends.receive(10 * MOST)
        assert len(first) <= MOST
        assert [data for data, _ in first + ends.take(2 * MOST)] == [b"%d" % number for number in range(MOST + 5)]

    def test_an_address_is_the_same_each_time_and_differs_from_others(self, ends: Ends) -> None:
        ends.send(*(b"x" for _ in range(6)))
        found = [address for _, address in ends.take()]
        assert len(set(found)) == 2
        assert found[0::2] == [found[0]] * 3

    def test_nothing_there(self, ends: Ends) -> None:
        assert ends.receive(MOST) == []

    def test_a_pending_error_comes_once_and_before_what_waits(self, ends: Ends) -> None:
        """ip(7), IP_RECVERR: an ICMP error about an earlier datagram."""
        report_icmp_errors(ends.udp)
        closed = ends.others[1].getsockname()[:2]
        ends.others[1].close()
        ends.udp.sendto(b"x", closed)
        ends.others[0].sendto(b"waits", ends.udp.getsockname()[:2])
        with pytest.raises(ConnectionRefusedError):
            ends.receive(MOST)
        assert [data for data, _ in ends.take()] == [b"waits"]

    def test_a_closed_socket(self, ends: Ends) -> None:
        """Its number may be that of another one soon."""
        ends.udp.close()
        with pytest.raises(OSError) as caught:
            ends.receive(MOST)
        assert caught.value.errno == errno.EBADF


class TestSources:
    def test_ipv4(self) -> None:
        address = struct.pack("=H", socket.AF_INET) + bytes((0x13, 0xC4, 192, 0, 2, 7)) + bytes(8)
        assert source_of(address) == ("192.0.2.7", 5060)

    def ipv6(self, host: str, scope: int) -> bytes:
        number = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=H", socket.AF_INET6) + bytes((0x13, 0xC4)) + bytes(4) + number + struct.pack("=I", scope)

    def test_ipv6(self) -> None:
        assert source_of(self.ipv6("2001:db8::7", 0)) == ("2001:db8::7", 5060)

    def test_a_link_local_address_names_its_interface(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 4007 §11; an interface that is gone has only its number."""
        address = self.ipv6("fe80::7", 3)
        monkeypatch.setattr(addresses.socket, "if_indextoname", lambda index: f"eth{index}")
        assert source_of(address) == ("fe80::7%eth3", 5060)
        assert source_of(("fe80::7", 5060, 0, 3)) == ("fe80::7%eth3", 5060)
        monkeypatch.undo()
        assert source_of(self.ipv6("fe80::7", 999_999)) == ("fe80::7%999999", 5060)


class Kernel:
    """`ctypes` whose recvmmsg(2) fails with these errors first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
        self.asked = 0
        numbers_left = list(numbers)
        library = ctypes.PyDLL(None, use_errno=True)

        def recvmmsg(*arguments: Any) -> int:
            self.asked += 1
            if numbers_left:
                ctypes.set_errno(numbers_left.pop(0))
                return -1
            return int(library.recvmmsg(*arguments))

        class Library:
            pass

        Library.recvmmsg = staticmethod(recvmmsg)  # type: ignore[attr-defined]
        monkeypatch.setattr(ctypes, "PyDLL", lambda *_, **__: Library)
        monkeypatch.setattr(datagrams, "_buffers", datagrams._Buffers)


def received_by(udp: socket.socket) -> bytes:
    with bound("127.0.0.1") as other:
        other.sendto(b"hello", udp.getsockname())
        [(data, address)] = receiver(udp)(MOST)
        assert source_of(address) == other.getsockname()
        return data


class Interrupted:
    """A socket with an error between two datagrams."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self._coming = [b"before", ConnectionRefusedError(), b"after"]

    def recvfrom(self, _: int) -> tuple[bytes, tuple[str, int]]:
        if not self._coming:
            raise BlockingIOError
        came = self._coming.pop(0)
        if isinstance(came, OSError):
            raise came
        return came, ("192.0.2.7", 5060)


class TestWhereItIsImpossible:
    def test_an_error_takes_no_datagram_with_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datagrams, "_buffers", missing(ImportError))
        udp: Any = Interrupted()
        receive = receiver(udp)
        assert [data for _ in range(2) for data, _ in receive(MOST)] == [b"before", b"after"]

    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
    def test_the_kernel_refuses(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        kernel = Kernel(monkeypatch, number)
        with bound("127.0.0.1") as udp:
            assert received_by(udp) == b"hello"
        assert kernel.asked == 1, "it is not asked again"

    def test_the_library_has_no_such_function(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ctypes, "PyDLL", lambda *_, **__: object())
        monkeypatch.setattr(datagrams, "_buffers", datagrams._Buffers)
        with bound("127.0.0.1") as udp:
            assert received_by(udp) == b"hello"

    def test_there_is_no_ctypes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ctypes", None)
        monkeypatch.setattr(datagrams, "_buffers", datagrams._Buffers)
        with bound("127.0.0.1") as udp:
            assert received_by(udp) == b"hello"

    def test_memory_must_not_be_executed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datagrams, "_buffers", missing(MemoryError))
        with bound("127.0.0.1") as udp:
            assert received_by(udp) == b"hello"


def buffers_of(receive: Receive) -> Any:
    assert isinstance(receive, partial)
    return receive.func.__self__


class TestBuffers:
    def test_sockets_share_them_and_other_threads_have_their_own(self) -> None:
        with bound("127.0.0.1") as one, bound("127.0.0.1") as two, ThreadPoolExecutor(1) as thread:
            mine, too, others = receiver(one), receiver(two), thread.submit(receiver, one).result()
        assert buffers_of(mine) is buffers_of(too)
        assert buffers_of(mine) is not buffers_of(others)

    def test_an_interrupted_call_is_made_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = Kernel(monkeypatch, errno.EINTR)
        with bound("127.0.0.1") as udp:
            assert received_by(udp) == b"hello"
        assert kernel.asked == 3, "at first, again, and for the datagram"

    def test_only_what_datagrams_reach_is_in_memory(self) -> None:
        buffers = datagrams._Buffers(socket.AF_INET)
        with bound("127.0.0.1") as udp, bound("127.0.0.1") as other:
            for _ in range(MOST):
                other.sendto(b"x" * 500, udp.getsockname())
            assert len(buffers.receive(udp, MOST)) == MOST
        assert MOST * 500 < resident(buffers._slots) <= 2 * MOST * mmap.PAGESIZE


def resident(buffer: mmap.mmap) -> int:
    """Bytes of it that are in memory (mincore(2))."""
    pages = (ctypes.c_ubyte * -(-len(buffer) // mmap.PAGESIZE))()
    start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
    assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(len(buffer)), pages) == 0
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def test_the_largest_datagram_there_can_be_has_room() -> None:
    assert LARGEST >= 65_535 - 8, "RFC 768: the length, which the header is part of, has 16 bits"
