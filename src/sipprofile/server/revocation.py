"""Ends what was begun with a token that has been removed since: sessions and event streams outlive their request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from aiohttp import web

from ..errors import SipProfileError
from .tokens import Token, Tokens

CHECK_INTERVAL = 2.0  # seconds
TOKEN = "token"
"""Key in a request of the token it came with, if it came with one."""


class Revocation:
    """Looks every :data:`CHECK_INTERVAL` whether the tokens of what is watched are still valid."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._watched: dict[object, tuple[Token, Callable[[], None]]] = {}

    @contextlib.contextmanager
    def watched(self, request: web.Request, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` if the token of ``request`` is removed before the block is left."""
        token: Token | None = request.get(TOKEN)
        key = object()
        if token is not None:
            self._watched[key] = token, end
        try:
            yield
        finally:
            self._watched.pop(key, None)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            if self._watched:
                self.look()

    def look(self) -> None:
        """End what lost its token. A file that cannot be read takes nothing away."""
        with contextlib.suppress(SipProfileError):
            for key, (token, end) in list(self._watched.items()):
                if not self._tokens.valid(token):
                    del self._watched[key]
                    end()


REVOCATION: web.AppKey[Revocation] = web.AppKey("revocation", Revocation)
