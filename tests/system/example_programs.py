"""The programs in examples/, started against a service."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

from .conftest import RunningService

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 20.0  # seconds


async def run(daemon: RunningService, name: str, *arguments: str) -> Process:
    environment = {**os.environ, "SIPPROFILE_URL": daemon.url, "SIP_PASSWORD": "secret"}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *arguments, stdout=PIPE, stderr=STDOUT, env=environment
    )


async def output_of(program: Process) -> str:
    output, _ = await asyncio.wait_for(program.communicate(), LIMIT)
    return output.decode()
