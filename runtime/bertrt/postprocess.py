"""Logits to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Prediction", "predictions", "scores"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its score: a probability, or the model's own value for a regression."""

    label: str
    score: float


def scores(logits: np.ndarray, activation: str) -> np.ndarray:
    """Scores, float32 [texts, labels], of logits of that shape.

    activation: `softmax` (one label of several), `sigmoid` (each label by itself) or `none`.
    Logits of any finite size give finite scores.
    """
    if activation == "none":
        return logits
    if activation == "sigmoid":
        # exp of a negative number only, so that nothing overflows.
        decay = np.exp(-np.abs(logits))
        return np.asarray(np.where(logits >= 0, 1, decay) / (1 + decay))
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def predictions(
    logits: np.ndarray, labels: Sequence[str], activation: str, top_k: int | None = None
) -> list[list[Prediction]]:
    """The `top_k` best labels (all for None) of each text, best first; ties in label order."""
    probabilities = scores(logits, activation)
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]
    return [
        [Prediction(labels[index], float(row[index])) for index in best]
        for row, best in zip(probabilities, order, strict=True)
    ]
