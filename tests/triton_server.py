"""Triton Inference Server, as far as its documentation and sources say what it does with a model.

No Triton runs here. This loads a model repository by the configurations' own words, refuses what
Triton refuses when it loads one, and answers requests: ensembles, the Python backend with a stub of
`triton_python_backend_utils`, and the onnxruntime backend with ragged batches. All requests that
are given together wait together, so they are batched.

Sources, of github.com/triton-inference-server: server, docs/user_guide (ragged_batching.md,
ensemble_models.md); python_backend, README.md; onnxruntime_backend, src/onnxruntime.cc
(ValidateInputs, ValidateOutputs, SetInputTensors); backend, src/backend_input_collector.cc
(SetElementCount, SetBatchItemShape) and backend_output_responder.cc (ProcessTensor); core,
src/infer_request.cc (Normalize), model_config_utils.cc and ensemble_utils.cc (validation).
"""

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

__all__ = ["RefusedError", "Request", "TritonModelException", "TritonServer", "read_config"]

_NUMPY: dict[str, Any] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP32": np.float32,
    "TYPE_STRING": np.object_,
}
_ONNX = {
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float)": "TYPE_FP32",
}

Arrays = dict[str, np.ndarray]


class RefusedError(Exception):
    """A repository that would not load, or a request that gets an error; the message says why."""


class TritonModelException(Exception):  # noqa: N818 (Triton's own name)
    """What a Python model raises to say that it cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Request:
    """The tensors of a request, batch dimension included, and its parameters."""

    inputs: Arrays
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Model:
    config: Any
    session: Any = None  # onnxruntime's, or the TritonPythonModel

    def type_of(self, tensor: Any) -> str:
        return str(model_config_pb2.DataType.Name(tensor.data_type))


def read_config(file: Path) -> Any:
    """config.pbtxt as Triton's ModelConfig; fails for a field or value that the schema lacks."""
    config = model_config_pb2.ModelConfig()
    text_format.Parse(file.read_text(encoding="utf-8"), config)
    return config


