"""UDP of `sipprofile.net` on the loopback interface, on both event loops."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from typing import Any

import pytest
from loops import Runner, Told, both_loops

from sipprofile.net import datagrams
from sipprofile.net import udp as udp_module
from sipprofile.net.failures import failure_code
from sipprofile.net.icmp import read_icmp_errors
from sipprofile.net.transports import Transports
from sipprofile.net.udp import DATAGRAMS_PER_WAKE_UP, UdpSocket
from sipprofile.registration.actions import TransportKey

LOOPBACKS = ("127.0.0.1", "::1")


@asynccontextmanager
async def running(*bind: str) -> AsyncIterator[tuple[Transports, Told]]:
    told = Told()
    transports = Transports(bind=bind or ("127.0.0.1",), port=0, **told.callbacks())
    await transports.start()
    try:
        yield transports, told
    finally:
        await transports.stop()


@contextmanager
def peer(host: str = "127.0.0.1") -> Iterator[tuple[socket.socket, TransportKey]]:
    """Somebody else's socket and the key that leads there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        other.settimeout(5)
        yield other, TransportKey("udp", host, other.getsockname()[1])


def closed_port(host: str = "127.0.0.1") -> TransportKey:
    with peer(host) as (_, key):
        return key


@pytest.fixture(params=["many at once", "one by one"])
def received_so(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without recvmmsg(2)."""

    def not_here(_: int) -> Any:
        raise ImportError

    if request.param == "one by one":
        monkeypatch.setattr(datagrams, "_buffers", not_here)


@pytest.mark.usefixtures("received_so")
class TestReceiving:
    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_a_datagram_comes_with_its_source_and_the_key_back(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(host) as (transports, told):
                with peer(host) as (other, key):
                    other.sendto(b"hello", (host, transports.port))
                    await told.wait("flush")
                    assert told.events == [("received", b"hello", (host, key.port), key), ("flush",)]
                    transports.send(key, b"back")
                    data, source = other.recvfrom(100)
                    assert (data, source[:2]) == (b"back", (host, transports.port))

        run(main())

    @both_loops
    def test_a_batch_is_flushed_once_and_is_bounded(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (other, _):
                    for number in range(100):
                        other.sendto(b"%d" % number, ("127.0.0.1", transports.port))
                    await told.wait("flush", ceil(100 / DATAGRAMS_PER_WAKE_UP))
                    assert [data for data, _, _ in told.all("received")] == [b"%d" % n for n in range(100)]
                    assert told.kinds().index("flush") == DATAGRAMS_PER_WAKE_UP

        run(main())

    @both_loops
    def test_an_exception_in_the_core_does_not_stop_reading(self, run: Runner) -> None:
        async def main() -> None:
            told = Told()
            problems: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

            def received(data: bytes, source: tuple[str, int], key: TransportKey) -> None:
                if data == b"bad":
                    raise ZeroDivisionError
                told.received(data, source, key)

            transports = Transports(bind=("127.0.0.1",), port=0, **{**told.callbacks(), "received": received})
            await transports.start()
            with peer() as (other, _):
                other.sendto(b"bad", ("127.0.0.1", transports.port))
                other.sendto(b"good", ("127.0.0.1", transports.port))
                assert (await told.wait("received"))[0] == b"good"
            await transports.stop()
            assert [type(problem["exception"]) for problem in problems] == [ZeroDivisionError]

        run(main())

    @both_loops
    def test_nothing_is_told_after_a_stop_in_the_middle(self, run: Runner) -> None:
        async def main() -> None:
            told = Told()
            sockets: list[UdpSocket] = []

            def received(data: bytes, source: tuple[str, int], key: TransportKey) -> None:
                told.received(data, source, key)
                sockets[0].close()

            callbacks: Any = {"received": received, "flush": told.flush, "failed": told.failed}
            sockets.append(UdpSocket("127.0.0.1", 0, narrowed=lambda _: None, **callbacks))
            with peer() as (other, _):
                for _ in range(3):
                    other.sendto(b"x", ("127.0.0.1", sockets[0].port))
                await told.wait("flush")
                await asyncio.sleep(0)
                assert told.kinds() == ["received", "flush"]

        run(main())

    def test_a_single_datagram_takes_one_system_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []

        async def main() -> None:
            async with running() as (transports, told):
                (udp,) = transports._udp
                receive = udp._receive
                monkeypatch.setattr(udp, "_receive", lambda most: (asked.append(most), receive(most))[1])
                with peer() as (other, _):
                    other.sendto(b"x", ("127.0.0.1", transports.port))
                    await told.wait("flush")

        asyncio.run(main())
        assert len(asked) == 1

    def test_senders_beyond_those_that_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(udp_module, "MAXIMUM_SOURCES", 2)

        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (one, a), peer() as (two, b), peer() as (three, c):
                    for other in (one, two, three, one, three):
                        other.sendto(b"x", ("127.0.0.1", transports.port))
                    await told.wait("received", 5)
                assert [key for _, _, key in told.all("received")] == [a, b, c, a, c]
                assert len(transports._udp[0]._received_from) <= 2

        asyncio.run(main())

    def test_an_interface_may_get_another_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 4007 §11: the zone is its name, while the kernel gives its number."""
        names = iter(("eth0", "lan"))
        monkeypatch.setattr(udp_module, "source_of", lambda _: (f"fe80::7%{next(names)}", 5060))

        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (other, _):
                    for _ in range(2):
                        other.sendto(b"x", ("127.0.0.1", transports.port))
                    await told.wait("received", 2)
                assert [key.host for _, _, key in told.all("received")] == ["fe80::7%eth0", "fe80::7%lan"]

        asyncio.run(main())

    @both_loops
    def test_the_largest_datagram(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (other, _):
                    other.sendto(b"x" * 65507, ("127.0.0.1", transports.port))
                    assert len((await told.wait("received"))[0]) == 65507

        run(main())


class TestOpening:
    @both_loops
    @pytest.mark.parametrize(("bind", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.1", "127.0.0.1")])
    def test_tells_the_interface_address_and_the_real_port(self, run: Runner, bind: str, host: str) -> None:
        async def main() -> None:
            async with running(bind) as (transports, told):
                key = TransportKey("udp", host, 5060)
                transports.open(key)
                assert told.events == []  # never from within open
                assert await told.wait("opened") == (key, (host, transports.port))
                assert told.mtu[key] in (65535, 65536)  # of the loopback interface

        run(main())

    @both_loops
    def test_the_local_address_that_reaches_the_destination_is_chosen(self, run: Runner) -> None:
        async def main() -> None:
            async with running("127.0.0.1", "::1") as (transports, told):
                with peer("::1") as (other, key):
                    transports.open(key)
                    assert await told.wait("opened") == (key, ("::1", transports.port))
                    transports.send(key, b"x")
                    assert other.recvfrom(10)[1][:2] == ("::1", transports.port)

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", ["::1", "255.255.255.255", "registrar.example.test"])
    def test_no_way_there(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running("127.0.0.1") as (transports, told):
                key = TransportKey("udp", host, 5060)
                transports.open(key)
                failed, code, sentence = await told.wait("failed")
                assert failed == key
                assert code in ("transport_unreachable", "transport_failed")
                assert host in sentence

        run(main())

    @both_loops
    def test_an_unknown_protocol(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                transports.open(TransportKey("sctp", "127.0.0.1", 5060))
                assert (await told.wait("failed"))[1] == "transport_failed"

        run(main())


class TestBinding:
    @both_loops
    def test_one_port_for_all_addresses(self, run: Runner) -> None:
        async def main() -> None:
            async with running("127.0.0.1", "127.0.0.2", "::1") as (transports, _):
                for host in ("127.0.0.1", "127.0.0.2", "::1"):
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    with socket.socket(family, socket.SOCK_DGRAM) as other, pytest.raises(OSError):
                        other.bind((host, transports.port))

        run(main())

    @both_loops
    def test_a_taken_port_is_named(self, run: Runner) -> None:
        async def main() -> None:
            with peer() as (_, key):
                transports = Transports(bind=("127.0.0.1",), port=key.port, **Told().callbacks())
                with pytest.raises(OSError, match=f"127.0.0.1:{key.port}") as caught:
                    await transports.start()
                assert caught.value.errno == errno.EADDRINUSE

        run(main())

    @both_loops
    def test_the_default_without_ipv6(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        real = udp_module.socket.socket

        def without_ipv6(family: int, kind: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return real(family, kind)

        async def main() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(udp_module.socket, "socket", without_ipv6)
                transports = Transports(port=0, **Told().callbacks())
                await transports.start()
            assert transports.port > 0
            await transports.stop()

        run(main())

    @both_loops
    def test_a_stopped_one_is_silent_and_its_port_free(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                port = transports.port
                transports.send(closed_port(), b"x")
            before = len(told.events)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", port))
            await asyncio.sleep(0)
            assert len(told.events) == before

        run(main())


@pytest.mark.usefixtures("received_so")
class TestIcmpErrors:
    """What ip(7) calls IP_RECVERR."""

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_a_closed_port_is_refused_and_named(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(host) as (transports, told):
                key = closed_port(host)
                transports.send(key, b"x" * 500)
                failed, code, sentence = await told.wait("failed")
                assert (failed, code) == (key, "transport_refused")
                assert str(key.port) in sentence
                assert host in sentence

        run(main())

    @both_loops
    def test_reading_goes_on_after_an_error(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                for count in (1, 2, 3):
                    transports.send(closed_port(), b"x")
                    await told.wait("failed", count)
                    with peer() as (other, _):
                        other.sendto(b"still here", ("127.0.0.1", transports.port))
                        await told.wait("received", count)

        run(main())

    @both_loops
    def test_an_error_that_is_in_the_error_queue_only(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                key = closed_port()
                transports.send(key, b"x")
                (udp,) = transports._udp
                assert udp._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
                assert (await told.wait("failed"))[0] == key

        run(main())

    @both_loops
    def test_a_pending_error_does_not_hit_the_next_datagram(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (other, key):
                    refused = [closed_port() for _ in range(5)]
                    for closed in refused:
                        transports.send(closed, b"lost")
                        transports.send(key, b"arrives")
                    assert [other.recv(100) for _ in refused] == [b"arrives"] * 5
                    await told.wait("failed", 5)
                    assert {failed for failed, _, _ in told.all("failed")} == set(refused)

        run(main())

    @both_loops
    def test_the_key_is_that_of_the_sender_with_its_dscp(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                closed = closed_port()
                key = TransportKey("udp", closed.host, closed.port, dscp=26)
                transports.send(key, b"x")
                assert (await told.wait("failed"))[0] == key

        run(main())

    @pytest.mark.parametrize(
        ("numbers", "found"),
        [
            ((errno.EHOSTUNREACH,), errno.EHOSTUNREACH),
            ((errno.EMSGSIZE,), errno.EMSGSIZE),
            ((errno.EMSGSIZE, errno.EHOSTUNREACH), errno.EHOSTUNREACH),
            ((errno.EHOSTUNREACH, errno.EMSGSIZE), errno.EHOSTUNREACH),
        ],
    )
    def test_a_failure_counts_more_than_a_learned_mtu(self, numbers: tuple[int, ...], found: int) -> None:
        errors = [struct.pack("=IBBBBII", number, 2, 3, 4, 0, 1400, 0) for number in reversed(numbers)]
        queue = [(b"", [(socket.IPPROTO_IP, 11, error)], 0, ("192.0.2.1", 5060)) for error in errors]

        class ErrorQueue:
            def recvmsg(self, *_: int) -> Any:
                if not queue:
                    raise BlockingIOError
                return queue.pop()

        errors: Any = ErrorQueue()
        assert read_icmp_errors(errors) == {("192.0.2.1", 5060): found}

    @both_loops
    def test_a_learned_mtu_is_told(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 1191: it is no failure, the retransmission is fragmented. What is not used any more is not told of."""

        async def main() -> None:
            async with running() as (transports, told):
                used, closed = TransportKey("udp", "127.0.0.1", 5060), TransportKey("udp", "127.0.0.1", 5061)
                for key in (used, closed):
                    transports.open(key)
                await told.wait("opened", 2)
                for key in (used, closed):
                    transports.send(key, b"x")
                transports.close(closed)
                learned = {(key.host, key.port): errno.EMSGSIZE for key in (used, closed)}
                monkeypatch.setattr(udp_module, "read_icmp_errors", lambda _: learned)
                monkeypatch.setattr(udp_module.UdpSocket, "path", lambda *_: ("127.0.0.1", 1400))
                transports._udp[0]._report_icmp_errors()
                assert await told.wait("opened", 3) == (used, ("127.0.0.1", transports.port))
                monkeypatch.undo()
                assert told.mtu[used] == 1400
                assert told.mtu[closed] > 65000

        run(main())

    def test_codes(self) -> None:
        assert failure_code(errno.ECONNREFUSED) == "transport_refused"
        assert failure_code(errno.EHOSTUNREACH) == "transport_unreachable"
        assert failure_code(errno.ETIMEDOUT) == "transport_timeout"
        assert failure_code(errno.ECONNRESET) == "transport_closed"
        assert failure_code(errno.EPERM) == "transport_failed"


class TestSending:
    @both_loops
    def test_needs_no_open(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, _):
                with peer() as (other, key):
                    transports.send(key, b"x")
                    assert other.recv(10) == b"x"

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    @pytest.mark.parametrize("dscp", [None, 0, 26, 63])
    def test_dscp_is_in_every_datagram(self, run: Runner, host: str, dscp: int | None) -> None:
        """RFC 2474 §3: the upper six bits of the traffic class."""

        async def main() -> None:
            async with running(host) as (transports, _):
                with peer(host) as (other, key):
                    level, ask, kind = (
                        (socket.IPPROTO_IP, 13, socket.IP_TOS)  # IP_RECVTOS
                        if host == "127.0.0.1"
                        else (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
                    )
                    other.setsockopt(level, ask, 1)
                    transports.send(TransportKey("udp", host, key.port, dscp), b"x")
                    data, ancillary, _, _ = other.recvmsg(10, 100)
                    [(got_level, got_kind, value)] = ancillary
                    assert (data, got_level, got_kind) == (b"x", level, kind)
                    assert value[0] == (dscp or 0) << 2

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    @pytest.mark.parametrize("dscp", [None, 26])
    @pytest.mark.parametrize("size", [1300, 1301, 60_000])
    def test_large_datagrams(self, run: Runner, host: str, dscp: int | None, size: int) -> None:
        async def main() -> None:
            async with running(host) as (transports, _):
                with peer(host) as (other, key):
                    transports.send(TransportKey("udp", host, key.port, dscp), b"x" * size)
                    assert len(other.recv(65536)) == size

        run(main())

    @both_loops
    def test_too_large_fails_with_a_reason(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                with peer() as (_, key):
                    transports.send(key, b"x" * 65508)
                    assert told.events == []
                    await told.wait("failed")
                    assert [event[:2] for event in told.all("failed")] == [(key, "transport_failed")]

        run(main())

    @both_loops
    def test_a_name_in_the_place_of_an_address_never_blocks(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                transports.send(TransportKey("udp", "registrar.example.test", 5060), b"x")
                assert (await told.wait("failed"))[1] == "transport_unreachable"

        run(main())

    @both_loops
    def test_a_family_without_local_address(self, run: Runner) -> None:
        async def main() -> None:
            async with running("127.0.0.1") as (transports, told):
                transports.send(TransportKey("udp", "::1", 5060), b"x")
                assert (await told.wait("failed"))[1] == "transport_unreachable"

        run(main())


class FullSocket:
    """A socket whose kernel takes no datagram while `full`."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.full = True

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if self.full:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return self._real.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class TestFullQueue:
    @both_loops
    def test_waiting_datagrams_go_out_in_order(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, _):
                udp: Any = transports._udp[0]
                udp._socket = full = FullSocket(udp._socket)
                with peer() as (other, key):
                    for number in range(5):
                        transports.send(key, b"%d" % number)
                    full.full = False
                    transports.send(key, b"5")
                    other.setblocking(False)
                    got = [await asyncio.get_running_loop().sock_recv(other, 10) for _ in range(6)]
                    assert got == [b"%d" % number for number in range(6)]
                    transports.send(key, b"direct")
                    assert not udp._queue
                assert transports.dropped == 0

        run(main())

    @both_loops
    def test_the_oldest_beyond_the_limit_are_dropped_and_counted(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(udp_module, "MAXIMUM_QUEUED", 3)

        async def main() -> None:
            async with running() as (transports, _):
                udp: Any = transports._udp[0]
                udp._socket = full = FullSocket(udp._socket)
                with peer() as (other, key):
                    for number in range(5):
                        transports.send(key, b"%d" % number)
                    assert transports.dropped == 2
                    full.full = False
                    other.setblocking(False)
                    got = [await asyncio.get_running_loop().sock_recv(other, 10) for _ in range(3)]
                    assert got == [b"2", b"3", b"4"]

        run(main())


class TestManyAtOnce:
    """Datagrams of one length go to the kernel together; who receives them sees no difference."""

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_each_arrives_by_itself(self, run: Runner, host: str) -> None:
        alike = [b"REGISTER %03d" % number + b"." * 500 for number in range(150)]
        others = [b"x" * number for number in range(1, 9)]

        async def main() -> None:
            async with running(host) as (transports, _):
                with peer(host) as (other, key):
                    transports.open(key)
                    transports.send_many(key, others + alike)
                    assert sorted(other.recv(65535) for _ in range(158)) == sorted(others + alike)

        run(main())

    def test_where_the_kernel_does_not_take_them_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """EIO: the interface computes no checksums. EINVAL: larger than the path's MTU allows."""
        alike = [b"%02d" % number for number in range(20)]

        async def main() -> None:
            async with running() as (transports, _):
                with peer() as (other, key):
                    transports.open(key)
                    (udp,) = transports._udp
                    refused = Refusing(udp._socket)
                    monkeypatch.setattr(udp, "_socket", refused)
                    transports.send_many(key, alike)
                    transports.send_many(key, alike)
                    assert sorted(other.recv(65535) for _ in range(40)) == sorted(alike * 2)
                    assert refused.asked == 1, "it is not tried again"
                    monkeypatch.undo()

        asyncio.run(main())

    def test_to_a_closed_port_each_failure_is_told_as_ever(self) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                key = closed_port()
                transports.open(key)
                for _ in range(3):
                    transports.send_many(key, [b"hello"] * 20)
                await told.wait("failed")

        asyncio.run(main())


class Refusing:
    """A socket whose kernel takes nothing apart."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.asked = 0

    def sendmsg(self, *_: Any) -> int:
        self.asked += 1
        raise OSError(errno.EIO, "no checksums")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
