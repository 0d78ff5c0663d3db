"""Open Inference Protocol v2 (KServe, Triton): /v2, with the binary extension.

Source: kserve/open-inference-protocol, and Triton's extensions for binary data, classification,
model configuration, statistics and repositories. Inputs: `text`, and `text_pair` for pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field

from bertrt.server.errors import Failure, MalformedError, UnknownModelError
from bertrt.server.exchange import Exchange, Reply, decode_json, to_json
from bertrt.server.models import ServedModel
from bertrt.server.protocols.tensors import (
    InputTensor,
    OutputTensor,
    Parameters,
    read_texts,
    write_tensor,
)
from bertrt.server.routes import Route
from bertrt.server.service import Classification
from bertrt.tokenizer import TextInput
from bertrt.version import __version__

__all__ = ["ROUTES"]

TAG = "Open Inference Protocol v2"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
]
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


@dataclass(frozen=True, slots=True)
class _Output:
    """An output: its datatype, its shape after [texts], and how to get it."""

    datatype: str
    per_label: bool
    values: Callable[[Classification], Any]


def _best(result: Classification) -> np.ndarray:
    return np.asarray(result.scores().argmax(axis=1))


def _labels(result: Classification) -> list[str]:
    return [result.model.classifier.labels[at] for at in _best(result)]


def _truncated(result: Classification) -> np.ndarray:
    cut = np.zeros(len(result.tokens), dtype=np.bool_)
    cut[list(result.truncated)] = True
    return cut


_OUTPUTS = {
    "label": _Output("BYTES", False, _labels),
    "score": _Output("FP32", False, lambda result: result.scores().max(axis=1)),
    "scores": _Output("FP32", True, lambda result: result.scores()),
    "logits": _Output("FP32", True, lambda result: result.logits),
    "tokens": _Output("INT32", False, lambda result: np.array(result.tokens, dtype=np.int32)),
    "truncated": _Output("BOOL", False, _truncated),
}


async def _infer(exchange: Exchange) -> Reply:
    request, raw = _parsed(exchange)
    model = _model(exchange)
    parameters = request.parameters
    if (timeout := _whole(parameters.get("timeout", 0), "parameters.timeout")) > 0:
        exchange.expire_in(timeout / 1e6)
    truncate = parameters.get("truncate")
    if not isinstance(truncate, bool | None):
        raise MalformedError("parameters.truncate is neither true nor false")
    wanted = request.outputs or [RequestedOutput(name) for name in _OUTPUTS]
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
    if len(by_name) != len(inputs) or "text" not in by_name or by_name.keys() - _INPUTS:
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
    known = _OUTPUTS.get(output.name)
    if known is None:
        raise MalformedError(f"there is no output {output.name!r}; there are {', '.join(_OUTPUTS)}")
    if "classification" in output.parameters:
        _whole(output.parameters["classification"], "classification")
        if not known.per_label:
            raise MalformedError("classification is for `scores` and `logits`, one value a label")


def _output(
    result: Classification, output: RequestedOutput, *, binary: bool
) -> tuple[OutputTensor, bytes]:
    """An output as its client wants it."""
    known = _OUTPUTS[output.name]
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


def _model(exchange: Exchange) -> ServedModel:
    """The model that the path names."""
    version = exchange.path.get("version", "1")
    if version != "1":
        raise UnknownModelError(f"there is no version {version!r} of a model here, only 1")
    return exchange.service.models.get(exchange.path["name"])


async def _server(exchange: Exchange) -> dict[str, Any]:
    return {"name": "bertrt", "version": __version__, "extensions": EXTENSIONS}


async def _live(exchange: Exchange) -> dict[str, Any]:
    return {"live": True}


async def _ready(exchange: Exchange) -> dict[str, Any]:
    exchange.service.require_ready()
    return {"ready": True}


async def _model_ready(exchange: Exchange) -> dict[str, Any]:
    model = _model(exchange)
    exchange.service.require_ready()
    return {"name": model.name, "ready": True}


async def _metadata(exchange: Exchange) -> dict[str, Any]:
    model = _model(exchange)
    classifier = model.classifier
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": "bertrt_onnxruntime",
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [-1], "optional": name != "text"}
            for name in _INPUTS
        ],
        "outputs": [
            {"name": name, "datatype": output.datatype, "shape": _shape(output, model, -1)}
            for name, output in _OUTPUTS.items()
        ],
        "parameters": {
            "execution_provider": classifier.provider,
            "precision": classifier.precision,
            "labels": list(classifier.labels),
            "activation": classifier.artifact.activation,
            "max_length": classifier.artifact.max_length,
            "sha256": model.sha256,
        },
    }


def _shape(output: _Output, model: ServedModel, *texts: int) -> list[int]:
    return [*texts, len(model.classifier.labels)] if output.per_label else list(texts)


async def _config(exchange: Exchange) -> dict[str, Any]:
    """The model as Triton's config.pbtxt would describe it."""
    model = _model(exchange)
    return {
        "name": model.name,
        "platform": "bertrt_onnxruntime",
        "backend": "bertrt",
        "max_batch_size": exchange.service.settings.max_client_batch_size,
        "input": [
            {
                "name": name,
                "data_type": "TYPE_STRING",
                "dims": [1],
                "reshape": {"shape": []},
                "optional": name != "text",
            }
            for name in _INPUTS
        ],
        "output": [
            {
                "name": name,
                "data_type": _TRITON_TYPES[output.datatype],
                # Triton has no empty `dims`: one value a text is [1], reshaped.
                **(
                    {"dims": _shape(output, model)}
                    if output.per_label
                    else {"dims": [1], "reshape": {"shape": []}}
                ),
            }
            for name, output in _OUTPUTS.items()
        ],
        "dynamic_batching": {},
    }


