"""``completion``: what a shell needs to complete commands, options and profile names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PLACES = {
    "bash": 'eval "$(sipprofile completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(sipprofile completion zsh)" in ~/.zshrc',
    "fish": "sipprofile completion fish > ~/.config/fish/completions/sipprofile.fish",
}


@click.command(epilog="\b\n" + "\n".join(PLACES.values()))
@click.argument("shell", type=click.Choice(list(PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "sipprofile", "_SIPPROFILE_COMPLETE").source())
