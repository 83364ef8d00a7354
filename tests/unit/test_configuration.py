"""The configuration: defaults, mistakes with their line, and a document that knows every key."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sipprofile.errors import SipProfileError
from sipprofile.server import configuration
from sipprofile.server.configuration import Configuration, TokenSource, WebhookSection, decode, line_of
from sipprofile.server.sharing_sections import ActivateSection, RuleSection

NEEDED = "needed"
NAMED: dict[str, Any] = {
    "token_sources": TokenSource(),
    "webhooks": WebhookSection(url=NEEDED, secret_file=NEEDED),
    "activate": ActivateSection(),
    "claims": RuleSection(),  # its only key is a list of these
}
"""What the sections hold that have a name."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def refused(text: str) -> SipProfileError:
    with pytest.raises(SipProfileError) as caught:
        decode(text, "sipprofile.toml")
    assert caught.value.code == "bad_configuration"
    return caught.value


class TestMistakes:
    """A mistake names file, line, key and value."""

    @pytest.mark.parametrize(
        ("text", "line", "key", "value"),
        [
            ("[listen]\n\n# why\nport = 70000\n", 4, "listen.port", 70000),
            ("[listen]\nport = '80'\n", 2, "listen.port", "80"),
            ("listen.port = -1", 1, "listen.port", -1),
            ("[sip]\nport = 5060\nbind = [\n  '0.0.0.0',\n  'eth0',\n]\n", 3, "sip.bind[1]", "eth0"),
            ("[sip]\nbind = []\n", 2, "sip.bind", "[]"),
            ("[sip]\nnameservers = ['dns.example']\n", 2, "sip.nameservers[0]", "dns.example"),
            ("[service]\nlog_level = 'loud'\n", 2, "service.log_level", "loud"),
            ("[registration]\nrate = 0\n", 2, "registration.rate", 0.0),
            ("[registration]\nprobe_interval = -1.0\n", 2, "registration.probe_interval", -1.0),
            ("[registration]\nrate = nan\n", 2, "registration.rate", None),
            ("[limits]\n\nsessions = 0\n", 3, "limits.sessions", 0),
            ("[access.groups]\nstaff = ['read', 'wirte']\n", 2, "access.groups.staff", "['read', 'wirte']"),
            ("# a\n\n[listen]\ntls_key = 'k.pem'\n", 4, "listen.tls_key", "k.pem"),
            ("[webhooks.a]\nurl = 'ftp://x'\nsecret_file = 's'\n", 2, "webhooks.a.url", None),
            ("[webhooks.a]\nurl = 'https://me:pw@x'\nsecret_file = 's'\n", 2, "webhooks.a.url", None),
            ("[activate.bot]\ncommand = ['/b']\nunit = 'b.service'\n", 1, "activate.bot", None),
            ("[activate.bot]\ncommand = ['bot']\n", 2, "activate.bot.command", "['bot']"),
            ("[activate.bot]\nunit = '--now'\n", 2, "activate.bot.unit", "--now"),
            ("[activate.bot]\nunit = 'b.service'\ntimeout = 11\n", 3, "activate.bot.timeout", 11),
            ("[activate.'b t']\nunit = 'b.service'\n", 1, "activate.b t", None),
            ("[[claims.rules]]\nprofiles = 'trunk'\n", 1, "claims.rules[0].profiles", None),
            ("[[claims.rules]]\nmethods = ['MESSGE']\n", 1, "claims.rules[0].methods", "['MESSGE']"),
            ("[webhooks.a]\nurl = 'https://x'\nsecret_file = 's'\ntimeout = 21\n", 4, "webhooks.a.timeout", 21),
        ],
    )
    def test_value(self, text: str, line: int, key: str, value: Any) -> None:
        error = refused(text)
        assert error.field == key
        assert error.members["line"] == line
        assert error.detail.startswith(f"sipprofile.toml, line {line}: {key}: ")
        if value is not None:
            assert error.value == value

    @pytest.mark.parametrize(
        ("text", "line", "key"),
        [
            ("[service]\nstate = '/x'\nsokcet = '/y'\n", 3, "service.sokcet"),
            ("\n[serivce]\nstate = '/x'\n", 2, "serivce"),
            ("verbose = true\n", 1, "verbose"),
        ],
    )
    def test_unknown_key(self, text: str, line: int, key: str) -> None:
        error = refused(text)
        assert (error.field, error.members["line"]) == (key, line)
        assert "no such key" in error.detail

    def test_not_toml(self) -> None:
        assert "line 2" in refused("[sip]\nport = \n").detail

    def test_file_that_was_named_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(SipProfileError, match="no such file"):
            configuration.load(tmp_path / "none.toml")

    def test_usual_file_may_be_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(configuration, "default_file", lambda: tmp_path / "none.toml")
        assert configuration.load(None) == Configuration()


