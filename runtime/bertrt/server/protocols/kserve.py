"""Open Inference Protocol v2 (KServe, Triton): /v2, with the binary extension.

Source: kserve/open-inference-protocol, and Triton's extensions for binary data, classification,
model configuration, statistics and repositories. Inputs: `text`, and `text_pair` for pairs.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field

from bertrt.server.classification import Classification
from bertrt.server.errors import Failure, MalformedError
from bertrt.server.exchange import Exchange, Reply, decode_json, to_json
from bertrt.server.protocols import kserve_models as describe
from bertrt.server.protocols.kserve_models import INPUTS, OUTPUTS, model_of
from bertrt.server.protocols.tensors import (
    InputTensor,
    OutputTensor,
    Parameters,
    read_texts,
    write_tensor,
)
from bertrt.server.routes import Route
from bertrt.tokenizer import TextInput

__all__ = ["ROUTES"]

TAG = "Open Inference Protocol v2"
_HEADER_LENGTH = "inference-header-content-length"


class RequestedOutput(Struct):
    """An output that the client wants; `classification`: as the k best labels."""

    name: str
    parameters: Parameters = field(default_factory=dict)


class InferRequest(Struct):
    """The tensors of a request. `parameters`: `truncate` (true or false), `timeout` (µs)."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters = field(default_factory=dict)


class InferResponse(Struct, omit_defaults=True):
    """The tensors of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class KserveError(Struct):
    """What went wrong."""

    error: str


def error(failure: Failure) -> KserveError:
    """An error as the protocol words it."""
    return KserveError(failure.message)


async def _infer(exchange: Exchange) -> Reply:
    request, raw = _parsed(exchange)
    model = model_of(exchange)
    parameters = request.parameters
    if (timeout := _whole(parameters.get("timeout", 0), "parameters.timeout")) > 0:
        exchange.expire_in(timeout / 1e6)
    truncate = parameters.get("truncate")
    if not isinstance(truncate, bool | None):
        raise MalformedError("parameters.truncate is neither true nor false")
    wanted = request.outputs or [RequestedOutput(name) for name in OUTPUTS]
    for output in wanted:
        _check_output(output)
    result = await exchange.classify(
        _texts(request.inputs, raw), model=model.name, truncate=truncate
    )
    all_binary = parameters.get("binary_data_output") is True
    tensors = [_output(result, output, binary=all_binary) for output in wanted]
    header = to_json(InferResponse(model.name, "1", [tensor for tensor, _ in tensors], request.id))
    content = b"".join(data for _, data in tensors)
    if not content:
        return Reply(header)
    return Reply(
        header + content,
        "application/octet-stream",
        headers={_HEADER_LENGTH: str(len(header))},
    )


def _parsed(exchange: Exchange) -> tuple[InferRequest, dict[str, bytes]]:
    """The JSON of a request, and the bytes of its binary tensors by name."""
    length = exchange.header(_HEADER_LENGTH)
    if length is None:
        return decode_json(_decoder, exchange.body), {}
    if not (length.isdecimal() and len(length) < 12 and int(length) <= len(exchange.body)):
        raise MalformedError("Inference-Header-Content-Length is not the length of a JSON header")
    request: InferRequest = decode_json(_decoder, exchange.body[: int(length)])
    raw: dict[str, bytes] = {}
    at = int(length)
    for tensor in request.inputs:
        if "binary_data_size" not in tensor.parameters:
            continue
        size = _whole(tensor.parameters["binary_data_size"], "binary_data_size")
        raw[tensor.name] = exchange.body[at : at + size]
        at += size
    if at != len(exchange.body):
        raise MalformedError(
            f"{len(exchange.body) - int(length)} bytes follow the JSON header and the "
            f"binary_data_size of all inputs is {at - int(length)}"
        )
    return request, raw


def _texts(inputs: Sequence[InputTensor], raw: dict[str, bytes]) -> list[TextInput]:
    """The texts, or the pairs if there is a second input."""
    by_name = {tensor.name: read_texts(tensor, raw.get(tensor.name)) for tensor in inputs}
    if len(by_name) != len(inputs) or "text" not in by_name or by_name.keys() - INPUTS:
        raise MalformedError(
            f"the inputs are {[tensor.name for tensor in inputs]}: give `text`, and `text_pair` "
            "for pairs, once each"
        )
    texts = by_name["text"]
    if "text_pair" not in by_name:
        return list(texts)
    seconds = by_name["text_pair"]
    if len(seconds) != len(texts):
        raise MalformedError(
            f"`text` has {len(texts)} strings and `text_pair` {len(seconds)}: give as many"
        )
    return list(zip(texts, seconds, strict=True))


def _check_output(output: RequestedOutput) -> None:
    known = OUTPUTS.get(output.name)
    if known is None:
        raise MalformedError(f"there is no output {output.name!r}; there are {', '.join(OUTPUTS)}")
    if "classification" in output.parameters:
        _whole(output.parameters["classification"], "classification")
        if not known.per_label:
            raise MalformedError("classification is for `scores` and `logits`, one value a label")


def _output(
    result: Classification, output: RequestedOutput, *, binary: bool
) -> tuple[OutputTensor, bytes]:
    """An output as its client wants it."""
    known = OUTPUTS[output.name]
    binary = output.parameters.get("binary_data", binary) is True
    values = known.values(result)
    texts = len(result.tokens)
    if (count := output.parameters.get("classification", 0)) > 0:
        classes = _classes(values, result.model.classifier.labels, count)
        return write_tensor(
            output.name, "BYTES", classes, [texts, len(classes) // texts], binary=binary
        )
    shape = [texts, len(result.model.classifier.labels)] if known.per_label else [texts]
    return write_tensor(output.name, known.datatype, values, shape, binary=binary)


def _classes(values: np.ndarray, labels: Sequence[str], count: int) -> list[str]:
    """The `count` best labels of each text as Triton writes them: `value:index:label`."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return [
        f"{row[index]:f}:{index}:{labels[index]}"
        for row, best in zip(values, order, strict=True)
        for index in best
    ]


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise MalformedError(f"{name} is not a whole number from 0 to 2^63 - 1")
    return value


