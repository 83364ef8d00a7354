"""Commands on the service's state directory, for whoever may read and write it: token, key, backup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .output import as_json as _json
from .output import moment, table
from .serving import server_needed
from .target import json_option

if TYPE_CHECKING:
    from ..store.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def _state(function: F) -> F:
    """Add ``--state`` and ``--config``, from which the state directory follows as for ``serve``."""
    directory = click.option(
        "--state", metavar="DIR", type=click.Path(path_type=Path), help="The service's state directory."
    )
    config = click.option(
        "--config", metavar="FILE", type=click.Path(path_type=Path), help="The service's configuration, which names it."
    )
    return directory(config(json_option(function)))


def _directory(state: Path | None, config: Path | None) -> Path:
    if state is not None:
        return state
    with server_needed():
        from ..server.configuration import default_state, load
    named = load(config).service.state
    return Path(named) if named else default_state()


def _open(directory: Path) -> Store:
    with server_needed():
        from ..server.state import read_keys
        from ..store import files
        from ..store.store import Store
    if not (directory / files.STORE_FILE).exists():
        raise click.ClickException(f"There is no store in {directory}; name its directory with --state.")
    return Store.open(directory / files.STORE_FILE, read_keys(directory))


@click.group()
def token() -> None:
    """Tokens for clients on TCP and in containers."""


@token.command("add")
@click.argument("name")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    default=("read", "use"),
    show_default=True,
    type=click.Choice(["read", "write", "use", "control"]),
    help="What it allows; may be repeated.",
)
@_state
def token_add(name: str, capabilities: tuple[str, ...], state: Path | None, config: Path | None, as_json: bool) -> None:
    """Make a token and print it; it is shown this once."""
    directory = _directory(state, config)
    with server_needed():
        from ..server.tokens import add_token
    text = add_token(directory, name, capabilities)
    click.echo(_json({"name": name, "token": text}) if as_json else text)


@token.command("list")
@_state
def token_list(state: Path | None, config: Path | None, as_json: bool) -> None:
    """List tokens: name, capabilities, when they were made."""
    directory = _directory(state, config)
    with server_needed():
        from ..server.tokens import list_tokens
    found = list_tokens(directory)
    if as_json:
        rows = [{"name": one.name, "capabilities": one.capabilities, "created": one.created} for one in found]
        click.echo(_json(rows))
    else:
        lines = [[one.name, ", ".join(one.capabilities), moment(one.created)] for one in found]
        click.echo(table(("NAME", "CAPABILITIES", "CREATED"), lines))


@token.command("rm")
@click.argument("name")
@_state
def token_rm(name: str, state: Path | None, config: Path | None, as_json: bool) -> None:
    """Take a token's rights away, at once."""
    directory = _directory(state, config)
    with server_needed():
        from ..server.tokens import remove_token
    remove_token(directory, name)
    click.echo(_json({"removed": name}) if as_json else f"Removed {name}.")


@click.group()
def key() -> None:
    """The key that seals passwords in the store."""


@key.command("rotate")
@_state
def key_rotate(state: Path | None, config: Path | None, as_json: bool) -> None:
    """Make a new key and seal every password with it; the service may run. Old keys stay for old backups."""
    store = _open(_directory(state, config))
    try:
        store.keys.rotate()
        store.reseal(store.keys)
        current = store.keys.current
    finally:
        store.close()
    click.echo(_json({"key": current}) if as_json else f"All passwords are sealed with the new key {current}.")


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--with-key", is_flag=True, help="Write the key to FILE.key too; keep the two apart.")
@_state
def backup(file: Path, with_key: bool, state: Path | None, config: Path | None, as_json: bool) -> None:
    """Copy the store to the new file FILE; the service may run."""
    store = _open(_directory(state, config))
    try:
        store.backup(file, with_key)
    finally:
        store.close()
    written = [str(file), *([f"{file}.key"] if with_key else [])]
    click.echo(_json({"written": written}) if as_json else f"Wrote {' and '.join(written)}.")
    if not with_key and not as_json:
        click.echo("Passwords in it open with the service's key only; --with-key writes that too.", err=True)
