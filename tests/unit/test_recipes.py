"""What docs/recipes give to copy is accepted as it stands: the commands by the service, JSON by a reader of JSON."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_service import in_thread

from sipprofile.agents.ietf import IetfAgent
from sipprofile.cli.main import cli
from sipprofile.profile import decode, merged

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
PAGES = sorted(path.name for path in RECIPES.glob("*.md"))


def blocks(page: str) -> list[str]:
    """What is indented or fenced, without the continuation of lines."""
    return re.findall(r"```\w*\n(.*?)```", (RECIPES / page).read_text().replace("\\\n", " "), re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The command lines that store a profile, each also with the options that the page gives to add."""
    lines = [line.split(" #")[0] for block in blocks(page) for line in block.splitlines()]
    found = [shlex.split(line)[1:] for line in lines if line.startswith("sipprofile add")]
    more = [shlex.split(line) for line in lines if line.startswith("    --")]
    return found + [[*without(found[0], options), *options] for options in more]


def without(command: list[str], options: list[str]) -> list[str]:
    """A command line without the options that others take the place of."""
    taken = {option for option in options if option.startswith("--")}
    kept: list[str] = []
    for index, word in enumerate(command):
        if word not in taken and (index == 0 or command[index - 1] not in taken):
            kept.append(word)
    return kept


def stored(*lines: list[str]) -> dict[str, Any]:
    """The profile that these command lines make."""
    with in_thread() as service:
        for line in lines:
            given = [*line, "--password-file", "-"] if line[0] == "add" else line  # for want of a terminal
            result = CliRunner().invoke(cli, given, input="secret", env={"SIPPROFILE_URL": service.url})
            assert result.exit_code == 0, result.output
        document: dict[str, Any] = {}
        for method, _, body, _ in service.requests:
            document = merged(document, body) if method == "PATCH" else body
        return document


@pytest.mark.parametrize("page", PAGES)
def test_the_profiles_can_be_stored(page: str) -> None:
    found = commands(page)
    assert found
    for command in found:
        IetfAgent().validate(decode(stored(command)))


@pytest.mark.parametrize("page", PAGES)
def test_what_is_set_afterwards_too(page: str) -> None:
    for line in re.findall(r"`(sipprofile set [^`]+)`", (RECIPES / page).read_text()):
        IetfAgent().validate(decode(stored(commands(page)[0], shlex.split(line)[1:])))


@pytest.mark.parametrize("page", PAGES)
def test_json_is_json(page: str) -> None:
    for text in re.findall(r"```json\n(.*?)```", (RECIPES / page).read_text(), re.DOTALL):
        json.loads(text)


@pytest.mark.parametrize("page", ["asterisk.md", "freeswitch.md", "livekit.md"])
def test_the_program_listens_and_sends_where_the_profile_says(page: str) -> None:
    bridge = decode(stored(commands(page)[0])).bridge
    assert bridge is not None
    configured = "\n".join(block for block in blocks(page) if "sipprofile add" not in block)
    assert f"{bridge.uri.rpartition(':')[2]}" in configured
    assert f"127.0.0.1:{bridge.port}" in configured