class TritonServer:
    """A repository that is loaded; raises RefusedError where Triton would not load it.

    Paths of models are unique, so a test may load several repositories. batches: the lengths that
    the graph got, of each of its runs.
    """

    def __init__(self, repository: Path) -> None:
        self.models: dict[str, _Model] = {}
        self.batches: list[list[int]] = []
        for folder in sorted(path for path in repository.iterdir() if path.is_dir()):
            config = read_config(folder / "config.pbtxt")
            _require(config.name == folder.name, f"{folder} holds a model called {config.name}")
            _require((folder / "1").is_dir(), f"{folder} has no version")
            for output in config.output:
                labels = output.label_filename
                _require(not labels or (folder / labels).is_file(), f"{folder} has no {labels}")
            self.models[config.name] = _Model(config)
        for name, model in self.models.items():
            _check_config(model)
            if model.config.backend == "python":
                model.session = _load_python(model, repository / name / "1" / "model.py")
            elif model.config.backend == "onnxruntime":
                model.session = _load_onnx(model, repository / name / "1")
        for model in self.models.values():
            if model.config.platform == "ensemble":
                self._check_ensemble(model.config)

    def infer(self, name: str, requests: Sequence[Request]) -> list[Arrays | RefusedError]:
        """The outputs of each request, or its error; they wait together."""
        model = self.models[name]
        errors = [_refusal(model, request) for request in requests]
        kept = [at for at, error in enumerate(errors) if error is None]
        answers: list[Arrays | RefusedError] = []
        for batch in _batches(model.config, [requests[at] for at in kept]):
            answers += self._run(model, batch)
        answered = iter(answers)
        return [error or next(answered) for error in errors]

    def _run(self, model: _Model, requests: Sequence[Request]) -> list[Arrays | RefusedError]:
        if model.config.platform == "ensemble":
            return self._run_ensemble(model.config, requests)
        if model.config.backend == "python":
            return _run_python(model, requests)
        return self._run_onnx(model, requests)

    def _run_ensemble(
        self, config: Any, requests: Sequence[Request]
    ) -> list[Arrays | RefusedError]:
        tensors: list[Arrays] = [dict(request.inputs) for request in requests]
        failed: dict[int, RefusedError] = {}
        optional = {tensor.name for tensor in config.input if tensor.optional}
        steps = list(config.ensemble_scheduling.step)
        known = {tensor.name for tensor in config.input}
        while steps:
            step = next(s for s in steps if known.issuperset(s.input_map.values()))
            steps.remove(step)
            alive = [at for at in range(len(requests)) if at not in failed]
            asked = [
                Request(
                    {
                        inner: tensors[at][outer]
                        for inner, outer in step.input_map.items()
                        if outer in tensors[at] or outer not in optional
                    },
                    requests[at].parameters,
                )
                for at in alive
            ]
            for at, answer in zip(alive, self.infer(step.model_name, asked), strict=True):
                if isinstance(answer, RefusedError):
                    failed[at] = RefusedError(f"in ensemble '{config.name}', {answer}")
                else:
                    tensors[at] |= {
                        outer: answer[inner] for inner, outer in step.output_map.items()
                    }
            known |= set(step.output_map.values())
        outputs = [tensor.name for tensor in config.output]
        return [
            failed.get(at) or {name: tensors[at][name] for name in outputs}
            for at in range(len(requests))
        ]

    def _run_onnx(self, model: _Model, requests: Sequence[Request]) -> list[Arrays | RefusedError]:
        """Ragged inputs joined to one row; outputs cut by the requests' rows."""
        config = model.config
        feeds: Arrays = {}
        for tensor in config.input:
            parts = [request.inputs[tensor.name] for request in requests]
            assert tensor.allow_ragged_batch, "no other kind is used"
            feeds[tensor.name] = np.concatenate([part.reshape(-1) for part in parts])
        for batch_input in config.batch_input:
            kind = model_config_pb2.BatchInput.Kind.Name(batch_input.kind)
            (source,), (target,) = batch_input.source_input, batch_input.target_name
            shapes = [request.inputs[source].shape for request in requests]
            values = {
                "BATCH_ELEMENT_COUNT": [int(np.prod(shape)) for shape in shapes],
                "BATCH_ITEM_SHAPE_FLATTEN": [n for s in shapes for n in s[1:] * s[0]],
            }[kind]
            dtype = _NUMPY[model.type_of(batch_input)]
            feeds[target] = np.array(values, dtype=dtype)
        self.batches.append(feeds["lengths"].tolist())
        names = [tensor.name for tensor in config.output]
        try:
            results = dict(zip(names, model.session.run(names, feeds), strict=True))
        except Exception as error:
            return [RefusedError(str(error)) for _ in requests]
        answers: list[Arrays | RefusedError] = []
        offset = 0
        for request in requests:
            rows = next(iter(request.inputs.values())).shape[0]
            if any(offset + rows > len(result) for result in results.values()):
                answers.append(RefusedError("failed to split the output tensor"))
            else:
                answers.append({n: r[offset : offset + rows] for n, r in results.items()})
            offset += rows
        return answers

    def _check_ensemble(self, config: Any) -> None:
        """ValidateEnsembleSchedulingConfig and ValidateEnsembleConfig."""
        for forbidden in ("instance_group", "model_warmup"):
            _require(not getattr(config, forbidden), f"{config.name} has {forbidden}")
        _require(not config.HasField("optimization"), f"{config.name} has optimization")
        inputs, outputs = ({t.name: t for t in ts} for ts in (config.input, config.output))
        tensors: dict[str, Any] = {**inputs, **outputs}
        written, read = set(inputs), set(outputs)
        for step in config.ensemble_scheduling.step:
            model = self.models[step.model_name].config
            _require(
                model.max_batch_size >= config.max_batch_size > 0,
                f"{config.name} allows larger batches than {model.name}",
            )
            for mapping, held in (
                (step.input_map, {t.name: t for t in model.input}),
                (step.output_map, {t.name: t for t in model.output}),
            ):
                for inner, outer in mapping.items():
                    _require(inner in held, f"{model.name} has no {inner}")
                    other = tensors.setdefault(outer, held[inner])
                    alike = other.data_type == held[inner].data_type and _alike(
                        other.dims, held[inner].dims
                    )
                    _require(alike, f"{outer} is not what {model.name} calls {inner}")
            for tensor in model.input:
                mapped = tensor.optional or tensor.name in step.input_map
                _require(mapped, f"{tensor.name} of {model.name} is not mapped")
            again = written.intersection(step.output_map.values())
            _require(not again, f"{again} are written twice")
            written |= set(step.output_map.values())
            read |= set(step.input_map.values())
        _require(written == read, f"{written ^ read} are unused or not written")


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise RefusedError(reason)


