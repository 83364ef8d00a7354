"""What a route of the HTTP interface is, and what all handlers share.

The tables of :class:`Route` make both the application and the OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from ..errors import SipProfileError
from ..service.policy import Actor, Capability
from .daemon import Daemon

DAEMON: web.AppKey[Daemon] = web.AppKey("daemon", Daemon)
ACTOR = "actor"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Parameter(NamedTuple):
    """A parameter of a route, as OpenAPI describes it."""

    name: str
    place: str
    """``path``, ``query`` or ``header``."""
    description: str
    schema: dict[str, Any]


class Route(NamedTuple):
    """One operation of the interface."""

    method: str
    path: str
    """As OpenAPI writes it; ``{id}`` matches digits only."""
    handler: Handler
    name: str
    """The OpenAPI operationId."""
    summary: str
    capabilities: tuple[Capability, ...]
    """The caller must have one of these; empty: it need not even be known."""
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    """Name of the request body's schema."""
    answer: str | None = None
    """Name of the answer's schema, ``None`` when it has no JSON body."""
    status: int = 200
    media: str = "application/json"


def actor_of(request: web.Request) -> Actor:
    """Who is asking; the middleware has found it out."""
    actor: Actor = request[ACTOR]
    return actor


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """``value`` as a JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


def problem_answer(error: SipProfileError) -> web.Response:
    """The problem document of ``error`` (RFC 9457 §3)."""
    headers = {"WWW-Authenticate": "Bearer"} if error.code == "unauthenticated" else None  # RFC 6750 §3
    try:
        body = msgspec.json.encode(error.problem(), enc_hook=repr)
    except UnicodeEncodeError:  # it repeats a header's bytes that are no UTF-8
        body = json.dumps(error.problem(), default=repr).encode()
    return web.Response(
        body=body,
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )


async def json_body(request: web.Request) -> dict[str, Any]:
    """The JSON object that ``request`` carries; raises ``bad_request`` or, past 1 MB, ``too_large``."""
    data = await request.read()
    try:
        document = msgspec.json.decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SipProfileError("bad_request", f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise SipProfileError("bad_request", "The body is nested too deeply.") from None
    if not isinstance(document, dict):
        raise SipProfileError("bad_request", "The body must be a JSON object.")
    return document


def query_values(request: web.Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters; raises ``bad_request`` for one that the route does not know."""
    for name in request.query:
        if name not in known:
            raise SipProfileError(
                "bad_request", f"There is no parameter {name!r}; known are {', '.join(known)}.", field=name
            )
    return dict(request.query)


def whole_number(text: str, field: str, lowest: int, highest: int) -> int:
    """``text`` as a number in range; raises ``bad_request``."""
    if text.isascii() and text.isdecimal() and len(text) <= 19 and lowest <= int(text) <= highest:
        return int(text)
    raise SipProfileError("bad_request", f"{field} is a number from {lowest} to {highest}.", field=field, value=text)
