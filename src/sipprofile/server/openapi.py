"""The OpenAPI 3.1 document of the HTTP interface, made from the routes' tables and the structs on the wire."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from .. import __version__
from ..events import Event, RegistrationState
from ..profile import Profile
from ..records import TransitionRecord
from ..service.policy import CAPABILITIES
from .routes import Route, json_answer

ROUTES_KEY: web.AppKey[tuple[Route, ...]] = web.AppKey("routes", tuple)

WRITE_ONLY = ("password", "private_key")


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sipprofile",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "SIP registrations shared by many applications. Capabilities: "
            + "; ".join(f"{name}: {text}" for name, text in CAPABILITIES.items())
            + ".",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed on TCP; on the Unix socket the peer's user and groups count without one.",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    if route.capabilities:
        operation["description"] = f"Needs the capability {' or '.join(route.capabilities)}."
        operation["x-capabilities"] = list(route.capabilities)
    else:
        operation["security"] = [{}]
    if route.parameters:
        operation["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.place == "path",
                "description": parameter.description,
                "schema": parameter.schema,
            }
            for parameter in route.parameters
        ]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
    success: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        success["content"] = {route.media: {"schema": _ref(route.answer)}}
    operation["responses"] = {
        str(route.status): success,
        "default": {
            "description": "What went wrong (RFC 9457).",
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        },
    }
    return operation


def schemas() -> dict[str, Any]:
    """Everything that operations refer to."""
    _, components = msgspec.json.schema_components(
        (Profile, RegistrationState, Event, TransitionRecord), ref_template="#/components/schemas/{name}"
    )
    for schema in components.values():
        for name in WRITE_ONLY:
            if name in schema.get("properties", {}):
                schema["properties"][name]["writeOnly"] = True
    text: dict[str, Any] = {"type": "string"}
    number: dict[str, Any] = {"type": "number"}
    whole: dict[str, Any] = {"type": "integer"}
    components.update(
        ProfileDocument={
            "description": "A profile as it is answered: 'password_set' in place of each password.",
            "allOf": [
                _ref("Profile"),
                _object(
                    ("revision", "registration"),
                    revision={"type": "integer", "description": "Rises with every save; also the ETag."},
                    registration=_ref("RegistrationState"),
                    warnings=_list(_object(("code", "field", "detail"), code=text, field=text, detail=text)),
                ),
            ],
        },
        MergePatch={"type": "object", "description": "A JSON merge patch of a profile: null removes (RFC 7396)."},
        ProfilePage=_object(
            ("profiles", "cursor"),
            profiles=_list(_ref("ProfileDocument")),
            cursor={"type": ["string", "null"], "description": "For the next page; null on the last."},
        ),
        History=_object(("history",), history=_list(_ref("TransitionRecord"))),
        TestReport=_object(
            ("steps",),
            steps=_list(_object(("step", "ok"), step=text, ok={"type": ["boolean", "null"]}, detail=text, remedy=text)),
        ),
        Message=_object(
            ("uri",),
            uri={"type": "string", "description": "Whom it is for."},
            text={"type": "string", "description": "The body; either text or base64, at most 64 kB."},
            base64={"type": "string", "contentEncoding": "base64"},
            content_type={"type": "string", "default": "text/plain;charset=UTF-8"},
            **{
                "from": {"type": "string", "description": "The address-of-record unless given; see allowed_identities."}
            },
            headers=_list(_list(text)),
        ),
        MessageResponse=_object(
            ("status", "reason", "headers"),
            status={"type": "integer", "description": "The final response's status code; 200 and 202 are success."},
            reason=text,
            headers=_list(_list(text)),
        ),
        Types=_object(("types",), types=_list({"type": "object"})),
        Status=_object(
            ("version", "native", "protocol", "uptime", "ready"),
            version=text,
            native={"type": "boolean", "description": "Whether the core's quick path is compiled, and used."},
            protocol=whole,
            uptime=number,
            started_at=number,
            profiles=whole,
            by_status={"type": "object", "additionalProperties": whole},
            sessions=whole,
            queues=_list(_object(("registrar",), registrar=text, waiting=whole, rate=number, seconds_to_empty=number)),
            store=_object(("failing",), failing={"type": ["string", "null"]}),
            ready={"type": "boolean"},
        ),
        Health=_object(("status",), status=text, store=text),
        Stop=_object((), deregister={"type": "boolean", "default": False}),
        Stopping=_object(("stopping",), stopping={"type": "boolean"}, deregister={"type": "boolean"}),
        EventStream={"type": "string", "description": "Server-Sent Events; the data of each is an Event."},
        Metrics={"type": "string", "description": "Prometheus text format."},
        OpenApi={"type": "object"},
        Problem=_object(
            ("type", "title", "status", "code", "detail", "remedy"),
            type=text,
            title=text,
            status=whole,
            code={"type": "string", "description": "Stable; docs/errors.md lists all."},
            detail=text,
            remedy=text,
            field=text,
            value={},
        ),
    )
    return components


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


async def openapi(request: web.Request) -> web.Response:
    return json_answer(document(request.app[ROUTES_KEY]))


ROUTES = (Route("GET", "/openapi.json", openapi, "getOpenApi", "This description.", (), answer="OpenApi"),)
