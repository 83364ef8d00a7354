"""Attacks on the running service: clients, web pages, the network and the disk that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sipprofile.server.http import ROUTES
from sipprofile.server.tokens import add_token, remove_token
from sipprofile.service.policy import CAPABILITIES

from .conftest import RunningService
from .hostile import AOR, HELLO, SECRET, connected, line, megabytes, mistakes, port_of, processor_time


def nested(depth: int) -> bytes:
    return b'{"labels":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


def raw(service: RunningService, data: bytes) -> bytes:
    """Send bytes to the TCP port and return the beginning of the answer, nothing when the connection is cut."""
    with socket.create_connection(("127.0.0.1", port_of(service, "listening", "port")), timeout=5) as connection:
        with contextlib.suppress(ConnectionError):  # it may answer before it has read everything
            connection.sendall(data)
        try:
            return connection.recv(65536)
        except ConnectionError:
            return b""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that logs all it can, on TCP too, with one profile."""
    service = RunningService(tmp_path_factory.mktemp("target"))
    service.configuration += "[service]\nlog_level = 'debug'\n[listen]\nport = 0\n"
    service.start()
    assert service.request("POST", "/v1/profiles", line("first")).status == 201
    yield service
    service.kill()


class TestBodies:
    """Whatever a body holds, the answer says what is wrong with it, and nothing secret."""

    @pytest.mark.parametrize("depth", [20, 900, 990, 2000, 100_000])
    @pytest.mark.parametrize(("method", "path"), [("POST", "/v1/profiles"), ("PATCH", "/v1/profiles/1")])
    def test_deep_nesting(self, target: RunningService, method: str, path: str, depth: int) -> None:
        answer = target.request(method, path, nested(depth))
        assert (answer.status, answer.document["code"]) == (400, "bad_request")

    @pytest.mark.parametrize("number", ["NaN", "1e400", "-1", "1e308", "1" + "0" * 30, "1" + "0" * 5000])
    @pytest.mark.parametrize("field", ["expires", "linger", "dscp", "id", "name", "labels"])
    def test_numbers(self, target: RunningService, field: str, number: str) -> None:
        answer = target.request("PATCH", "/v1/profiles/1", f'{{"{field}":{number}}}'.encode())
        assert answer.status in (400, 422)
        assert answer.document["code"] in ("bad_request", "invalid_value")

    @pytest.mark.parametrize("text", [b'"\xff"', b'"\\ud800"', b'"\\u0000"', b'"a\\r\\nb"'])
    def test_text(self, target: RunningService, text: bytes) -> None:
        answer = target.request("PATCH", "/v1/profiles/1", b'{"provider_name":%b}' % text)
        assert answer.status in (400, 422)

    def test_compressed_body_stays_as_short_as_it_is(self, target: RunningService) -> None:
        before = megabytes(target)
        bomb = gzip.compress(b"\0" * (64 << 20))
        assert target.request("POST", "/v1/profiles", bomb, {"Content-Encoding": "gzip"}).status == 400
        assert megabytes(target) - before < 16

    @pytest.mark.parametrize(
        "document",
        [
            {"registrar": SECRET},
            {"registrar": [{"password": SECRET}]},
            {"registrar": {"uri": {"password": SECRET}}},
            {"registrar": {"uri": "sip:h", "password": [SECRET]}},
            {"registrar": {"uri": "sip:h", "password": SECRET + "\n"}},
            {"registrar": {"uri": "sip:h", "tls": SECRET}},
            {"registrar": {"uri": "sip:h", "tls": {"private_key": [SECRET]}}},
            {"registrar": {"uri": f"sip:u:{SECRET}@h;transport=tls"}},
            {"registrar": {"uri": f"sip:u:{SECRET}@@h"}},
            {"registrar": {"uri": f"http://u:{SECRET}@h"}},
            {"proxies": {"uri": "sip:h", "password": SECRET}},
            {"proxies": [SECRET]},
            {"proxies": [[{"password": SECRET}]]},
            {"proxies": [{"uri": {"password": SECRET}}]},
            {"aor": f"sip:u:{SECRET}@h o"},
            {"headers": [f"Authorization: Basic {SECRET}"]},
            {"id": {"password": SECRET}},
            {"instance_id": [SECRET]},
            {"type": {"password": SECRET}},
            {"password": SECRET},
        ],
    )
    def test_misplaced_secret_is_not_repeated(self, target: RunningService, document: dict[str, Any]) -> None:
        for method, path in (("POST", "/v1/profiles"), ("PUT", "/v1/profiles/1"), ("PATCH", "/v1/profiles/1")):
            whole = document if method == "PATCH" else {"name": "other", "aor": AOR, **document}
            answer = target.request(method, path, whole)
            assert answer.status in (400, 422)
            assert SECRET not in json.dumps(answer.document)


