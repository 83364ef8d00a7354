"""The test registrar on real sockets of 127.0.0.1 and [::1], and its pytest fixture."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import AUTHORITY, issue
from loops import Runner, both_loops

from sipprofile.sip.framing import StreamFramer
from sipprofile.sip.message import Request, Response, build_request, build_response, parse
from sipprofile.testing.faults import Faults
from sipprofile.testing.reply import Reply
from sipprofile.testing.server import RegistrarServer

AOR = "sip:alice@example.test"
LOOPBACKS = ("127.0.0.1", "::1")


def open_server(host: str = "127.0.0.1") -> RegistrarServer:
    """One that asks nobody for credentials."""
    return RegistrarServer(users={"alice": "secret"}, faults=Faults(algorithms=()), host=host)


def register(transport: str, cseq: int = 1) -> bytes:
    lines = [
        ("Via", f"SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bK{cseq};rport"),
        ("Max-Forwards", "70"),
        ("From", f"<{AOR}>;tag=1"),
        ("To", f"<{AOR}>"),
        ("Call-ID", "one"),
        ("CSeq", f"{cseq} REGISTER"),
        ("Contact", f"<sip:alice@127.0.0.1:9;transport={transport.lower()}>"),
    ]
    return build_request("REGISTER", "sip:example.test", lines)


class Phone:
    """One UDP socket or TCP connection to a server."""

    def __init__(self, server: RegistrarServer, transport: str) -> None:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.connect_ex((server.host, server.port))
        self.transport = transport
        self.framer = StreamFramer()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self) -> Request | Response:
        data = await asyncio.get_running_loop().sock_recv(self.socket, 65535)
        if self.transport == "TCP":
            [data] = self.framer.feed(data)
        return parse(data)


async def hung_up(phone: Phone) -> None:
    """The server ends the connection, one way or the other."""
    with suppress(ConnectionResetError):
        assert await asyncio.get_running_loop().sock_recv(phone.socket, 10) == b""
    phone.socket.close()


both_transports = pytest.mark.parametrize("transport", ["UDP", "TCP"])


@both_loops
@both_transports
@pytest.mark.parametrize("host", LOOPBACKS)
def test_register_and_be_reached(run: Runner, transport: str, host: str) -> None:
    async def main() -> None:
        async with open_server(host) as server:
            phone = Phone(server, transport)
            await phone.send(register(transport))
            answer = await phone.receive()
            assert isinstance(answer, Response)
            assert answer.status == 200
            [binding] = server.bindings(AOR)
            assert binding.received == phone.socket.getsockname()[:2]
            assert server.request(AOR, "OPTIONS") == 1
            request = await phone.receive()
            assert isinstance(request, Request)
            assert request.method == "OPTIONS"
            await phone.send(build_response(request, 200, to_tag="x"))
            await phone.send(register(transport, 2))
            await phone.receive()
            assert [response.status for response in server.registrar.responses] == [200]
            phone.socket.close()

    run(main())


@both_loops
def test_the_uri_and_port_are_the_real_ones(run: Runner) -> None:
    async def main() -> None:
        async with RegistrarServer() as server:
            assert server.port > 0
            assert server.uri == f"sip:127.0.0.1:{server.port}"
            with pytest.raises(OSError):
                await RegistrarServer(port=server.port).start()
        async with RegistrarServer(host="::1") as other:
            assert other.uri == f"sip:[::1]:{other.port}"

    run(main())


@both_loops
def test_an_answer_is_delayed(run: Runner) -> None:
    async def main() -> None:
        async with open_server() as server:
            server.registrar.faults.answer_delay = 0.03
            phone = Phone(server, "UDP")
            before = server.now
            await phone.send(register("UDP"))
            await phone.receive()
            assert server.now - before >= 0.03
            phone.socket.close()

    run(main())


@both_loops
@pytest.mark.parametrize("host", LOOPBACKS)
def test_tls_has_a_port_of_its_own(run: Runner, host: str, tmp_path: Path) -> None:
    context = issue(host, by=AUTHORITY).server_context(tmp_path)
    trust = ssl.create_default_context(cadata=AUTHORITY.pem)

    async def main() -> None:
        server = RegistrarServer(users={"alice": "secret"}, faults=Faults(algorithms=()), host=host, tls=context)
        async with server:
            port = server.tls_port
            assert server.tls_uri == f"sip:{f'[{host}]' if ':' in host else host}:{port};transport=tls"
            assert port != server.port
            reader, writer = await asyncio.open_connection(host, port, ssl=trust)
            writer.write(register("TLS"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200 ")
            [binding] = server.bindings(AOR)
            assert binding.received == writer.get_extra_info("sockname")[:2]
            assert server.request(AOR, "OPTIONS") == 1
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"OPTIONS ")
            server.restart()
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.transport.abort()
        async with server:
            assert server.tls_port == port

    run(main())


@both_loops
def test_restart_forgets_and_hangs_up(run: Runner) -> None:
    async def main() -> None:
        async with open_server() as server:
            phone = Phone(server, "TCP")
            await phone.send(register("TCP"))
            await phone.receive()
            server.restart()
            assert server.bindings(AOR) == []
            await hung_up(phone)

    run(main())


@both_loops
def test_stop_hangs_up(run: Runner) -> None:
    async def main() -> None:
        async with open_server() as server:
            phone = Phone(server, "TCP")
            await phone.send(register("TCP"))
            await phone.receive()
        await hung_up(phone)

    run(main())


@both_loops
def test_what_is_no_sip_ends_the_connection(run: Runner) -> None:
    async def main() -> None:
        async with open_server() as server:
            phone = Phone(server, "TCP")
            await phone.send(b"GET / HTTP/1.1\r\n\r\n")
            await hung_up(phone)

    run(main())


@both_loops
def test_a_stopped_server_leaves_its_port_and_late_answers_are_lost(run: Runner) -> None:
    async def main() -> None:
        async with open_server() as server:
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", server.port))
        server.send([Reply(b"late", ("127.0.0.1", 9))])

    run(main())


async def test_the_fixture(sip_registrar: Any) -> None:
    assert isinstance(sip_registrar, RegistrarServer)
    phone = Phone(sip_registrar, "UDP")
    await phone.send(register("UDP"))
    answer = await asyncio.wait_for(phone.receive(), 5)
    assert isinstance(answer, Response)
    assert answer.status == 401
    assert sip_registrar.registrar.users == {"alice": "secret"}
    phone.socket.close()


def test_the_plugin_loads_nothing_of_it() -> None:
    import subprocess
    import sys

    program = (
        "import sys, sipprofile.testing.fixtures;"
        "sys.exit(any(name in sys.modules for name in ('sipprofile.testing.server', 'sipprofile.sip.message')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