def _alike(first: Sequence[int], second: Sequence[int]) -> bool:
    same = len(first) == len(second)
    return same and all(a == b or -1 in (a, b) for a, b in zip(first, second, strict=True))


def _check_config(model: _Model) -> None:
    """ValidateModelConfig, ValidateIOShape and ValidateBatchIO."""
    config = model.config
    kinds = (config.platform, config.backend)
    known = (("ensemble", ""), ("", "python"), ("onnxruntime_onnx", "onnxruntime"))
    _require(kinds in known, f"{config.name} has platform and backend {kinds}")
    for tensor in (*config.input, *config.output):
        sizes = all(size >= 1 or size == -1 for size in tensor.dims)
        _require(bool(tensor.dims) and sizes, f"{tensor.name} has dims {list(tensor.dims)}")
        _require(model.type_of(tensor) != "TYPE_INVALID", f"{tensor.name} has no type")
    sources = {tensor.name for tensor in config.input}
    for batch_input in config.batch_input:
        _require(len(batch_input.source_input) == 1, "a batch input has one source")
        _require(set(batch_input.source_input) <= sources, "its source is no input")
        _require(model.type_of(batch_input) in ("TYPE_INT32", "TYPE_FP32"), "of another type")


def _load_onnx(model: _Model, version: Path) -> Any:
    """The session of the backend, once ValidateInputs and ValidateOutputs have passed."""
    config = model.config
    session = onnxruntime.InferenceSession(
        str(version / config.default_model_filename), providers=["CPUExecutionProvider"]
    )
    held = {value.name: value for value in session.get_inputs()}
    expected = len(config.input) + len(config.batch_input)
    _require(len(held) == expected, f"{expected} inputs are expected, the graph has {len(held)}")
    for tensor in config.input:
        _require(tensor.name in held, f"the graph has no {tensor.name}")
        value = held[tensor.name]
        _require(_ONNX[value.type] == model.type_of(tensor), f"{tensor.name} is a {value.type}")
        ragged = tensor.allow_ragged_batch and _open(value.shape) == [-1] and not tensor.optional
        _require(ragged, f"{tensor.name} is no ragged input")
    given = {value.name: value for value in session.get_outputs()}
    for tensor in config.output:
        value = given[tensor.name]
        _require(_ONNX[value.type] == model.type_of(tensor), f"{tensor.name} is a {value.type}")
        exact = _open(value.shape) == [-1, *tensor.dims]
        _require(exact, f"{tensor.name} has the shape {value.shape}")
    for batch_input in config.batch_input:  # Triton compares these only when it runs
        assert _ONNX[held[batch_input.target_name[0]].type] == model.type_of(batch_input)
    return session


def _open(shape: Sequence[Any]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]