class TestNames:
    """A name is a name: no path, no id, no SQL, and not the default profile."""

    @pytest.mark.parametrize(
        "name", ["default", "1", "", "A", "é", "а", "a..b", "../key", "a/b", "a b", "a\0", "a'--", "x" * 65]
    )
    def test_refused(self, target: RunningService, name: str) -> None:
        assert target.request("POST", "/v1/profiles", line(name)).status == 422

    @pytest.mark.parametrize("name", ["default", "1", "%2e%2e", "..%2f..%2fkey", "%00", "%ff", "first%27--", "First"])
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_nobody_has_it(self, target: RunningService, method: str, name: str) -> None:
        assert target.request(method, f"/v1/profiles/by-name/{name}").status == 404

    async def test_in_a_session(self, target: RunningService) -> None:
        async with connected(target) as socket:
            for name in ("default", "1", "\0"):
                await socket.send_json({"id": 2, "op": "hold", "name": name})
                assert (await socket.receive_json(timeout=5))["error"]["code"] == "not_found"

    @pytest.mark.parametrize("filter", ["type", "label", "aor"])
    @pytest.mark.parametrize("value", ["%27%20OR%201=1--", "%00", "%ff", "%25", "a=%27)%20UNION%20SELECT%201--"])
    def test_filters(self, target: RunningService, filter: str, value: str) -> None:
        answer = target.request("GET", f"/v1/profiles?{filter}={value}")
        assert (answer.status, answer.document["profiles"]) == (200, [])

    @pytest.mark.parametrize("number", ["0", "-1", "1e0", "99999999999999999999", "%D9%A1"])
    def test_ids(self, target: RunningService, number: str) -> None:
        assert target.request("GET", f"/v1/profiles/{number}").status in (400, 404)


class TestFrames:
    @pytest.mark.parametrize("depth", [900, 2000, 100_000])
    async def test_deep_nesting_is_answered(self, target: RunningService, depth: int) -> None:
        async with connected(target) as socket:
            await socket.send_str('{"id":2,"op":"ping","x":' + "[" * depth + "]" * depth + "}")
            answer = await socket.receive_json(timeout=5)
            assert "ok" in answer or answer["error"]["code"] == "bad_request"

    @pytest.mark.parametrize("data", ["", "x", "[]", '"', '{"id":"a"}', '{"id":1.5}', '{"op":7}', '{"ids":[[]]}'])
    async def test_what_is_no_command(self, target: RunningService, data: str) -> None:
        async with connected(target) as socket:
            await socket.send_str(data)
            code = (await socket.receive_json(timeout=5))["error"]["code"]
            assert code in ("bad_request", "unknown_command")

    @pytest.mark.parametrize("number", [10**30, 2**64, -(2**63) - 1])
    async def test_huge_numbers(self, target: RunningService, number: int) -> None:
        async with connected(target) as socket:
            await socket.send_json({"id": number, "op": "hold", "ids": [number]})
            answer = await socket.receive_json(timeout=5)
            assert (answer["id"], answer["error"]["code"]) == (number, "not_found")


