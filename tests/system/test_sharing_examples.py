"""Programs of examples/ that send and receive, each for a profile of the same real service."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator

import pytest_asyncio

import sipprofile
from sipprofile import Claim
from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService
from .example_programs import output_of, run
from .two_profiles import ALICE, BOB, LIMIT, registrar, request_of, soon

__all__ = ["registrar"]


async def line_of(program: Process) -> str:
    assert program.stdout is not None
    line = await asyncio.wait_for(program.stdout.readline(), LIMIT)
    return line.decode().rstrip("\n")


@pytest_asyncio.fixture
async def bob(daemon: RunningService, registrar: RegistrarServer) -> AsyncIterator[sipprofile.Line]:
    claims = ["MESSAGE", Claim(methods=["SUBSCRIBE"], events=["message-summary"])]
    async with sipprofile.use("bob", app="bob", url=daemon.url, timeout=LIMIT, claims=claims) as line:
        yield line


async def test_the_bot_answers(daemon: RunningService, bob: sipprofile.Line) -> None:
    program = await run(daemon, "bot.py", "alice")
    assert await line_of(program) == f"answers messages to {ALICE}"
    sending = asyncio.create_task(bob.message(ALICE, "hello", timeout=LIMIT))
    request = await request_of(bob)
    assert request.text == "You said: hello"
    await request.respond(200)
    assert (await sending).ok
    assert "hello" in await line_of(program)
    assert await line_of(program) == "answered: 200 OK"
    program.send_signal(signal.SIGINT)
    await output_of(program)
    assert program.returncode == 0


async def test_the_mailbox_is_watched(daemon: RunningService, bob: sipprofile.Line) -> None:
    program = await run(daemon, "mwi.py", "alice", BOB)
    notifier = await (await request_of(bob)).accept_subscription()
    assert await line_of(program) == f"watches the mailbox of {ALICE}"
    body = "Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"
    assert (await soon(notifier.notify(body, "application/simple-message-summary"))).ok
    assert await line_of(program) == "waiting: yes, voice messages (new/old): 2/8"
    program.send_signal(signal.SIGINT)
    await output_of(program)
    await soon(notifier.ended())  # the program has unsubscribed


async def test_a_text_from_the_command_line(daemon: RunningService, bob: sipprofile.Line) -> None:
    command = [sys.executable, "-m", "sipprofile.cli.main", "message", "alice", BOB, "hi there"]
    environment = {**os.environ, "SIPPROFILE_URL": daemon.url}
    program = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment)
    request = await request_of(bob)
    assert request.text == "hi there"
    await request.respond(202, "Noted")
    assert await output_of(program) == "202 Noted\n"
    assert program.returncode == 0
