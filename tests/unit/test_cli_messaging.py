"""The commands ``message`` and ``listen``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_service import FakeService, in_thread

from sipprofile.cli.main import cli
from sipprofile.errors import SipProfileError

BOB = "sip:bob@example.test"


@pytest.fixture
def service() -> Iterator[FakeService]:
    with in_thread() as service:
        service.add("trunk", registration={"status": "registered"})
        yield service


def run(service: FakeService, *arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), env={"SIPPROFILE_URL": service.url})


class TestMessage:
    def test_its_final_response(self, service: FakeService) -> None:
        result = run(service, "message", "trunk", BOB, "hi", "--from", "sip:other@example.test")
        assert (result.exit_code, result.stdout) == (0, "200 OK\n")
        assert service.requests[0][:3] == (
            "POST", "/v1/profiles/1/message", {"uri": BOB, "text": "hi", "from": "sip:other@example.test"},
        )  # fmt: skip

    def test_refused(self, service: FakeService) -> None:
        service.message_answer = {"status": 404, "reason": "Not Found", "headers": []}
        assert (run(service, "message", "trunk", BOB, "hi").exit_code) == 9
        assert json.loads(run(service, "message", "trunk", BOB, "hi", "--json").stdout)["status"] == 404

    @pytest.mark.parametrize(("code", "exit_code"), [("request_failed", 9), ("timed_out", 8), ("not_found", 3)])
    def test_failed(self, service: FakeService, code: str, exit_code: int) -> None:
        service.refuse["POST /v1/profiles/1/message"] = SipProfileError(code)
        assert run(service, "message", "trunk", BOB, "hi").exit_code == exit_code


class TestListen:
    @staticmethod
    def one_request(service: FakeService) -> None:
        """A MESSAGE comes once it is claimed, and Ctrl-C when it is answered."""

        async def later() -> None:
            while not service.said("claim"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await service.incoming(7, body={"text": "hello"}, content_type="text/plain")
            while not service.said("respond"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        running: list[Any] = []
        service.on_enable = lambda id_: running.append(asyncio.get_running_loop().create_task(later()))

    def test_prints_and_answers(self, service: FakeService) -> None:
        self.one_request(service)
        result = run(service, "listen", "trunk", "--method", "MESSAGE", "--shared", "--status", "202")
        assert (result.exit_code, result.stdout) == (0, "MESSAGE from <sip:bob@example.test>;tag=b: hello\n")
        assert result.stderr == "Listening at sip:trunk@example.test: MESSAGE. Ctrl-C ends it.\n"
        assert service.said("claim")[0]["claim"] == {"methods": ["MESSAGE"], "exclusive": False}
        assert service.said("respond")[0]["status"] == 202

    def test_what_nobody_else_has_claimed_as_json(self, service: FakeService) -> None:
        self.one_request(service)
        result = run(service, "listen", "trunk", "--json")
        assert service.said("claim")[0]["claim"] == {"default": True}
        assert json.loads(result.stdout)["text"] == "hello"
        assert "whatever nobody else has claimed" in result.stderr

    def test_somebody_else_has_it(self, service: FakeService) -> None:
        service.refuse["claim"] = SipProfileError("claim_in_use", by="com.example.bot")
        output = run(service, "listen", "trunk", "--method", "MESSAGE").output
        assert "claimed it" in output
        assert "Listening" not in output
