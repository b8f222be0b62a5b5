"""The OpenAPI document of the manager, made from its routes and from the types of its answers."""

from __future__ import annotations

from typing import Any

import msgspec

from sage.dataflow.jobs.routes import HEALTH, OPENAPI, ROUTES, RouteSpec
from sage.dataflow.jobs.wire import Failure

_SCHEMAS = "#/components/schemas/{name}"


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: of the package.
    """
    bodies = [route.body for route in ROUTES if route.body is not None]
    answers = [route.answer for route in ROUTES if route.answer is not None]
    types = list(dict.fromkeys([*bodies, *answers, Failure]))
    _, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SAGE job manager",
            "version": version,
            "description": "Runs dataflow pipelines. Whoever has its token can run code.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components,
        },
    }


def _operation(route: RouteSpec) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.doc,
        "responses": {str(route.status): _answer(route)},
    }
    for status, meaning in route.refusals:
        content = {} if status < 400 else _json(Failure)
        operation["responses"][str(status)] = {"description": meaning, **content}
    if route.path == HEALTH:
        operation["security"] = []
    else:
        operation["responses"]["401"] = {
            "description": "the token is missing or wrong",
            **_json(Failure),
        }
    parameters = [
        {
            "name": "id",
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
        }
        for _ in range("{id}" in route.path)
    ] + [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.doc,
            "schema": {"type": parameter.kind},
        }
        for parameter in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, **_json(route.body)}
    return operation


def _answer(route: RouteSpec) -> dict[str, Any]:
    if route.answer is not None:
        return {"description": "it is done", **_json(route.answer)}
    if route.status == 204:
        return {"description": "it is done"}
    kind = "application/json" if route.path == OPENAPI else "text/plain"
    return {"description": "it is done", "content": {kind: {}}}


def _json(kind: type[msgspec.Struct]) -> dict[str, Any]:
    reference = _SCHEMAS.format(name=kind.__name__)
    return {"content": {"application/json": {"schema": {"$ref": reference}}}}
