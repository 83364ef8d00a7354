"""Starting: options before the file, agents from plug-ins, sockets with the right owner, the service manager told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from sipprofile.agents.ietf import IetfAgent
from sipprofile.errors import SipProfileError
from sipprofile.profile import ProfileType
from sipprofile.server import agents, configuration
from sipprofile.server.listening import UnixListener, is_loopback, tcp_listener, tls_context
from sipprofile.server.main import ServeOptions, serve, with_options
from sipprofile.server.notify import notify

FILE = configuration.decode(
    "[service]\nstate = '/file'\nlog_level = 'error'\n[listen]\nport = 1\nallowed_hosts = ['a']\n", "file"
)


class TestOptions:
    """An option of the command line goes before the file's key."""

    def test_nothing_given(self) -> None:
        assert with_options(FILE, ServeOptions()) == FILE

    def test_given(self) -> None:
        options = ServeOptions(state=Path("/option"), listen="[::1]:8443", allowed_hosts=("b",), log_format="text")
        settings = with_options(FILE, options)
        assert (settings.service.state, settings.service.log_format) == ("/option", "text")
        assert settings.service.log_level == "error"
        assert (settings.listen.host, settings.listen.port) == ("::1", 8443)
        assert settings.listen.allowed_hosts == ("a", "b")

    @pytest.mark.parametrize("listen", ["8443", ":8443", "host", "host:", "host:http", "host:65536", "host:-1"])
    def test_bad_address(self, listen: str) -> None:
        with pytest.raises(SipProfileError, match="HOST:PORT"):
            with_options(FILE, ServeOptions(listen=listen))

    def test_certificate_needs_its_key(self) -> None:
        with pytest.raises(SipProfileError, match="together"):
            with_options(FILE, ServeOptions(tls_certificate="cert.pem"))

    def test_mistake_is_told_in_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "sipprofile.toml"
        file.write_text("[sip]\nport = 'x'\n")
        assert serve(ServeOptions(config=file)) == 78
        assert capsys.readouterr().err.startswith(f"sipprofile: {file}, line 2: sip.port: ")


class Acme(IetfAgent):
    type = ProfileType("acme", "internet")


class NeedsMore(IetfAgent):
    def __init__(self, something: int) -> None: ...


class Log:
    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []

    def error(self, _: str, **members: Any) -> None:
        self.errors.append(members)


class TestAgents:
    """A broken plug-in is left out and never stops the start."""

    @pytest.fixture
    def load(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], Log]]:
        def load(*names: str) -> tuple[list[str], Log]:
            entries = [EntryPoint(name, f"{__name__}:{name}", agents.GROUP) for name in names]
            monkeypatch.setattr(agents, "entry_points", lambda group: entries)
            log = Log()
            return sorted(agents.load_agents(log)), log

        return load

    def test_installed_ones(self, load: Callable[..., tuple[list[str], Log]]) -> None:
        names, log = load("Acme", "IetfAgent")
        assert names == ["acme", "ietf"]
        assert log.errors == []

    def test_ours_without_metadata(self, load: Callable[..., tuple[list[str], Log]]) -> None:
        assert load()[0] == ["ietf"]

    @pytest.mark.parametrize("broken", ["Missing", "NeedsMore", "Log"])
    def test_broken(self, load: Callable[..., tuple[list[str], Log]], broken: str) -> None:
        names, log = load("Acme", broken)
        assert names == ["acme", "ietf"]
        assert log.errors[0]["agent"].endswith(f":{broken}")

    def test_two_of_one_type(self, load: Callable[..., tuple[list[str], Log]]) -> None:
        names, log = load("Acme", "Acme")
        assert names == ["acme", "ietf"]
        assert "'acme'" in log.errors[0]["problem"]


class TestListening:
    def test_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError, match="107"):
            UnixListener(tmp_path / ("x" * 108))

    def test_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SipProfileError) as caught:
            UnixListener(tmp_path / "file" / "sock")
        assert caught.value.code == "bad_configuration"

    def test_socket_of_a_successor_is_not_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "sock"
        first = UnixListener(path)
        first.socket.close()
        second = UnixListener(path)
        first.close()
        assert path.exists()
        second.close()
        assert not path.exists()

    def test_tcp_port_in_use(self) -> None:
        with tcp_listener("127.0.0.1", 0) as first:
            assert is_loopback(first)
            with pytest.raises(SipProfileError) as caught:
                tcp_listener("127.0.0.1", first.getsockname()[1])
            assert caught.value.code == "address_in_use"

    def test_certificate_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "cert.pem").write_text("nothing")
        with pytest.raises(SipProfileError, match="certificate"):
            tls_context(str(tmp_path / "cert.pem"), str(tmp_path / "cert.pem"))


class TestNotify:
    """sd_notify(3)."""

    @pytest.mark.parametrize("abstract", [False, True])
    def test_datagram(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
        name = str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(5)
            manager.bind("\0" + name if abstract else name)
            monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
            notify("READY=1")
            assert manager.recv(100) == b"READY=1"

    def test_nobody_listens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
        notify("READY=1")
