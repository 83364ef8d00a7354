"""Commands that look: list, show, status, history, types."""

from __future__ import annotations

import time
from typing import Any

import click

from .output import COLUMNS, as_json, duration, moment, pairs_shown, profile_row, table
from .target import Target, connected, profile_argument


@click.command("list")
@connected
@click.option("--type", "type_", metavar="TYPE", help="Only profiles of this type.")
@click.option("--aor", metavar="URI", help="Only profiles with this AOR, compared as SIP URIs.")
@click.option("--label", metavar="KEY[=VALUE]", help="Only profiles with this label.")
@click.option("--status", help="Only profiles with this status.")
def list_profiles(target: Target, type_: str | None, aor: str | None, label: str | None, status: str | None) -> None:
    """List profiles: status, reason, lease left, next try, users. '*' marks the default."""
    with target.open() as http:
        found = list(http.profiles(type=type_, aor=aor, label=label, status=status))
    if target.json:
        click.echo(as_json(found))
    elif found:
        now = time.time()
        click.echo(table(COLUMNS, [profile_row(document, now) for document in found]))
    else:
        click.echo("No profiles.", err=True)


@click.command()
@connected
@profile_argument
def show(target: Target, name: str) -> None:
    """Show everything about a profile."""
    with target.open() as http:
        document = http.request("GET", http.path(name))
    if target.json:
        click.echo(as_json(document))
        return
    state = document.pop("registration", {})
    flows = state.pop("flows", [])
    for name in ("reason", "last_error"):
        state[name] = _reason(state.get(name))
    parts = {
        title: [(key, _shown(key, value)) for key, value in _flat("", part) if value not in (None, "")]
        for title, part in (("Profile", document), ("Registration", state))
    }
    if len(flows) > 1:
        parts["Flows"] = [(str(flow.get("number", 1)), _flow(flow)) for flow in flows]
    click.echo(pairs_shown(parts))


def _flow(flow: dict[str, Any]) -> str:
    """One of several flows in a line."""
    words = [flow.get("status", "unregistered")]
    if flow.get("target"):
        words.append(f"{flow.get('local', '?')}>{flow['target']}")
    if flow.get("lease_ends"):
        words.append(f"lease ends {_relative(flow['lease_ends'])}")
    if flow.get("next_try"):
        words.append(f"next try {_relative(flow['next_try'])}")
    if flow.get("reason", {}).get("text"):
        words.append(flow["reason"]["text"])
    return ", ".join(words)


@click.command()
@connected
def status(target: Target) -> None:
    """Show the state of the service."""
    with target.open() as http:
        report = http.get("/v1/status")
        where = http.endpoint.url
    if target.json:
        click.echo(as_json(report))
        return
    path = "compiled" if report["native"] else "Python"
    click.echo(f"sipprofile {report['version']} at {where}, up {duration(report['uptime'])}, quick path: {path}")
    counts = ", ".join(f"{count} {status}" for status, count in report["by_status"].items() if count)
    click.echo(f"{report['profiles']} profiles{f' ({counts})' if counts else ''}, {report['sessions']} sessions")
    for queue in report["queues"]:
        if queue["waiting"]:
            empty = duration(queue["seconds_to_empty"])
            click.echo(f"{queue['registrar']}: {queue['waiting']} wait, {queue['rate']:g}/s, empty in {empty}")
    if report["store"]["failing"]:
        click.secho(f"The store fails: {report['store']['failing']}", fg="red")
    if not report["ready"]:
        click.secho("It is stopping.", fg="yellow")


@click.command()
@connected
@profile_argument
def history(target: Target, name: str) -> None:
    """Show the last transitions of a profile, oldest first."""
    with target.open() as http:
        rows = http.request("GET", f"/v1/profiles/{http.profile_id(name)}/history")["history"]
    if target.json:
        click.echo(as_json(rows))
        return
    lines = [
        [moment(row["at"]), row["status"], row.get("text", ""), str(row.get("attempt", 0)), row.get("target") or ""]
        for row in rows
    ]
    click.echo(table(("WHEN", "STATUS", "REASON", "ATTEMPT", "TARGET"), lines))


@click.command()
@connected
def types(target: Target) -> None:
    """List the profile types that are installed."""
    with target.open() as http:
        found = http.get("/v1/types")["types"]
    if target.json:
        click.echo(as_json(found))
        return
    rows = [
        [one["name"], one.get("class", ""), ", ".join(one["transports"]), ", ".join(one["not_supported"])]
        for one in found
    ]
    click.echo(table(("NAME", "CLASS", "TRANSPORTS", "NOT SUPPORTED YET"), rows))


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    """Nested values with dotted keys, as ``set`` takes them."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [pair for index, inner in enumerate(value) for pair in _flat(f"{prefix}.{index}", inner)]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, value)]


def _shown(key: str, value: Any) -> str:
    """Times on the local clock, switches as ``set`` takes them, everything else as it is."""
    if key in ("since", "next_try", "lease_ends", "refresh_at", "reachable_at"):
        return f"{moment(value)} ({_relative(value)})"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(reason: dict[str, Any] | None) -> str:
    """A reason in one line: its sentence, with the code that programs go by."""
    if reason is None or reason.get("code", "none") == "none":
        return ""
    code = " ".join(str(part) for part in (reason["code"], reason.get("status_code")) if part is not None)
    return f"{reason.get('text', '')} [{code}]".lstrip()


def _relative(utc: float) -> str:
    left = utc - time.time()
    return f"in {duration(left)}" if left >= 0 else f"{duration(-left)} ago"
