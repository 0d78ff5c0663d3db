"""What a route is, and how a request goes through one."""

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from bertrt.server.errors import ClientGoneError, Failure, failure_of
from bertrt.server.exchange import Exchange, Reply, decode_json, to_json
from bertrt.server.service import Service

__all__ = ["Endpoint", "Route", "log_failure", "refusal", "send_reply"]

_logger = logging.getLogger("bertrt.server")
_access = logging.getLogger("bertrt.access")

# Of a request's body, with --log-texts.
_LOGGED_BYTES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path of a protocol.

    handle: answers a request with a Reply, or with what goes into one as JSON.
    request: the type (msgspec) of the body, which the handler finds in `Exchange.message`.
    body: the same of a body that the handler decodes by itself.
    response: the type of the answer, for the OpenAPI page.
    error: an error as this protocol words it.
    open: whether it needs no API key.
    """

    path: str
    handle: Callable[[Exchange], Awaitable[Any]]
    summary: str
    tag: str
    error: Callable[[Failure], Any]
    method: str = "POST"
    request: Any = None
    body: Any = None
    response: Any = None
    open: bool = False


class Endpoint:
    """An ASGI application for one route: authenticate, read, decode, handle, send, count, log."""

    def __init__(self, route: Route, service: Service) -> None:
        self._route, self._service = route, service
        self._decoder = msgspec.json.Decoder(route.request) if route.request else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(self._service, scope, receive)
        failure: Failure | None = None
        try:
            reply = await self._handle(exchange)
        except Exception as error:
            failure = failure_of(error)
            reply = self._refuse(exchange, failure, error)
            if isinstance(error, ClientGoneError):
                self._note(exchange, reply.status, failure)
                return
        await send_reply(exchange, reply, send)
        self._note(exchange, reply.status, failure)

    async def _handle(self, exchange: Exchange) -> Reply:
        if not self._route.open:
            exchange.authenticate()
        if self._route.method == "POST":
            exchange.read_deadline()
            await exchange.read_body()
            if self._decoder is not None:
                exchange.message = decode_json(self._decoder, exchange.body)
        answer = await self._route.handle(exchange)
        return answer if isinstance(answer, Reply) else Reply(to_json(answer))

    def _refuse(self, exchange: Exchange, failure: Failure, error: Exception) -> Reply:
        self._service.metrics.rejected(type(error).__name__)
        if failure.status == 500:
            log_failure(exchange, error, with_texts=self._service.settings.log_texts)
        return refusal(failure, self._route.error)

    def _note(self, exchange: Exchange, status: int, failure: Failure | None) -> None:
        """Count the request, and log it if it failed or if all are logged."""
        self._service.metrics.answered(self._route.path, status)
        settings = self._service.settings
        if failure is None and not settings.access_log:
            return
        result = exchange.classification
        fields: dict[str, Any] = {
            "request_id": exchange.request_id,
            "method": exchange.scope["method"],
            "route": self._route.path,
            "status": status,
            "ms": round((time.monotonic() - exchange.started) * 1000, 3),
        }
        if result is not None:
            fields.update(model=result.model.name, texts=len(result.tokens))
            fields.update(tokens=sum(result.tokens), truncated=len(result.truncated))
        if failure is not None:
            # The message may quote what the client sent.
            fields["error"] = failure.message if settings.log_texts else failure.kind
        if settings.log_texts and exchange.body:
            fields["body"] = exchange.body[:_LOGGED_BYTES].decode("utf-8", "replace")
        level = logging.INFO if failure is None else logging.WARNING
        _access.log(level, "request", extra={"fields": fields})


def refusal(failure: Failure, wording: Callable[[Failure], Any]) -> Reply:
    """The reply to a request that fails, in a protocol's words."""
    headers = {"retry-after": "1"} if failure.retry else {}
    if failure.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Reply(to_json(wording(failure)), status=failure.status, headers=headers)


async def send_reply(exchange: Exchange, reply: Reply, send: Send) -> None:
    """Send a reply through ASGI."""
    headers = exchange.response_headers(reply)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.content})


def log_failure(exchange: Exchange, error: BaseException, *, with_texts: bool) -> None:
    """Log what is not the client's fault. A message or stack trace may hold texts or paths."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ else ""
    _logger.error(
        "request %s failed: %s%s in %s, line %d%s",
        exchange.request_id,
        type(error).__name__,
        cause,
        last.name,
        last.lineno or 0,
        "" if with_texts else " (--log-texts logs the stack trace, which may hold texts)",
        exc_info=error if with_texts else None,
    )
