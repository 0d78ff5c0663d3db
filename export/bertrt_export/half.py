"""A checkpoint in float16, for CUDA."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from bertrt.backend import create_session
from bertrt.devices import CPU
from bertrt.errors import ArtifactError
from bertrt.tokenizer import TextTokenizer
from onnx_ir.passes import common

from bertrt_export.calibration import CalibrationTexts
from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import ExportError, QuantizationError
from bertrt_export.packed import packed_graph
from bertrt_export.passes import AttentionForm, RoundToHalfPass, ToHalfPass
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.int8 import Independence, independence, measurer

__all__ = ["HalfResult", "check_cuda_graph", "half_graph", "verify_half"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class HalfResult:
    """A float16 graph's answers against PyTorch float32.

    They are those of `rounded`: the packed float32 graph, rounded to float16 at every step.
    """

    rounded: ir.Model
    fidelity: Fidelity
    independence: Independence
    limits: Limits
    source: str


def half_graph(
    checkpoint: Checkpoint, attention: AttentionForm = "packed", max_length: int = 512
) -> ir.Model:
    """The packed graph in float16; its logits are float32.

    attention: `packed` needs CUDA and a GPU from 2017 on (compute capability 7.0) and is the
        default; `rectangle` and `portable` are there to be compared with it.
    Raises ExportError where a weight is past float16's range.
    """
    graph = packed_graph(checkpoint, attention, max_length)
    ToHalfPass()(graph)
    common.RemoveUnusedNodesPass()(graph)
    return graph


def verify_half(
    checkpoint: Checkpoint,
    graph: ir.Model,
    tokenizer: TextTokenizer,
    texts: CalibrationTexts,
    reference: np.ndarray,
    limits: Limits,
    on_progress: Progress,
) -> HalfResult:
    """Compare with PyTorch float32 what float16 makes of the packed float32 graph.

    The machine that exports need not have a GPU: `RoundToHalfPass` says how the CPU does it. A GPU
    is asked the golden texts when it loads the artifact.

    reference: what PyTorch answers to the verification texts: `reference_logits`.
    Raises QuantizationError, with the figures, where the limits do not hold.
    """
    encodings = tokenizer.encode(texts.verification)
    on_progress("rounding to fp16", 0, 1)
    rounded = graph.clone()
    RoundToHalfPass()(rounded)
    common.RemoveUnusedNodesPass()(rounded)
    session = GraphSession(rounded)
    logits = session.logits(encodings)
    measure = measurer(checkpoint, texts, reference)
    fidelity = measure(logits)
    if not fidelity.within(limits):
        raise QuantizationError(
            f"fp16 does not hold the limits (agreement at least {limits.min_agreement:.2%}, "
            f"accuracy drop at most {limits.max_accuracy_drop:.2%}): agreement is "
            f"{fidelity.agreement:.2%} on {fidelity.compared} of {texts.source}, max |Δlogit| "
            f"{fidelity.max_abs_diff:.3g}"
            + (
                ""
                if np.isfinite(fidelity.max_abs_diff)
                else " (values past float16's range of 65504)"
            )
            + "; nothing was written. Export fp32, which CUDA runs as well"
        )
    apart = independence(session, encodings, logits)
    return HalfResult(rounded, fidelity, apart, limits, texts.source)


def check_cuda_graph(file: Path) -> None:
    """Raise ExportError unless onnxruntime takes the graph, but for a kernel that only CUDA has."""
    try:
        create_session(file, [CPU], 1)
    except ArtifactError as error:
        if "Failed to find kernel for com.microsoft.PackedMultiHeadAttention" not in str(error):
            raise ExportError(f"onnxruntime does not take the fp16 graph: {error}") from error
