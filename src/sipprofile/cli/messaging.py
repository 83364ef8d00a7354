"""``message`` and ``listen``: one text out, and requests as they come in."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from .output import as_json, as_json_line
from .target import Target, connected, profile_argument

if TYPE_CHECKING:
    from ..client.incoming import IncomingRequest

REFUSED = 9  # exit code: there is a final response, and it is not a 2xx
LIMIT = 90.0  # seconds: registering, and 64·T1 for the answer


@click.command()
@connected
@profile_argument
@click.argument("uri")
@click.argument("text")
@click.option("--from", "identity", metavar="URI", help="Another identity of the profile than its AOR.")
def message(target: Target, name: str, uri: str, text: str, identity: str | None) -> None:
    """Send a text (MESSAGE) to a SIP URI and print the final response. Registers first if need be."""
    body = {"uri": uri, "text": text}
    if identity is not None:
        body["from"] = identity
    with target.open(timeout=LIMIT) as http:
        answer = http.request("POST", f"/v1/profiles/{http.profile_id(name)}/message", body)
    status, reason = answer["status"], answer.get("reason") or ""
    click.echo(as_json(answer) if target.json else f"{status} {reason}".rstrip())
    if not 200 <= status < 300:
        sys.exit(REFUSED)


@click.command()
@connected
@profile_argument
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="Claim this method; repeatable.")
@click.option("--event", "events", multiple=True, metavar="PACKAGE", help="Claim this event package; repeatable.")
@click.option("--shared", is_flag=True, help="Let others claim the same.")
@click.option("--status", type=click.IntRange(200, 699), default=200, show_default=True, help="The answer to give.")
def listen(
    target: Target, name: str, methods: tuple[str, ...], events: tuple[str, ...], shared: bool, status: int
) -> None:
    """Print requests that come to a profile, and answer them, until Ctrl-C.

    Without --method and --event these are the requests that nobody else has claimed.
    """
    asyncio.run(_listen(target, name, list(methods), list(events), shared, status))


async def _listen(target: Target, name: str, methods: list[str], events: list[str], shared: bool, status: int) -> None:
    from ..claims import Claim
    from ..client.use import use

    claim = Claim(methods=methods, events=events, default=not (methods or events), exclusive=not shared)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    app, token = "sipprofile listen", target.token()
    try:
        async with use(name, app=app, url=target.url, token=token, wait=False, claims=[claim]) as line:
            what = ", ".join([*methods, *events]) or "whatever nobody else has claimed"
            click.echo(f"Listening at {line.profile.aor}: {what}. Ctrl-C ends it.", err=True)
            async for request in line.requests():
                click.echo(as_json_line(_document(request)) if target.json else _shown(request))
                if request.response_allowed:
                    await request.respond(status)
    except asyncio.CancelledError:
        pass


def _document(request: IncomingRequest) -> dict[str, Any]:
    names = ("method", "uri", "to", "call_id", "content_type", "text", "at")
    return {"from": request.from_, **{name: getattr(request, name) for name in names}}


def _shown(request: IncomingRequest) -> str:
    text = f": {request.text}" if request.body else ""
    return f"{request.method} from {request.from_}{text}"