class TestLine:
    """Statements of any length are found by their first line."""

    def test_key_like_text_inside_a_string_is_no_key(self) -> None:
        text = '[service]\nstate = """\nport = 1\n"""\n[listen]\nport = 1\n'
        assert line_of(text, "listen.port") == 6

    def test_inline_table(self) -> None:
        assert line_of("a = 1\nlisten = { host = 'x',  port = 2 }\n", "listen.port") == 2

    def test_key_with_a_dot_falls_back_to_its_table(self) -> None:
        assert line_of("[access.users]\n'a.b' = ['x']\n", "access.users.a.b") == 1

    def test_absent(self) -> None:
        assert line_of("[sip]\n", "listen") is None


class TestDocument:
    """docs/configuration.md has every key with its default, and no other."""

    def keys(self) -> dict[str, str]:
        found: dict[str, str] = {}
        section = ""
        for line in DOCUMENT.read_text().splitlines():
            if heading := re.fullmatch(r"## \[+(\w+)(?:\.NAME|\.rules)?\]+", line):
                section = heading[1]
            elif row := re.match(r"\| `(\w+)` \| (.*?) \| \S", line):
                found[f"{section}.{row[1]}"] = row[2]
        return found

    def expected(self) -> dict[str, Any]:
        sections = {
            section.name: NAMED.get(section.name) or getattr(Configuration(), section.name)
            for section in msgspec.structs.fields(Configuration)
        }
        return {
            f"{name}.{field}": getattr(section, field)
            for name, section in sections.items()
            for field in section.__struct_fields__
        }

    def test_every_key_is_documented(self) -> None:
        assert self.keys().keys() == self.expected().keys()

    def test_defaults_are_those_of_the_code(self) -> None:
        expected = self.expected()
        for key, default in self.keys().items():
            if default == "needed":
                assert expected[key] == NEEDED, key
            elif default in ("see below", "none"):
                assert expected[key] is None, key
            else:
                value = tomllib.loads(f"value = {default.strip('`')}")["value"]
                assert msgspec.json.encode(value) == msgspec.json.encode(expected[key]), key

    def test_example_is_valid(self) -> None:
        example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        assert example is not None
        assert decode(example[1], "example").listen.port == 8443


class TestPlaces:
    """Where things are without being told."""

    def test_service_manager_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
        monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one")
        assert configuration.default_state() == Path("/var/lib/one")
        assert configuration.default_socket() == Path("/run/one/sock")

    def test_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.without_manager(monkeypatch, uid=0)
        assert configuration.default_state() == Path("/var/lib/sipprofile")
        assert configuration.default_socket() == Path("/run/sipprofile/sock")
        assert configuration.default_file() == Path("/etc/sipprofile/sipprofile.toml")

    def test_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.without_manager(monkeypatch, uid=1000)
        monkeypatch.setenv("XDG_STATE_HOME", "/home/u/state")
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
        monkeypatch.setenv("XDG_CONFIG_HOME", "/home/u/config")
        assert configuration.default_state() == Path("/home/u/state/sipprofile")
        assert configuration.default_socket() == Path("/run/user/1000/sipprofile/sock")
        assert configuration.default_file() == Path("/home/u/config/sipprofile/sipprofile.toml")

    def test_user_without_runtime_directory_is_told_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.without_manager(monkeypatch, uid=1000)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        with pytest.raises(SipProfileError, match="--socket"):
            configuration.default_socket()

    def without_manager(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        monkeypatch.delenv("STATE_DIRECTORY", raising=False)
        monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
        monkeypatch.setattr(os, "geteuid", lambda: uid)


class TestClaimRules:
    """``[[claims.rules]]`` names users and groups; the core knows their numbers."""

    def test_names_become_numbers(self) -> None:
        text = """
        [[claims.rules]]
        profiles = ["trunk*"]
        users = ["root", "1234"]
        groups = ["0"]
        tokens = ["bot"]
        methods = ["MESSAGE"]
        events = ["presence"]
        exclusive = false

        [[claims.rules]]
        users = ["nobody-has-this-name"]
        """
        found = decode(text, "sipprofile.toml")
        assert found.claims.unknown() == ["user nobody-has-this-name"]
        first, second = found.service_settings().claim_rules
        assert (first.profiles, first.uids, first.gids) == (("trunk*",), {0, 1234}, {0})
        assert (first.tokens, first.methods, first.events, first.exclusive) == (
            {"bot"},
            ("MESSAGE",),
            ("presence",),
            False,
        )
        assert (second.uids, second.nobody) == (frozenset(), True)

    def test_applications(self) -> None:
        settings = decode("[activate.bot]\nunit = 'bot@1.service'\ntimeout = 3\n", "x").service_settings()
        assert settings.activate == (("bot", 3.0),)
        assert decode("", "x").service_settings().claim_rules == ()
