"""How many connections a listener may have, so that its clients cannot take the descriptors of all the others."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from typing import Any, cast

from aiohttp import web

from . import clock
from .listening import BACKLOG
from .logging import RateBound

TCP_SHARE = 2  # of all descriptors one in so many is for connections from the network
UNIX_SHARE = 4  # and one in so many for those of this machine; SIP connections and the store have the others
HANDSHAKE_LIMIT = 10.0  # seconds for a client's part of the TLS handshake


def descriptors() -> int:
    """Raise the limit of open files as far as we may, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def serve(
    runner: web.AppRunner, listener: socket.socket, limit: int, log: Any, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Answer with ``runner``, which is this listener's alone; a connection beyond ``limit`` is closed at once."""
    server = runner.server
    assert server is not None
    bound = RateBound(log, 1)

    def protocol() -> asyncio.BaseProtocol:
        if len(server.connections) < limit:
            return server()
        if bound.passes(clock.now()):
            log.warning("connection refused, there are too many", limit=limit)
        return _Refusal()

    handshake = HANDSHAKE_LIMIT if tls is not None else None
    return await asyncio.get_running_loop().create_server(
        protocol, sock=listener, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
    )


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
