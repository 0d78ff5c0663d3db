"""One HTTP request and its answer: limits, JSON, compression, headers; of any protocol."""

import hmac
import itertools
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from bertrt.server.classification import Classification
from bertrt.server.errors import (
    AuthenticationError,
    BodyTooLargeError,
    ClientGoneError,
    EncodingError,
    MalformedError,
)
from bertrt.server.service import Service
from bertrt.server.zero_shot import Question
from bertrt.tokenizer import TextInput

__all__ = ["Exchange", "Reply", "decode_json", "to_json"]

JSON = "application/json"

# Shorter replies are not worth compressing, whatever the client accepts.
_COMPRESS_FROM = 4_096

# New ids begin with what no other process has.
_PROCESS = os.urandom(10).hex()
_numbers = itertools.count()

_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Reply:
    """What to send."""

    content: bytes = b""
    media_type: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Exchange:
    """One request on its way, as a handler sees it.

    deadline: when (time.monotonic) the client does not want the answer any more, or None.
    classification: what was classified for it, for the headers of its reply.
    """

    __slots__ = (
        "_headers",
        "_receive",
        "body",
        "classification",
        "deadline",
        "message",
        "path",
        "request_id",
        "scope",
        "service",
        "started",
    )  # fmt: skip

    def __init__(self, service: Service, scope: Scope, receive: Receive) -> None:
        self.started = time.monotonic()
        self.service, self.scope, self._receive = service, scope, receive
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path: Mapping[str, str] = scope.get("path_params", {})
        self.request_id = _request_id(self.header("x-request-id"))
        self.body = b""
        self.message: Any = None
        self.deadline: float | None = None
        self.classification: Classification | None = None

    def header(self, name: str) -> str | None:
        """A header of the request, by its name in small letters."""
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def authenticate(self) -> None:
        """AuthenticationError unless the request has the API key, if there is one."""
        key = self.service.settings.api_key
        if key is None:
            return
        scheme, _, given = (self.header("authorization") or "").partition(" ")
        matches = hmac.compare_digest(given.strip().encode(), key.encode())
        if scheme.lower() != "bearer" or not matches:
            raise AuthenticationError("give the server's API key: `Authorization: Bearer KEY`")

    def read_deadline(self) -> None:
        """Note the time that the client gives the server (`X-Request-Timeout-Ms`)."""
        given = self.header("x-request-timeout-ms")
        if given is None:
            return
        if not given.isdecimal() or len(given) > 9 or not int(given):
            raise MalformedError("X-Request-Timeout-Ms is not a whole number of milliseconds")
        self.expire_in(int(given) / 1000)

    def expire_in(self, seconds: float) -> None:
        """Let the answer be of no use any more so long after the request came."""
        self.deadline = self.started + seconds

    async def read_body(self) -> None:
        """Read the whole body, decompressed.

        Raises BodyTooLargeError, ClientGoneError, EncodingError.
        """
        settings = self.service.settings
        announced = self.header("content-length") or "0"
        if announced.isdecimal() and int(announced) > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":  # so it is as well where it took too long
                raise ClientGoneError("the client closed the connection")
            part, more = event.get("body", b""), event.get("more_body", False)
            parts.append(part)
            size += len(part)
            if size > settings.max_body_bytes:
                raise _too_large(settings.max_body_bytes)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        encoding = self.header("content-encoding")
        self.body = _decompress(body, encoding, settings.max_body_bytes) if encoding else body

    async def gone(self) -> None:
        """Returns when the client has closed the connection. Only after `read_body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def classify(
        self,
        texts: Sequence[TextInput],
        *,
        model: str | None = None,
        truncate: bool | None = None,
        side: str | None = None,
    ) -> Classification:
        """`Service.classify` for this request."""
        self.classification = await self.service.classify(
            texts, self, model=model, truncate=truncate, side=side
        )
        return self.classification

    async def classify_ids(
        self, texts: Sequence[Sequence[int]], *, model: str | None = None
    ) -> Classification:
        """`Service.classify_ids` for this request."""
        self.classification = await self.service.classify_ids(texts, self, model=model)
        return self.classification

    async def zero_shot(
        self, question: Question, *, model: str | None = None, truncate: bool | None = None
    ) -> Classification:
        """`Service.zero_shot` for this request."""
        self.classification = await self.service.zero_shot(
            question, self, model=model, truncate=truncate
        )
        return self.classification

    def response_headers(self, reply: Reply) -> list[tuple[bytes, bytes]]:
        """The headers of the reply; its content may be compressed for them."""
        headers = {"x-request-id": self.request_id, **reply.headers}
        if self.classification is not None:
            headers.update(_measured(self.classification, time.monotonic() - self.started))
        # Nothing but answers: tritonclient.http.aio accepts gzip everywhere, and unpacks only them.
        is_answer = reply.status == 200 and self.scope["method"] == "POST"
        if is_answer and len(reply.content) >= _COMPRESS_FROM:
            encoding = _accepted(self.header("accept-encoding") or "")
            headers["vary"] = "accept-encoding"
            if encoding is not None:
                reply.content = _compress(reply.content, encoding)
                headers["content-encoding"] = encoding
        if self.service.draining:
            headers["connection"] = "close"  # so that the client's next request goes elsewhere
        headers["content-type"] = reply.media_type
        headers["content-length"] = str(len(reply.content))
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def decode_json(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """The body as the decoder's type; MalformedError, which says where it is not, for others."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedError(f"the request is not as expected: {error}") from error
    except UnicodeDecodeError as error:
        raise MalformedError("the request is not UTF-8") from error
    except RecursionError as error:
        raise MalformedError("the request is nested too deeply") from error
    except msgspec.DecodeError as error:
        if not body:
            raise MalformedError("the request has no body: send a JSON object") from error
        if _has_lone_surrogate(body):
            raise MalformedError(
                "the request holds a lone surrogate (\\ud800 to \\udfff), which is no Unicode text"
            ) from error
        raise MalformedError(f"the request is not valid JSON: {error}") from error