class TestHttp:
    """Requests that no honest client sends, on TCP without a token."""

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00" + bytes(500),
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(20_000)),
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000,
            b"GET /" + b"a" * 1_000_000,
            b"POST /v1/profiles HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /v1/profiles HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
            b"GET /v1/profiles HTTP/1.1\r\n\r\n",
        ],
    )
    def test_refused(self, target: RunningService, data: bytes) -> None:
        assert raw(target, data)[:12] in (b"HTTP/1.0 400", b"HTTP/1.1 400", b"")

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            (b"Host: evil.example\r\n", b"403"),
            (b"Host: \xff\xfe\r\n", b"403"),
            (b"Host: localhost.evil.example\r\n", b"403"),
            (b"Host: localhost\r\nOrigin: http://[::1\r\n", b"403"),
            (b"Host: localhost\r\nOrigin: http://\xff\r\n", b"403"),
            (b"Host: localhost\r\nOrigin: null\r\n", b"403"),
            (b"Host: localhost\r\nOrigin: http://localhost.evil.example\r\n", b"403"),
            (b"Host: localhost\r\nAuthorization: Bearer \xff\r\n", b"401"),
            (b"Host: localhost\r\nAuthorization: " + SECRET.encode() + b"\r\n", b"401"),
            (b"Host: localhost\r\n", b"401"),
        ],
    )
    def test_who_is_asking(self, target: RunningService, headers: bytes, status: bytes) -> None:
        answer = raw(target, b"POST /v1/profiles HTTP/1.1\r\nContent-Length: 2\r\n" + headers + b"\r\n{}")
        assert answer[9:12] == status
        assert SECRET.encode() not in answer

    def test_token_is_not_taken_from_the_url(self, target: RunningService) -> None:
        token = add_token(target.state, "url", ["read"])
        for name in ("access_token", "token"):
            data = f"GET /v1/status?{name}={token} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert raw(target, data.encode())[9:12] == b"401"

    def test_complaints_about_requests_are_few_and_cite_nothing(self, target: RunningService) -> None:
        token = add_token(target.state, "cited", ["read"])
        before = len(target.lines())
        for _ in range(200):
            raw(target, b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\x01\r\n\r\n" % token.encode())
        assert len(target.lines()) - before < 60
        assert token not in target.log.read_text()

    def test_pipelined_requests_are_not_hoarded(self, target: RunningService) -> None:
        before = megabytes(target)
        port = port_of(target, "listening", "port")
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 50_000_000:
                    sent += connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        assert sent < 50_000_000
        assert megabytes(target) - before < 16


ONLY: dict[str, set[str]] = {
    "GET /v1/types": {"read"},
    "GET /v1/status": {"read"},
    "GET /healthz": set(CAPABILITIES),
    "GET /openapi.json": set(CAPABILITIES),
    "GET /metrics": {"read"},
    "POST /v1/stop": {"control"},
    "POST /v1/profiles": {"write"},
    "GET /v1/profiles": {"read"},
    "GET {one}": {"read"},
    "PUT {one}": {"write"},
    "PATCH {one}": {"write"},
    "DELETE {one}": {"write"},
    "GET {one}/history": {"read"},
    "POST {one}/test": {"read"},
    "POST {one}/message": {"use"},
    "POST {one}/force-disable": {"control"},
    "POST {one}/pause": {"control"},
    "POST {one}/resume": {"control"},
    "POST {one}/retry-now": {"control"},
    "POST {one}/default": {"write"},
    "GET /v1/session": {"use", "read", "control"},
    "GET /v1/events": {"control"},
    "GET /v1/events?profile=99": {"read"},
}
"""Who may do what, said a second time and independent of the code."""

COMMANDS: dict[str, set[str]] = {
    "hold": {"read", "use"},
    "enable": {"use"},
    "watch": {"control"},
    "force-disable": {"control"},
}


@pytest.fixture(scope="module")
def tokens(target: RunningService) -> dict[str, str]:
    """A token for each capability."""
    return {name: add_token(target.state, f"only-{name}", [name]) for name in CAPABILITIES}


class TestCapabilities:
    """No operation can be reached without its capability."""

    def test_every_route_is_in_the_table(self) -> None:
        known = {operation.partition("?")[0] for operation in ONLY}
        for route in ROUTES:
            path = route.path
            for one in ("/v1/profiles/by-name/{name}", "/v1/profiles/{id}", "/v1/profiles/default"):
                path = path.replace(one, "{one}")
            assert f"{route.method} {path}" in known

    @pytest.mark.parametrize("operation", ONLY)
    def test_route(self, target: RunningService, tokens: dict[str, str], operation: str) -> None:
        """Allowed operations fail later: for want of a profile, a body or an upgrade."""
        for one in ("/v1/profiles/99", "/v1/profiles/by-name/nobody"):
            method, _, path = operation.replace("{one}", one).partition(" ")
            for capability, token in tokens.items():
                if operation == "GET /v1/events" and capability == "control":
                    continue  # it would not end
                answer = target.request(
                    method, path, {"deregister": 0} if method == "POST" else None, {"Authorization": f"Bearer {token}"}
                )
                refused = answer.status == 403
                assert refused is (capability not in ONLY[operation]), (capability, answer.document)
            data = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            anybody = path in ("/healthz", "/openapi.json")
            assert raw(target, data.encode())[9:12] == (b"200" if anybody else b"401")

    @pytest.mark.parametrize("capability", ["read", "use", "control"])
    async def test_commands(self, target: RunningService, tokens: dict[str, str], capability: str) -> None:
        connector = aiohttp.UnixConnector(str(target.socket))
        headers = {"Authorization": f"Bearer {tokens[capability]}"}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as client,
            client.ws_connect("http://localhost/v1/session") as socket,
        ):
            await socket.send_json(HELLO)
            await socket.receive_json(timeout=5)
            for op, needed in COMMANDS.items():
                await socket.send_json({"id": 2, "op": op, "profile": 99, "all": False})
                answer = await socket.receive_json(timeout=5)
                refused = answer.get("error", {}).get("code") == "permission_denied"
                assert refused is (capability not in needed), (op, answer)

    async def test_removed_token_ends_what_it_began(self, target: RunningService) -> None:
        token = add_token(target.state, "leaver", ["read", "use", "control"])
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{port_of(target, 'listening', 'port')}"
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.ws_connect(f"{url}/v1/session") as socket,
            client.get(f"{url}/v1/events") as stream,
        ):
            await socket.send_json(HELLO)
            await socket.receive_json(timeout=5)
            await stream.content.readuntil(b"\n\n")
            remove_token(target.state, "leaver")
            closing = await socket.receive_json(timeout=5)
            assert (closing["event"], closing["error"]["code"]) == ("closing", "unauthenticated")
            assert (await socket.receive(timeout=5)).data == 1008
            with contextlib.suppress(aiohttp.ClientError):
                assert await asyncio.wait_for(stream.content.read(), 5) == b""


