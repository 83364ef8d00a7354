"""TCP of `sipprofile.net` on the loopback interface, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from loops import Runner, Told, both_loops

from sipprofile.net import stream
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey

LOOPBACKS = ("127.0.0.1", "::1")
OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhi"


class Peer:
    """A listening socket and the connections it accepted."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=8)
        self.listener.setblocking(False)
        self.key = TransportKey("tcp", host, self.listener.getsockname()[1])

    async def accept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        return await asyncio.open_connection(sock=connection)


@asynccontextmanager
async def running(host: str = "127.0.0.1") -> AsyncIterator[tuple[Transports, Told, Peer]]:
    told = Told()
    transports = Transports(bind=(host,), port=0, **told.callbacks())
    await transports.start()
    peer = Peer(host)
    try:
        yield transports, told, peer
    finally:
        await transports.stop()
        peer.listener.close()


class TestOpening:
    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_tells_the_address_and_port_of_the_connection(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(host) as (transports, told, peer):
                transports.open(peer.key)
                assert told.events == []
                _, writer = await peer.accept()
                assert await told.wait("opened") == (peer.key, writer.get_extra_info("peername")[:2])
                writer.close()

        run(main())

    @both_loops
    def test_twice_is_one_connection(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                transports.open(peer.key)
                await told.wait("opened")
                transports.open(peer.key)
                await told.wait("opened", 2)
                first, second = told.all("opened")
                assert first == second

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_a_closed_port_is_refused(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(host) as (transports, told, peer):
                peer.listener.close()
                transports.open(peer.key)
                key, code, sentence = await told.wait("failed")
                assert (key, code) == (peer.key, "transport_refused")
                assert str(key.port) in sentence

        run(main())

    @both_loops
    def test_a_name_in_the_place_of_an_address(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, _):
                key = TransportKey("tcp", "registrar.example.test", 5060)
                transports.open(key)
                assert (await told.wait("failed"))[:2] == (key, "transport_unreachable")

        run(main())

    @both_loops
    def test_no_answer_in_time(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "CONNECT_TIMEOUT", 0.05)

        async def main() -> None:
            async with running() as (transports, told, peer):
                full = [socket.socket() for _ in range(16)]  # fill the listener's queue: SYNs are dropped then
                peer.listener.listen(0)
                for one in full:
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.1", peer.key.port))
                await asyncio.sleep(0)
                transports.open(peer.key)
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_timeout")
                for one in full:
                    one.close()

        run(main())

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_dscp_is_set_before_the_first_packet(self, run: Runner, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        real = asyncio.get_running_loop

        async def main() -> None:
            async with running(host) as (transports, told, peer):
                loop = real()
                connect = loop.sock_connect

                async def watched(sock: socket.socket, address: tuple[str, int]) -> None:
                    option = (
                        (socket.IPPROTO_IP, socket.IP_TOS)
                        if host == "127.0.0.1"
                        else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                    )
                    seen.append(sock.getsockopt(*option))
                    await connect(sock, address)

                class Loop:
                    sock_connect = staticmethod(watched)

                    def __getattr__(self, name: str) -> object:
                        return getattr(loop, name)

                monkeypatch.setattr(stream.asyncio, "get_running_loop", Loop)
                key = TransportKey("tcp", host, peer.key.port, dscp=46)
                transports.open(key)
                await told.wait("opened")
                monkeypatch.undo()
                assert seen == [46 << 2]

        run(main())

    @both_loops
    def test_two_code_points_are_two_connections(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                transports.open(TransportKey("tcp", peer.key.host, peer.key.port, dscp=0))
                await told.wait("opened", 2)
                first, second = told.all("opened")
                assert first[1] != second[1]

        run(main())


class TestReceiving:
    """RFC 3261 §18.3, RFC 5626 §3.5.1."""

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_messages_and_keepalives_are_cut_apart(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(host) as (transports, told, peer):
                transports.open(peer.key)
                _, writer = await peer.accept()
                writer.write(OPTIONS + b"\r\n" + OPTIONS[:10])
                await told.wait("flush")
                source = (host, peer.key.port)
                assert told.events[1:] == [
                    ("received", OPTIONS, source, peer.key),
                    ("received", b"\r\n", source, peer.key),
                    ("flush",),
                ]
                writer.write(OPTIONS[10:])
                assert (await told.wait("received", 3))[0] == OPTIONS
                writer.close()

        run(main())

    @both_loops
    def test_more_than_one_buffer(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                _, writer = await peer.accept()
                body = bytes(range(256)) * 200
                message = b"MESSAGE sip:a SIP/2.0\r\nl: %d\r\n\r\n%b" % (len(body), body)
                writer.write(message * 4)
                await told.wait("received", 4)
                assert [data for data, _, _ in told.all("received")] == [message] * 4
                writer.close()

        run(main())

    @both_loops
    def test_two_connections_share_no_bytes(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                other = TransportKey("tcp", peer.key.host, peer.key.port, dscp=0)
                transports.open(peer.key)
                _, first = await peer.accept()
                await told.wait("opened")
                transports.open(other)
                _, second = await peer.accept()
                first.write(OPTIONS[:20])
                second.write(OPTIONS)
                assert (await told.wait("received"))[::2] == (OPTIONS, other)
                first.write(OPTIONS[20:])
                assert (await told.wait("received", 2))[::2] == (OPTIONS, peer.key)
                first.close()
                second.close()

        run(main())

    @both_loops
    @pytest.mark.parametrize("before", [b"", OPTIONS])
    def test_what_is_no_sip_ends_the_connection(self, run: Runner, before: bytes) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                reader, writer = await peer.accept()
                writer.write(before + b"HTTP/1.1 400 Bad Request\r\n\r\n")
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_failed")
                assert [data for data, _, _ in told.all("received")] == ([before] if before else [])
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                assert len(told.all("failed")) == 1
                writer.close()

        run(main())


class TestSending:
    @both_loops
    def test_goes_out_in_order(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                reader, writer = await peer.accept()
                await told.wait("opened")
                transports.send(peer.key, b"one")
                transports.send(peer.key, b"two")
                assert await reader.readexactly(6) == b"onetwo"
                writer.close()

        run(main())

    @both_loops
    def test_without_connection(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.send(peer.key, b"x")
                assert told.events == []
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_closed")

        run(main())

    @both_loops
    def test_a_peer_that_does_not_read(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                peer.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                transports.open(peer.key)
                await told.wait("opened")
                sent = 0
                while transports._connections and sent < 64 << 20:
                    transports.send(peer.key, b"x" * 65536)
                    sent += 65536
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_failed")
                assert sent >= stream.MAXIMUM_UNSENT

        run(main())


class TestEnding:
    @both_loops
    def test_the_peer_closes(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                _, writer = await peer.accept()
                await told.wait("opened")
                writer.close()
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_closed")
                transports.open(peer.key)
                _, writer = await peer.accept()
                await told.wait("opened", 2)
                writer.close()

        run(main())

    @both_loops
    def test_the_peer_resets(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                _, writer = await peer.accept()
                await told.wait("opened")
                writer.transport.abort()
                assert (await told.wait("failed"))[:2] == (peer.key, "transport_closed")

        run(main())

    @both_loops
    def test_we_close_after_sending_the_rest_and_nothing_is_told(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                reader, writer = await peer.accept()
                await told.wait("opened")
                connection: Any = transports._connections[peer.key]
                sent = 0
                while connection._transport.get_write_buffer_size() < 100_000:
                    transports.send(peer.key, b"x" * 50_000)
                    sent += 50_000
                    await asyncio.sleep(0)
                transports.close(peer.key)
                assert len(await reader.read()) == sent
                writer.close()
                assert told.kinds() == ["opened"]

        run(main())

    @both_loops
    def test_closed_while_connecting(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                transports.close(peer.key)
                transports.open(peer.key)
                await told.wait("opened")
                assert told.kinds() == ["opened"]

        run(main())

    @both_loops
    def test_stop_ends_every_connection(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, peer):
                transports.open(peer.key)
                reader, writer = await peer.accept()
                await told.wait("opened")
                await transports.stop()
                assert await reader.read() == b""
                writer.close()
                assert told.kinds() == ["opened"]

        run(main())
