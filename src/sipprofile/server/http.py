"""The HTTP interface: all routes in one application, who is asking, and problem documents for whatever goes wrong."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import SipProfileError
from ..service.policy import require
from . import clock, events, metrics, openapi, profiles, session, status
from .access import Access
from .daemon import Daemon
from .events import EVENTS, EventRing
from .logging import RateBound
from .revocation import REVOCATION, Revocation
from .routes import ACTOR, DAEMON, Handler, Route, problem_answer

LARGEST_BODY = 1 << 20  # octets
KEEPALIVE = 75.0  # seconds an idle connection stays open
BEGUN = "begun"
SHUTDOWN_LIMIT = 2.0  # seconds answers may still take when the service ends

ROUTES: tuple[Route, ...] = (
    *status.ROUTES,
    *profiles.ROUTES,
    *session.ROUTES,
    *events.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
)


def application(daemon: Daemon, access: Access, ring: EventRing, revocation: Revocation, log: Any) -> web.Application:
    """The application that serves :data:`ROUTES`."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_problems(log)])
    app.on_response_prepare.append(_begun)
    app[DAEMON] = daemon
    app[EVENTS] = ring
    app[REVOCATION] = revocation
    app[openapi.ROUTES_KEY] = ROUTES
    for route in ROUTES:
        path = route.path.replace("{id}", "{id:[0-9]+}")
        app.router.add_route(route.method, path, _guarded(route, access, log))
    return app


def runner(app: web.Application) -> web.AppRunner:
    """What serves ``app``; a request whose client has gone is given up."""
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a short body must not become a long one
        handle_signals=False,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE,
        shutdown_timeout=SHUTDOWN_LIMIT,
    )


def _guarded(route: Route, access: Access, log: Any) -> Handler:
    """The route's handler behind the check of who is asking; what changes something is logged with the asker."""
    if not route.capabilities:
        return route.handler
    bound = RateBound(log)

    async def handler(request: web.Request) -> web.StreamResponse:
        actor = access.actor(request)
        require(actor, *route.capabilities)
        request[ACTOR] = actor
        response = await route.handler(request)
        if route.method != "GET" and bound.passes(clock.now()):
            log.info("request", who=actor.label, method=route.method, path=request.path, status=response.status)
        return response

    return handler


async def _begun(request: web.Request, response: web.StreamResponse) -> None:
    request[BEGUN] = True


def _cut_off(request: web.Request) -> None:
    """End the connection if its answer has begun: another one in the middle of it would be taken for its content."""
    if request.get(BEGUN):
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError


def _problems(log: Any) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except SipProfileError as error:
            _cut_off(request)
            return problem_answer(error)
        except web.HTTPException as error:
            return _translated(error, request)
        except ConnectionError:  # the client has gone; nobody is left to tell
            raise
        except Exception:
            log.exception("mistake", where=f"{request.method} {request.path}")
            _cut_off(request)
            return problem_answer(SipProfileError("internal"))

    return middleware


def _translated(error: web.HTTPException, request: web.Request) -> web.Response:
    """aiohttp's own refusals in the form of ours."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = problem_answer(
            SipProfileError("method_not_allowed", f"{request.path} allows {allowed}.", value=request.method)
        )
        answer.headers["Allow"] = allowed
        return answer
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem_answer(SipProfileError("too_large", f"A body has at most {LARGEST_BODY} octets."))
    if error.status == 404:
        return problem_answer(SipProfileError("not_found", "There is no such path.", value=request.path))
    return problem_answer(SipProfileError("bad_request", error.reason))