def to_json(value: Any) -> bytes:
    """A value as JSON."""
    return _encoder.encode(value)


def _has_lone_surrogate(body: bytes) -> bool:
    """Whether that is all that is wrong with the JSON: Python's own parser lets it pass."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _request_id(given: str | None) -> str:
    """The client's id if it is fit for a log, else a new one."""
    if given and len(given) <= 128 and given.isascii() and given.isprintable():
        return given
    return f"{_PROCESS}{next(_numbers):012x}"


def _measured(result: Classification, total: float) -> dict[str, str]:
    """The headers of text-embeddings-inference (times in ms), and which texts were cut."""
    headers = {
        "x-compute-type": "cpu" if result.model.classifier.provider.startswith("CPU") else "gpu",
        "x-compute-tokens": str(sum(result.tokens)),
        "x-total-time": _milliseconds(total),
        "x-tokenization-time": _milliseconds(result.seconds["tokenize"]),
        "x-queue-time": _milliseconds(result.seconds["queue"]),
        "x-inference-time": _milliseconds(result.seconds["inference"]),
    }
    if result.truncated:
        headers["x-truncated"] = ",".join(map(str, result.truncated))
    return headers


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body has more than {limit} bytes, which is max_body_bytes: send fewer texts at a time"
    )


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """A body without its Content-Encoding; never more than `limit` bytes are unpacked."""
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise EncodingError(f"Content-Encoding {encoding!r} is not gzip, deflate or identity")
    # 47: gzip or zlib, told by the header; some clients send deflate without one (-15).
    for window in (47,) if encoding == "gzip" else (47, -15):
        unpacker = zlib.decompressobj(window)
        try:
            content = unpacker.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(content) > limit:
            raise _too_large(limit)
        if unpacker.eof:
            return content
    raise MalformedError(f"the body is not {encoding}, as its Content-Encoding says")


def _accepted(header: str) -> str | None:
    """Which compression the client accepts."""
    offered = {}
    for item in header.lower().split(","):
        name, _, quality = item.partition(";")
        offered[name.strip()] = quality.replace(" ", "") not in ("q=0", "q=0.0")
    return next((name for name in ("gzip", "deflate") if offered.get(name)), None)


def _compress(content: bytes, encoding: str) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    return packer.compress(content) + packer.flush()
