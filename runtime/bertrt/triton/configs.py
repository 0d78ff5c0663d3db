"""config.pbtxt of the ensemble and of its three steps.

Sources, of github.com/triton-inference-server: common, protobuf/model_config.proto; server,
docs/user_guide/ragged_batching.md, model_configuration.md and ensemble_models.md;
onnxruntime_backend, README.md and src/onnxruntime.cc; core, src/ensemble_utils.cc.
"""

from dataclasses import dataclass
from typing import Literal

from bertrt.artifact import Artifact, fingerprint
from bertrt.triton.parameters import to_parameters
from bertrt.triton.pbtxt import Message, Word
from bertrt.triton.signature import Signature
from bertrt.version import __version__

__all__ = ["LABELS_FILE", "Deployment", "ensemble", "labels_step", "packed_step", "tokenizer_step"]

# Of an output that has a value a label: Triton's classification extension names them by it.
LABELS_FILE = "labels.txt"

# Requests that a Python step takes at a time: they wait for the graph, hardly for the steps.
_STEP_BATCH = 64

_Tensors = list[Message]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is served, and how.

    name: the ensemble's; the steps' names begin with it. signature: that of the precision's graph.
    max_batch_size: texts of one batch of the graph, at most. instances: batches that run at a
        time. threads: CPU threads of a batch; None for as many as there are cores.
    truncate: whether texts over the model's limit are cut, unless a request says otherwise.
    """

    name: str
    artifact: Artifact
    precision: str
    signature: Signature
    device: Literal["cpu", "gpu"]
    max_batch_size: int
    instances: int
    threads: int | None
    truncate: bool

    @property
    def steps(self) -> tuple[str, str, str]:
        """The models that the ensemble is made of, in the order in which a text meets them."""
        return f"{self.name}_tokenizer", f"{self.name}_packed", f"{self.name}_labels"

    @property
    def ids(self) -> tuple[str, ...]:
        """The graph's inputs that the tokenizer gives."""
        return tuple(tensor.name for tensor in self.signature.inputs if tensor.name != "lengths")


def ensemble(deployment: Deployment) -> Message:
    """`text`, perhaps with `text_pair`, to the outputs that `bertrt serve` gives as well.

    A request is one text, so that its tokens are one row, and batches are the graph's affair.
    Which outputs a client asks for decides which steps run: for `logits` alone the last does not.
    """
    tokenizer, packed, labels = deployment.steps
    artifact = deployment.artifact
    scored = ("label", "score", "scores")
    thresholds = artifact.thresholds
    return {
        "name": deployment.name,
        "platform": "ensemble",
        "max_batch_size": 1,
        "input": _texts(),
        "output": [
            *_labelled(deployment),
            {**_tensor("logits", "TYPE_FP32", _labels(deployment)), "label_filename": LABELS_FILE},
            *_counts(),
        ],
        "ensemble_scheduling": {
            "step": [
                _step(tokenizer, ("text", "text_pair"), (*deployment.ids, "tokens", "truncated")),
                _step(packed, deployment.ids, ("logits",)),
                _step(labels, ("logits",), scored),
            ]
        },
        "parameters": to_parameters(
            {
                "bertrt_version": __version__,
                "precision": deployment.precision,
                "labels": artifact.labels,
                "activation": artifact.activation,
                "max_length": artifact.max_length,
                "sha256": fingerprint(artifact, deployment.precision),
                **(
                    {"thresholds": dict(zip(artifact.labels, thresholds, strict=True))}
                    if thresholds is not None
                    else {}
                ),
            }
        ),
    }


def tokenizer_step(deployment: Deployment) -> Message:
    """Text to `input_ids` and, where the graph takes them, `token_type_ids`."""
    return {
        "name": deployment.steps[0],
        "backend": "python",
        "max_batch_size": _STEP_BATCH,
        "input": _texts(),
        "output": [*(_tensor(name, "TYPE_INT64", -1) for name in deployment.ids), *_counts()],
        **_python_instances(),
        "parameters": to_parameters(
            {
                "precision": deployment.precision,
                "max_length": deployment.artifact.max_length,
                "truncate": deployment.truncate,
            }
        ),
    }


