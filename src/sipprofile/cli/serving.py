"""``serve``: run the service in the foreground."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--config", metavar="FILE", type=FILE, help="Configuration in TOML.")
@click.option("--state", metavar="DIR", type=FILE, help="State directory: store, key, tokens.")
@click.option("--socket", metavar="PATH", type=FILE, help="Unix socket of the interface.")
@click.option("--listen", metavar="HOST:PORT", help="The interface on TCP too; clients need a token.")
@click.option("--tls-cert", "tls_certificate", metavar="FILE", help="Certificate chain (PEM) for --listen.")
@click.option("--tls-key", metavar="FILE", help="Private key (PEM) of the certificate.")
@click.option("--allowed-host", "allowed_hosts", metavar="HOST", multiple=True, help="Host names that clients may use.")
@click.option("--allowed-origin", "allowed_origins", metavar="URL", multiple=True, help="Web pages that may connect.")
@click.option(
    "--log-format", type=click.Choice(["auto", "text", "json"]), help="Default: text on a terminal, else JSON."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: info.")
def serve(**options: object) -> None:
    """Run the service in the foreground.

    SIGTERM ends it and keeps the leases for a restart; Ctrl-C ends it and gives them back. An option goes before the
    configuration file's key.
    """
    gc.disable()  # what is imported stays, and so does what is loaded next
    try:
        with server_needed():
            from ..server import authorities

            with authorities.unread():
                from ..server.main import ServeOptions
                from ..server.main import serve as run
    finally:
        gc.enable()
    sys.exit(run(ServeOptions(**options)))  # type: ignore[arg-type]


@contextmanager
def server_needed() -> Iterator[None]:
    """Turn a package of the extra ``server`` that is missing into a sentence that says what to do."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sipprofile"):
            raise
        raise click.ClickException(
            f"This needs the package {error.name!r}, which is not installed: pip install 'sipprofile[server]'"
        ) from None
