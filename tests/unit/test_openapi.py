"""/openapi.json describes every route, refers to nothing that is missing and shows no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from sipprofile.server import http, openapi
from sipprofile.server.openapi import document
from sipprofile.service.policy import CAPABILITIES

DOCUMENT = json.loads(json.dumps(document(http.ROUTES)))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_of_the_application_is_described() -> None:
    app = http.application(None, None, None, None, None)  # type: ignore[arg-type]
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and isinstance(route, web.AbstractRoute)
    }
    assert served == {(method, path) for method, path, _ in operations()}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/types"),
        ("POST", "/v1/profiles"),
        ("GET", "/v1/profiles"),
        *(
            (method, path + end)
            for path in ("/v1/profiles/{id}", "/v1/profiles/by-name/{name}", "/v1/profiles/default")
            for method, end in (
                ("GET", ""),
                ("PUT", ""),
                ("PATCH", ""),
                ("DELETE", ""),
                ("GET", "/history"),
                ("POST", "/force-disable"),
                ("POST", "/pause"),
                ("POST", "/resume"),
                ("POST", "/retry-now"),
                ("POST", "/default"),
                ("POST", "/test"),
                ("POST", "/message"),
            )
        ),
        ("GET", "/v1/session"),
        ("GET", "/v1/events"),
        ("GET", "/v1/status"),
        ("POST", "/v1/stop"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
    ],
)
def test_promised_route_exists(method: str, path: str) -> None:
    assert method.lower() in DOCUMENT["paths"].get(path, {})


def test_references_lead_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known


def test_path_parameters_are_declared() -> None:
    for method, path, operation in operations():
        declared = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, (method, path)


def test_operation_names_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_capabilities_are_known() -> None:
    for _, path, operation in operations():
        if path in ("/healthz", "/openapi.json"):
            assert "x-capabilities" not in operation
        else:
            assert operation["x-capabilities"]
            assert set(operation["x-capabilities"]) <= CAPABILITIES.keys()


def test_passwords_are_write_only() -> None:
    schemas = openapi.schemas()
    assert schemas["ServerParameters"]["properties"]["password"]["writeOnly"] is True
    assert schemas["TlsSettings"]["properties"]["private_key"]["writeOnly"] is True