def _load_python(model: _Model, file: Path) -> Any:
    """A TritonPythonModel that has been initialized as the backend does."""
    spec = importlib.util.spec_from_file_location("model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _stub():
        spec.loader.exec_module(module)
        python_model = module.TritonPythonModel()
        as_json = json_format.MessageToDict(model.config, preserving_proto_field_name=True)
        python_model.initialize(
            {
                "model_config": json.dumps(as_json),
                "model_instance_kind": "CPU",
                "model_instance_device_id": "0",
                "model_repository": str(file.parents[1]),
                "model_version": "1",
                "model_name": model.config.name,
            }
        )
    return python_model


def _run_python(model: _Model, requests: Sequence[Request]) -> list[Arrays | RefusedError]:
    stubs = [_StubRequest(request) for request in requests]
    responses = model.session.execute(stubs)
    assert len(responses) == len(requests), "a response for each request"
    outputs = {tensor.name: tensor for tensor in model.config.output}
    answers: list[Arrays | RefusedError] = []
    for response, request in zip(responses, requests, strict=True):
        if response.has_error():
            assert response.error().code == _TritonError.INVALID_ARG
            answers.append(RefusedError(response.error().message()))
            continue
        arrays = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        assert arrays.keys() == outputs.keys()
        batch = next(iter(request.inputs.values())).shape[0]
        for name, array in arrays.items():
            assert array.dtype == _NUMPY[model.type_of(outputs[name])], name
            assert array.flags.c_contiguous, name
            assert _alike(array.shape, [batch, *outputs[name].dims]), name
        answers.append(arrays)
    return answers


def _batches(config: Any, requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Requests that are run at a time. An ensemble only hands them on."""
    limit = len(requests) if config.platform == "ensemble" else config.max_batch_size
    batch: list[Request] = []
    rows = 0
    for request in requests:
        own = next(iter(request.inputs.values())).shape[0]
        if batch and rows + own > limit:
            yield batch
            batch, rows = [], 0
        batch.append(request)
        rows += own
    if batch:
        yield batch


def _refusal(model: _Model, request: Request) -> RefusedError | None:
    """InferenceRequest::Normalize: names, types, shapes, batch size."""
    config = model.config
    held = {tensor.name: tensor for tensor in config.input}
    missing = [t.name for t in config.input if not t.optional and t.name not in request.inputs]
    unknown = request.inputs.keys() - held.keys()
    if missing or unknown:
        return RefusedError(f"inputs {missing} are missing, {unknown} are unknown")
    rows = {array.shape[0] for array in request.inputs.values()}
    if len(rows) != 1 or max(rows) > config.max_batch_size:
        return RefusedError(f"inference request batch-size must be <= {config.max_batch_size}")
    for name, array in request.inputs.items():
        if array.dtype != _NUMPY[model.type_of(held[name])]:
            return RefusedError(f"inference input '{name}' data-type is {array.dtype}")
        if not _alike(array.shape[1:], held[name].dims):
            return RefusedError(f"unexpected shape for input '{name}'")
    return None


class _Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class _StubRequest:
    def __init__(self, request: Request) -> None:
        # Shared memory, which a model must not write to.
        arrays = {name: array.copy() for name, array in request.inputs.items()}
        for array in arrays.values():
            array.flags.writeable = False
        self._inputs = [_Tensor(name, array) for name, array in arrays.items()]
        self._parameters = json.dumps(dict(request.parameters))

    def inputs(self) -> list[_Tensor]:
        return self._inputs

    def parameters(self) -> str:
        return self._parameters


class _TritonError:
    INTERNAL, INVALID_ARG = "internal", "invalid argument"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self._message, self.code = message, code

    def message(self) -> str:
        return self._message


class _Response:
    def __init__(
        self, output_tensors: Sequence[_Tensor] = (), error: _TritonError | None = None
    ) -> None:
        self._output_tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[_Tensor]:
        return self._output_tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> _TritonError | None:
        return self._error


def _tensor_by_name(request: _StubRequest, name: str) -> _Tensor | None:
    return next((tensor for tensor in request.inputs() if tensor.name() == name), None)


@contextmanager
def _stub() -> Iterator[None]:
    """`triton_python_backend_utils`, as far as its README goes."""
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor = _Tensor
    module.InferenceResponse = _Response
    module.TritonError = _TritonError
    module.TritonModelException = TritonModelException
    module.get_input_tensor_by_name = _tensor_by_name
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]
