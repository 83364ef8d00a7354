"""TLS of `sipprofile.net` on the loopback interface, on both event loops (RFC 3261 §26.3, RFC 5922)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from certificates import AUTHORITY, DAY, NOW, OTHER, Certificate, issue
from loops import Runner, Told, both_loops

from sipprofile.net import stream
from sipprofile.net.certificates import is_for, unusable
from sipprofile.net.tls import client_context
from sipprofile.net.transports import Transports
from sipprofile.profile import Identity
from sipprofile.registration.actions import TransportKey

NAME = "example.test"
OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhi"
GOOD = issue(NAME, by=AUTHORITY)
CLIENT = issue("client.test", by=AUTHORITY)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]


@asynccontextmanager
async def running(
    context: ssl.SSLContext | None, host: str = "127.0.0.1", silent: bool = False
) -> AsyncIterator[tuple[Transports, Told, int, list[ssl.SSLObject]]]:
    """Transports, what they tell, and the port of a server that echoes everything."""
    told = Told()
    transports = Transports(bind=(host,), port=0, **told.callbacks())
    await transports.start()
    connections: list[ssl.SSLObject] = []
    writers: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("ssl_object"))
        writers.append(writer)
        with suppress(OSError):
            while not silent and (data := await reader.read(65536)):
                writer.write(data)
        if not silent:
            writer.close()

    server = await asyncio.start_server(echo, host, 0, ssl=context)
    try:
        yield transports, told, server.sockets[0].getsockname()[1], connections
    finally:
        await transports.stop()
        server.close()
        for writer in writers:
            writer.close()


def key_to(port: int, name: str = NAME, host: str = "127.0.0.1", **own: str | None) -> TransportKey:
    return TransportKey("tls", host, port, None, Identity(name, ca=own.pop("ca", AUTHORITY.pem), **own))  # type: ignore[arg-type]


class TestConnection:
    @both_loops
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_carries_messages_both_ways(self, run: Runner, host: str, tmp_path: Path) -> None:
        async def main() -> None:
            async with running(GOOD.server_context(tmp_path), host) as (transports, told, port, servers):
                key = key_to(port, host=host)
                transports.open(key)
                _, local = await told.wait("opened")
                assert local[0] == host
                transports.send(key, OPTIONS + b"\r\n\r\n" + OPTIONS)
                await told.wait("received", 3)
                assert [data for data, *_ in told.all("received")] == [OPTIONS, b"\r\n\r\n", OPTIONS]
                assert servers[0].version() == "TLSv1.3"

        run(main())

    @both_loops
    def test_large_messages_and_many(self, run: Runner, tmp_path: Path) -> None:
        big = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)

        async def main() -> None:
            async with running(GOOD.server_context(tmp_path)) as (transports, told, port, _):
                key = key_to(port)
                transports.open(key)
                await told.wait("opened")
                for _ in range(4):
                    transports.send(key, big)
                await told.wait("received", 4)
                assert [data for data, *_ in told.all("received")] == [big] * 4

        run(main())

    @both_loops
    def test_names_the_server_and_uses_1_2_or_newer(self, run: Runner, tmp_path: Path) -> None:
        context = GOOD.server_context(tmp_path)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        asked: list[str | None] = []
        context.sni_callback = lambda _, name, __: asked.append(name)

        async def main() -> None:
            async with running(context) as (transports, told, port, servers):
                transports.open(key_to(port))
                await told.wait("opened")
                await asyncio.sleep(0)
                assert asked == [NAME]
                assert all(server.version() == "TLSv1.2" for server in servers)

        run(main())
        assert client_context(None, None, None).minimum_version == ssl.TLSVersion.TLSv1_2

    @both_loops
    def test_two_identities_are_two_connections(self, run: Runner, tmp_path: Path) -> None:
        async def main() -> None:
            async with running(GOOD.server_context(tmp_path)) as (transports, told, port, servers):
                one, other = key_to(port), key_to(port, ca=AUTHORITY.pem + OTHER.pem)
                for key in (one, one, other):
                    transports.open(key)
                await told.wait("opened", 2)
                assert {key for key, _ in told.all("opened")} == {one, other}
                transports.send(one, OPTIONS)
                assert (await told.wait("received"))[2] == one
                assert len(servers) == 2

        run(main())

    @both_loops
    def test_is_told_once_when_the_server_closes_it(self, run: Runner, tmp_path: Path) -> None:
        async def main() -> None:
            context = GOOD.server_context(tmp_path)
            told = Told()
            transports = Transports(bind=("127.0.0.1",), port=0, **told.callbacks())
            await transports.start()

            async def answer_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(await reader.read(65536))
                writer.close()

            server = await asyncio.start_server(answer_and_go, "127.0.0.1", 0, ssl=context)
            key = key_to(server.sockets[0].getsockname()[1])
            transports.open(key)
            await told.wait("opened")
            transports.send(key, OPTIONS)
            assert (await told.wait("failed"))[:2] == (key, "transport_closed")
            assert [data for data, *_ in told.all("received")] == [OPTIONS]
            await asyncio.sleep(0.01)
            assert len(told.all("failed")) == 1
            await transports.stop()
            server.close()

        run(main())

    def test_no_handshake_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream, "CONNECT_TIMEOUT", 0.1)

        async def main() -> None:
            async with running(None, silent=True) as (transports, told, port, _):
                transports.open(key_to(port))
                assert (await told.wait("failed"))[1] == "transport_timeout"

        Runner(asyncio.SelectorEventLoop)(main())

    def test_a_key_without_a_name_is_refused(self) -> None:
        async def main() -> None:
            async with running(None) as (transports, told, port, _):
                transports.open(TransportKey("tls", "127.0.0.1", port))
                assert (await told.wait("failed"))[1] == "transport_failed"

        Runner(asyncio.SelectorEventLoop)(main())


def expired() -> Certificate:
    return issue(NAME, by=AUTHORITY, since=NOW - 3 * DAY, until=NOW - DAY)


class TestErrors:
    """Every reason has a code of its own."""

    @both_loops
    @pytest.mark.parametrize(
        ("server", "code"),
        [
            (issue("other.test", by=AUTHORITY), "tls_wrong_name"),
            (issue(f"sip:alice@{NAME}", by=AUTHORITY), "tls_wrong_name"),
            (issue("other.test", by=AUTHORITY, common_name=NAME), "tls_wrong_name"),
            (expired(), "tls_expired"),
            (issue(NAME, by=AUTHORITY, since=NOW + DAY, until=NOW + 2 * DAY), "tls_expired"),
            (issue(NAME), "tls_self_signed"),
            (issue(NAME, by=OTHER), "tls_unknown_issuer"),
        ],
    )
    def test_of_the_certificate(self, run: Runner, server: Certificate, code: str, tmp_path: Path) -> None:
        async def main() -> None:
            async with running(server.server_context(tmp_path)) as (transports, told, port, _):
                transports.open(key_to(port))
                key, found, sentence = await told.wait("failed")
                assert (found, told.all("opened")) == (code, [])
                assert str(port) in sentence
                assert "BEGIN" not in sentence + repr(key)

        run(main())

    @both_loops
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("own", [None, OTHER, CLIENT])
    def test_a_client_certificate_is_wanted(
        self, run: Runner, version: ssl.TLSVersion, own: Certificate | None, tmp_path: Path
    ) -> None:
        context = GOOD.server_context(tmp_path, clients=AUTHORITY)
        context.maximum_version = version
        listener = socket.create_server(("127.0.0.1", 0))
        seen: list[object] = []

        def serve() -> None:  # asyncio's server closes without sending the alert
            connection, _ = listener.accept()
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                seen.append(tls.getpeercert())
                tls.sendall(tls.recv(65536))

        server = threading.Thread(target=serve, daemon=True)
        server.start()

        async def main() -> None:
            told = Told()
            transports = Transports(bind=("127.0.0.1",), port=0, **told.callbacks())
            await transports.start()
            certificate, private_key = (own.pem, own.key_pem) if own is not None else (None, None)
            key = key_to(listener.getsockname()[1], certificate=certificate, private_key=private_key)
            transports.open(key)
            if own is CLIENT:
                await told.wait("opened")
                transports.send(key, OPTIONS)
                await told.wait("received")
                assert seen[0]
            else:
                assert (await told.wait("failed"))[1] == "tls_certificate_wanted"
            await transports.stop()

        run(main())
        server.join(5)
        listener.close()

    @both_loops
    def test_of_a_server_without_tls(self, run: Runner) -> None:
        async def main() -> None:
            async with running(None) as (transports, told, port, _):
                transports.open(key_to(port))
                assert (await told.wait("failed"))[1] == "tls_failed"

        run(main())

    @both_loops
    def test_of_settings_that_cannot_be_used(self, run: Runner) -> None:
        async def main() -> None:
            async with running(None) as (transports, told, port, _):
                transports.open(key_to(port, certificate=CLIENT.pem, private_key=OTHER.key_pem))
                assert (await told.wait("failed"))[1] == "tls_failed"

        run(main())


class TestIdentity:
    """RFC 5922 §7.1."""

    @pytest.mark.parametrize(
        ("names", "domain", "expected"),
        [
            ([("DNS", "example.test")], "EXAMPLE.test", True),
            ([("DNS", "other.test"), ("URI", "sip:example.test")], "example.test", True),
            ([("URI", "SIP:Example.Test")], "example.test", True),
            ([("URI", "sip:alice@example.test")], "example.test", False),
            ([("URI", "http://example.test")], "example.test", False),
            ([("URI", "sips:example.test")], "example.test", False),
            ([("DNS", "*.example.test")], "pbx.example.test", True),  # the deviation
            ([("DNS", "*.example.test")], "example.test", False),
            ([("DNS", "*.example.test")], "a.b.example.test", False),
            ([("DNS", "*.test")], "example.test", False),
            ([("DNS", "*")], "example", False),
            ([("DNS", "p*.example.test")], "pbx.example.test", False),
            ([("URI", "sip:*.example.test")], "pbx.example.test", False),
            ([("DNS", "192.0.2.1")], "192.0.2.1", False),
            ([("IP Address", "192.0.2.1")], "192.0.2.1", True),
            ([("IP Address", "2001:DB8:0:0:0:0:0:1")], "2001:db8::1", True),
            ([("IP Address", "192.0.2.2")], "192.0.2.1", False),
        ],
    )
    def test_alternative_names(self, names: list[tuple[str, str]], domain: str, expected: bool) -> None:
        certificate = {"subjectAltName": tuple(names), "subject": ((("commonName", domain),),)}
        assert is_for(certificate, domain) is expected

    def test_the_common_name_counts_without_any(self) -> None:
        assert is_for({"subject": ((("commonName", "example.test"),),)}, "example.test")
        assert not is_for({"subject": ((("commonName", "192.0.2.1"),),)}, "192.0.2.1")
        assert not is_for({}, "example.test")


class TestUsable:
    """What is said at save."""

    def test_good_ones(self) -> None:
        assert unusable(AUTHORITY.pem, CLIENT.pem, CLIENT.key_pem) is None
        assert unusable(None, None, None) is None

    def test_what_is_wrong(self) -> None:
        broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
        for arguments, name in [
            ((broken, None, None), "ca"),
            ((None, broken, CLIENT.key_pem), "certificate"),
            ((None, CLIENT.pem, OTHER.key_pem), "private_key"),
        ]:
            found = unusable(*arguments)
            assert found is not None
            assert found[0] == name
            assert "BEGIN" not in found[1]
