"""WebSocket of `sipprofile.net` (RFC 6455, RFC 7118): with the server of aiohttp, and with one that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from certificates import AUTHORITY, issue
from hypothesis import given
from hypothesis import strategies as st
from loops import Runner, Told, both_loops

from sipprofile.net.transports import Transports
from sipprofile.net.websocket import WebSocketClient, WebSocketFailed
from sipprofile.profile import Identity
from sipprofile.registration.actions import TransportKey

NAME = "example.test"
OPTIONS = b"OPTIONS sip:a SIP/2.0\r\n\r\n"  # RFC 7118 §5: no Content-Length is needed
IDENTITY = Identity(NAME, "/sip", ca=AUTHORITY.pem)


class Server:
    """A SIP WebSocket server that echoes, and what it was asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.kinds: list[WSMsgType] = []
        self.status = 101
        self.closed = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(protocols=("sip",))
        await socket.prepare(request)
        await socket.ping(b"still there?")
        async for message in socket:
            self.kinds.append(message.type)
            if message.data in (b"go", "go"):
                await socket.close()
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        self.closed.set()
        return socket


@asynccontextmanager
async def running(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Transports, Told, Server, TransportKey]]:
    told = Told()
    transports = Transports(bind=(host,), port=0, **told.callbacks())
    await transports.start()
    server = Server()
    application = web.Application()
    application.router.add_get("/sip", server)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield transports, told, server, TransportKey("wss" if tls else "ws", host, port, None, IDENTITY)
    finally:
        await transports.stop()
        await runner.cleanup()


class TestConnection:
    @both_loops
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    @pytest.mark.parametrize("secure", [False, True])
    def test_one_message_of_sip_is_one_of_websocket(self, run: Runner, host: str, secure: bool, tmp_path: Path) -> None:
        tls = issue(NAME, by=AUTHORITY).server_context(tmp_path) if secure else None
        messages = [OPTIONS, b"\r\n", OPTIONS + b"x" * 200, OPTIONS + b"y" * 60_000, OPTIONS + b"\xff\xfe"]

        async def main() -> None:
            async with running(host, tls) as (transports, told, server, key):
                transports.open(key)
                _, (local, port) = await told.wait("opened")
                assert re.fullmatch(r"[0-9a-f]{16}\.invalid", local)  # RFC 7118 §5
                assert port == 0
                for message in messages:
                    transports.send(key, message)
                await told.wait("received", len(messages))
                assert [data for data, *_ in told.all("received")] == messages
                assert server.kinds == [WSMsgType.TEXT] * 4 + [WSMsgType.BINARY]
                (request,) = server.requests
                assert request.host == f"{NAME}:{key.port}"
                assert request.headers["Sec-WebSocket-Protocol"] == "sip"
                transports.close(key)
                await server.closed.wait()

        run(main())

    @both_loops
    def test_a_ping_of_crlf_is_one_of_websocket(self, run: Runner) -> None:
        """RFC 7118 §6: every server answers a Ping frame, few the CRLF."""

        async def main() -> None:
            async with running() as (transports, told, server, key):
                transports.open(key)
                await told.wait("opened")
                transports.send(key, b"\r\n\r\n")
                await told.wait("received")
                assert [data for data, *_ in told.all("received")] == [b"\r\n"]
                assert not server.kinds  # aiohttp answers a Ping itself

        run(main())

    @both_loops
    def test_a_close_by_the_server_is_told(self, run: Runner) -> None:
        async def main() -> None:
            async with running() as (transports, told, _, key):
                transports.open(key)
                await told.wait("opened")
                transports.send(key, b"go")
                assert (await told.wait("failed"))[:2] == (key, "transport_closed")

        run(main())

    @both_loops
    @pytest.mark.parametrize("status", [200, 403, 404, 503])
    def test_a_refusal_is_told_with_what_the_server_said(self, run: Runner, status: int) -> None:
        async def main() -> None:
            async with running() as (transports, told, server, key):
                server.status = status
                transports.open(key)
                _, code, sentence = await told.wait("failed")
                assert code == "websocket_refused"
                assert str(status) in sentence

        run(main())

    @both_loops
    def test_of_a_server_that_has_no_websocket(self, run: Runner) -> None:
        async def main() -> None:
            told = Told()
            transports = Transports(bind=("127.0.0.1",), port=0, **told.callbacks())
            await transports.start()
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            transports.open(TransportKey("ws", "127.0.0.1", server.sockets[0].getsockname()[1], None, IDENTITY))
            assert (await told.wait("failed"))[1] == "websocket_refused"
            await transports.stop()
            server.close()

        run(main())


