"""The command line against the real daemon and a registrar."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interop.certificates import OpenSslAuthority, parts
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService

AOR = "sip:alice@example.test"
COMMAND = [sys.executable, "-m", "sipprofile.cli.main"]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def in_thread(server: RegistrarServer) -> Iterator[RegistrarServer]:
    """The server started, in a thread, and stopped."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def registrar() -> Iterator[RegistrarServer]:
    """A registrar in a thread."""
    with in_thread(RegistrarServer(users={"alice": "secret"})) as server:
        yield server


@pytest.fixture
def run(daemon: RunningService) -> Run:
    def call(*arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SIPPROFILE_URL": daemon.url}
        return subprocess.run(
            [*COMMAND, *arguments], input=input, capture_output=True, text=True, env=environment, timeout=60
        )

    return call


@pytest.fixture
def line(run: Run, registrar: RegistrarServer) -> str:
    """The name of a stored profile."""
    arguments = ["add", "line", AOR, "--registrar", registrar.uri, "--username", "alice", "--password-file", "-"]
    assert done(run(*arguments, input="secret\n")) == "Added line with the id 1.\n"
    return "line"


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_life_of_a_profile(run: Run, line: str, registrar: RegistrarServer) -> None:
    assert done(run("list")).splitlines()[1].split()[:5] == ["1", "line*", "ietf", AOR, "unregistered"]
    assert "registrar.password_set  true" in done(run("show", line))
    assert done(run("set", line, "expires=600", "extensions.x=5", "labels.site=lab")) == "Changed line.\n"
    shown = json.loads(done(run("show", line, "--json")))
    assert (shown["expires"], shown["extensions"], shown["labels"]) == (600, {"x": 5}, {"site": "lab"})
    done(run("set", line, "expires="))
    assert json.loads(done(run("show", line, "--json")))["expires"] == 3600
    refused = run("set", line, "expires=1", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["field"] == "expires"
    assert done(run("rm", line)) == "Removed line.\n"
    assert run("show", line).returncode == 3


def test_use_with_a_command(run: Run, line: str, registrar: RegistrarServer, daemon: RunningService) -> None:
    result = run("use", line, "--wait", "10", "--", *COMMAND, "list")
    assert result.returncode == 0, result.stderr
    row = result.stdout.splitlines()[1].split()
    assert (row[4], row[-1]) == ("registered", "1")
    assert "registered" in result.stderr
    daemon.wait_until(lambda: not registrar.bindings(AOR), "the end of the registration")
    assert run("use", line, "--", "sh", "-c", "exit 9").returncode == 9


def test_use_ends_with_a_signal_and_gives_back(
    run: Run, line: str, registrar: RegistrarServer, daemon: RunningService
) -> None:
    command = [*COMMAND, "use", line, "--url", daemon.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        daemon.wait_until(lambda: registrar.bindings(AOR), "the registration")
        assert run("rm", line).returncode == 4
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert "line registered" in process.stdout.read()
    daemon.wait_until(lambda: not registrar.bindings(AOR), "the end of the registration")


def test_a_wrong_password(run: Run, line: str, registrar: RegistrarServer) -> None:
    done(run("set", line, "--password-file", "-", input="wrong\n"))
    result = run("use", line, "--wait", "20")
    assert result.returncode == 7
    tested = run("test", line)
    assert tested.returncode == 7
    *good, failed, remedy = tested.stdout.splitlines()
    assert [line.split()[:2] for line in good] == [[step, "ok"] for step in ("settings", "dns", "transport", "answer")]
    assert failed.split()[:2] == ["digest", "failed"]
    assert "Correct the user name or the password" in remedy
    done(run("set", line, "--password-file", "-", input="secret\n"))
    assert "lease      ok" in done(run("test", line))


@pytest.mark.skipif(OpenSslAuthority.program() is None and not os.environ.get("CI"), reason="needs openssl")
def test_tls_from_files(run: Run, tmp_path: Path) -> None:
    authority = OpenSslAuthority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(authority.issue("server", "IP:127.0.0.1"))
    own = []
    for option, text in zip(("--certificate", "--key"), parts(authority.issue("client")).values(), strict=True):
        (tmp_path / option).write_text(text)
        own += [option, str(tmp_path / option)]
    with in_thread(RegistrarServer(users={"alice": "secret"}, tls=context)) as registrar:
        arguments = ["add", "line", AOR, "--registrar", registrar.tls_uri, "--ca", str(authority.file)]
        done(run(*arguments, "--username", "alice", "--password-file", "-", input="secret\n"))
        *_, failed, remedy = run("test", "line").stdout.splitlines()
        assert failed.split()[:2] == ["transport", "failed"]
        assert remedy.startswith(" " * 19)
        done(run("set", "line", *own))
        done(run("use", "line", "--wait", "10", "--", "true"))
    shown = done(run("show", "line"))
    assert "registrar.tls.private_key_set  true" in shown
    assert "PRIVATE KEY" not in shown


def test_operators_commands(run: Run, line: str, registrar: RegistrarServer, daemon: RunningService) -> None:
    done(run("set", line, "register=always"))
    daemon.wait_until(lambda: registrar.bindings(AOR), "the registration")
    assert "paused" in done(run("pause", line))
    daemon.wait_until(lambda: not registrar.bindings(AOR), "the de-registration")
    assert run("use", line, "--wait", "5").returncode == 7
    done(run("resume", line))
    daemon.wait_until(lambda: registrar.bindings(AOR), "the registration")
    done(run("retry-now", line))
    assert "forcibly_disabled" in done(run("force-disable", line))
    assert len(registrar.bindings(AOR)) == 1
    done(run("resume", line))
    assert "registered" in done(run("history", line))
    assert "1 profiles" in done(run("status"))
    assert done(run("types")).splitlines()[0].split()[0] == "NAME"
    assert "ietf" in done(run("types"))


def test_watch_prints_lines(run: Run, line: str, registrar: RegistrarServer, daemon: RunningService) -> None:
    command = [*COMMAND, "watch", line, "--json", "--url", daemon.url]
    seen: list[str] = []

    def used_and_seen() -> bool:
        done(run("use", line, "--wait", "10", "--", "true"))
        return {"registered", "deregistered"} <= set(seen)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout
        assert output is not None

        def read() -> None:
            for row in output:
                seen.append(json.loads(row)["event"])

        reader = threading.Thread(target=read)
        reader.start()
        daemon.wait_until(used_and_seen, "the sight of a registration")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        reader.join()


def test_tcp_with_a_token(run: Run, line: str, daemon: RunningService, tmp_path: Path) -> None:
    token = done(run("token", "add", "web", "--capability", "read", "--state", str(daemon.state))).strip()
    daemon.stop()
    daemon.configuration += "[listen]\nport = 0\n"
    daemon.start()
    port = next(entry["port"] for entry in daemon.lines() if entry.get("event") == "listening")
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "token").write_text(token)
    assert run("list", "--url", url).returncode == 5
    assert "line" in done(run("list", "--url", url, "--token-file", str(tmp_path / "token")))
    assert run("rm", line, "--url", url, "--token-file", str(tmp_path / "token")).returncode == 5
    assert run("use", line, "--url", url, "--token-file", str(tmp_path / "token")).returncode == 5


def test_key_and_backup_beside_a_running_service(run: Run, line: str, daemon: RunningService, tmp_path: Path) -> None:
    state = ["--state", str(daemon.state)]
    done(run("key", "rotate", *state))
    done(run("backup", str(tmp_path / "copy"), "--with-key", *state))
    assert "lease      ok" in done(run("test", line))  # the password still opens
    done(run("set", line, "--password-file", "-", input="secret\n"))
    daemon.restart()
    assert "lease      ok" in done(run("test", line))


@pytest.mark.parametrize("deregister", [True, False])
def test_stop(run: Run, line: str, registrar: RegistrarServer, daemon: RunningService, deregister: bool) -> None:
    done(run("set", line, "register=always"))
    daemon.wait_until(lambda: registrar.bindings(AOR), "the registration")
    done(run("stop", *(["--deregister"] if deregister else [])))
    assert daemon.wait() == 0
    assert bool(registrar.bindings(AOR)) is not deregister
    assert run("list").returncode == 6
