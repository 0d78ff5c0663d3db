"""What vLLM and Infinity share, which both have from OpenAI's API: errors, ids, usage."""

import time
import uuid

from msgspec import Struct

from bertrt.server.classification import Classification
from bertrt.server.errors import Failure

__all__ = ["OpenAIError", "Usage", "error", "new_id", "now", "usage_of"]

_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    413: "BadRequestError",
    422: "BadRequestError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


class ErrorDetail(Struct):
    """What went wrong; `code` is the HTTP status."""

    message: str
    type: str
    code: int
    param: str | None = None


class OpenAIError(Struct):
    """An error in OpenAI's shape."""

    error: ErrorDetail


class Usage(Struct):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


def error(failure: Failure) -> OpenAIError:
    """An error as OpenAI's API words it."""
    kind = _TYPES.get(failure.status, "InternalServerError")
    return OpenAIError(ErrorDetail(failure.message, kind, failure.status))


def usage_of(result: Classification) -> Usage:
    """The tokens of a request that was answered."""
    tokens = sum(result.tokens)
    return Usage(tokens, tokens)


def new_id(prefix: str) -> str:
    """An id for an answer."""
    return f"{prefix}-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
