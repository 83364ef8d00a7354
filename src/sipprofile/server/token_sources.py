"""Access tokens (RFC 8898) from where the service's configuration says: a file, or what a command prints.

Either holds the bare token or a JSON object as a token endpoint gives it (RFC 6749 §5.1): ``access_token``, and
``expires_in`` or ``expires_at``. Of a bare JWT the ``exp`` claim tells the end (RFC 7519 §4.1.4); it is not verified,
that is the registrar's business. No token is ever part of an error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from ..sip.bearer import is_token68
from .configuration import TokenSource

COMMAND_LIMIT = 30.0  # seconds
LONGEST_OUTPUT = 64 << 10  # bytes


class TokenUnavailable(Exception):
    """The source gave no token; the text says why."""


async def fetch_token(source: TokenSource | None, utc: float) -> tuple[str, float | None]:
    """The token and for how many seconds it is good, ``None`` when that is not said.

    Raises :class:`TokenUnavailable`.
    """
    if source is None:
        raise TokenUnavailable("the configuration has no such source")
    if source.file is not None:
        content = await asyncio.get_running_loop().run_in_executor(None, _read, Path(source.file))
    else:
        content = await _run(source.command)
    return read_token(content, utc)


def read_token(content: bytes, utc: float) -> tuple[str, float | None]:
    """The token in ``content`` and for how many seconds after ``utc`` it is good. Raises :class:`TokenUnavailable`."""
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise TokenUnavailable("what the source gives is not text") from None
    if text.startswith("{"):
        return _from_json(text, utc)
    if not is_token68(text):
        raise TokenUnavailable("what the source gives is neither a token nor a JSON object")
    ends = _claims(text).get("exp")
    if isinstance(ends, (int, float)):
        return text, _lifetime(ends - utc)
    return text, None


def _from_json(text: str, utc: float) -> tuple[str, float | None]:
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise TokenUnavailable("what the source gives begins like JSON and is none") from None
    token = document.get("access_token")
    if not isinstance(token, str) or not is_token68(token):
        raise TokenUnavailable("the source's JSON object has no access_token that can be sent")
    lifetime, ends = document.get("expires_in"), document.get("expires_at")
    if isinstance(lifetime, (int, float)) and not isinstance(lifetime, bool):
        return token, _lifetime(lifetime)
    if isinstance(ends, (int, float)) and not isinstance(ends, bool):
        return token, _lifetime(ends - utc)
    ends = _claims(token).get("exp")
    return token, _lifetime(ends - utc) if isinstance(ends, (int, float)) else None


def _lifetime(seconds: float) -> float:
    if seconds <= 0:
        raise TokenUnavailable("the source's token has ended already")
    return float(seconds)


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT; empty when it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_OUTPUT + 1)
    except OSError as error:
        raise TokenUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LONGEST_OUTPUT:
        raise TokenUnavailable(f"{path} is longer than {LONGEST_OUTPUT} bytes")
    return content


async def _run(command: tuple[str, ...]) -> bytes:
    """What ``command`` prints. Its own errors go to the service's standard error."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        raise TokenUnavailable(f"{command[0]} cannot be started: {error}") from None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(COMMAND_LIMIT):
            content = b""
            while len(content) <= LONGEST_OUTPUT and (part := await process.stdout.read(LONGEST_OUTPUT)):
                content += part
            if len(content) > LONGEST_OUTPUT:
                raise TokenUnavailable(f"{command[0]} prints more than {LONGEST_OUTPUT} bytes")
            status = await process.wait()
    except TimeoutError:
        raise TokenUnavailable(f"{command[0]} took longer than {COMMAND_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if status:
        raise TokenUnavailable(f"{command[0]} ended with status {status}")
    return content
