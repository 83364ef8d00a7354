"""The command ``sipprofile``: which commands there are, and what their failures look like."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import SipProfileError
from .target import wants_json

COMMANDS = {
    "add": "adding:add",
    "backup": "state:backup",
    "completion": "completion:completion",
    "default": "changing:default",
    "force-disable": "controlling:force_disable",
    "history": "listing:history",
    "key": "state:key",
    "list": "listing:list_profiles",
    "listen": "messaging:listen",
    "message": "messaging:message",
    "pause": "controlling:pause",
    "resume": "controlling:resume",
    "retry-now": "controlling:retry_now",
    "rm": "changing:rm",
    "serve": "serving:serve",
    "set": "changing:set_values",
    "show": "listing:show",
    "status": "listing:status",
    "stop": "controlling:stop",
    "test": "controlling:test",
    "token": "state:token",
    "types": "listing:types",
    "use": "using:use",
    "watch": "watching:watch",
}

EXIT_CODES = {
    "not_found": 3,
    "in_use": 4,
    "locked": 4,
    "permission_denied": 5,
    "unauthenticated": 5,
    "service_unavailable": 6,
    "service_gone": 6,
    "shutting_down": 6,
    "registration_failed": 7,
    "timed_out": 8,
    "request_failed": 9,
    "request_refused": 9,
}
"""Exit code by error code; any other error is 1, a wrong command line 2."""


class Commands(click.Group):
    """Loads only the command that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"sipprofile.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SipProfileError as error:
            if wants_json(ctx):
                from .output import as_json

                click.echo(as_json(error.problem()), err=True)
            else:
                click.echo(f"Error: {error}", err=True)
            ctx.exit(EXIT_CODES.get(error.code, 1))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sipprofile")
def cli() -> None:
    """SIP registrations, one per profile, shared by any number of applications.

    A profile is named by its name, its id, or 'default'.
    """


def main() -> None:
    """The entry point of the script."""
    cli.main(prog_name="sipprofile")


if __name__ == "__main__":
    main()
