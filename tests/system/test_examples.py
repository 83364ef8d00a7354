"""The small programs in examples/, run as their first lines say, against the real service."""

from __future__ import annotations

import asyncio
import signal

from sipprofile.testing.server import RegistrarServer

from .conftest import RunningService
from .example_programs import LIMIT, output_of, run

AOR = "sip:alice@example.test"


async def test_a_profile_is_added_and_observed(daemon: RunningService, sip_registrar: RegistrarServer) -> None:
    program = await run(daemon, "add_profile.py", "work", AOR, sip_registrar.uri)
    assert "work has the id 1" in await output_of(program)

    program = await run(daemon, "observer.py", "0.2")
    output = await output_of(program)
    assert program.returncode == 0, output
    assert f"{AOR} is registered as" in output
    assert "work: registered" in output


async def test_what_is_wrong_is_said(daemon: RunningService) -> None:
    program = await run(daemon, "add_profile.py", "work", "mailto:alice@example.test", "sip:127.0.0.1")
    output = await output_of(program)
    assert program.returncode == 1
    assert "aor is not a SIP URI" in output
    assert "[invalid_value]" in output


async def test_a_line_is_shared_until_interrupted(daemon: RunningService, sip_registrar: RegistrarServer) -> None:
    await output_of(await run(daemon, "add_profile.py", "work", AOR, sip_registrar.uri))
    program = await run(daemon, "shared_line.py", "work", "com.example.test")
    assert program.stdout is not None
    line = await asyncio.wait_for(program.stdout.readline(), LIMIT)
    assert line.decode() == f"uses work: {AOR} is registered\n"
    assert len(sip_registrar.bindings(AOR)) == 1

    program.send_signal(signal.SIGINT)
    output = await output_of(program)
    assert program.returncode == 0, output
    assert output.endswith("left\n")
    for _ in range(500):  # the program has gone; the de-REGISTER may still be on its way
        if not sip_registrar.bindings(AOR):
            break
        await asyncio.sleep(0.02)
    assert not sip_registrar.bindings(AOR)
