"""Packed batches to logits, through onnxruntime. The only file that imports it."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from bertrt.errors import ArtifactError, BackendError, DeviceError, MissingDependencyError
from bertrt.packing import PackedBatch

# The wheels report usage to Microsoft unless told not to, and a server should not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingDependencyError(
        "bertrt needs onnxruntime and finds none: install it with `pip install 'bertrt[cpu]'`, "
        "or `pip install 'bertrt[gpu]'` for CUDA"
    ) from error

__all__ = ["DEVICES", "Session"]

DEVICES = ("auto", "cpu", "cuda")

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_logger = logging.getLogger("bertrt")


class Session:
    """A loaded graph. Thread-safe: several threads may run it at once.

    provider: the execution provider that really runs it.
    """

    def __init__(self, graph: Path, *, device: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        providers = _providers(device)
        # Errors are raised; only why CUDA did not start is said in the log alone.
        options.log_severity_level = 3 if _CUDA in providers else 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph),
                options,
                providers=providers,
                # The fused kernel is scalar: 6 times slower than Add and LayerNormalization.
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise ArtifactError(f"onnxruntime cannot load {graph}: {error}") from error
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
        self._inputs = {value.name for value in self._session.get_inputs()}
        self.labels = _label_count(self._session, graph)

    def run(self, batch: PackedBatch) -> np.ndarray:
        """The logits of a batch, float32 [texts, labels]."""
        values: dict[str, Any] = {
            "input_ids": batch.input_ids,
            "token_type_ids": batch.token_type_ids,
            "lengths": batch.lengths,
        }
        try:
            (logits,) = self._session.run(
                ["logits"], {name: v for name, v in values.items() if name in self._inputs}
            )
        except Exception as error:
            raise BackendError(
                f"onnxruntime failed on {len(batch.lengths)} texts: {error}"
            ) from error
        result: np.ndarray = logits
        return result


def _providers(device: str) -> list[str]:
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}: choose one of {', '.join(DEVICES)}")
    has_cuda = _CUDA in onnxruntime.get_available_providers()
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
