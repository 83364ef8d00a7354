"""One signed POST to a webhook, within its limits: no redirect, no proxy of the environment, no long answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from .. import __version__
from ..errors import SipProfileError
from . import clock
from .configuration import WebhookSection

MAXIMUM_ANSWER = 131_072  # bytes; a SIP body of 64 kB in base64 fits
SHORTEST_SECRET = 16  # bytes
LONGEST_SECRET = 4_096
CONNECTIONS = 32  # to one host


class WebhookFailed(Exception):
    """The webhook gave no answer that can be used; the text says why, without its URL."""

    def __init__(self, text: str, *, again: bool, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.again = again
        """The same may work later."""
        self.retry_after = retry_after


class Webhook(msgspec.Struct, frozen=True):
    """A configured webhook with its secret."""

    name: str
    section: WebhookSection
    secret: bytes

    def __repr__(self) -> str:
        return f"Webhook({self.name!r})"

    @property
    def in_clear(self) -> bool:
        """What is posted can be read on its way."""
        url = urlsplit(self.section.url)
        host = url.hostname or ""
        try:
            local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = host == "localhost"
        return url.scheme == "http" and not local


def read_webhooks(sections: Mapping[str, WebhookSection]) -> dict[str, Webhook]:
    """The webhooks with their secrets; raises ``bad_configuration`` for a secret file that others may read."""
    return {name: Webhook(name, section, _read_secret(name, section)) for name, section in sections.items()}


def _read_secret(name: str, section: WebhookSection) -> bytes:
    path = Path(section.secret_file)
    field = f"webhooks.{name}.secret_file"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST_SECRET + 1)
    except OSError as error:
        raise SipProfileError(
            "bad_configuration", f"{field}: {path} cannot be read: {error.strerror}.", field=field
        ) from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise SipProfileError(
            "bad_configuration",
            f"{field}: {path} must be a file that only its owner can read: chmod 600 {path}.",
            field=field,
            value=oct(mode & 0o777),
        )
    secret = content.strip()
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise SipProfileError(
            "bad_configuration",
            f"{field}: {path} must hold {SHORTEST_SECRET} to {LONGEST_SECRET:,} bytes, for example what "
            "'openssl rand -hex 32' prints.",
            field=field,
        )
    return secret


def signature(secret: bytes, body: bytes, at: int) -> str:
    """The value of ``X-Sipprofile-Signature`` for ``body`` sent at ``at`` (UTC seconds)."""
    return f"t={at},v1={hmac.new(secret, b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"


class WebhookClient:
    """Posts to webhooks over connections that are kept; made when the first one is needed."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None

    async def post(self, hook: Webhook, number: str, kind: str, body: bytes, limit: float) -> bytes:
        """What a 2xx to ``body`` holds; ``number`` is the same each time that the same thing is posted.

        ``limit``: seconds. Raises :class:`WebhookFailed`.
        """
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"sipprofile/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "X-Sipprofile-Id": number,
            "X-Sipprofile-Event": kind,
            "X-Sipprofile-Signature": signature(hook.secret, body, int(clock.utc())),
        }
        try:
            async with self._opened().post(
                hook.section.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit),
                ssl=await self._trusted(hook),
            ) as response:
                return await _read(response)
        except TimeoutError:
            raise WebhookFailed(f"it did not answer within {limit:.3g} s", again=True) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            raise WebhookFailed("its certificate is not trusted, or TLS failed", again=True) from None
        except aiohttp.ClientConnectorError:
            raise WebhookFailed("it cannot be connected to", again=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WebhookFailed(f"the connection failed ({type(error).__name__})", again=True) from None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _trusted(self, hook: Webhook) -> ssl.SSLContext | bool:
        """Whom ``https`` trusts: the authorities of the machine, which are read when they are first needed."""
        if urlsplit(hook.section.url).scheme != "https":
            return True
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit_per_host=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if not 200 <= response.status < 300:
        again = response.status in (408, 425, 429) or response.status >= 500
        wait = response.headers.get("Retry-After", "")
        seconds = float(wait) if again and wait.isascii() and wait.isdecimal() and len(wait) < 6 else 0.0
        raise WebhookFailed(f"it answered {response.status}", again=again, retry_after=seconds)
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAXIMUM_ANSWER:
            response.close()
            raise WebhookFailed(f"its answer is longer than {MAXIMUM_ANSWER:,} bytes", again=False)
    return body
