"""Logits to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Prediction", "label_ranked", "predictions", "ranked", "scores"]


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
    return label_ranked(probabilities, ranked(probabilities), labels, top_k)


def ranked(probabilities: np.ndarray) -> np.ndarray:
    """The labels' indices by score, best first, int64 [texts, labels]; ties in label order."""
    return np.argsort(-probabilities, axis=-1, kind="stable")


def label_ranked(
    probabilities: np.ndarray, order: np.ndarray, labels: Sequence[str], top_k: int | None = None
) -> list[list[Prediction]]:
    """`predictions` of scores, float32 [texts, labels], that have been ranked."""
    return [
        [Prediction(labels[index], row[index]) for index in best[:top_k]]
        for row, best in zip(probabilities.tolist(), order.tolist(), strict=True)
    ]