_decoder = msgspec.json.Decoder(InferRequest)


def _get(path: str, handle: Any, summary: str, *, open: bool = False) -> Route:
    return Route(
        method="GET",
        path=path,
        handle=handle,
        summary=summary,
        tag=TAG,
        error=error,
        response=dict[str, Any],
        open=open,
    )


def _of_model(path: str) -> list[Route]:
    """The routes of a model at `path`; those that end in more words first."""
    return [
        Route(
            path=f"{path}/infer",
            handle=_infer,
            summary="Classify the strings of `text`, or the pairs of `text` and `text_pair`",
            tag=TAG,
            error=error,
            body=InferRequest,
            response=InferResponse,
        ),
        _get(
            f"{path}/ready",
            describe.model_ready,
            "200 when the model answers, else 503",
            open=True,
        ),
        _get(f"{path}/config", describe.config, "The model's configuration, as Triton words it"),
        _get(f"{path}/stats", describe.statistics, "Counts and times, as Triton words them"),
    ]


_VERSION = "/v2/models/{name:path}/versions/{version}"
_MODEL = "/v2/models/{name:path}"
ROUTES = (
    _get(
        "/v2/models/stats",
        describe.statistics,
        "Counts and times of all models, as Triton words them",
    ),
    *_of_model(_VERSION),
    _get(_VERSION, describe.metadata, "What the model takes and gives"),
    *_of_model(_MODEL),
    _get(_MODEL, describe.metadata, "What the model takes and gives"),
    _get("/v2", describe.server, "The server and its extensions"),
    _get("/v2/health/live", describe.live, "200 while the server runs", open=True),
    _get("/v2/health/ready", describe.ready, "200 when every model answers, else 503", open=True),
    Route(
        path="/v2/repository/index",
        handle=describe.index,
        summary="The models that are served",
        tag=TAG,
        error=error,
        response=list[dict[str, str]],
    ),
)
