"""TCP connections that others open to `sipprofile.net`, on the loopback interface and both event loops."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from loops import Runner, Told, both_loops

from sipprofile.net import accepted
from sipprofile.net import transports as transports_module
from sipprofile.net.transports import Transports
from sipprofile.registration.actions import TransportKey

LOOPBACKS = ("127.0.0.1", "::1")
OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhi"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def running(*bind: str, **more: Any) -> AsyncIterator[tuple[Transports, Told]]:
    told = Told()
    transports = Transports(bind=bind or ("127.0.0.1",), **{"port": 0, **more}, **told.callbacks())
    await transports.start()
    try:
        yield transports, told
    finally:
        await transports.stop()


def key_of(writer: asyncio.StreamWriter) -> TransportKey:
    host, port = writer.get_extra_info("sockname")[:2]
    return TransportKey("tcp", host, port, accepted=True)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


async def settled() -> None:
    """Everything that is on its way within this host has arrived."""
    for _ in range(5):
        await asyncio.sleep(0.01)


class TestListening:
    """RFC 3261 §18.2.1: on the port of UDP."""

    @both_loops
    @pytest.mark.parametrize("host", LOOPBACKS)
    def test_a_request_is_answered_on_its_connection(self, run: Runner, host: str) -> None:
        async def main() -> None:
            async with running(*LOOPBACKS) as (transports, told):
                reader, writer = await asyncio.open_connection(host, transports.port)
                writer.write(OPTIONS + OPTIONS[:9])
                data, source, key = await told.wait("received")
                assert (data, key) == (OPTIONS, key_of(writer))
                assert source == (key.host, key.port)
                assert told.kinds() == ["received", "flush"]
                writer.write(OPTIONS[9:])
                await told.wait("received", 2)
                transports.send(key, b"answer")
                assert await reader.readexactly(6) == b"answer"
                writer.close()

        run(main())

    @both_loops
    def test_a_connection_of_ours_to_the_same_place_is_another(self, run: Runner) -> None:
        """A server may open its connection from the port it listens on."""

        async def main() -> None:
            async with running() as (transports, told):
                with socket.socket() as server:
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    server.bind(("127.0.0.1", 0))
                    server.listen()
                    server.setblocking(False)
                    own = TransportKey("tcp", *server.getsockname())
                    transports.open(own)
                    ours, _ = await asyncio.get_running_loop().sock_accept(server)
                    await told.wait("opened")
                    with socket.socket() as theirs:
                        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                        theirs.bind(server.getsockname())
                        theirs.setblocking(False)
                        await asyncio.get_running_loop().sock_connect(theirs, ("127.0.0.1", transports.port))
                        theirs.send(OPTIONS)
                        key = (await told.wait("received"))[2]
                        assert (key.host, key.port) == (own.host, own.port)
                        transports.send(key, b"there")
                        transports.send(own, b"here")
                        assert await asyncio.get_running_loop().sock_recv(theirs, 10) == b"there"
                        assert await asyncio.get_running_loop().sock_recv(ours, 10) == b"here"
                    await settled()
                    assert not told.all("failed")
                    ours.close()

        run(main())

    @both_loops
    def test_pings_are_answered(self, run: Runner) -> None:
        """RFC 5626 §4.4.1."""

        async def main() -> None:
            async with running() as (transports, told):
                reader, writer = await asyncio.open_connection("127.0.0.1", transports.port)
                writer.write(b"\r\n\r\n")
                assert await reader.readexactly(2) == b"\r\n"
                writer.write(b"\r\n")
                await settled()
                assert told.events == []
                writer.close()

        run(main())

    @both_loops
    def test_who_sends_and_shuts_down_gets_the_answer(self, run: Runner) -> None:
        async def main() -> None:
            def answer(data: bytes, source: tuple[str, int], key: TransportKey) -> None:
                transports.send(key, b"answer")

            transports = Transports(bind=("127.0.0.1",), port=0, **{**Told().callbacks(), "received": answer})
            await transports.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", transports.port)
            writer.write(OPTIONS)
            writer.write_eof()
            assert await reader.read() == b"answer"
            writer.close()
            await transports.stop()

        run(main())

    @both_loops
    def test_an_answer_to_somebody_who_has_gone(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                _, writer = await asyncio.open_connection("127.0.0.1", transports.port)
                writer.write(OPTIONS)
                key = (await told.wait("received"))[2]
                writer.transport.abort()
                await until(lambda: not len(transports._accepted))
                transports.send(key, b"answer")
                await settled()
                assert told.kinds() == ["received", "flush"]

        run(main())

    @both_loops
    def test_stopping_closes_everything(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                reader, writer = await asyncio.open_connection("127.0.0.1", transports.port)
                writer.write(OPTIONS)
                await told.wait("received")
                port = transports.port
            assert await is_closed(reader)
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            async with running(port=port) as (again, _):  # the closed connection lingers in TIME_WAIT
                assert again.port == port

        run(main())


class TestThePort:
    @both_loops
    def test_one_that_was_given_is_taken(self, run: Runner) -> None:
        async def main() -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                transports = Transports(bind=("127.0.0.1",), port=port, **Told().callbacks())
                with pytest.raises(OSError, match=f"cannot listen on TCP 127.0.0.1:{port}") as caught:
                    await transports.start()
                assert caught.value.errno == errno.EADDRINUSE
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                    udp.bind(("127.0.0.1", port))  # nothing is kept

        run(main())

    @both_loops
    def test_the_kernels_choice_is_free_for_both_families_and_tcp(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first ports the kernel gives for UDP are taken for TCP."""
        real = transports_module.UdpSocket
        taken: list[Any] = []

        def udp_socket(host: str, port: int, **callbacks: Any) -> Any:
            udp = real(host, port, **callbacks)
            if port == 0 and len(taken) < 3:
                taken.append(socket.create_server(("::1", udp.port), family=socket.AF_INET6))
            return udp

        async def main() -> None:
            monkeypatch.setattr(transports_module, "UdpSocket", udp_socket)
            async with running("127.0.0.1", "::1") as (transports, _):
                assert len(taken) == 3
                for host in LOOPBACKS:
                    _, writer = await asyncio.open_connection(host, transports.port)
                    writer.close()
            for other in taken:
                other.close()

        run(main())

    @both_loops
    def test_one_that_is_only_wanted_is_kept_without_tcp_and_asked_for_again(self, run: Runner) -> None:
        async def main() -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                async with running(port=port, accept="wanted") as (transports, told):
                    assert f"cannot listen on TCP 127.0.0.1:{port}" in transports.not_accepting
                    with pytest.raises(OSError):
                        await transports.accept()
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                        other.sendto(b"hello", ("127.0.0.1", port))
                        await told.wait("received")
                    taken.close()
                    await transports.accept()
                    assert not transports.not_accepting
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()

        run(main())

    @both_loops
    @pytest.mark.parametrize("wish", ["required", "wanted", "no"])
    def test_what_is_not_allowed(
        self, run: Runner, monkeypatch: pytest.MonkeyPatch, wish: Literal["required", "wanted", "no"]
    ) -> None:
        def refuse(host: str, port: int) -> socket.socket:
            raise OSError(errno.EACCES, "Permission denied")

        async def main() -> None:
            monkeypatch.setattr(accepted, "_listener", refuse)
            transports = Transports(bind=("127.0.0.1",), port=0, accept=wish, **Told().callbacks())
            if wish == "required":
                with pytest.raises(OSError, match="Permission denied"):
                    await transports.start()
                return
            await transports.start()
            assert transports.not_accepting == ("Permission denied" if wish == "wanted" else "")
            await transports.stop()

        run(main())


