"""The ASGI application: the protocols' routes, the pages, and an answer to everything else."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from bertrt.server.errors import HttpError, failure_of
from bertrt.server.exchange import to_json
from bertrt.server.openapi import openapi
from bertrt.server.protocols import routes, wording_at
from bertrt.server.routes import Endpoint
from bertrt.server.service import Service

__all__ = ["create_app"]

_PAGES = Path(__file__).parent / "pages"

# Nothing from elsewhere, nothing inline but Swagger UI's styles and pictures.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# After an upgrade no browser may join a new page with old files.
_REVALIDATED = {"cache-control": "no-cache"}
_EXPOSED = [
    "x-request-id", "x-truncated", "x-compute-tokens", "x-total-time", "x-tokenization-time",
    "x-queue-time", "x-inference-time", "retry-after",
]  # fmt: skip


def create_app(service: Service) -> ASGIApp:
    """The application that answers for a service."""
    settings = service.settings
    protocol_routes = routes(settings.classify_dialect)
    description = openapi(protocol_routes, with_key=settings.api_key is not None)
    endpoints = [(route, Endpoint(route, service)) for route in protocol_routes]
    mounted: list[BaseRoute] = [
        StarletteRoute(route.path, endpoint, methods=[route.method])
        for route, endpoint in endpoints
    ]
    mounted += [
        StarletteRoute("/openapi.json", _openapi(to_json(description))),
        StarletteRoute("/ui", _page("ui.html")),
        StarletteRoute("/docs", _page("docs.html")),
        Mount("/static", _Static(directory=_PAGES)),
    ]
    app: ASGIApp = _Shortcut(
        {(route.method, route.path): endpoint for route, endpoint in endpoints},
        Starlette(routes=mounted, exception_handlers={HTTPException: _http_error}),
    )
    if settings.cors_origin:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    return app


class _Static(StaticFiles):
    """The pages' files, which a browser asks for anew each time (most often: 304)."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(_REVALIDATED)
        return response


class _Shortcut:
    """Goes straight to the endpoint whose path a request has, past what matches patterns.

    A tenth of the time that the event loop spends on a request.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], Endpoint], others: ASGIApp) -> None:
        self._endpoints, self._others = endpoints, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._others
        if scope["type"] == "http":
            app = self._endpoints.get((scope["method"], scope["path"]), app)
        await app(scope, receive, send)


def _openapi(content: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def description(request: Request) -> Response:
        return Response(content, media_type="application/json")

    return description


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        headers = {"content-security-policy": _POLICY, **_REVALIDATED}
        return FileResponse(_PAGES / name, headers=headers)

    return page


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router finds wrong: no such path, or a method that it does not take."""
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: /docs lists the paths and their methods"
    failure = failure_of(HttpError(error.status_code, message))
    content = to_json(wording_at(request.url.path)(failure))
    return Response(content, failure.status, error.headers, media_type="application/json")
