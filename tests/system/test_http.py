"""The HTTP interface of the real daemon: what curl can do, what is refused, and what survives the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sipprofile.server.tokens import add_token, remove_token

from .conftest import RunningService
from .documents import LINE, named


def curl(daemon: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "10", "--unix-socket", str(daemon.socket)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)


class TestCurl:
    """``curl --unix-socket`` is enough for everything but a session."""

    def test_life_of_a_profile(self, daemon: RunningService) -> None:
        url = "http://localhost/v1/profiles"
        made = json.loads(curl(daemon, url, "-d", json.dumps(LINE)).stdout)
        assert made["id"] == 1
        assert made["default"] is True
        assert made["registration"]["status"] == "unregistered"
        assert json.loads(curl(daemon, f"{url}/by-name/line").stdout)["id"] == 1
        assert json.loads(curl(daemon, f"{url}/default").stdout)["name"] == "line"
        patched = json.loads(curl(daemon, "-X", "PATCH", f"{url}/1", "-d", '{"expires": 600}').stdout)
        assert (patched["expires"], patched["revision"]) == (600, 2)
        assert [each["name"] for each in json.loads(curl(daemon, url).stdout)["profiles"]] == ["line"]
        gone = curl(daemon, "-X", "DELETE", f"{url}/1", "-w", "%{http_code}").stdout
        assert gone == "204"
        assert json.loads(curl(daemon, url).stdout) == {"profiles": [], "cursor": None}

    def test_events(self, daemon: RunningService) -> None:
        command = ["curl", "-sSN", "--max-time", "10", "--unix-socket", str(daemon.socket)]
        with subprocess.Popen([*command, "http://localhost/v1/events"], stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == ": sipprofile\n"
            daemon.request("POST", "/v1/profiles", LINE)
            assert reader.stdout.readline() == "\n"
            number, name, data = (reader.stdout.readline().rstrip("\n") for _ in range(3))
            reader.kill()
        assert number.startswith("id: ")
        assert number.endswith("-1")
        assert name == "event: created"
        assert json.loads(data.removeprefix("data: "))["document"]["name"] == "line"


class TestProfiles:
    """Documents, revisions, pages, problems."""

    def test_created_document(self, daemon: RunningService) -> None:
        answer = daemon.request("POST", "/v1/profiles", LINE)
        assert answer.status == 201
        assert answer.headers["Location"] == "/v1/profiles/1"
        assert answer.headers["ETag"] == '"1"'
        assert answer.document["registrar"]["password_set"] is True
        assert "hunter2" not in json.dumps(answer.document)

    def test_if_match(self, daemon: RunningService) -> None:
        daemon.request("POST", "/v1/profiles", LINE)
        first = {"If-Match": '"1"'}
        assert daemon.request("PATCH", "/v1/profiles/1", {"expires": 900}, first).status == 200
        late = daemon.request("PATCH", "/v1/profiles/1", {"expires": 901}, first)
        assert (late.status, late.document["code"]) == (412, "revision_mismatch")
        assert daemon.request("DELETE", "/v1/profiles/1", headers=first).status == 412
        assert daemon.request("PUT", "/v1/profiles/1", LINE, {"If-Match": "*"}).status == 200
        bad = daemon.request("PUT", "/v1/profiles/1", LINE, {"If-Match": "3"})
        assert (bad.status, bad.document["field"]) == (400, "If-Match")

    def test_pages(self, daemon: RunningService) -> None:
        for number in range(5):
            assert daemon.request("POST", "/v1/profiles", named(f"line{number}")).status == 201
        seen: list[str] = []
        cursor = "0"
        while cursor is not None:
            page = daemon.request("GET", f"/v1/profiles?limit=2&cursor={cursor}").document
            seen += [document["name"] for document in page["profiles"]]
            cursor = page["cursor"]
        assert seen == [f"line{number}" for number in range(5)]

    def test_filters(self, daemon: RunningService) -> None:
        daemon.request("POST", "/v1/profiles", named("one", labels={"site": "a"}))
        daemon.request("POST", "/v1/profiles", named("two", aor="sip:bob@example.test"))
        found = daemon.request("GET", "/v1/profiles?aor=sip:bob@EXAMPLE.test").document["profiles"]
        assert [document["name"] for document in found] == ["two"]
        found = daemon.request("GET", "/v1/profiles?label=site%3Da&type=ietf&status=unregistered").document
        assert [document["name"] for document in found["profiles"]] == ["one"]

    @pytest.mark.parametrize(
        ("query", "field"), [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("page=2", "page")]
    )
    def test_bad_query(self, shared: RunningService, query: str, field: str) -> None:
        answer = shared.request("GET", f"/v1/profiles?{query}")
        assert (answer.status, answer.document["field"]) == (400, field)

    def test_history_and_control(self, daemon: RunningService) -> None:
        daemon.request("POST", "/v1/profiles", LINE)
        paused = daemon.request("POST", "/v1/profiles/by-name/line/pause")
        assert paused.status == 200
        assert paused.document["registration"]["held"] == "paused"
        assert daemon.request("POST", "/v1/profiles/1/resume").status == 200
        assert isinstance(daemon.request("GET", "/v1/profiles/1/history").document["history"], list)

    def test_types(self, shared: RunningService) -> None:
        types = shared.request("GET", "/v1/types").document["types"]
        assert next(each for each in types if each["name"] == "ietf")["class"] == "internet"


class TestProblems:
    """RFC 9457: a code, a sentence and the offending value, whatever goes wrong."""

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "code"),
        [
            ("GET", "/v1/profiles/7", None, 404, "not_found"),
            ("GET", "/v1/profiles/by-name/none", None, 404, "not_found"),
            ("GET", "/v1/profiles/default", None, 404, "not_found"),
            ("GET", "/v1/profiles/x", None, 404, "not_found"),
            ("GET", "/v1/profiles/99999999999999999999", None, 400, "bad_request"),
            ("GET", "/nothing", None, 404, "not_found"),
            ("PUT", "/v1/profiles", {}, 405, "method_not_allowed"),
            ("POST", "/v1/profiles", b"{", 400, "bad_request"),
            ("POST", "/v1/profiles", b"[]", 400, "bad_request"),
            ("POST", "/v1/profiles", b"\xff", 400, "bad_request"),
            ("POST", "/v1/profiles", b" " * (2 << 20), 413, "too_large"),
            ("POST", "/v1/profiles", {"name": "x", "aor": "nonsense"}, 422, "invalid_value"),
            ("POST", "/v1/profiles", {**LINE, "colour": "red"}, 422, "unknown_field"),
            ("GET", "/v1/session", None, 400, "bad_request"),
        ],
    )
    def test_problem(self, shared: RunningService, method: str, path: str, body: Any, status: int, code: str) -> None:
        answer = shared.request(method, path, body)
        assert (answer.status, answer.document["code"]) == (status, code)
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.document["status"] == status
        assert answer.document["remedy"]

    def test_allowed_methods_are_named(self, shared: RunningService) -> None:
        assert shared.request("PUT", "/v1/profiles", {}).headers["Allow"] == "GET, POST"


class TestService:
    """Health, status, metrics, description."""

    def test_health_and_status(self, daemon: RunningService) -> None:
        health = daemon.request("GET", "/healthz")
        assert (health.status, health.document) == (200, {"status": "ok"})
        status = daemon.request("GET", "/v1/status").document
        assert (status["protocol"], status["profiles"], status["ready"]) == (1, 0, True)
        assert status["store"] == {"failing": None}
        assert 0 <= status["uptime"] < 60

    def test_metrics(self, daemon: RunningService) -> None:
        daemon.request("POST", "/v1/profiles", LINE)
        answer = daemon.request("GET", "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        samples = [line for line in answer.document.splitlines() if not line.startswith("#")]
        assert 'sipprofile_registrations{reason="none",registrar="127.0.0.1:9",status="unregistered"} 1.0' in samples
        assert not [line for line in samples if '"line"' in line]  # no series per profile
        assert 'sipprofile_sip_requests_open{direction="in"} 0.0' in samples
        assert 'sipprofile_sip_transactions{side="client"} 0.0' in samples
        assert 'sipprofile_bridged{what="legs"} 0.0' in samples

    def test_description(self, shared: RunningService) -> None:
        assert shared.request("GET", "/openapi.json").document["openapi"] == "3.1.0"


class TestSocket:
    """0660 in a directory with 0750; stale ones replaced, live ones respected."""

    def test_modes(self, daemon: RunningService) -> None:
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
        assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o750

    def test_stale_socket_is_replaced(self, daemon: RunningService) -> None:
        daemon.kill()
        assert daemon.socket.exists()
        daemon.start()
        assert daemon.request("GET", "/healthz").status == 200

    def test_socket_is_removed_at_the_end(self, daemon: RunningService) -> None:
        assert daemon.stop() == 0
        assert not daemon.socket.exists()

    def test_live_socket_is_respected(self, service: RunningService) -> None:
        service.socket.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(service.socket))
            other.listen()
            service.spawn()
            assert service.wait() == 1
        assert "[address_in_use]" in service.log.read_text()

    def test_file_in_its_place_is_kept(self, service: RunningService) -> None:
        service.socket.parent.mkdir()
        service.socket.write_text("precious")
        service.spawn()
        assert service.wait() == 1
        assert service.socket.read_text() == "precious"

    def test_second_service_on_the_same_state(self, daemon: RunningService, tmp_path: Path) -> None:
        (tmp_path / "second").mkdir()
        second = RunningService(tmp_path / "second")
        second.state = daemon.state
        second.spawn()
        assert second.wait() == 1
        assert "[already_running]" in second.log.read_text()
        assert daemon.process is not None
        assert str(daemon.process.pid) in second.log.read_text()


class TestPeers:
    """Another user's process may do what its groups may, and nothing without them."""

    def test_stranger(self, service: RunningService, open_directory: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        service.socket = open_directory / "sock"
        service.configuration += "[access.groups]\n54322 = ['read']\n"
        service.start()
        service.socket.chmod(0o666)
        assert self.as_stranger(service, [54321], "/v1/profiles") == 403
        assert self.as_stranger(service, [54322], "/v1/profiles") == 200
        assert self.as_stranger(service, [54322], "/v1/profiles/1/pause") == 403
        assert self.as_stranger(service, [54321], "/healthz") == 200

    @pytest.fixture
    def open_directory(self) -> Iterator[Path]:
        """A directory that other users can enter."""
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            yield Path(name)

    def as_stranger(self, service: RunningService, groups: list[int], path: str) -> int:
        method = "POST" if path.endswith("pause") else "GET"
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]
        done = subprocess.run(
            [*command, "--unix-socket", str(service.socket), f"http://localhost{path}"],
            capture_output=True,
            text=True,
            check=True,
            user=54321,
            group=54321,
            extra_groups=groups,
            cwd="/",
        )
        return int(done.stdout)


