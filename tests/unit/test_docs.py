"""The documentation says what the code does: every field, error, frame and command is in it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from sipprofile.events import EventName, RegistrationState
from sipprofile.profile import Profile, ServerParameters
from sipprofile.service.commands import Commands
from sipprofile.service.connection_commands import ConnectionCommands
from sipprofile.service.connection_state import ConnectionState

DOCS = Path(__file__).parents[2] / "docs"
ROOT = DOCS.parent


def rows(page: str) -> dict[str, list[str]]:
    """The table rows of a page whose first cell is `code`: that code → the row's other cells."""
    found: dict[str, list[str]] = {}
    for line in (DOCS / page).read_text().splitlines():
        if match := re.match(r"\| `([\w-]+)` \|(.*)\|$", line):
            found.setdefault(match[1], [cell.strip() for cell in match[2].split(" | ")])
    return found


def generator(name: str) -> Any:
    """A program of docs/."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_errors_page_is_made_from_the_tables() -> None:
    made = generator("generate_errors").page()
    assert (DOCS / "errors.md").read_text() == made, "run: python docs/generate_errors.py"


def test_the_table_of_answers_is_that_of_the_code() -> None:
    text = (DOCS / "protocol.md").read_text()
    protocol = generator("generate_protocol")
    assert text == protocol.page(text), "run: python docs/generate_protocol.py"
    assert len(list(protocol.rows())) == text.count("\n| ", text.index(protocol.BEGIN), text.index(protocol.END)) - 1


class TestProfilePage:
    @pytest.mark.parametrize("struct", [Profile, ServerParameters, RegistrationState])
    def test_every_field_is_documented(self, struct: type[msgspec.Struct]) -> None:
        assert set(struct.__struct_fields__) <= set(rows("profile.md"))

    @pytest.mark.parametrize("name", [n for n in Profile.__struct_fields__ if n not in ("id", "name", "aor")])
    def test_defaults_are_those_of_the_code(self, name: str) -> None:
        default: Any = getattr(Profile(), name)
        shown = rows("profile.md")[name][1]
        expected = ("none", "assigned") if default in (None, "") and shown != '`""`' else (f"`{json.dumps(default)}`",)
        assert shown in expected

    def test_ranges_are_those_of_the_code(self) -> None:
        from sipprofile.agents.fields import LENGTHS, RANGES

        for name, (low, high) in RANGES.items():
            assert f"{low:,.0f} to {high:,.0f}" in rows("profile.md")[name][2]
        for name, longest in LENGTHS.items():
            assert f"t most {longest:,} characters" in rows("profile.md")[name][2]


class TestSessionProtocolPage:
    def test_every_event_is_documented(self) -> None:
        assert set(get_args(EventName)) <= set(rows("session-protocol.md"))

    def test_every_command_is_documented_and_no_other(self) -> None:
        nothing: Any = None
        of_connections = ConnectionCommands(nothing, nothing, nothing, nothing, nothing)
        commands = Commands(nothing, nothing, nothing, nothing, nothing, of_connections)
        known = {*commands._handlers, *of_connections._handlers}
        text = (DOCS / "session-protocol.md").read_text()
        tables = re.findall(r"^\| op \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
        assert {op for table in tables for op in re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)} == known

    @pytest.mark.parametrize(
        "name",
        [
            *("request", "withdrawn", "acknowledged", "provisionally-acknowledged"),
            *("response", "failed", "dialog", "connection"),
        ],
    )
    def test_every_event_of_a_connection_is_documented(self, name: str) -> None:
        text = (DOCS / "session-protocol.md").read_text()
        assert f"\n| `{name}` |" in text[text.index("### Events") :]

    @pytest.mark.parametrize("state", get_args(ConnectionState))
    def test_every_state_of_a_connection_is_documented(self, state: str) -> None:
        assert state in rows("session-protocol.md")

    def test_its_examples_are_json(self) -> None:
        text = (DOCS / "session-protocol.md").read_text()
        examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
        assert examples
        for example in examples:
            json.loads(example)


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken
