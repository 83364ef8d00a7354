"""The path's MTU as `sipprofile.net` learns it from a real router (RFC 1191); needs network namespaces."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from loops import Told

from interop.namespace import Namespace, require_namespaces, routed
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey

Main = Callable[[Transports, Told, TransportKey, socket.socket], Coroutine[Any, Any, None]]


class Routed:
    """The sockets of the service on one side of a router, and somebody's UDP socket on the other."""

    def __init__(self, near: Namespace, router: Namespace, far: Namespace) -> None:
        self.near, self.router, self.far = near, router, far

    def run(self, main: Main) -> None:
        async def bounded() -> None:
            told = Told()
            transports = Transports(bind=(self.near.address,), port=0, **told.callbacks())
            await transports.start()
            try:
                key = TransportKey("udp", *peer.getsockname())
                await asyncio.wait_for(main(transports, told, key, peer), 5)
            finally:
                await transports.stop()

        with self.far.inside():
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            peer.bind((self.far.address, 0))
            peer.setblocking(False)
        with peer, self.near.inside():
            asyncio.run(bounded())


@pytest.fixture
def joined() -> Iterator[Routed]:
    require_namespaces()
    with routed(mtu=1200) as namespaces:
        yield Routed(*namespaces)


class TestPathMtu:
    @pytest.mark.parametrize("size", [1172, 1250, 1300])
    def test_is_told(self, joined: Routed, size: int) -> None:
        """What is longer than the path carries is lost once; then the kernel fragments it."""

        async def main(transports: Transports, told: Told, key: TransportKey, peer: socket.socket) -> None:
            transports.open(key)
            await told.wait("opened")
            assert told.mtu[key] == 1500
            transports.send(key, b"x" * size)
            if size > 1172:
                await told.wait("opened", 2)
                assert told.mtu[key] == 1200
                transports.send(key, b"x" * size)
            assert len(await asyncio.get_running_loop().sock_recv(peer, 2000)) == size
            assert not told.all("failed")

        joined.run(main)

    @pytest.mark.parametrize("size", [1172, 1301, 1400, 1472, 5000])
    def test_a_black_hole_does_not_swallow_what_must_go_by_udp(self, joined: Routed, size: int) -> None:
        """The router's ICMP messages do not get through: what is large has to be fragmented on the way."""
        joined.router.ip("rule", "add", "iif", "lo", "ipproto", "icmp", "blackhole")

        async def main(transports: Transports, told: Told, key: TransportKey, peer: socket.socket) -> None:
            transports.send(key, b"x" * size)
            assert len(await asyncio.get_running_loop().sock_recv(peer, 6000)) == size

        joined.run(main)
