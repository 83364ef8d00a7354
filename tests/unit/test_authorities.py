"""The authorities of the machine are read for what verifies with them, and not when the service starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from certificates import AUTHORITY, OTHER, Certificate, issue

from sipprofile.server.authorities import FILE, unread
from sipprofile.server.configuration import WebhookSection
from sipprofile.server.webhook_client import Webhook, WebhookClient, WebhookFailed

Trust = Callable[[Certificate], None]


@pytest.mark.parametrize("before", [None, "/authorities.pem"])
def test_only_while_something_is_imported(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv(FILE, raising=False)
    if before is not None:
        monkeypatch.setenv(FILE, before)
    with contextlib.suppress(ModuleNotFoundError), unread():
        assert os.environ[FILE] == os.devnull
        raise ModuleNotFoundError
    assert os.environ.get(FILE) == before


def test_aiohttp_has_read_none_then(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    file.write_text(AUTHORITY.pem)
    code = (
        "import ssl\n"
        "from sipprofile.server import authorities\n"
        "with authorities.unread():\n"
        "    from aiohttp import connector\n"
        "print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'])\n"
        "print(ssl.create_default_context().cert_store_stats()['x509'])\n"
    )
    environment = {**os.environ, FILE: str(file)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


class TestWebhooks:
    """They are verified with them, whatever was there when aiohttp was imported."""

    @pytest.fixture
    async def hook(self, tmp_path: Path) -> AsyncIterator[Webhook]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
            await writer.drain()
            writer.close()

        context = issue("localhost", by=AUTHORITY).server_context(tmp_path)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            yield Webhook("one", WebhookSection(f"https://localhost:{port}/", "file"), b"0123456789abcdef")

    async def post(self, hook: Webhook) -> bytes:
        client = WebhookClient()
        try:
            return await client.post(hook, "1", "request", b"{}", 5.0)
        finally:
            await client.close()

    @pytest.fixture
    def trust(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
        def trust(authority: Certificate) -> None:
            file = tmp_path / "trusted.pem"
            file.write_text(authority.pem)
            monkeypatch.setenv(FILE, str(file))

        return trust

    async def test_of_a_trusted_one(self, hook: Webhook, trust: Trust) -> None:
        trust(AUTHORITY)
        assert await self.post(hook) == b"fine"

    async def test_of_another(self, hook: Webhook, trust: Trust) -> None:
        trust(OTHER)
        with pytest.raises(WebhookFailed, match="not trusted"):
            await self.post(hook)

    async def test_they_are_read_once(self, hook: Webhook, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
        trust(AUTHORITY)
        made: list[ssl.SSLContext] = []
        make = ssl.create_default_context
        monkeypatch.setattr(ssl, "create_default_context", lambda: made.append(make()) or made[-1])
        client = WebhookClient()
        assert [await client.post(hook, "1", "request", b"{}", 5.0) for _ in range(3)] == [b"fine"] * 3
        await client.close()
        assert len(made) == 1
