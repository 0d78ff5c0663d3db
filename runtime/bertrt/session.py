"""Packed batches to logits, through onnxruntime. The only file that imports it."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.errors import ArtifactError, BackendError, DeviceError, MissingDependencyError
from bertrt.instructions import may_saturate
from bertrt.packing import PackedBatch
from bertrt.parallel import BatchSource, Feeds, run_parallel, run_source

# The wheels report usage to Microsoft unless told not to, and a server should not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError(
        "bertrt needs onnxruntime and finds none: install it with `pip install 'bertrt[cpu]'`, "
        "or `pip install 'bertrt[gpu]'` for CUDA"
    ) from error

__all__ = ["DEVICES", "Session", "create_session", "cuda_is_available", "feeds"]

DEVICES = ("auto", "cpu", "cuda")

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_logger = logging.getLogger("bertrt")


class Session:
    """A loaded graph. Thread-safe: several threads may run it at once.

    provider: the execution provider that really runs it.
    """

    def __init__(self, graph: Path, *, device: str, threads: int) -> None:
        providers = _providers(device)
        self._session = create_session(graph, providers, threads)
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != _CUDA:
            raise DeviceError(
                "onnxruntime has the CUDA provider but could not start it (no GPU, or its driver "
                "or CUDA libraries are missing): see the error that it printed, or use device='cpu'"
            )
        if device == "auto":
            _logger.info("device='auto' took %s", self.provider)
            if self.provider not in providers[:1]:
                _logger.warning("device='auto': CUDA could not be started; running on the CPU")
        self._threads = threads if self.provider == _CPU else 1
        self.labels = _label_count(self._session, graph)

    def run(self, batch: PackedBatch) -> np.ndarray:
        """The logits of a batch, float32 [texts, labels]."""
        try:
            (logits,) = self._session.run(["logits"], feeds(self._session, batch))
        except Exception as error:
            raise BackendError(
                f"onnxruntime failed on {len(batch.lengths)} texts: {error}"
            ) from error
        result: np.ndarray = logits
        return result

    def feeds(self, batch: PackedBatch) -> Feeds:
        """The batch by the names of the graph's inputs."""
        return feeds(self._session, batch)

    def run_source(self, source: BatchSource[Any]) -> None:
        """Run a source's batches until it has no more, as many at a time as `run_all` does.

        The source gets the errors as onnxruntime raises them.
        """
        run_source(self._session, source, self._threads)

    def run_all(self, batches: Iterable[PackedBatch]) -> list[np.ndarray]:
        """The logits of each batch, float32 [texts, labels], in order.

        On the CPU as many batches run at a time as there are threads, each on one of them.
        """
        inputs = (feeds(self._session, batch) for batch in batches)
        try:
            return run_parallel(self._session, inputs, self._threads)
        except Exception as error:
            raise BackendError(f"onnxruntime failed on a batch: {error}") from error


def create_session(
    graph: Path, providers: Sequence[str], threads: int, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """Load a graph with the options that suit packed graphs; ArtifactError if it cannot be.

    profile: onnxruntime writes the times of every node to a file that begins so.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Shapes differ from batch to batch: plans for whole runs are seldom used again, and reusing one
    # node's buffer for another keeps the largest ones allocated. Without them a process is smaller.
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.prepack.enable_parallel", "1")
    if may_saturate():
        # Exact, if slower, 8-bit products; changes nothing in float.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Errors are raised; only why CUDA did not start is said in the log alone.
    options.log_severity_level = 3 if _CUDA in providers else 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(
            str(graph),
            options,
            providers=providers,
            # The fused kernel is scalar: 6 times slower than Add and LayerNormalization.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise ArtifactError(f"onnxruntime cannot load {graph}: {error}") from error


def feeds(session: onnxruntime.InferenceSession, batch: PackedBatch) -> dict[str, np.ndarray]:
    """The batch by the names of the graph's inputs; families without segments have no types."""
    values = {
        "input_ids": batch.input_ids,
        "token_type_ids": batch.token_type_ids,
        "lengths": batch.lengths,
    }
    return {value.name: values[value.name] for value in session.get_inputs()}


def cuda_is_available() -> bool:
    """Whether this build of onnxruntime has the CUDA provider."""
    return _CUDA in onnxruntime.get_available_providers()


def _providers(device: str) -> list[str]:
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}: choose one of {', '.join(DEVICES)}")
    has_cuda = cuda_is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "device='cuda' needs the CUDA build of onnxruntime and this is the CPU build: "
            "`pip uninstall onnxruntime`, then `pip install 'bertrt[gpu]'`"
        )
    return [_CUDA, _CPU] if has_cuda and device != "cpu" else [_CPU]


def _label_count(session: onnxruntime.InferenceSession, graph: Path) -> int:
    outputs = {value.name: value.shape for value in session.get_outputs()}
    shape = outputs.get("logits")
    if shape is None or len(shape) != 2 or not isinstance(shape[1], int):
        raise ArtifactError(f"{graph} has no output logits [texts, labels], so it is no classifier")
    return shape[1]