def packed_step(deployment: Deployment) -> Message:
    """The graph, on the tokens of all texts that wait.

    The backend joins ragged inputs to one row, as the graph wants them, and adds the lengths.
    BATCH_ITEM_SHAPE_FLATTEN is the width of each row of each request. For requests of one row that
    equals BATCH_ELEMENT_COUNT, which counts a request of two rows as one text: the graph would then
    answer with one row too few, and the backend hand that request the next one's (its
    backend_output_responder.cc).
    """
    graph = deployment.artifact.graphs[deployment.precision]
    return {
        "name": deployment.steps[1],
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "default_model_filename": graph.name,  # whose weights are beside it, by the name it holds
        "max_batch_size": deployment.max_batch_size,
        "input": [
            {**_tensor(name, "TYPE_INT64", -1), "allow_ragged_batch": True}
            for name in deployment.ids
        ],
        "batch_input": {
            "kind": Word("BATCH_ITEM_SHAPE_FLATTEN"),
            "target_name": "lengths",
            "data_type": Word("TYPE_INT32"),
            "source_input": "input_ids",
        },
        "output": _tensor("logits", "TYPE_FP32", _labels(deployment)),
        "instance_group": {
            "count": deployment.instances,
            "kind": Word("KIND_GPU" if deployment.device == "gpu" else "KIND_CPU"),
        },
        # What waits when an instance is free is a batch: nothing waits for others to come.
        "dynamic_batching": {},
        **({"parameters": _session(deployment)} if deployment.device == "cpu" else {}),
    }


def labels_step(deployment: Deployment) -> Message:
    """Logits to scores, and the best label."""
    artifact = deployment.artifact
    return {
        "name": deployment.steps[2],
        "backend": "python",
        "max_batch_size": _STEP_BATCH,
        "input": _tensor("logits", "TYPE_FP32", _labels(deployment)),
        "output": _labelled(deployment),
        **_python_instances(),
        "parameters": to_parameters({"labels": artifact.labels, "activation": artifact.activation}),
    }


def _session(deployment: Deployment) -> list[Message]:
    """onnxruntime's options, of those that the backend knows, as bertrt's own sessions have them.

    It knows no disabled_optimizers and no `session.x64quantprecision`.
    """
    options: dict[str, object] = {"enable_mem_pattern": 0}  # shapes differ from batch to batch
    if deployment.threads is not None:
        options["intra_op_thread_count"] = deployment.threads
    if deployment.instances > 1:
        options["share_session_between_instances"] = True  # and with it the weights
    return to_parameters(options)


def _python_instances() -> dict[str, Message]:
    return {"instance_group": {"count": 1, "kind": Word("KIND_CPU")}, "dynamic_batching": {}}


def _texts() -> _Tensors:
    pair = {**_tensor("text_pair", "TYPE_STRING", 1), "optional": False}
    return [_tensor("text", "TYPE_STRING", 1), pair]


def _counts() -> _Tensors:
    return [_tensor("tokens", "TYPE_INT32", 1), _tensor("truncated", "TYPE_BOOL", 1)]


def _labelled(deployment: Deployment) -> _Tensors:
    """What the last step makes of logits."""
    return [
        _tensor("label", "TYPE_STRING", 1),
        _tensor("score", "TYPE_FP32", 1),
        {**_tensor("scores", "TYPE_FP32", _labels(deployment)), "label_filename": LABELS_FILE},
    ]


def _labels(deployment: Deployment) -> int:
    return len(deployment.artifact.labels)


def _tensor(name: str, data_type: str, size: int) -> dict[str, str | int | Word | bool]:
    """A tensor of [texts, size]; Triton adds the first."""
    return {"name": name, "data_type": Word(data_type), "dims": size}


def _step(model: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Message:
    """A model whose tensors have the ensemble's names."""

    def same(names: tuple[str, ...]) -> _Tensors:
        return [{"key": name, "value": name} for name in names]

    return {
        "model_name": model,
        "model_version": -1,
        "input_map": same(inputs),
        "output_map": same(outputs),
    }
