"""Bearer tokens (RFC 6750) for clients that cannot be known by the Unix socket's peer credentials.

The file ``tokens.json`` in the state directory (mode 0600) holds only the SHA-256 of each token. A token has 256
random bits, so a slow hash would add nothing.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ..errors import SipProfileError
from ..service.policy import CAPABILITIES
from ..store import files

FILE_NAME = "tokens.json"
PREFIX = "sipp_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Token(msgspec.Struct, frozen=True):
    """What is known of a token; ``created`` is UTC, seconds since the epoch."""

    name: str
    sha256: str
    capabilities: list[str]
    created: float


class TokenFile(msgspec.Struct, frozen=True):
    """The content of ``tokens.json``."""

    tokens: list[Token] = []


def list_tokens(state: Path) -> list[Token]:
    """Every token of the state directory, without its secret; raises ``bad_configuration`` for a damaged file."""
    path = state / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=TokenFile).tokens
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SipProfileError("bad_configuration", f"{path} cannot be read: {error.strerror}.") from None
    except msgspec.MsgspecError as error:
        raise SipProfileError("bad_configuration", f"{path} is damaged: {error}.") from None


def add_token(state: Path, name: str, capabilities: Iterable[str]) -> str:
    """Make a token and return its text, which is shown this once and cannot be read again.

    Raises ``invalid_value`` for a bad or used name and for an unknown capability.
    """
    wanted = check_capabilities(capabilities, "capabilities")
    if NAME.fullmatch(name) is None:
        raise SipProfileError(
            "invalid_value",
            "A token's name has 1 to 64 letters, digits, '_', '.', '@' or '-'.",
            field="name",
            value=name,
        )
    try:
        files.make_directory(state)
    except OSError as error:
        raise SipProfileError("bad_configuration", f"State directory {state}: {error.strerror}.") from None
    text = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    with _changing(state) as tokens:
        if any(token.name == name for token in tokens):
            raise SipProfileError("invalid_value", "A token of this name exists.", field="name", value=name)
        tokens.append(Token(name, _digest(text), list(wanted), time.time()))
    return text


def remove_token(state: Path, name: str) -> None:
    """Take a token's rights away at once; raises ``not_found``."""
    with _changing(state) as tokens:
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            raise SipProfileError("not_found", "There is no token of this name.", field="name", value=name)
        tokens[:] = kept


def check_capabilities(given: Iterable[str], field: str) -> tuple[str, ...]:
    """``given`` without repetitions, in the usual order; raises ``invalid_value`` with the unknown one."""
    names = set(given)
    unknown = sorted(names.difference(CAPABILITIES))
    if unknown:
        raise SipProfileError(
            "invalid_value", f"A capability is one of {', '.join(CAPABILITIES)}.", field=field, value=unknown[0]
        )
    return tuple(name for name in CAPABILITIES if name in names)


class Tokens:
    """Tokens as the daemon checks them; the file is read again whenever it has changed."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._seen: tuple[int, int, int] | None = None
        self._by_digest: dict[str, Token] = {}

    def find(self, text: str) -> Token | None:
        """The token with this text. Looking up a digest tells an attacker's stop-watch nothing of the text."""
        self._read_if_changed()
        return self._by_digest.get(_digest(text))

    def valid(self, token: Token) -> bool:
        """Whether ``token`` is still there, with the same rights."""
        self._read_if_changed()
        return self._by_digest.get(token.sha256) == token

    def _read_if_changed(self) -> None:
        seen = self._stamp()
        if seen != self._seen:
            self._by_digest = {token.sha256: token for token in list_tokens(self._state)}
            self._seen = seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._state / FILE_NAME)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@contextlib.contextmanager
def _changing(state: Path) -> Iterator[list[Token]]:
    """The tokens, to be changed in place; written back whole, durably, and one writer at a time."""
    try:
        directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SipProfileError("bad_configuration", f"State directory {state}: {error.strerror}.") from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        tokens = list_tokens(state)
        yield tokens
        _write(state, directory, msgspec.json.format(msgspec.json.encode(TokenFile(tokens))))
    finally:
        os.close(directory)


def _write(state: Path, directory: int, content: bytes) -> None:
    temporary = state / (FILE_NAME + ".new")
    try:
        temporary.unlink(missing_ok=True)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as stream:
            owner = os.fstat(directory)
            if os.geteuid() == 0:  # root makes a token for a service that runs as another user
                os.fchown(file, owner.st_uid, owner.st_gid)
            stream.write(content)
            stream.flush()
            os.fsync(file)
        os.replace(temporary, state / FILE_NAME)
        os.fsync(directory)
    except OSError as error:
        raise SipProfileError("store_failed", f"{state / FILE_NAME}: {error.strerror}.") from None
