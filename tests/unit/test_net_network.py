"""What the kernel tells of addresses, links and routes (rtnetlink(7)), on both event loops."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loops import Runner, Told, both_loops

from sipprofile.net import network, udp
from sipprofile.net.network import NetworkMonitor, local_addresses, usable_address
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey

TENTATIVE, DEPRECATED, DAD_FAILED, PERMANENT = 0x40, 0x20, 0x08, 0x80
GLOBAL, LINK, HOST = 0, 253, 254
LOOPBACK_MTU = 65535


def message(address: str, *, scope: int = GLOBAL, flags: int = PERMANENT, kind: int = 2, wide: bool = True) -> bytes:
    """An RTM_NEWADDR message behind its header; ``wide``: with IFA_FLAGS."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    attributes = struct.pack("=HH", 4 + len(raw), kind) + raw
    attributes += struct.pack("=HH5sxxx", 9, 3, b"eth0\0")  # IFA_LABEL, padded
    if wide:
        attributes += struct.pack("=HHI", 8, 8, flags)
    return struct.pack("=BBBBI", family, 24, 0 if wide else flags, scope, 2) + attributes


class TestAddresses:
    @pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
    @pytest.mark.parametrize("wide", [True, False])
    def test_usable(self, address: str, wide: bool) -> None:
        assert list(usable_address(message(address, wide=wide))) == [address]
        assert list(usable_address(message(address, wide=wide, flags=PERMANENT | DEPRECATED))) == [address]

    @pytest.mark.parametrize("scope", [LINK, HOST])
    def test_of_a_link_or_of_this_host(self, scope: int) -> None:
        assert not list(usable_address(message("192.0.2.1", scope=scope)))

    @pytest.mark.parametrize("flags", [TENTATIVE, DAD_FAILED])
    @pytest.mark.parametrize("wide", [True, False])
    def test_that_may_be_anothers(self, flags: int, wide: bool) -> None:
        assert not list(usable_address(message("2001:db8::1", flags=flags, wide=wide)))

    def test_ipv6_without_a_local_attribute(self) -> None:
        assert list(usable_address(message("2001:db8::1", kind=1))) == ["2001:db8::1"]

    @pytest.mark.parametrize("length", range(len(message("192.0.2.1"))))
    def test_cut_short(self, length: int) -> None:
        assert set(usable_address(message("192.0.2.1")[:length])) <= {"192.0.2.1"}

    def test_of_no_length(self) -> None:
        assert not list(usable_address(message("192.0.2.1")[:8] + bytes(8)))

    def test_the_real_ones(self) -> None:
        found = local_addresses()
        assert found is not None
        assert "127.0.0.1" not in found
        for address in found:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as ours:
                ours.bind((address, 0))

    def test_where_there_is_no_netlink(self, no_netlink: None) -> None:
        assert local_addresses() is None


@pytest.fixture
def no_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def refused(family: int = -1, *arguments: Any) -> socket.socket:
        if family == socket.AF_NETLINK:
            raise OSError(errno.EAFNOSUPPORT, "seccomp")
        return real(family, *arguments)

    monkeypatch.setattr(network.socket, "socket", refused)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of what the monitor listens to."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    monkeypatch.setattr(network, "_listening", lambda: ours)
    monkeypatch.setattr(network, "LOOK_AFTER", 0.02)
    with theirs:
        yield theirs


