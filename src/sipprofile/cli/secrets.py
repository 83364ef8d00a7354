"""Passwords: from the terminal, a file or standard input, never from an argument that others can see."""

from __future__ import annotations

import sys
from pathlib import Path

import click


def read_password(file: str | None, prompt: str) -> str:
    """The first line of ``file`` (``-`` is standard input); without a file, ask on the terminal."""
    if file is None:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask for the password; give a password file, '-' for stdin.")
        answer: str = click.prompt(prompt, hide_input=True, err=True)
        return answer
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.UsageError(f"The password file {file} is not text.") from None
    except OSError as error:
        raise click.UsageError(f"The password file {file} cannot be read: {error.strerror}.") from None
    password = text.split("\n", 1)[0].rstrip("\r")
    if not password:
        raise click.UsageError("The password is empty.")
    return password