class TestBounds:
    """Whoever reaches the port may connect."""

    @both_loops
    def test_connections(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """The useless go first, then who was silent longest."""
        monkeypatch.setattr(accepted, "MAXIMUM_CONNECTIONS", 4)

        async def main() -> None:
            async with running() as (transports, told):
                one, two, three, four = [await self._connect(transports) for _ in range(4)]
                for count, (_, writer) in enumerate((two, one, four), 1):
                    writer.write(OPTIONS)
                    await told.wait("received", count)
                five = await self._connect(transports)
                assert await is_closed(three[0])
                five[1].write(OPTIONS)
                await told.wait("received", 4)
                six = await self._connect(transports)
                assert await is_closed(two[0])
                assert len(transports._accepted) == 4
                for _, writer in (one, four, five, six):
                    writer.write(OPTIONS)
                await told.wait("received", 8)
                for _, writer in (one, two, three, four, five, six):
                    writer.close()

        run(main())

    @both_loops
    def test_connections_from_one_host(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """It only drives out itself."""
        monkeypatch.setattr(accepted, "MAXIMUM_PER_HOST", 3)

        async def main() -> None:
            async with running("0.0.0.0") as (transports, _):
                quiet = await self._connect(transports, "127.0.0.9")
                loud = [await self._connect(transports) for _ in range(10)]
                assert [await is_closed(reader) for reader, _ in loud[:7]] == [True] * 7
                assert len(transports._accepted) == 4
                for reader, writer in (quiet, *loud[7:]):
                    writer.write(b"\r\n\r\n")
                    assert await reader.readexactly(2) == b"\r\n"
                for _, writer in (quiet, *loud):
                    writer.close()
                await until(lambda: not len(transports._accepted))
                assert not transports._accepted._hosts

        run(main())

    @both_loops
    def test_idleness(self, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accepted, "IDLE_LIMIT", 0.15)
        monkeypatch.setattr(accepted, "LOOK_INTERVAL", 0.02)

        async def main() -> None:
            async with running() as (transports, told):
                idle = await self._connect(transports)
                busy = await self._connect(transports)
                for _, writer in (idle, busy):
                    writer.write(OPTIONS)
                await told.wait("received", 2)
                for _ in range(10):
                    busy[1].write(b"\r\n\r\n")
                    await busy[0].readexactly(2)
                    await asyncio.sleep(0.03)
                assert await is_closed(idle[0])
                assert len(transports._accepted) == 1
                busy[1].close()

        run(main())

    @both_loops
    @pytest.mark.parametrize("begun", [b"", b"OPTIONS sip:a SIP/2.0\r\n", OPTIONS + b"OPTIONS"])
    def test_a_message_that_is_never_complete(self, run: Runner, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
        """However often another byte comes."""
        monkeypatch.setattr(accepted, "MESSAGE_LIMIT", 0.15)
        monkeypatch.setattr(accepted, "LOOK_INTERVAL", 0.02)

        async def main() -> None:
            async with running() as (transports, _):
                reader, writer = await self._connect(transports)
                writer.write(begun)
                closed = asyncio.ensure_future(is_closed(reader))
                start = asyncio.get_running_loop().time()
                while not closed.done():
                    if begun:
                        writer.write(b"x")
                    await asyncio.sleep(0.02)
                assert await closed
                assert asyncio.get_running_loop().time() - start < 1
                assert not len(transports._accepted)
                writer.close()

        run(main())

    @both_loops
    @pytest.mark.parametrize(
        "data", [b"x" * 200_000, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", OPTIONS[:-2].replace(b" 2", b" 99999999")]
    )
    def test_what_can_be_no_message(self, run: Runner, data: bytes) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                reader, writer = await self._connect(transports)
                writer.write(data)
                assert await is_closed(reader)
                assert told.events == []
                assert not len(transports._accepted)
                writer.close()

        run(main())

    @both_loops
    def test_answers_that_nobody_reads(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                _, writer = await self._connect(transports)
                writer.write(OPTIONS)
                key = (await told.wait("received"))[2]
                for _ in range(1000):
                    transports.send(key, b"x" * 16384)
                    if not len(transports._accepted):
                        break
                    await asyncio.sleep(0)
                assert not len(transports._accepted)
                writer.close()

        run(main())

    @both_loops
    def test_a_flood_of_pings(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told):
                reader, writer = await self._connect(transports)
                writer.write(b"\r\n\r\n" * 100_000 + OPTIONS)
                await told.wait("received")
                assert (await reader.read(400_000)).strip(b"\r\n") == b""
                writer.close()

        run(main())

    async def _connect(self, transports: Transports, source: str = "127.0.0.1") -> Streams:
        before = set(transports._accepted._open)
        streams = await asyncio.open_connection("127.0.0.1", transports.port, local_addr=(source, 0))
        await until(lambda: not set(transports._accepted._open) <= before)
        return streams
