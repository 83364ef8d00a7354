"""Commands that change stored profiles: set, rm, default."""

from __future__ import annotations

from typing import Any

import click

from .output import as_json
from .pem import tls_options, tls_settings
from .secrets import read_password
from .target import Target, connected, profile_argument
from .values import patch_of


@click.command("set")
@connected
@profile_argument
@click.argument("assignments", metavar="KEY=VALUE…", nargs=-1)
@click.option("--password-file", metavar="FILE", help="New password at the registrar; '-' is standard input.")
@click.option("--ask-password", is_flag=True, help="Ask for the new password at the registrar.")
@click.option("--proxy-password-file", metavar="FILE", help="New password at every proxy; '-' is standard input.")
@tls_options
def set_values(
    target: Target,
    name: str,
    assignments: tuple[str, ...],
    password_file: str | None,
    ask_password: bool,
    proxy_password_file: str | None,
    **tls_files: str | None,
) -> None:
    """Change settings: expires=600, registrar.uri=sip:…, proxies.0.uri=…, bridge.uri=sip:…, labels.site=lab.

    An empty VALUE takes a setting back to its default; 'registrar.password=' removes the password. TLS options are for
    the server that is connected to: the proxies if there are any, else the registrar.
    """
    tls = tls_settings(**tls_files)
    if not (assignments or password_file or ask_password or proxy_password_file or tls):
        raise click.UsageError("Give at least one KEY=VALUE, a password file or a TLS option.")
    with target.open() as http:
        current = http.request("GET", http.path(name))
        patch = patch_of(assignments, current)
        if password_file or ask_password:
            registrar = patch.setdefault("registrar", {})
            if not (registrar.get("uri") or current.get("registrar")):
                raise click.UsageError("The profile has no registrar; set registrar.uri too.")
            registrar["password"] = read_password(password_file, "Password")
        if proxy_password_file:
            proxies = patch.setdefault("proxies", [dict(proxy) for proxy in current.get("proxies", [])])
            if not proxies:
                raise click.UsageError("The profile has no proxies.")
            password = read_password(proxy_password_file, "Password at the proxy")
            for proxy in proxies:
                proxy["password"] = password
        if tls:
            _put_tls(patch, current, tls)
        if_match = {"If-Match": f'"{current["revision"]}"'}
        saved = http.request("PATCH", f"/v1/profiles/{current['id']}", patch, headers=if_match)
    _report(target, saved, f"Changed {saved['name']}.")


@click.command()
@connected
@profile_argument
def rm(target: Target, name: str) -> None:
    """Remove a profile; one that is in use is not removed."""
    with target.open() as http:
        id_ = http.profile_id(name)
        http.request("DELETE", f"/v1/profiles/{id_}")
    click.echo(as_json({"removed": id_}) if target.json else f"Removed {name}.")


@click.command()
@connected
@profile_argument
def default(target: Target, name: str) -> None:
    """Make a profile the default one."""
    with target.open() as http:
        saved = http.request("POST", f"/v1/profiles/{http.profile_id(name)}/default")
    _report(target, saved, f"{saved['name']} is the default profile.")


def _put_tls(patch: dict[str, Any], current: dict[str, Any], tls: dict[str, str]) -> None:
    """Into every proxy, whole because lists are not merged; without proxies into the registrar."""
    proxies = patch["proxies"] if "proxies" in patch else [dict(proxy) for proxy in current.get("proxies", [])]
    if proxies:
        for proxy in proxies:
            proxy["tls"] = {**(proxy.get("tls") or {}), **tls}
        patch["proxies"] = proxies
    elif current.get("registrar") or patch.get("registrar"):
        patch["registrar"] = patch.get("registrar") or {}
        patch["registrar"]["tls"] = {**(patch["registrar"].get("tls") or {}), **tls}
    else:
        raise click.UsageError("The profile has no registrar; set registrar.uri too.")


def _report(target: Target, saved: dict[str, object], sentence: str) -> None:
    if target.json:
        click.echo(as_json(saved))
        return
    warnings = saved.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        click.echo(f"Note: {warning['detail']}", err=True)
    click.echo(sentence)