class TestConcurrency:
    def test_one_name_is_given_once(self, target: RunningService) -> None:
        with ThreadPoolExecutor(50) as clients:
            answers = list(clients.map(lambda _: target.request("POST", "/v1/profiles", line("wanted")), range(50)))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 49

    def test_one_revision_is_changed_once(self, target: RunningService) -> None:
        path = f"/v1/profiles/{target.request('POST', '/v1/profiles', line('edited')).document['id']}"

        def edit(number: int) -> int:
            return target.request("PATCH", path, {"labels": {"a": str(number)}}, {"If-Match": '"1"'}).status

        with ThreadPoolExecutor(20) as clients:
            assert sorted(clients.map(edit, range(20))) == [200] + [412] * 19
        assert target.request("GET", path).document["revision"] == 2

    async def test_removed_while_it_is_enabled(self, target: RunningService) -> None:
        for number in range(10):
            name = f"raced{number}"
            profile = (await asyncio.to_thread(target.request, "POST", "/v1/profiles", line(name))).document["id"]
            async with connected(target) as socket:
                removal = asyncio.create_task(asyncio.to_thread(target.request, "DELETE", f"/v1/profiles/{profile}"))
                await asyncio.sleep(0.0005 * number)
                await socket.send_json({"id": 2, "op": "enable", "profile": profile})
                while (answer := await socket.receive_json(timeout=5)).get("id") != 2:
                    pass
                removed = await removal
                if removed.status == 204:
                    assert answer["error"]["code"] == "not_found"
                else:
                    assert (removed.document["code"], "ok" in answer) == ("in_use", True)


