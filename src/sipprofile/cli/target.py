"""The options that every command has which speaks to the service, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from ..client.http import HttpClient

F = TypeVar("F", bound=Callable[..., Any])

_JSON = "sipprofile.json"


class Target(NamedTuple):
    """Which service, with which token, and whether the output is JSON."""

    url: str | None
    token_file: str | None
    json: bool

    def open(self, *, timeout: float = 30.0) -> HttpClient:
        """A connection for requests."""
        from ..client.http import HttpClient

        return HttpClient(self.url, self.token(), timeout=timeout)

    def token(self) -> str | None:
        """The bearer token, if there is one."""
        from ..client.endpoint import read_token

        return read_token(self.token_file)


def wants_json(ctx: click.Context) -> bool:
    """The command was given ``--json``."""
    return bool(ctx.meta.get(_JSON))


def json_option(function: F) -> F:
    """Add ``--json``, passed on as ``as_json``."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.meta[_JSON] = value
        return value

    option = click.option("--json", "as_json", is_flag=True, callback=remember, help="Print JSON, errors too.")
    return option(function)


def connected(function: F) -> Callable[..., Any]:
    """Add ``--url``, ``--token-file`` and ``--json``; they arrive as the first argument, a :class:`Target`."""

    @wraps(function)
    def call(url: str | None, token_file: str | None, as_json: bool, **arguments: Any) -> Any:
        return function(Target(url, token_file, as_json), **arguments)

    address = click.option(
        "--url",
        metavar="URL",
        help="The service: unix:/path, http://host:port or https://host. Else SIPPROFILE_URL, else your own "
        "service's socket if it exists, else the system's.",
    )
    secret = click.option(
        "--token-file", metavar="FILE", type=click.Path(), help="File with a bearer token. Else SIPPROFILE_TOKEN."
    )
    return address(secret(json_option(call)))


def _complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of profiles, for the shell; a service that does not answer completes nothing."""
    from ..errors import SipProfileError

    try:
        target = Target(ctx.params.get("url"), ctx.params.get("token_file"), False)
        with target.open(timeout=1.0) as http:
            page = http.get("/v1/profiles", limit=1000)
    except SipProfileError:
        return []
    names = [profile["name"] for profile in page["profiles"]]
    return [name for name in (*names, "default") if name.startswith(incomplete)]


profile_argument = click.argument("name", metavar="NAME", shell_complete=_complete)
