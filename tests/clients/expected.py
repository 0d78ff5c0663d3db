"""What the models' answers should be, of logits that `bertrt.Classifier` gives in this process."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

__all__ = ["LONG_LABELS", "TOLERANCE", "TOPICS", "Ranked", "assert_ranked", "ranked", "scores"]

TOPICS = ("Trauer", "喜び", "colère")
LONG_LABELS = tuple(letter * 2_000 for letter in "abc")

# The server may sum in another order, because it has other batches.
TOLERANCE = 1e-5

# Labels and their scores, best first.
Ranked = list[tuple[str, float]]


def scores(logits: np.ndarray, function: str) -> np.ndarray:
    """Scores of logits [..., labels] by the textbook's formulas, in float64."""
    wide = logits.astype(np.float64)
    if function == "none":
        return wide
    if function == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-wide)))
    assert function == "softmax"
    return np.asarray(np.exp(wide) / np.exp(wide).sum(axis=-1, keepdims=True))


def ranked(logits: np.ndarray, labels: Sequence[str], function: str) -> Ranked:
    """One text's labels, best first."""
    values = scores(logits, function).tolist()
    return sorted(zip(labels, values, strict=True), key=lambda item: -item[1])


def assert_ranked(answer: Sequence[dict[str, Any]], expected: Ranked) -> None:
    """Assert that an answer, [{"label", "score"}, …], is what is expected, in its order."""
    assert all(element.keys() == {"label", "score"} for element in answer)
    assert [element["label"] for element in answer] == [label for label, _ in expected]
    values = [score for _, score in expected]
    assert [element["score"] for element in answer] == pytest.approx(values, abs=TOLERANCE)