class TestMonitor:
    @both_loops
    def test_many_messages_are_one_look(self, run: Runner, kernel: socket.socket) -> None:
        async def main() -> None:
            looks: list[frozenset[str] | None] = []
            monitor = NetworkMonitor(looks.append)
            assert monitor.told
            for _ in range(2):
                for _ in range(10):
                    kernel.send(b"anything")
                await asyncio.sleep(0.1)
            assert looks == [local_addresses()] * 2
            kernel.send(b"anything")
            await asyncio.sleep(0)
            monitor.close()
            await asyncio.sleep(0.1)
            assert len(looks) == 2

        run(main())

    @both_loops
    def test_it_survives_an_overrun(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernel had more to tell than fits; it says ENOBUFS, and everything may have changed."""
        monkeypatch.setattr(network, "LOOK_AFTER", 0.02)

        class Overrun(socket.socket):
            reads = 0

            def recv(self, *_: Any) -> bytes:
                Overrun.reads += 1
                super().recv(100)
                raise OSError(errno.ENOBUFS, "overrun")

        async def main() -> None:
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours = Overrun(fileno=one.detach())
            ours.setblocking(False)
            monkeypatch.setattr(network, "_listening", lambda: ours)
            looks: list[frozenset[str] | None] = []
            monitor = NetworkMonitor(looks.append)
            with other:
                for count in (1, 2):
                    other.send(b"x")
                    await asyncio.sleep(0.1)
                    assert len(looks) == count
            assert Overrun.reads >= 2
            monitor.close()

        run(main())

    @both_loops
    def test_without_netlink_it_looks_now_and_then(
        self, run: Runner, no_netlink: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "LOOK_EVERY", 0.02)

        async def main() -> None:
            looks: list[frozenset[str] | None] = []
            monitor = NetworkMonitor(looks.append)
            assert not monitor.told
            await asyncio.sleep(0.3)
            assert len(looks) > 2
            assert set(looks) == {None}
            monitor.close()

        run(main())


async def started(*bind: str) -> tuple[Transports, Told]:
    told = Told()
    found = Transports(bind=bind, port=0, **told.callbacks())
    await found.start()
    return found, told


class TestProbing:
    """From where a key would be reached, and what its connection has."""

    @both_loops
    def test_udp(self, run: Runner) -> None:
        async def main() -> None:
            sockets, told = await started("127.0.0.1")
            assert sockets.probe(TransportKey("udp", "127.0.0.9", 5060)) == (
                ("127.0.0.1", sockets.port),
                None,
                LOOPBACK_MTU,
            )
            assert sockets.probe(TransportKey("udp", "::1", 5060)) == (None, None, 0)
            assert told.events == []
            await sockets.stop()

        run(main())

    @both_loops
    def test_a_connection(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            sockets, told = await started("0.0.0.0")
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            key = TransportKey("tcp", "127.0.0.1", server.sockets[0].getsockname()[1])
            assert sockets.probe(key) == (("127.0.0.1", 0), None, 0)
            sockets.open(key)
            assert sockets.probe(key) == (("127.0.0.1", 0), None, 0)  # not open yet
            await told.wait("opened")
            assert sockets.probe(key) == (("127.0.0.1", 0), "127.0.0.1", 0)
            monkeypatch.setattr("sipprofile.net.stream.is_local", lambda _: False)
            assert sockets.probe(key) == (("127.0.0.1", 0), "", 0)
            monkeypatch.setattr(udp.UdpSocket, "path", unreachable)
            assert sockets.probe(key) == (None, "", 0)
            server.close()
            await sockets.stop()

        run(main())

    @both_loops
    def test_the_next_socket_takes_over(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of two bound addresses the first has no way any more: from now on the second is the sender."""

        async def main() -> None:
            sockets, told = await started("127.0.0.1", "127.0.0.2")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind(("127.0.0.1", 0))
                peer.settimeout(5)
                key = TransportKey("udp", *peer.getsockname())
                sockets.open(key)
                assert await told.wait("opened") == (key, ("127.0.0.1", sockets.port))
                real = udp.UdpSocket.path

                def only_second(self: udp.UdpSocket, key: TransportKey) -> tuple[str, int]:
                    return real(self, key) if self.host == "127.0.0.2" else unreachable()

                monkeypatch.setattr(udp.UdpSocket, "path", only_second)
                assert sockets.probe(key) == (("127.0.0.2", sockets.port), None, LOOPBACK_MTU)
                sockets.send(key, b"hello")
                assert peer.recvfrom(100)[1] == ("127.0.0.2", sockets.port)
            await sockets.stop()

        run(main())


def unreachable(*_: object) -> tuple[str, int]:
    raise OSError(errno.ENETUNREACH, "no route")


def test_the_unit_lets_the_service_listen() -> None:
    unit = Path(__file__).parents[2] / "packaging" / "sipprofile.service"
    assert "AF_NETLINK" in unit.read_text()
