"""What happens to the running service when memory, descriptors, the disk or its life are taken away."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from running_service import CHILD
from sipprofile.profile import Profile, ServerParameters
from sipprofile.records import PutProfile
from sipprofile.store import files
from sipprofile.store.secrets import KeyRing
from sipprofile.store.store import Store

from .conftest import RunningService
from .hostile import AOR, HELLO, connected, line, megabytes, mistakes, port_of

UPGRADE = (
    b"GET /v1/session HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(document: dict[str, Any]) -> bytes:
    """A masked text frame (RFC 6455 §5.2)."""
    data = json.dumps(document).encode()
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + b"\0\0\0\0" + data


class TestSlowReaders:
    """Clients that never read cost what they hold, and nobody waits for them."""

    PROFILES = 1000

    async def test_memory_is_bounded(self, service: RunningService) -> None:
        service.configuration += "[registration]\nrate = 100000\nburst = 100000\n"
        service.start()
        assert service.stop() == 0
        with contextlib.closing(
            Store.open(service.state / files.STORE_FILE, KeyRing.read(service.state / files.KEY_FILE))
        ) as store:
            store.commit([PutProfile(stored(number), 1) for number in range(1, self.PROFILES + 1)])
        service.start()
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                self.hold_everything(stack, service)
            for _ in range(10):
                request(stack, service, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x\r\n\r\n")
                request(stack, service, b"GET /v1/profiles?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with connected(service) as socket:
                sizes = [megabytes(service)]
                while len(sizes) < 12 and (len(sizes) < 4 or sizes[-1] - sizes[-3] > 2):
                    await self.churn(socket)  # until the allocator has what it keeps
                    sizes.append(megabytes(service))
                before = sizes[-1]
                for _ in range(3):
                    await self.churn(socket)
                assert megabytes(service) - before < 16
                assert before < 300
                begin = time.monotonic()
                await socket.send_json({"id": 5, "op": "ping"})
                await socket.receive_json(timeout=5)
                assert time.monotonic() - begin < 1
        service.wait_until(
            lambda: service.request("GET", "/v1/status").document["sessions"] == 0, "the end of all sessions"
        )
        assert mistakes(service) == []

    def hold_everything(self, stack: contextlib.ExitStack, service: RunningService) -> None:
        """A session that holds everything and reads nothing."""
        connection = request(stack, service, UPGRADE)
        for start in range(1, self.PROFILES, 100):
            ids = list(range(start, start + 100))
            connection.sendall((frame(HELLO) if start == 1 else b"") + frame({"id": 2, "op": "hold", "ids": ids}))

    async def churn(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Two changes of state of every profile."""
        for start in range(1, self.PROFILES + 1, 50):
            for number in range(start, start + 50):
                await socket.send_json({"id": number, "op": "retry-now", "profile": number})
            for _ in range(50):
                assert "ok" in await socket.receive_json(timeout=10)


def stored(number: int) -> Profile:
    registrar = ServerParameters(uri="sip:127.0.0.1:9")
    return Profile(id=number, name=f"p{number}", aor=AOR, register="always", registrar=registrar)


def request(stack: contextlib.ExitStack, service: RunningService, data: bytes) -> socket.socket:
    """Send a request and leave its answer unread."""
    connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    connection.connect(str(service.socket))
    connection.sendall(data)
    return connection


class FewDescriptors(RunningService):
    """A service that may open 300 files."""

    def spawn(self) -> None:
        super().spawn()
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (100, 300))


class TestExhaustion:
    def test_connections(self, tmp_path: Path) -> None:
        """2,000 from the network leave descriptors for everything else."""
        service = FewDescriptors(tmp_path)
        service.configuration += "[listen]\nport = 0\n"
        with contextlib.ExitStack() as stack:
            stack.callback(service.kill)
            service.start()
            self.connect_from_the_network(service)

    def connect_from_the_network(self, service: RunningService) -> None:
        address = ("127.0.0.1", port_of(service, "listening", "port"))
        with contextlib.ExitStack() as stack:
            for _ in range(2000):
                stack.enter_context(socket.create_connection(address, timeout=5))
            assert service.request("POST", "/v1/profiles", line("one", register="always")).status == 201
            assert service.request("GET", "/v1/status").status == 200
        assert any(entry["event"].startswith("connection refused") for entry in service.lines())
        assert mistakes(service) == []

    def test_full_disk(self, service: RunningService) -> None:
        """A file-size limit stands for it: nothing can be written, the log neither."""
        service.start()
        assert service.request("POST", "/v1/profiles", line("before", register="always")).status == 201
        assert service.process is not None
        pid = service.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        for _ in range(3):
            answer = service.request("POST", "/v1/profiles", line("during", register="always"))
            assert (answer.status, answer.document["code"]) == (507, "store_failed")
        assert service.request("POST", "/v1/profiles/1/pause").status == 507
        assert service.request("POST", "/v1/profiles/1/retry-now").status == 200
        service.wait_until(lambda: service.request("GET", "/healthz").status == 503, "the report of a failing store")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        service.wait_until(lambda: service.request("GET", "/healthz").status == 200, "the store's recovery")
        assert service.request("POST", "/v1/profiles", line("during")).status == 201
        service.kill()
        service.start()
        names = [document["name"] for document in service.request("GET", "/v1/profiles").document["profiles"]]
        assert names == ["before", "during"]

    def test_log_that_cannot_be_written(self, service: RunningService) -> None:
        service.start()
        assert service.stop() == 0
        command = [sys.executable, "-c", CHILD, str(service.state.parent / "sipprofile.toml"), str(service.state)]
        with open("/dev/full", "wb") as full:
            service.process = subprocess.Popen([*command, str(service.socket)], stderr=full)
        service.wait_until(lambda: service.process and (service.socket.exists() or service.process.poll()), "the start")
        assert service.request("POST", "/v1/profiles", line("one")).status == 201
        assert service.request("GET", "/v1/profiles/1").status == 200