@pytest.fixture
async def on_tcp(service: RunningService) -> AsyncIterator[tuple[RunningService, aiohttp.ClientSession, str]]:
    """A service on TCP, a client with a token that may everything, and the base URL."""
    service.configuration += "[listen]\nport = 0\n"
    await asyncio.to_thread(service.start)
    port = next(line["port"] for line in service.lines() if line["event"] == "listening")
    token = add_token(service.state, "all", ["read", "write", "use", "control"])
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:
        yield service, client, url


class TestTcp:
    """Containers and other machines: tokens, Host and Origin."""

    async def test_token(self, on_tcp: tuple[RunningService, aiohttp.ClientSession, str]) -> None:
        service, client, url = on_tcp
        async with client.get(f"{url}/v1/status") as answer:
            assert answer.status == 200
        remove_token(service.state, "all")
        async with client.get(f"{url}/v1/status") as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    async def test_capabilities_of_a_token(self, on_tcp: tuple[RunningService, aiohttp.ClientSession, str]) -> None:
        service, client, url = on_tcp
        headers = {"Authorization": "Bearer " + add_token(service.state, "reader", ["read"])}
        async with client.get(f"{url}/v1/profiles", headers=headers) as answer:
            assert answer.status == 200
        for method, path in (
            ("POST", "/v1/profiles"),
            ("DELETE", "/v1/profiles/1"),
            ("POST", "/v1/profiles/1/pause"),
            ("POST", "/v1/stop"),
            ("GET", "/v1/events"),
        ):
            async with client.request(method, url + path, headers=headers, json={}) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (403, "permission_denied")

    async def test_host_and_origin(self, on_tcp: tuple[RunningService, aiohttp.ClientSession, str]) -> None:
        _, client, url = on_tcp
        async with client.get(f"{url}/v1/status", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        evil = {"Origin": "https://evil.example"}
        async with client.post(f"{url}/v1/profiles", json=LINE, headers=evil) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(f"{url}/v1/session", headers=evil)

    async def test_session(self, on_tcp: tuple[RunningService, aiohttp.ClientSession, str]) -> None:
        _, client, url = on_tcp
        async with client.ws_connect(f"{url}/v1/session") as session:
            await session.send_json({"id": 1, "op": "hello", "version": 1, "app": "test"})
            assert (await session.receive_json(timeout=5))["ok"]["version"] == 1


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, Path]:
        """A certificate for localhost and its key."""
        made = tmp_path / "cert.pem", tmp_path / "key.pem"
        request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
        extension = ("-addext", "subjectAltName=DNS:localhost")
        files = ("-out", str(made[0]), "-keyout", str(made[1]))
        subprocess.run([*request.split(), *extension, *files], check=True, capture_output=True)
        return made

    async def test_configured_certificate(self, service: RunningService, certificate: tuple[Path, Path]) -> None:
        chain, key = certificate
        service.configuration += f"[listen]\nport = 0\ntls_certificate = '{chain}'\ntls_key = '{key}'\n"
        await asyncio.to_thread(service.start)
        line = next(line for line in service.lines() if line["event"] == "listening")
        assert line["tls"] is True
        headers = {"Authorization": "Bearer " + add_token(service.state, "reader", ["read"])}
        trusted = ssl.create_default_context(cafile=str(chain))
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"https://localhost:{line['port']}/v1/status", ssl=trusted) as answer,
        ):
            assert answer.status == 200


