"""The routes about the service itself: types, status, health, stop."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..errors import SipProfileError
from ..service.operations import StatusReport, Types
from .routes import DAEMON, Route, actor_of, json_answer, json_body


async def types(request: web.Request) -> web.Response:
    return json_answer(await request.app[DAEMON].ask(actor_of(request), Types()))


async def status(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    daemon.service.store_reports(daemon.store_failing)
    return json_answer(await daemon.ask(actor_of(request), StatusReport()))


async def health(request: web.Request) -> web.Response:
    """200 while the service can keep registrations, 503 when it is stopping or cannot write."""
    daemon = request.app[DAEMON]
    if daemon.stopping.is_set():
        raise SipProfileError("shutting_down")
    if daemon.store_failing:
        return json_answer({"status": "failing", "store": daemon.store_failing}, status=503)
    return json_answer({"status": "ok"})


async def stop(request: web.Request) -> web.Response:
    """Begin to end; the answer goes out first."""
    deregister = (await json_body(request)).get("deregister", False)
    if not isinstance(deregister, bool):
        raise SipProfileError("invalid_value", "Expected true or false.", field="deregister", value=deregister)
    daemon = request.app[DAEMON]
    asyncio.get_running_loop().call_soon(lambda: daemon.stop(deregister=deregister))
    return json_answer({"stopping": True, "deregister": deregister}, status=202)


ROUTES = (
    Route("GET", "/v1/types", types, "listTypes", "The profile types that can be used.", ("read",), answer="Types"),
    Route("GET", "/v1/status", status, "getStatus", "The state of the service.", ("read",), answer="Status"),
    Route("GET", "/healthz", health, "getHealth", "Whether the service works.", (), answer="Health"),
    Route(
        "POST",
        "/v1/stop",
        stop,
        "stop",
        "End the service; leases are kept unless deregister is true.",
        ("control",),
        body="Stop",
        answer="Stopping",
        status=202,
    ),
)