class TestKill:
    def test_in_the_middle_of_commits(self, service: RunningService) -> None:
        """Every save that was answered is there; of the others each is there whole or not at all."""
        answered: dict[str, int] = {}
        for attempt in range(2):
            service.start()
            service.request("POST", "/v1/profiles", line(f"r{attempt}"))
            threads = [
                threading.Thread(target=self.create_until_it_dies, args=(service, f"r{attempt}-{number}-", answered))
                for number in range(4)
            ]
            for thread in threads:
                thread.start()
            wanted = len(answered) + 20
            service.wait_until(lambda wanted=wanted: len(answered) > wanted, "some saves")  # type: ignore[misc]
            service.kill()
            for thread in threads:
                thread.join()
        service.start()
        stored = service.request("GET", "/v1/profiles?limit=1000").document["profiles"]
        found = {document["name"]: document["id"] for document in stored}
        assert answered.items() <= found.items()
        assert len(set(found.values())) == len(stored)
        assert [document["default"] for document in stored].count(True) == 1

    def create_until_it_dies(self, service: RunningService, prefix: str, answered: dict[str, int]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(1000):
                answer = service.request("POST", "/v1/profiles", line(f"{prefix}{number}"))
                if answer.status == 201:
                    answered[f"{prefix}{number}"] = answer.document["id"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a service that has one profile and does not run."""
    service = RunningService(tmp_path_factory.mktemp("stopped"))
    try:
        service.start()
        assert service.request("POST", "/v1/profiles", line("first")).status == 201
        assert service.stop() == 0
    finally:
        service.kill()
    return service.state


@pytest.fixture
def stopped(service: RunningService, state: Path) -> RunningService:
    """A service with a copy of that state."""
    shutil.copytree(state, service.state)
    return service


def damaged(statement: str) -> Any:
    def damage(state: Path) -> None:
        with contextlib.closing(sqlite3.connect(state / "store.db")) as store:
            store.execute(statement)
            store.commit()

    return damage


class TestStart:
    """What is wrong with the state directory is said in one line, with exit code 78 when a restart does not help."""

    @pytest.mark.parametrize(
        ("damage", "code"),
        [
            (lambda state: (state / "key").unlink(), "missing_key"),
            (lambda state: (state / "key").write_bytes(b"\xff"), "missing_key"),
            (lambda state: (state / "key").chmod(0o644), "bad_configuration"),
            (lambda state: (state / "store.db").write_bytes(b"\xff" * 9000), "store_damaged"),
            (lambda state: os.truncate(state / "store.db", 20_000), "store_damaged"),
            (damaged("UPDATE profiles SET document = '{'"), "store_damaged"),
            (damaged("UPDATE profiles SET document = replace(document, 'v1:', 'v2:')"), "store_damaged"),
            (damaged("DELETE FROM meta"), "store_damaged"),
        ],
    )
    def test_refused(self, stopped: RunningService, damage: Any, code: str) -> None:
        damage(stopped.state)
        stopped.spawn()
        assert stopped.wait() == 78
        said = [line for line in stopped.log.read_text().splitlines() if '"level":"info"' not in line]
        assert len(said) == 1
        assert said[0].endswith(f"[{code}]")

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT OR REPLACE INTO meta VALUES ('sip_port', '99999')",
            "INSERT OR REPLACE INTO meta VALUES ('sip_port', 'x')",
        ],
    )
    def test_port_that_makes_no_sense_is_not_used(self, stopped: RunningService, statement: str) -> None:
        damaged(statement)(stopped.state)
        stopped.start()
        assert stopped.request("GET", "/v1/profiles/1").status == 200

    def test_profile_that_its_agent_cannot_use_is_left_out(self, stopped: RunningService) -> None:
        damaged("UPDATE profiles SET document = json_set(document, '$.aor', 'nonsense')")(stopped.state)
        stopped.start()
        assert any(entry["event"].startswith("profile left out") for entry in stopped.lines())
        assert stopped.request("GET", "/v1/profiles/1").document["registration"]["status"] == "unregistered"
        assert stopped.request("POST", "/v1/profiles/1/retry-now").status == 422
        assert stopped.request("POST", "/v1/profiles/1/test").document["steps"][0]["ok"] is False
        assert stopped.request("PATCH", "/v1/profiles/1", {"aor": AOR}).status == 200
        assert stopped.request("POST", "/v1/profiles/1/retry-now").status == 200
        assert stopped.request("DELETE", "/v1/profiles/1").status == 204
        assert mistakes(stopped) == []
