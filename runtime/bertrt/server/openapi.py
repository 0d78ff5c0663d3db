"""The OpenAPI description of the routes, from the types that decode and encode them."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

import msgspec

from bertrt.server.routes import Route
from bertrt.version import __version__

__all__ = ["openapi"]

_REF = "#/components/schemas/{name}"

# What any route that classifies may answer beside 200.
_FAILURES = (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
_PHRASES = {
    413: "The body, the batch or a text is too large",
    422: "The request is malformed, or a text cannot be classified",
    429: "As many requests as the server takes are on their way",
    503: "Not ready, or the request waited for too long",
    504: "The time that the client gave has passed",
}
_HEADERS = {
    "x-truncated": "the positions of the texts that were cut to the model's limit",
    "x-compute-tokens": "the tokens of all texts",
    "x-total-time": "milliseconds from the request's headers to the answer",
    "x-tokenization-time": "milliseconds of that for tokens",
    "x-queue-time": "milliseconds of that in the queue",
    "x-inference-time": "milliseconds of that in the model",
    "x-request-id": "the client's own id, or a new one: the log has it",
}


def openapi(routes: Sequence[Route], *, with_key: bool) -> dict[str, Any]:
    """The description; `with_key`: whether the server requires an API key."""
    types = {kind: None for route in routes for kind in _types_of(route) if kind is not None}
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        path = route.path.replace(":path}", "}")
        operation = _operation(route, *(schema_of.get(kind) for kind in _types_of(route)))
        if with_key and not route.open:
            operation["security"] = [{"key": []}]
        paths.setdefault(path, {})[route.method.lower()] = operation
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "bertrt",
            "version": __version__,
            "description": "Text classification, in the protocols that clients already speak.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if with_key:
        description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return description


def _types_of(route: Route) -> tuple[Any, Any, Any]:
    """The types of a route's request, answer and error."""
    return route.request or route.body, route.response, get_type_hints(route.error)["return"]


def _operation(route: Route, request: Any, answer: Any, error: Any) -> dict[str, Any]:
    """What OpenAPI says of one route, from the schemas of its types."""
    classifies = request is not None
    success: dict[str, Any] = {"description": "The answer"}
    if answer is not None:
        success["content"] = {"application/json": {"schema": answer}}
    if classifies:
        success["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        }
    failures = {
        str(status): {
            "description": _PHRASES.get(status) or HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": error}},
        }
        for status in (_FAILURES if classifies else (401, 404, 503))
    }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path)}",
        "responses": {"200": success, **failures},
    }
    names = re.findall(r"{(\w+)", route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if classifies:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": request}},
        }
    return operation