def accepted(client: WebSocketClient, *more: bytes) -> bytes:
    """The right answer to the client's handshake."""
    request = client.outgoing()
    (key,) = re.findall(rb"Sec-WebSocket-Key: (\S+)", request)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"upgrade: WebSocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Accept: " + accept, b"Sec-WebSocket-Protocol: sip", *more, b"", b""]
    return b"\r\n".join(lines)


def frame(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    return bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload


@pytest.fixture
def client() -> WebSocketClient:
    client = WebSocketClient("example.test", "/")
    assert client.receive(accepted(client)) == []
    assert client.open
    return client


class TestHandshake:
    """RFC 6455 §4.1."""

    @pytest.mark.parametrize(
        "change",
        [
            (b"101 Switching", b"200 OK"),
            (b"HTTP/1.1", b"RTSP/1.0"),
            (b"WebSocket", b"h2c"),
            (b"Accept: ", b"Accept: x"),
            (b"Protocol: sip", b"Protocol: chat"),
            (b"Sec-WebSocket-Protocol: sip\r\n", b""),
            (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        ],
    )
    def test_a_wrong_answer_is_refused(self, change: tuple[bytes, bytes]) -> None:
        client = WebSocketClient("example.test", "/")
        with pytest.raises(WebSocketFailed) as raised:
            client.receive(accepted(client).replace(*change))
        assert raised.value.code == "websocket_refused"
        assert not client.open

    def test_an_answer_without_end_is_not_kept(self) -> None:
        client = WebSocketClient("example.test", "/")
        assert client.receive(b"x" * 1024) == []
        with pytest.raises(WebSocketFailed):
            client.receive(b"x" * 20_000)

    def test_frames_may_follow_at_once(self) -> None:
        client = WebSocketClient("example.test", "/")
        assert client.receive(accepted(client) + frame(0x81, OPTIONS)) == [OPTIONS]


class TestFrames:
    """RFC 6455 §5."""

    def test_fragments_with_a_ping_between(self, client: WebSocketClient) -> None:
        data = frame(0x01, OPTIONS[:9]) + frame(0x89, b"hi") + frame(0x00, OPTIONS[9:12]) + frame(0x80, OPTIONS[12:])
        assert client.receive(data) == [OPTIONS]
        assert client.outgoing()[:2] == b"\x8a\x82"  # a masked pong

    @given(st.integers(1, 40))
    def test_however_it_is_cut(self, size: int) -> None:
        client = WebSocketClient("example.test", "/")
        data = accepted(client) + frame(0x82, OPTIONS * 9) + frame(0x81, OPTIONS)
        messages = [message for at in range(0, len(data), size) for message in client.receive(data[at : at + size])]
        assert messages == [OPTIONS * 9, OPTIONS]

    @pytest.mark.parametrize(
        "bad",
        [
            frame(0xC1, OPTIONS),  # a reserved bit
            b"\x81\x80\0\0\0\0",  # masked by a server
            frame(0x80, OPTIONS),  # a continuation of nothing
            frame(0x01, b"a") + frame(0x81, b"b"),  # a message within a message
            frame(0x83, OPTIONS),  # an unknown opcode
            frame(0x89, b"x" * 126),  # a long ping
            b"\x81\x7f" + (1 << 40).to_bytes(8, "big"),
            b"".join([frame(0x01, b"x" * 60_000), *[frame(0x00, b"x" * 60_000)] * 3]),
        ],
    )
    def test_what_breaks_the_protocol_ends_it_after_what_was_good(self, client: WebSocketClient, bad: bytes) -> None:
        assert client.receive(frame(0x81, OPTIONS) + bad) == [OPTIONS]
        with pytest.raises(WebSocketFailed) as raised:
            client.receive(b"")
        assert raised.value.code == "transport_failed"

    def test_a_close_is_answered(self, client: WebSocketClient) -> None:
        with pytest.raises(WebSocketFailed) as raised:
            client.receive(frame(0x88, b"\x03\xe8bye"))
        assert raised.value.code == "transport_closed"
        assert client.outgoing()[:2] == b"\x88\x82"
