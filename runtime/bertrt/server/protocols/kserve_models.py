"""Open Inference Protocol v2: what a server and its models are, and how they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertrt.server.classification import Classification
from bertrt.server.errors import UnknownModelError
from bertrt.server.exchange import Exchange
from bertrt.server.models import ServedModel
from bertrt.version import __version__

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "Output",
    "config",
    "index",
    "live",
    "metadata",
    "model_of",
    "model_ready",
    "ready",
    "server",
    "statistics",
]

INPUTS = ("text", "text_pair")
_TRITON_TYPES = {
    "BYTES": "TYPE_STRING",
    "FP32": "TYPE_FP32",
    "INT32": "TYPE_INT32",
    "BOOL": "TYPE_BOOL",
}
_EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
]


@dataclass(frozen=True, slots=True)
class Output:
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


OUTPUTS = {
    "label": Output("BYTES", False, _labels),
    "score": Output("FP32", False, lambda result: result.scores().max(axis=1)),
    "scores": Output("FP32", True, lambda result: result.scores()),
    "logits": Output("FP32", True, lambda result: result.logits),
    "tokens": Output("INT32", False, lambda result: np.array(result.tokens, dtype=np.int32)),
    "truncated": Output("BOOL", False, _truncated),
}


def model_of(exchange: Exchange) -> ServedModel:
    """The model that the path names."""
    version = exchange.path.get("version", "1")
    if version != "1":
        raise UnknownModelError(f"there is no version {version!r} of a model here, only 1")
    return exchange.service.models.get(exchange.path["name"])


async def server(exchange: Exchange) -> dict[str, Any]:
    """The server and its extensions."""
    return {"name": "bertrt", "version": __version__, "extensions": _EXTENSIONS}


async def live(exchange: Exchange) -> dict[str, Any]:
    """Whether the server runs: it does."""
    return {"live": True}


async def ready(exchange: Exchange) -> dict[str, Any]:
    """Whether every model answers; else NotReadyError."""
    exchange.service.require_ready()
    return {"ready": True}


async def model_ready(exchange: Exchange) -> dict[str, Any]:
    """Whether the model answers; else NotReadyError."""
    model = model_of(exchange)
    exchange.service.require_ready()
    return {"name": model.name, "ready": True}


async def metadata(exchange: Exchange) -> dict[str, Any]:
    """What the model takes and gives, and how it runs."""
    model = model_of(exchange)
    classifier = model.classifier
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": "bertrt_onnxruntime",
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [-1], "optional": name != "text"}
            for name in INPUTS
        ],
        "outputs": [
            {"name": name, "datatype": output.datatype, "shape": _shape(output, model, -1)}
            for name, output in OUTPUTS.items()
        ],
        "parameters": {
            "execution_provider": classifier.provider,
            "precision": classifier.precision,
            "labels": list(classifier.labels),
            "activation": classifier.artifact.activation,
            "max_length": classifier.artifact.max_length,
            "sha256": model.sha256,
            **_thresholds(model),
        },
    }


def _thresholds(model: ServedModel) -> dict[str, dict[str, float]]:
    """The tuned thresholds by label, where there are any. (Answers have all scores.)"""
    artifact = model.classifier.artifact
    if artifact.thresholds is None:
        return {}
    return {"thresholds": dict(zip(artifact.labels, artifact.thresholds, strict=True))}


def _shape(output: Output, model: ServedModel, *texts: int) -> list[int]:
    return [*texts, len(model.classifier.labels)] if output.per_label else list(texts)


async def config(exchange: Exchange) -> dict[str, Any]:
    """The model as Triton's config.pbtxt would describe it."""
    model = model_of(exchange)
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
            for name in INPUTS
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
            for name, output in OUTPUTS.items()
        ],
        "dynamic_batching": {},
    }


async def statistics(exchange: Exchange) -> dict[str, Any]:
    """Triton's statistics of a model, or of all."""
    models = [model_of(exchange)] if "name" in exchange.path else exchange.service.models
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


async def index(exchange: Exchange) -> list[dict[str, str]]:
    """The models that are served."""
    return [
        {"name": model.name, "version": "1", "state": "READY", "reason": ""}
        for model in exchange.service.models
    ]