class TestFlood:
    """Nothing a stranger sends to the SIP port costs much, is remembered, or keeps others from being answered."""

    def test_garbage(self, target: RunningService) -> None:
        chance = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.connect(("127.0.0.1", port_of(target, "ready", "sip_port")))
            port = stranger.getsockname()[1]
            rest = (
                f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKx;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
                "Call-ID: x\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\nContact: <sip:a@b>\r\nContent-Length: 0\r\n\r\n"
            )
            request = ("OPTIONS sip:127.0.0.1 SIP/2.0\r\n" + rest % "OPTIONS").encode()
            answer = ("SIP/2.0 200 OK\r\n" + rest % "REGISTER").encode()
            memory, work = megabytes(target), processor_time(target)
            for number in range(10_000):
                good = (b"", request, answer)[number % 3]
                stranger.send(mutated(good, chance) if good else chance.randbytes(chance.randrange(1500)))
            target.wait_until(lambda: answered(stranger, request), "an answer")
            assert processor_time(target) - work < 5
            assert megabytes(target) - memory < 16


def answered(stranger: socket.socket, request: bytes) -> bool:
    """Ask anew, as SIP clients do: answers are limited by the second. What the flood brought is not an answer."""
    probe = request.replace(b"Call-ID: x", b"Call-ID: %x" % time.monotonic_ns())
    stranger.send(probe)
    stranger.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while data := stranger.recv(65536):
            if probe.split(b"Call-ID: ")[1].split(b"\r\n")[0] in data:
                return data.startswith(b"SIP/2.0 200")
    return False


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(changed))
        kind = chance.randrange(4)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            del changed[at : min(at + chance.randint(1, 20), len(changed) - 1)]
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.randint(1, 30))
        else:
            changed[at:at] = changed[at : at + 50] * chance.randint(1, 20)
    return bytes(changed[:60_000])


class TestAfterAll:
    """Last, on the service that all of the above was done to."""

    def test_no_mistake_was_made(self, target: RunningService) -> None:
        assert mistakes(target) == []
        assert target.request("GET", "/healthz").document == {"status": "ok"}

    @pytest.mark.pain(22)
    def test_no_secret_is_anywhere(self, target: RunningService) -> None:
        for path in ("/v1/profiles", "/v1/profiles/1/history", "/v1/status", "/metrics", "/v1/types", "/openapi.json"):
            answer = target.request("GET", path)
            assert (answer.status, SECRET in json.dumps(answer.document)) == (200, False)
        assert SECRET not in json.dumps(target.request("POST", "/v1/profiles/1/test").document)
        assert target.process is not None
        process = Path(f"/proc/{target.process.pid}")
        for place in (target.log, process / "cmdline", process / "environ", *target.state.iterdir()):
            assert SECRET.encode() not in place.read_bytes()

    def test_modes(self, target: RunningService) -> None:
        assert stat.S_IMODE(target.state.stat().st_mode) == 0o750
        assert stat.S_IMODE(target.socket.stat().st_mode) == 0o660
        names = {path.name for path in target.state.iterdir()}
        assert names == {"key", "lock", "store.db", "store.db-shm", "store.db-wal", "tokens.json"}
        for path in target.state.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
