"""``use``: hold a profile enabled while this program, or a command, runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import SipProfileError
from .output import as_json_line, event_line
from .target import Target, connected, profile_argument

if TYPE_CHECKING:
    from ..client.use import Line

NOT_STARTED = 127  # as shells say for a command that cannot be found
NOT_EXECUTABLE = 126


@click.command()
@connected
@profile_argument
@click.option(
    "--wait", type=click.FloatRange(min=0), metavar="S", help="Fail unless it is registered within S seconds."
)
@click.option("--for", "duration", type=click.FloatRange(min=0), metavar="S", help="End after S seconds.")
@click.argument("command", nargs=-1, metavar="[-- COMMAND…]")
def use(target: Target, name: str, wait: float | None, duration: float | None, command: tuple[str, ...]) -> None:
    """Use a profile until Ctrl-C, and print what happens to it.

    With a COMMAND: wait until the profile is registered, run the command, and exit with its exit code; the profile
    is in use exactly as long. What happens is then printed on standard error.
    """
    if command and duration is not None:
        raise click.UsageError("--for is for use without a COMMAND; the command ends the use.")
    sys.exit(asyncio.run(_use(target, name, wait, duration, command)))


async def _use(target: Target, name: str, wait: float | None, duration: float | None, command: tuple[str, ...]) -> int:
    from ..client.use import use as use_profile

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with use_profile(name, app="sipprofile use", url=target.url, token=target.token(), wait=False) as line:
        printing = asyncio.create_task(_print_events(line, target.json, to_stderr=bool(command)))
        try:
            if wait is not None or command:
                registered = asyncio.create_task(line.registry.wait_registered(line.profile, wait))
                if not await _first(registered, stop, None):
                    return 128 + signal.SIGINT if command else 0
            if command:
                return await _run(command, stop)
            await _first(printing, stop, duration)
            return 0
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)


async def _first(work: asyncio.Task[None], stop: asyncio.Event, limit: float | None) -> bool:
    """Wait for ``work``, a signal or the time; true when the work was first. Raises what the work raised."""
    stopped = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({work, stopped}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if work in done:
        work.result()
        return True
    work.cancel()
    return False


async def _run(command: tuple[str, ...], stop: asyncio.Event) -> int:
    """Run ``command`` to its end; its exit code, or 128 and the signal's number, as shells say."""
    try:
        process = await asyncio.create_subprocess_exec(*command)
    except OSError as error:
        click.echo(f"Error: {command[0]}: {error.strerror}", err=True)
        return NOT_STARTED if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):  # Ctrl-C has reached it already
            process.terminate()
    code = await ended
    return code if code >= 0 else 128 - code


async def _print_events(line: Line, as_json: bool, *, to_stderr: bool) -> None:
    """Print what happens until the profile cannot be used any more; then raise why."""
    import msgspec

    def print_event(event: dict[str, Any]) -> None:
        click.echo(as_json_line(event) if as_json else event_line(event), err=to_stderr)

    events = line.events()
    profile = line.profile
    state = msgspec.to_builtins(profile.registration)
    print_event({"event": "enabled", "profile": profile.id, "name": profile.name, "state": state, "at": time.time()})
    async for event in events:
        shown: dict[str, Any] = msgspec.to_builtins(event, enc_hook=_problem)
        shown.pop("document", None)
        shown.setdefault("at", time.time())
        print_event(shown)
        if to_stderr:
            continue
        if event.event == "destroyed":
            raise SipProfileError("not_found", "The profile was removed.")
        if event.event == "forcibly_disabled":
            raise SipProfileError("forcibly_disabled")


def _problem(value: Any) -> Any:
    return value.problem() if isinstance(value, SipProfileError) else repr(value)