async def _statistics(exchange: Exchange) -> dict[str, Any]:
    """Triton's statistics of a model, or of all."""
    models = [_model(exchange)] if "name" in exchange.path else exchange.service.models
    return {"model_stats": [_model_statistics(exchange, model) for model in models]}


def _model_statistics(exchange: Exchange, model: ServedModel) -> dict[str, Any]:
    """What the metrics count, as Triton words it."""
    value = exchange.service.metrics.value
    name = {"model": model.name}

    def stage(which: str) -> dict[str, int]:
        labels = {**name, "stage": which}
        seconds = value("bertrt_stage_seconds_sum", labels)
        count = value("bertrt_stage_seconds_count", labels)
        return {"count": int(count), "ns": int(seconds * 1e9)}

    return {
        "name": model.name,
        "version": "1",
        "inference_count": int(value("bertrt_texts_total", name)),
        "execution_count": int(value("bertrt_batch_texts_count", name)),
        "inference_stats": {
            "success": stage("total"),
            "queue": stage("queue"),
            "compute_input": stage("tokenize"),
            "compute_infer": stage("inference"),
        },
    }


async def _index(exchange: Exchange) -> list[dict[str, str]]:
    return [
        {"name": model.name, "version": "1", "state": "READY", "reason": ""}
        for model in exchange.service.models
    ]


_INPUTS = ("text", "text_pair")
_TRITON_TYPES = {
    "BYTES": "TYPE_STRING",
    "FP32": "TYPE_FP32",
    "INT32": "TYPE_INT32",
    "BOOL": "TYPE_BOOL",
}
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
        _get(f"{path}/ready", _model_ready, "200 when the model answers, else 503", open=True),
        _get(f"{path}/config", _config, "The model's configuration, as Triton words it"),
        _get(f"{path}/stats", _statistics, "Counts and times, as Triton words them"),
    ]


_VERSION = "/v2/models/{name:path}/versions/{version}"
_MODEL = "/v2/models/{name:path}"
ROUTES = (
    _get("/v2/models/stats", _statistics, "Counts and times of all models, as Triton words them"),
    *_of_model(_VERSION),
    _get(_VERSION, _metadata, "What the model takes and gives"),
    *_of_model(_MODEL),
    _get(_MODEL, _metadata, "What the model takes and gives"),
    _get("/v2", _server, "The server and its extensions"),
    _get("/v2/health/live", _live, "200 while the server runs", open=True),
    _get("/v2/health/ready", _ready, "200 when every model answers, else 503", open=True),
    Route(
        path="/v2/repository/index",
        handle=_index,
        summary="The models that are served",
        tag=TAG,
        error=error,
        response=list[dict[str, str]],
    ),
)