class TestEnd:
    """What survives, and how it is told to end."""

    def test_everything_answered_survives_a_crash(self, daemon: RunningService) -> None:
        assert daemon.request("POST", "/v1/profiles", LINE).status == 201
        daemon.kill()
        daemon.start()
        assert daemon.request("GET", "/v1/profiles/by-name/line").document["registrar"]["password_set"] is True

    def test_sip_port_is_kept(self, daemon: RunningService) -> None:
        daemon.restart()
        first, second = (line["sip_port"] for line in daemon.lines() if line["event"] == "ready")
        assert first == second

    def test_sip_port_that_was_taken_meanwhile(self, daemon: RunningService) -> None:
        assert daemon.stop() == 0
        first = next(line["sip_port"] for line in daemon.lines() if line["event"] == "ready")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", first))
            daemon.start()
        assert [line["sip_port"] for line in daemon.lines() if line["event"] == "ready"][1] != first
        assert [line for line in daemon.lines() if "port is taken" in line["event"]]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_signal(self, daemon: RunningService, number: signal.Signals) -> None:
        assert daemon.stop(number) == 0
        assert daemon.lines()[-1]["event"] == "stopped"

    @pytest.mark.parametrize("deregister", [True, False])
    def test_stop(self, daemon: RunningService, deregister: bool) -> None:
        answer = daemon.request("POST", "/v1/stop", {"deregister": deregister})
        assert (answer.status, answer.document) == (202, {"stopping": True, "deregister": deregister})
        assert daemon.wait() == 0

    def test_bad_configuration(self, service: RunningService) -> None:
        service.configuration = "[sip]\nprot = 5060\n"
        service.spawn()
        assert service.wait() == 78
        assert "line 2: sip.prot" in service.log.read_text()

    @pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
    def test_sip_port_in_use(self, service: RunningService, kind: socket.SocketKind) -> None:
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                other.listen()
            service.configuration += f"port = {other.getsockname()[1]}\n"
            service.spawn()
            assert service.wait() == 1
            assert "[address_in_use]" in service.log.read_text()
            if kind == socket.SOCK_STREAM:
                service.configuration += "tcp_listen = false\n"
                service.start()

    def test_the_sip_port_is_kept_though_tcp_cannot_have_it(self, service: RunningService) -> None:
        service.start()
        port = next(line["sip_port"] for line in service.lines() if line["event"] == "ready")
        assert service.stop() == 0
        with socket.create_server(("127.0.0.1", port)):
            service.start()
            assert [line["sip_port"] for line in service.lines() if line["event"] == "ready"] == [port, port]
            [warning] = [line for line in service.lines() if line["level"] == "warning"]
            assert f"cannot listen on TCP 127.0.0.1:{port}" in warning["reason"]
        service.restart()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"\r\n\r\n")
            assert connection.recv(10) == b"\r\n"

    def test_no_secret_in_the_log(self, service: RunningService) -> None:
        service.configuration += "[service]\nlog_level = 'debug'\n"
        service.start()
        service.request("POST", "/v1/profiles", {**LINE, "register": "always"})
        service.request("POST", "/v1/profiles/1/retry-now")
        service.stop(signal.SIGINT)
        assert "created" in [line["event"] for line in service.lines()]
        assert "hunter2" not in service.log.read_text()
