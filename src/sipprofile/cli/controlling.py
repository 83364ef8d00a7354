"""Commands that act on registrations and on the service: pause, resume, retry-now, force-disable, test, stop."""

from __future__ import annotations

import sys
import time

import click

from .output import COLUMNS, as_json, profile_row, steps_shown, table
from .target import Target, connected, profile_argument

FAILED_STEP = 7  # exit code, as for a failed registration


def _control(target: Target, name: str, verb: str) -> None:
    with target.open() as http:
        document = http.request("POST", f"/v1/profiles/{http.profile_id(name)}/{verb}")
    if target.json:
        click.echo(as_json(document))
    else:
        click.echo(table(COLUMNS, [profile_row(document, time.time())]))


@click.command()
@connected
@profile_argument
def pause(target: Target, name: str) -> None:
    """De-register a profile and keep it so until 'resume'; its users stay."""
    _control(target, name, "pause")


@click.command()
@connected
@profile_argument
def resume(target: Target, name: str) -> None:
    """End a pause or a forced disable."""
    _control(target, name, "resume")


@click.command("retry-now")
@connected
@profile_argument
def retry_now(target: Target, name: str) -> None:
    """Try to register now instead of at the next try."""
    _control(target, name, "retry-now")


@click.command("force-disable")
@connected
@profile_argument
def force_disable(target: Target, name: str) -> None:
    """End a registration for all its users at once, without telling the registrar."""
    _control(target, name, "force-disable")


@click.command()
@connected
@profile_argument
def test(target: Target, name: str) -> None:
    """Explain step by step whether a profile can register and be reached.

    The steps are settings, DNS, transport, answer, digest, lease, and an OPTIONS to the own address that comes back.
    """
    with target.open(timeout=150.0) as http:  # a registrar that is silent takes 32 s per transaction (RFC 3261 §17.1.2)
        steps = http.request("POST", f"/v1/profiles/{http.profile_id(name)}/test")["steps"]
    if target.json:
        click.echo(as_json(steps))
    else:
        click.echo(steps_shown(steps))
    if not all(step["ok"] for step in steps):
        sys.exit(FAILED_STEP)


@click.command()
@connected
@click.option("--deregister", is_flag=True, help="Give all leases back first; without it they are kept for a restart.")
def stop(target: Target, deregister: bool) -> None:
    """Stop the service."""
    with target.open() as http:
        answer = http.request("POST", "/v1/stop", {"deregister": deregister})
    if target.json:
        click.echo(as_json(answer))
    else:
        click.echo("The service is stopping.")
