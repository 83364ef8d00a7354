"""``add``: store a new profile."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import click

from ..profile import Bridge
from .output import as_json
from .pem import tls_options, tls_settings
from .secrets import read_password
from .target import Target, connected
from .values import extension_value, key_and_value

REQUEST_USERS = get_args(get_type_hints(Bridge)["request_user"])

Pairs = tuple[tuple[str, str], ...]


def _pairs(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Pairs:
    return tuple(key_and_value(text) for text in given)


@click.command()
@connected
@click.argument("name")
@click.argument("aor")
@click.option("--type", "type_", default="ietf", show_default=True, help="Profile type; see 'sipprofile types'.")
@click.option("--registrar", metavar="URI", help="Registrar; without it the AOR's domain.")
@click.option("--username", help="User name at the registrar; the password is asked for.")
@click.option("--realm", help="Answer challenges of this realm only.")
@click.option("--password-file", metavar="FILE", help="Read the password from FILE; '-' is standard input.")
@click.option("--proxy", "proxies", metavar="URI", multiple=True, help="Outbound proxy, the preferred one first.")
@click.option("--proxy-username", help="User name at the proxies.")
@click.option("--proxy-password-file", metavar="FILE", help="Password at the proxies; '-' is standard input.")
@tls_options
@click.option("--register", type=click.Choice(["always", "on-demand"]), help="When to be registered.")
@click.option("--expires", type=int, metavar="SECONDS", help="Lease to ask for.")
@click.option("--provider-name", help="Shown to people.")
@click.option("--linger", type=float, metavar="SECONDS", help="How long to stay registered after the last user.")
@click.option("--dscp", type=int, help="DiffServ code point, 0 to 63.")
@click.option("--contact-param", "contact_params", metavar="NAME[=VALUE]", multiple=True, help="Added to the Contact.")
@click.option("--contact-uri", metavar="URI", help="A Contact that points elsewhere; the profile only registers.")
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="Added to REGISTER.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, callback=_pairs, help="Your own words.")
@click.option("--ext", "extensions", metavar="KEY=VALUE", multiple=True, callback=_pairs, help="VALUE may be JSON.")
@click.option(
    "--bridge", metavar="URI", help="A local SIP program shares it: sip:127.0.0.1:5060; 'register': it registers."
)
@click.option("--bridge-port", type=int, help="The UDP port it sends to; without it the first free one from 5080.")
@click.option("--bridge-host", metavar="ADDRESS", help="The local address it sends to, if not 127.0.0.1.")
@click.option("--bridge-allow", metavar="NETWORK", multiple=True, help="Where it may be besides loopback.")
@click.option("--request-user", type=click.Choice(REQUEST_USERS), help="The user that it sees in request URIs.")
@click.option("--default", is_flag=True, help="Make it the default profile.")
def add(
    target: Target,
    type_: str,
    registrar: str | None,
    username: str | None,
    realm: str | None,
    password_file: str | None,
    proxies: tuple[str, ...],
    proxy_username: str | None,
    proxy_password_file: str | None,
    server_name: str | None,
    ca: str | None,
    certificate: str | None,
    private_key: str | None,
    labels: Pairs,
    extensions: Pairs,
    bridge: str | None,
    bridge_port: int | None,
    bridge_host: str | None,
    bridge_allow: tuple[str, ...],
    request_user: str | None,
    **plain: Any,
) -> None:
    """Store the profile NAME for the address-of-record AOR, such as sip:alice@example.com.

    Passwords come from the terminal, a file or standard input, never from the command line. TLS options are for the
    server that is connected to: the proxies if there are any, else the registrar.
    """
    if password_file == proxy_password_file == "-":
        raise click.UsageError("Only one password can come from standard input.")
    if (proxy_username or proxy_password_file) and not proxies:
        raise click.UsageError("--proxy-username and --proxy-password-file need a --proxy.")
    if (certificate is None) != (private_key is None):
        raise click.UsageError("--certificate and --key belong together.")
    tls = tls_settings(server_name=server_name, ca=ca, certificate=certificate, private_key=private_key)
    document: dict[str, Any] = {name: value for name, value in plain.items() if value is not None and value != ()}
    document["type"] = type_
    if not document["default"]:
        del document["default"]
    more = _given(port=bridge_port, host=bridge_host, allowed=list(bridge_allow) or None, request_user=request_user)
    if more and not bridge:
        raise click.UsageError("--bridge-port, --bridge-host, --bridge-allow and --request-user need --bridge.")
    if bridge:
        document["bridge"] = {**({} if bridge == "register" else {"uri": bridge}), **more}
    if labels:
        document["labels"] = dict(labels)
    if extensions:
        document["extensions"] = {key: extension_value(value) for key, value in extensions}
    if registrar or username or realm or password_file or (tls and not proxies):
        document["registrar"] = _given(
            uri=registrar or _domain(plain["aor"]),
            username=username,
            realm=realm,
            password=_password(password_file, username, "Password"),
            tls=None if proxies else tls or None,
        )
    if proxies:
        password = _password(proxy_password_file, proxy_username, "Password at the proxy")
        document["proxies"] = [
            _given(uri=uri, username=proxy_username, password=password, tls=tls or None) for uri in proxies
        ]
    with target.open() as http:
        saved = http.request("POST", "/v1/profiles", document)
    if target.json:
        click.echo(as_json(saved))
        return
    for warning in saved.get("warnings", ()):
        click.echo(f"Note: {warning['detail']}", err=True)
    click.echo(f"Added {saved['name']} with the id {saved['id']}.")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _password(file: str | None, username: str | None, prompt: str) -> str | None:
    """From the file; for a user name without a file from the terminal; else none."""
    return read_password(file, prompt) if file or username else None


def _domain(aor: str) -> str:
    """The registrar of an AOR without one: its domain (RFC 3261 §10.2.6)."""
    scheme, _, rest = aor.partition(":")
    return f"{scheme}:{rest.rpartition('@')[2].partition(';')[0].partition('?')[0]}"
