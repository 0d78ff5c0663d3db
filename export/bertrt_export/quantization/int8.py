"""A packed float graph to int8, with what was measured on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from bertrt.tokenizer import Encoding, TextTokenizer

from bertrt_export.calibration import CalibrationTexts
from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import QuantizationError
from bertrt_export.quantization.fidelity import Fidelity, Limits
from bertrt_export.quantization.graph_session import GraphSession
from bertrt_export.quantization.search import Choice, Progress, Search, ladders, quantized, search

__all__ = ["Independence", "Int8Result", "independence", "measurer", "quantize"]

# Texts that are run alone as well, to see whether a batch changes their answers.
_ALONE_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Independence:
    """|Δlogit| of texts alone against the same texts in batches."""

    texts: int
    mean_abs_diff: float
    max_abs_diff: float


@dataclass(frozen=True, slots=True)
class Int8Result:
    """The int8 graph, the form of each unit, and how it compares with PyTorch float32.

    reference, logits: float32 [texts, labels], PyTorch's and the graph's on the verification texts;
        of a token classifier, a row for each of their tokens.
    """

    graph: ir.Model
    choice: Choice
    search: Search
    texts: CalibrationTexts
    limits: Limits
    independence: Independence
    reference: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        return self.search.logits

    @property
    def fidelity(self) -> Fidelity:
        return self.search.fidelity


def quantize(
    checkpoint: Checkpoint,
    graph: ir.Model,
    tokenizer: TextTokenizer,
    texts: CalibrationTexts,
    reference: np.ndarray,
    limits: Limits,
    on_progress: Progress,
) -> Int8Result:
    """Find the fastest int8 form of `graph` that holds the limits.

    reference: what PyTorch answers to the verification texts: `reference_logits`.
    Raises QuantizationError, with the figures, where none does.
    """
    calibration = tokenizer.encode(texts.calibration)
    verification = tokenizer.encode(texts.verification)
    units = ladders(graph, calibration, on_progress)
    measure = measurer(checkpoint, texts, reference)
    found = search(graph, units, verification, reference, measure, limits, on_progress)
    if found.choice is None:
        raise QuantizationError(_failure(found, limits, texts))
    chosen = quantized(graph, found.choice)
    apart = independence(GraphSession(chosen), verification, found.logits)
    return Int8Result(chosen, found.choice, found, texts, limits, apart, reference)


def measurer(
    checkpoint: Checkpoint, texts: CalibrationTexts, reference: np.ndarray
) -> Callable[[np.ndarray], Fidelity]:
    """What compares logits with PyTorch's on the verification texts, float32 [texts, labels]."""
    single_label = is_single_label(checkpoint)

    def measure(logits: np.ndarray) -> Fidelity:
        return Fidelity.measure(
            logits,
            reference,
            # The label of a text says nothing of its tokens.
            None if checkpoint.per_token else texts.labels,
            single_label=single_label,
            texts=len(texts.verification) if checkpoint.per_token else None,
        )

    return measure


def is_single_label(checkpoint: Checkpoint) -> bool:
    """Whether the best label alone is the answer."""
    config = checkpoint.config
    if checkpoint.per_token:
        return True
    return config.problem_type in (None, "single_label_classification") and config.num_labels > 1


def independence(
    session: GraphSession, encodings: Sequence[Encoding], batched: np.ndarray
) -> Independence:
    """How far the first texts' logits alone are from those that they got in batches."""
    few = encodings[:_ALONE_TEXTS]
    alone = np.concatenate([session.logits([encoding]) for encoding in few])
    difference = np.abs(alone - batched[: len(alone)])
    return Independence(len(few), float(difference.mean()), float(difference.max()))


def _failure(found: Search, limits: Limits, texts: CalibrationTexts) -> str:
    """Why no int8 form will do, as a table of what was tried."""
    worst = sorted(found.sensitivity.items(), key=lambda item: -item[1])[:8]
    lines = [
        f"int8 does not hold the limits (agreement at least {limits.min_agreement:.2%}, accuracy "
        f"drop at most {limits.max_accuracy_drop:.2%}) on {found.fidelity.compared} of "
        f"{texts.source}; nothing was written",
        "",
        "  promotions  agreement  accuracy  mean |Δlogit|  max |Δlogit|",
        *(
            f"  {number:>10}  {f.agreement:>9.2%}  "
            f"{'-' if f.accuracy is None else format(f.accuracy, '.2%'):>8}  "
            f"{f.mean_abs_diff:>13.4f}  {f.max_abs_diff:>12.4f}"
            for number, f in found.tried
        ),
        "",
        "  the most sensitive units, each quantized alone  mean |Δlogit|",
        *(f"  {name:<46}  {value:>13.4f}" for name, value in worst),
        "",
        "Give texts of the kind that the model will meet (--calibration), allow more "
        "(--min-agreement, --max-accuracy-drop), or export --precision fp32",
    ]
    return "\n".join(lines)
