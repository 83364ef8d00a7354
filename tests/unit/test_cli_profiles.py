"""The commands that add, change and control profiles: what is sent, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import Run, done, run, service
from fake_service import FakeService

from sipprofile.cli import output
from sipprofile.cli.values import extension_value, patch_of

__all__ = ["run", "service"]

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nZm9v\n-----END PRIVATE KEY-----\n"


class TestAdding:
    def test_every_option(self, run: Run, service: FakeService, tmp_path: Path) -> None:
        (tmp_path / "p1").write_text("one\n")
        (tmp_path / "p2").write_text("two")
        arguments = f"""add new sip:new@example.test --type ietf --registrar sip:r.test --username u --realm R
            --password-file {tmp_path}/p1 --proxy sip:p1.test --proxy sip:p2.test --proxy-username pu
            --proxy-password-file {tmp_path}/p2 --register always --expires 600 --provider-name P --linger 0 --dscp 0
            --contact-param q=0.5 --contact-uri sip:sbc.test --label site=lab --label a=b=c --ext n=5 --ext s=text
            --ext l=["a"] --default --header X:1"""
        assert done(run(*arguments.split())) == "Added new with the id 3.\n"
        proxy = {"username": "pu", "password": "two"}
        assert service.requests[0][2] == {
            "name": "new", "aor": "sip:new@example.test", "type": "ietf", "register": "always", "expires": 600,
            "registrar": {"uri": "sip:r.test", "username": "u", "realm": "R", "password": "one"},
            "proxies": [{"uri": "sip:p1.test", **proxy}, {"uri": "sip:p2.test", **proxy}],
            "provider_name": "P", "linger": 0, "dscp": 0, "contact_params": ["q=0.5"], "contact_uri": "sip:sbc.test",
            "headers": ["X:1"], "labels": {"site": "lab", "a": "b=c"}, "extensions": {"n": 5, "s": "text", "l": ["a"]},
            "default": True,
        }  # fmt: skip

    def test_bridge(self, run: Run, service: FakeService) -> None:
        options = "--bridge sip:172.17.0.2 --bridge-port 5090 --bridge-host 172.17.0.1 --bridge-allow 172.17.0.0/16"
        done(run("add", "one", "sip:new@example.test", *options.split(), "--request-user", "to"))
        bridge = {"uri": "sip:172.17.0.2", "port": 5090, "host": "172.17.0.1", "allowed": ["172.17.0.0/16"]}
        assert service.requests[-1][2]["bridge"] == {**bridge, "request_user": "to"}
        done(run("add", "two", "sip:new@example.test", "--bridge", "register"))
        assert service.requests[-1][2]["bridge"] == {}
        assert "need --bridge" in run("add", "three", "sip:new@example.test", "--bridge-port", "5090").output
        done(run("set", "desk", "bridge.uri=sip:127.0.0.1:5062", "bridge.port=5081", "bridge.allowed=10.0.0.1"))
        assert service.requests[-1][2] == {
            "bridge": {"uri": "sip:127.0.0.1:5062", "port": 5081, "allowed": ["10.0.0.1"]}
        }

    @pytest.fixture
    def pem(self, tmp_path: Path) -> Callable[[str, str], str]:
        def write(name: str, text: str) -> str:
            (tmp_path / name).write_text(text)
            return str(tmp_path / name)

        return write

    def test_tls(self, run: Run, service: FakeService, pem: Callable[[str, str], str]) -> None:
        ca, own, key = pem("ca", f"{CERTIFICATE}ca\n"), pem("own", CERTIFICATE), pem("key", KEY)
        options = ["--ca", ca, "--certificate", own, "--key", key, "--server-name", "sip.test"]
        done(run("add", "one", "sip:new@example.test", *options))
        tls = {"ca": f"{CERTIFICATE}ca\n", "certificate": CERTIFICATE, "private_key": KEY, "server_name": "sip.test"}
        assert service.requests[-1][2]["registrar"] == {"uri": "sip:example.test", "tls": tls}
        done(run("add", "two", "sip:new@example.test", "--ca", ca, "--proxy", "sip:p.test", "--proxy", "sip:q.test"))
        document = service.requests[-1][2]
        assert "registrar" not in document
        tls = {"ca": f"{CERTIFICATE}ca\n"}
        assert document["proxies"] == [{"uri": "sip:p.test", "tls": tls}, {"uri": "sip:q.test", "tls": tls}]

    @pytest.mark.parametrize(
        ("option", "content", "said"),
        [
            ("--ca", None, "cannot be read: No such file"),
            ("--ca", b"\x30\x82\xff", "not PEM"),
            ("--ca", b"", "has no '-----BEGIN"),
            ("--certificate", KEY.encode(), "has no '-----BEGIN"),
            ("--certificate", (CERTIFICATE + KEY).encode(), "files of their own"),
            ("--key", CERTIFICATE.encode(), "has no '-----BEGIN"),
            ("--key", (CERTIFICATE + KEY).encode(), "files of their own"),
        ],
    )
    def test_a_wrong_file_is_told_by_its_name(
        self, run: Run, service: FakeService, tmp_path: Path, option: str, content: bytes | None, said: str
    ) -> None:
        file = tmp_path / "the.pem"
        if content is not None:
            file.write_bytes(content)
        for command in (["add", "new", "sip:new@example.test"], ["set", "trunk"]):
            result = run(*command, option, str(file))
            assert result.exit_code == 2
            assert option in result.stderr
            assert f"{file} " in result.stderr.replace("\n", " ")
            assert said in result.stderr
            assert "Zm9v" not in result.output
        assert service.requests == []

    def test_a_certificate_needs_its_key(self, run: Run, pem: Callable[[str, str], str]) -> None:
        for option in (["--certificate", pem("own", CERTIFICATE)], ["--key", pem("key", KEY)]):
            assert "belong together" in run("add", "new", "sip:new@example.test", *option).stderr

    def test_the_least(self, run: Run, service: FakeService) -> None:
        saved = json.loads(done(run("add", "new", "sip:new@example.test", "--json")))
        assert saved["id"] == 3
        assert service.requests[0][2] == {"name": "new", "aor": "sip:new@example.test", "type": "ietf"}

    def test_password_from_stdin_and_registrar_from_the_aor(self, run: Run, service: FakeService) -> None:
        aor = "sips:new@example.test:5071;x=1"
        done(run("add", "new", aor, "--username", "u", "--password-file", "-", input="secret\n"))
        registrar = {"uri": "sips:example.test:5071", "username": "u", "password": "secret"}
        assert service.requests[0][2]["registrar"] == registrar

    def test_password_from_a_prompt(self, run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sipprofile.cli.secrets.sys", type("sys", (), {"stdin": type("tty", (), {"isatty": bool})}))
        monkeypatch.setattr("sipprofile.cli.secrets.sys.stdin.isatty", lambda: True)
        result = run("add", "new", "sip:new@example.test", "--username", "u", input="secret\n")
        assert result.exit_code == 0, result.output
        assert "secret" not in result.output
        assert service.requests[0][2]["registrar"]["password"] == "secret"

    def test_no_terminal_to_ask(self, run: Run) -> None:
        result = run("add", "new", "sip:new@example.test", "--username", "u")
        assert result.exit_code == 2
        assert "password file" in result.stderr

    @pytest.mark.parametrize(
        "wrong",
        [
            ["--password-file", "-", "--proxy", "sip:p", "--proxy-password-file", "-"],
            ["--proxy-username", "u"],
            ["--label", "x"],
            ["--password-file", "/nowhere"],
            ["--password-file", "/dev/null"],
            ["--register", "sometimes"],
        ],
    )
    def test_wrong_command_lines(self, run: Run, service: FakeService, wrong: list[str]) -> None:
        assert run("add", "new", "sip:new@example.test", *wrong).exit_code == 2
        assert service.requests == []

    def test_refused(self, run: Run) -> None:
        result = run("add", "trunk", "sip:new@example.test")
        assert result.exit_code == 1
        assert "duplicate_name" in result.stderr
        problem = json.loads(run("add", "trunk", "sip:new@example.test", "--json").stderr)
        assert (problem["code"], problem["field"]) == ("duplicate_name", "name")

    def test_warnings(self, run: Run) -> None:
        result = run("add", "new", "sip:new@example.test", "--expires", "10")
        assert result.stderr == "Note: Very short.\n"


class TestChanging:
    def test_set(self, run: Run, service: FakeService) -> None:
        assert (
            done(run("set", "trunk", "expires=600", "labels.site=lab", "registrar.uri=sip:s.test"))
            == "Changed trunk.\n"
        )
        patch = {"expires": 600, "labels": {"site": "lab"}, "registrar": {"uri": "sip:s.test"}}
        assert service.requests == [("PATCH", "/v1/profiles/1", patch, '"1"')]

    def test_set_password(self, run: Run, service: FakeService) -> None:
        done(run("set", "trunk", "--password-file", "-", input="secret\n"))
        assert service.requests[0][2] == {"registrar": {"password": "secret"}}

    def test_set_tls(self, run: Run, service: FakeService, tmp_path: Path) -> None:
        (tmp_path / "own").write_text(CERTIFICATE)
        done(run("set", "trunk", "--certificate", str(tmp_path / "own"), "registrar.tls.server_name=sip.test"))
        tls = {"server_name": "sip.test", "certificate": CERTIFICATE}
        assert service.requests[-1][2] == {"registrar": {"tls": tls}}
        proxies = [{"uri": "sip:p.test", "tls": {"server_name": "p.test"}}, {"uri": "sip:q.test"}]
        service.profiles[1]["proxies"] = proxies
        done(run("set", "trunk", "--certificate", str(tmp_path / "own"), "expires=600"))
        patched = [
            {"uri": "sip:p.test", "tls": {"server_name": "p.test", "certificate": CERTIFICATE}},
            {"uri": "sip:q.test", "tls": {"certificate": CERTIFICATE}},
        ]
        assert service.requests[-1][2] == {"expires": 600, "proxies": patched}
        assert run("set", "desk", "--certificate", str(tmp_path / "own")).exit_code == 2

    def test_a_password_is_never_an_argument(self, run: Run, service: FakeService) -> None:
        for key in ("registrar.password", "proxies.0.password", "registrar.tls.private_key"):
            result = run("set", "trunk", f"{key}=secret")
            assert result.exit_code == 2
            assert "secret" not in result.output
        done(run("set", "trunk", "registrar.password="))
        assert service.requests[0][2] == {"registrar": {"password": None}}

    def test_password_without_a_registrar(self, run: Run) -> None:
        assert run("set", "desk", "--password-file", "-", input="x\n").exit_code == 2
        assert run("set", "desk", "--proxy-password-file", "-", input="x\n").exit_code == 2

    def test_nothing_to_set(self, run: Run) -> None:
        assert run("set", "trunk").exit_code == 2
        assert run("set", "trunk", "expires").exit_code == 2

    @pytest.mark.parametrize(
        ("assignment", "patch"),
        [
            ("locked=true", {"locked": True}),
            ("linger=1.5", {"linger": 1.5}),
            ("dscp=40", {"dscp": 40}),
            ("dscp=", {"dscp": None}),
            ("name=5", {"name": "5"}),
            ("label.site=5", {"labels": {"site": "5"}}),
            ("extensions.a.b=5", {"extensions": {"a.b": 5}}),
            ("extensions.x=", {"extensions": {"x": None}}),
            ("registrar.loose_routing=false", {"registrar": {"loose_routing": False}}),
            ("registrar.extensions.x=true", {"registrar": {"extensions": {"x": True}}}),
            ("registrar=", {"registrar": None}),
            ("headers=X: 1", {"headers": ["X: 1"]}),
            ('headers=["X: 1", "Y: 2"]', {"headers": ["X: 1", "Y: 2"]}),
            ("proxies.0.uri=sip:q", {"proxies": [{"uri": "sip:q", "username": "u"}]}),
            ("proxies.1.uri=sip:q", {"proxies": [{"uri": "sip:p", "username": "u"}, {"uri": "sip:q"}]}),
            ("proxies.0.username=", {"proxies": [{"uri": "sip:p"}]}),
            ("proxies.0.password=", {"proxies": [{"uri": "sip:p", "username": "u", "password": None}]}),
            ("proxies=", {"proxies": None}),
            ("unknown=x", {"unknown": "x"}),
            ("claims=", {"claims": None}),
            (
                'claims=[{"default": true, "to": "bridge"}]',
                {"claims": [{"default": True, "to": "bridge"}]},
            ),
        ],
    )
    def test_values_by_type(self, assignment: str, patch: dict[str, Any]) -> None:
        assert patch_of((assignment,), {"proxies": [{"uri": "sip:p", "username": "u"}]}) == patch

    @pytest.mark.parametrize(
        "assignment",
        ["expires=soon", "linger=x", "proxies.2.uri=x", "proxies.x=y", "proxies.0=y", 'headers=["', "claims=bridge"],
    )
    def test_values_that_make_no_sense(self, assignment: str) -> None:
        with pytest.raises(click.UsageError):
            patch_of((assignment,), {"proxies": [{"uri": "sip:p"}]})

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("5", 5),
            ("true", True),
            ("x", "x"),
            ("1.5", "1.5"),
            ("null", "null"),
            ('["a"]', ["a"]),
            ("[1]", "[1]"),
            ("{", "{"),
        ],
    )
    def test_extension_values(self, text: str, value: Any) -> None:
        assert extension_value(text) == value

    def test_rm(self, run: Run, service: FakeService) -> None:
        assert done(run("rm", "desk")) == "Removed desk.\n"
        assert list(service.profiles) == [1]

    def test_rm_in_use(self, run: Run) -> None:
        result = run("rm", "trunk")
        assert result.exit_code == 4
        assert "2 sessions" in result.stderr

    def test_default(self, run: Run, service: FakeService) -> None:
        assert done(run("default", "desk")) == "desk is the default profile.\n"
        assert service.profiles[2]["default"]


class TestControlling:
    @pytest.mark.parametrize("verb", ["pause", "resume", "retry-now", "force-disable"])
    def test_verbs(self, run: Run, service: FakeService, verb: str) -> None:
        assert "trunk*" in done(run(verb, "trunk"))
        assert service.requests[0][:2] == ("POST", f"/v1/profiles/1/{verb}")
        assert json.loads(done(run(verb, "1", "--json")))["id"] == 1

    def test_pause_is_shown_as_the_reason(self, run: Run) -> None:
        assert "paused" in done(run("pause", "trunk"))

    def test_test(self, run: Run, service: FakeService) -> None:
        assert done(run("test", "trunk")) == "settings  ok      valid\ndns       ok      looked up\n"
        service.profiles[2]["name"] = "broken"
        result = run("test", "broken")
        assert result.exit_code == 7
        assert result.stdout.splitlines()[1:] == ["dns       failed  looked up", f"{'':18}Look elsewhere."]

    def test_steps_fit_into_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = [{"step": "transport", "ok": False, "detail": "many words " * 20, "remedy": "do this " * 20}]
        monkeypatch.setattr("sipprofile.cli.output.sys.stdout", type("terminal", (), {"isatty": lambda: True}))
        monkeypatch.setenv("COLUMNS", "80")
        lines = click.unstyle(output.steps_shown(steps)).splitlines()
        assert lines[0].startswith("transport  failed  many")
        assert all(line.startswith(" " * 19) for line in lines[1:])
        assert max(map(len, lines)) <= 80

    def test_stop(self, run: Run, service: FakeService) -> None:
        done(run("stop"))
        assert service.stopped_with == {"deregister": False}
        done(run("stop", "--deregister", "--json"))
        assert service.stopped_with == {"deregister": True}
