"""The command line against a small service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from fake_service import FakeService, in_thread

from sipprofile.cli.main import cli

Run = Callable[..., Result]


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
