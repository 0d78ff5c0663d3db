"""Ask a loaded model what it was asked when it was exported."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertrt.errors import ArtifactError
from bertrt.packing import pack
from bertrt.session import Session
from bertrt.tokenizer import TextInput, TextTokenizer

__all__ = ["TOLERANCES", "check_golden", "golden_logits", "tolerance"]

# Far above what rounding does between hosts, far below what saturated or missing kernels do.
TOLERANCES = {"fp32": 1e-3, "int8": 0.1, "fp16": 0.05}

# Enough to meet every operator, few enough to take tens of milliseconds.
_MAX_TOKENS = 128


def check_golden(
    golden: Sequence[Mapping[str, Any]], precision: str, tokenizer: TextTokenizer, session: Session
) -> None:
    """Compare the logits of the golden texts with those that the exporter stored.

    Those of a text are [labels], and of a token classifier's [tokens, labels].
    Raises ArtifactError where any differs by more than the precision's tolerance (of the largest
    stored logit, where that is over 1) or is no number, and where golden texts are malformed.
    """
    texts, logits = golden_logits(golden, precision)
    encodings = tokenizer.encode(texts)
    total = np.cumsum([len(encoding) for encoding in encodings])
    count = max(1, int((total <= _MAX_TOKENS).sum()))
    expected = np.concatenate(logits[:count])
    actual = session.run(pack(encodings[:count]))
    if actual.shape[1] != expected.shape[1]:
        raise ArtifactError(
            f"the {precision} graph gives {actual.shape[1]} labels, and bertrt.json keeps golden "
            f"logits of {expected.shape[1]}: export the model again"
        )
    if len(actual) != len(expected):
        raise ArtifactError(
            f"the {precision} graph gives {len(actual)} rows of logits for {count} golden texts, "
            f"and bertrt.json keeps {len(expected)}: the tokenizer or the graph is another one; "
            "copy the whole folder, or export the model again"
        )
    limit = tolerance(precision, expected)
    difference = float(np.abs(actual - expected).max())
    if not difference <= limit:  # a NaN is no agreement
        raise ArtifactError(
            "this host's kernels answer otherwise than the exporter's: max |Δlogit| "
            f"{difference:.2g} on {count} golden texts in {precision}, over the limit of "
            f"{limit:.2g}; "
            "install the onnxruntime that the artifact was made with, load another precision, or "
            "export the model again on this host"
        )


def tolerance(precision: str, expected: np.ndarray) -> float:
    """By how much an answer may differ from these stored logits, whatever their shape."""
    return TOLERANCES[precision] * max(1.0, float(np.abs(expected).max()))


def golden_logits(
    golden: Sequence[Mapping[str, Any]], precision: str
) -> tuple[list[TextInput], list[np.ndarray]]:
    """The texts, and the logits of each, float32 [1 or tokens, labels]; or an ArtifactError."""
    try:
        texts = [g["text"] if isinstance(g["text"], str) else tuple(g["text"]) for g in golden]
        stored = [np.array(g["logits"][precision], dtype=np.float32) for g in golden]
    except (KeyError, TypeError, ValueError):
        texts, stored = [], []
    logits = [np.atleast_2d(rows) for rows in stored]
    whole = all(isinstance(t, str) or _is_pair(t) for t in texts)
    alike = len({rows.shape[1:] for rows in logits}) == 1 and logits[0].ndim == 2
    if not (whole and alike and all(np.isfinite(rows).all() for rows in logits)):
        raise ArtifactError(
            f"bertrt.json keeps no usable golden texts with logits for {precision}: export the "
            "model again"
        )
    return texts, logits


def _is_pair(text: tuple[Any, ...]) -> bool:
    return len(text) == 2 and all(isinstance(part, str) for part in text)
