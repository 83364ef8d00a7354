"""The command line against a small service: output, exit codes, and what is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, done, run, service
from fake_service import FakeService

from sipprofile.cli import output, watching
from sipprofile.cli.main import COMMANDS
from sipprofile.errors import SipProfileError

__all__ = ["run", "service"]


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
        printed = done(run("status"))
        assert "2 profiles (1 registered), 0 sessions" in printed
        assert "up 5 s, quick path: compiled" in printed
        assert json.loads(done(run("status", "--json")))["ready"] is True

    def test_history(self, run: Run) -> None:
        assert "udp:192.0.2.1:5060" in done(run("history", "trunk"))
        assert json.loads(done(run("history", "1", "--json")))[0]["status"] == "registered"

    def test_types(self, run: Run) -> None:
        assert done(run("types")).splitlines()[1].split() == ["ietf", "internet", "udp,", "tcp", "sigcomp"]
        assert json.loads(done(run("types", "--json")))[0]["name"] == "ietf"


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
