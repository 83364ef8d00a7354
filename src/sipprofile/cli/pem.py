"""TLS settings on the command line: files with PEM are read here, and what is in them is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _content(_: click.Context, option: click.Parameter, file: str | None) -> str | None:
    """What is in ``file``; the wrong kind is told here by the file's name, everything else by the service."""
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{file} is not PEM, which is text: '-----BEGIN …'.") from None
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}.") from None
    wanted, other = "CERTIFICATE-----", "PRIVATE KEY-----"
    if option.name == "private_key":
        wanted, other = other, wanted
    if wanted not in text:
        raise click.BadParameter(f"{file} has no '-----BEGIN … {wanted}'.")
    if other in text:
        raise click.BadParameter(f"{file} has '{other}' too; give certificates and the key in files of their own.")
    return text


def tls_options(function: F) -> F:
    """Add ``--server-name``, ``--ca``, ``--certificate`` and ``--key``, as tls_settings() takes them."""
    for option in (
        click.option("--key", "private_key", metavar="FILE", callback=_content, help="PEM file with its private key."),
        click.option("--certificate", metavar="FILE", callback=_content, help="PEM file with our own certificate."),
        click.option("--ca", metavar="FILE", callback=_content, help="PEM file with the authorities to trust."),
        click.option("--server-name", metavar="NAME", help="The name the server's certificate must be for."),
    ):
        function = option(function)
    return function


def tls_settings(**given: str | None) -> dict[str, str]:
    """The ``tls`` of a server (docs/profile.md), with what was given."""
    return {name: value for name, value in given.items() if value is not None}
