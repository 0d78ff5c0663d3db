"""Logits to predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "DECIMALS",
    "Prediction",
    "Ranked",
    "WindowPrediction",
    "label_ranked",
    "over_thresholds",
    "predictions",
    "rank_texts",
    "ranked",
    "scores",
]


# Of scores and logits, where they are written as text.
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its score: a probability, or the model's own value for a regression."""

    label: str
    score: float

    def to_json(self) -> dict[str, Any]:
        """What commands and files say of it."""
        return {"label": self.label, "score": round(self.score, DECIMALS)}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text of a list that was ranked: its position there, and its score for the query."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class WindowPrediction:
    """What the model says of one window of a text.

    start, end: characters of the text (of the longer text of a pair), from the window's first token
        to its last.
    predictions: best label first.
    """

    start: int
    end: int
    predictions: tuple[Prediction, ...]


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


def over_thresholds(
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    labels: Sequence[str],
    top_k: int | None = None,
) -> list[list[Prediction]]:
    """The labels of each text whose scores are at or over their thresholds, best first.

    probabilities: scores, float32 [texts, labels]. thresholds: float64 [labels].
    top_k: no more than so many; None for all of them. A text may have none.
    """
    order = ranked(probabilities)
    all_labels = label_ranked(probabilities, order, labels)
    over = np.take_along_axis(probabilities >= thresholds, order, axis=-1)
    return [
        [label for label, is_over in zip(row, flags, strict=True) if is_over][:top_k]
        for row, flags in zip(all_labels, over.tolist(), strict=True)
    ]


def rank_texts(scores: Sequence[float], top_k: int | None = None) -> list[Ranked]:
    """The `top_k` best texts (all for None) by their scores, best first; ties in input order."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [Ranked(index, scores[index]) for index in order[:top_k]]
