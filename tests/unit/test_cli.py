"""The command line against a small service: output, exit codes, and what is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fake_service import FakeService, in_thread

from sipprofile.cli import output, watching
from sipprofile.cli.main import COMMANDS, cli
from sipprofile.cli.values import extension_value, patch_of
from sipprofile.errors import SipProfileError

Run = Callable[..., Result]

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nZm9v\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def service() -> Iterator[FakeService]:
    with in_thread() as service:
        lease = {
            "status": "registered",
            "lease_ends": 4e9,
            "users": 2,
            "next_try": None,
            "last_error": None,
            "held": "",
        }
        service.add("trunk", registration=lease, registrar={"uri": "sip:r.test", "password_set": True})
        service.add("desk", registration={"reason": {"code": "timeout", "text": "No answer."}, "next_try": 4e9})
        yield service


@pytest.fixture
def run(service: FakeService) -> Run:
    def call(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=input, env={"SIPPROFILE_URL": service.url})

    return call


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


class TestLooking:
    def test_list(self, run: Run) -> None:
        lines = done(run("list")).splitlines()
        assert lines[0].split() == ["ID", "NAME", "TYPE", "AOR", "STATUS", "REASON", "LEASE", "NEXT", "TRY", "USERS"]
        assert lines[1].split()[:5] == ["1", "trunk*", "ietf", "sip:trunk@example.test", "registered"]
        assert lines[1].split()[-1] == "2"
        assert lines[2].split()[4:6] == ["unregistered", "timeout"]

    def test_list_filters(self, run: Run) -> None:
        assert [one["name"] for one in json.loads(done(run("list", "--json", "--status", "registered")))] == ["trunk"]
        assert json.loads(done(run("list", "--type", "ims", "--json"))) == []

    def test_list_of_many_pages(self, run: Run, service: FakeService) -> None:
        for number in range(1500):
            service.add(f"p{number}")
        assert len(json.loads(done(run("list", "--json")))) == 1502

    def test_nothing_to_list(self, run: Run, service: FakeService) -> None:
        service.profiles.clear()
        result = run("list")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No profiles.\n")

    @pytest.mark.parametrize("name", ["trunk", "1", "default"])
    def test_show_by_name_id_and_default(self, run: Run, name: str) -> None:
        text = done(run("show", name))
        lines = [line.split(maxsplit=1) for line in text.splitlines()]
        assert ["registrar.uri", "sip:r.test"] in lines
        assert ["registrar.password_set", "true"] in lines
        assert lines.index(["Profile"]) < lines.index(["Registration"]) < lines.index(["status", "registered"])
        assert "lease_ends" in text
        assert " 2096-" in text
        assert "next_try" not in text
        aligned = [line for line in text.splitlines() if line.startswith(" ")]
        assert len({line.rindex("  ", 0, 40) for line in aligned}) == 1
        assert json.loads(done(run("show", name, "--json")))["id"] == 1

    def test_show_a_failure_and_certificates(self, run: Run, service: FakeService) -> None:
        service.profiles[2]["registrar"] = {"uri": "sip:r.test", "tls": {"ca": "-----BEGIN X-----\na\nb\n"}}
        lines = [line.split(maxsplit=1) for line in done(run("show", "desk")).splitlines()]
        assert ["reason", "No answer. [timeout]"] in lines
        assert ["registrar.tls.ca", "-----BEGIN X----- (and 2 more lines)"] in lines

    def test_status(self, run: Run) -> None:
        assert "2 profiles (1 registered), 0 sessions" in done(run("status"))
        assert json.loads(done(run("status", "--json")))["ready"] is True

    def test_history(self, run: Run) -> None:
        assert "udp:192.0.2.1:5060" in done(run("history", "trunk"))
        assert json.loads(done(run("history", "1", "--json")))[0]["status"] == "registered"

    def test_types(self, run: Run) -> None:
        assert done(run("types")).splitlines()[1].split() == ["ietf", "internet", "udp,", "tcp", "sigcomp"]
        assert json.loads(done(run("types", "--json")))[0]["name"] == "ietf"


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


class TestExitCodes:
    """docs/cli.md."""

    def test_not_found(self, run: Run) -> None:
        assert run("show", "nobody").exit_code == 3
        assert run("show", "99").exit_code == 3

    @pytest.mark.parametrize(("code", "exit_code"), [("permission_denied", 5), ("unauthenticated", 5), ("locked", 4)])
    def test_by_code(self, run: Run, service: FakeService, code: str, exit_code: int) -> None:
        service.refuse["DELETE /v1/profiles/1"] = SipProfileError(code)
        assert run("rm", "1").exit_code == exit_code

    def test_unreachable_names_what_was_tried(self, run: Run) -> None:
        result = run("list", "--url", "unix:/nowhere/sock")
        assert result.exit_code == 6
        assert "unix:/nowhere/sock" in result.stderr
        assert "sipprofile serve" in result.stderr

    def test_usage(self, run: Run) -> None:
        assert run("frobnicate").exit_code == 2
        assert run("show").exit_code == 2

    def test_the_page_lists_them_all(self) -> None:
        from sipprofile.cli.main import EXIT_CODES

        page = (Path(__file__).parents[2] / "docs/cli.md").read_text()
        for code in {0, 1, 2, *EXIT_CODES.values()}:
            assert f"| {code} |" in page
        for command in COMMANDS:
            assert f"`{command}" in page, command


class TestUsing:
    def test_for_some_time(self, run: Run, service: FakeService) -> None:
        text = done(run("use", "trunk", "--for", "0.05"))
        assert "trunk enabled registered" in text
        assert service.profiles[1]["registration"]["users"] == 2  # as before

    def test_a_command(self, run: Run, service: FakeService) -> None:
        result = run("use", "trunk", "--", sys.executable, "-c", "import sys; sys.exit(9)")
        assert result.exit_code == 9
        assert result.stdout == ""
        assert "enabled registered" in result.stderr

    def test_a_command_that_was_killed_or_does_not_exist(self, run: Run) -> None:
        assert run("use", "trunk", "--", "sh", "-c", "kill -9 $$").exit_code == 137
        assert run("use", "trunk", "--", "/nowhere/at-all").exit_code == 127
        assert run("use", "trunk", "--", "/dev/null").exit_code == 126

    def test_refused(self, run: Run, service: FakeService) -> None:
        service.profiles[2]["registration"] = {"status": "unregistered", "held": "paused"}
        result = run("use", "desk", "--wait", "5")
        assert result.exit_code == 7
        assert "paused" in result.stderr
        assert run("use", "desk", "--", "true").exit_code == 7

    def test_not_in_time(self, run: Run) -> None:
        assert run("use", "desk", "--wait", "0").exit_code == 8

    def test_unknown_profile(self, run: Run) -> None:
        assert run("use", "nobody", "--for", "0").exit_code == 3

    def test_json(self, run: Run) -> None:
        event = json.loads(done(run("use", "trunk", "--for", "0", "--json")).splitlines()[0])
        assert (event["event"], event["name"]) == ("enabled", "trunk")

    def test_for_and_a_command(self, run: Run) -> None:
        assert run("use", "trunk", "--for", "1", "--", "true").exit_code == 2


class TestWatching:
    @pytest.fixture(autouse=True)
    def _ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second time the service ends the stream is the end."""
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr("sipprofile.cli.watching.time.sleep", sleep)

    def test_lines(self, run: Run, service: FakeService) -> None:
        state = {"status": "registered", "lease_ends": 4e9}
        data = {"event": "registered", "profile": 1, "name": "trunk", "state": state, "at": 1.0}
        service.events = [("a-1", "registered", data), ("a-2", "reset", {})]
        lines = done(run("watch")).splitlines()
        assert "trunk registered registered Lease until" in lines[0]
        assert "service_gone" in lines[1]
        assert service.last_event_ids == [None, "a-2"]

    def test_json(self, run: Run, service: FakeService) -> None:
        service.events = [("a-1", "destroyed", {"event": "destroyed", "profile": 1})]
        assert json.loads(done(run("watch", "trunk", "--json")).splitlines()[0])["event"] == "destroyed"

    def test_table(self, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
        from rich.console import Console

        documents = list(service.profiles.values())
        console = Console(width=160, record=True, force_terminal=True)
        console.print(watching._table(documents, "latest event"))
        text = console.export_text()
        assert "trunk*" in text
        assert "latest event" in text

    def test_unreachable(self, run: Run) -> None:
        assert run("watch", "--url", "unix:/nowhere/sock").exit_code == 6


class TestStateDirectory:
    """token, key, backup work on the state directory."""

    def test_token(self, run: Run, tmp_path: Path) -> None:
        state = str(tmp_path)
        text = done(run("token", "add", "web", "--capability", "read", "--state", state)).strip()
        assert text.startswith("sipp_")
        (listed,) = json.loads(done(run("token", "list", "--state", state, "--json")))
        assert (listed["name"], listed["capabilities"]) == ("web", ["read"])
        assert text not in done(run("token", "list", "--state", state))
        assert done(run("token", "rm", "web", "--state", state)) == "Removed web.\n"
        assert run("token", "rm", "web", "--state", state).exit_code == 3

    def test_the_state_directory_of_the_configuration(self, run: Run, tmp_path: Path) -> None:
        config = tmp_path / "c.toml"
        config.write_text(f"[service]\nstate = '{tmp_path}'\n")
        done(run("token", "add", "web", "--config", str(config)))
        assert (tmp_path / "tokens.json").exists()

    def test_key_and_backup(self, run: Run, tmp_path: Path) -> None:
        from sipprofile.store.secrets import KeyRing
        from sipprofile.store.store import Store

        state = tmp_path / "state"
        state.mkdir()
        Store.open(state / "store.db", KeyRing.read(state / "key")).close()
        before = json.loads((state / "key").read_text())["current"]
        rotated = json.loads(done(run("key", "rotate", "--state", str(state), "--json")))
        assert rotated["key"] != before
        result = run("backup", str(tmp_path / "copy"), "--with-key", "--state", str(state))
        assert done(result) == f"Wrote {tmp_path}/copy and {tmp_path}/copy.key.\n"
        assert run("backup", str(tmp_path / "copy"), "--state", str(state)).exit_code == 1

    def test_no_store(self, run: Run, tmp_path: Path) -> None:
        for command in (["key", "rotate"], ["backup", "x"]):
            result = run(*command, "--state", str(tmp_path))
            assert result.exit_code == 1
            assert "no store" in result.stderr.lower()


class TestTheRest:
    def test_serve_without_the_extra(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sipprofile.server.main", None)
        monkeypatch.delitem(sys.modules, "sipprofile.server.main")

        def missing(*_: object, **__: object) -> None:
            raise ModuleNotFoundError("No module named 'dns'", name="dns")

        monkeypatch.setattr("builtins.__import__", _importing("server.main", missing))
        result = run("serve")
        assert result.exit_code == 1
        assert "pip install 'sipprofile[server]'" in result.stderr

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion_script(self, run: Run, shell: str) -> None:
        assert "_SIPPROFILE_COMPLETE" in done(run("completion", shell))

    def test_completion_of_profile_names(self, service: FakeService) -> None:
        environment = {"_SIPPROFILE_COMPLETE": "bash_complete", "COMP_WORDS": "sipprofile show t", "COMP_CWORD": "2"}
        command = [sys.executable, "-c", "from sipprofile.cli.main import main; main()"]
        environment |= {"SIPPROFILE_URL": service.url}
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert shown.split() == ["plain,trunk"]
        environment["SIPPROFILE_URL"] = "unix:/nowhere/sock"
        assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == ""

    @pytest.mark.parametrize("command", sorted(COMMANDS))
    def test_help(self, run: Run, command: str) -> None:
        assert "Usage:" in done(run(command, "--help"))

    def test_list_loads_nothing_heavy(self, service: FakeService) -> None:
        code = "import sys, sipprofile.cli.main as m\ntry: m.main()\nfinally: print(*sys.modules, file=sys.stderr)"
        command = [sys.executable, "-c", code, "list", "--url", service.url]
        loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stderr.split())
        assert "sipprofile.client.http" in loaded
        assert loaded.isdisjoint({"aiohttp", "asyncio", "rich", "sqlalchemy", "cryptography"})

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (723, "12 min 3 s"),
            (7500, "2 h 5 min"),
            (3601, "1 h"),
            (273600, "3 d 4 h"),
        ],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert output.duration(seconds) == text


def _importing(ending: str, instead: Callable[..., Any]) -> Callable[..., Any]:
    """``__import__`` that calls ``instead`` for modules whose name ends so."""
    import builtins

    real = builtins.__import__

    def load(name: str, *arguments: Any, **named: Any) -> Any:
        return instead() if name.endswith(ending) else real(name, *arguments, **named)

    return load
