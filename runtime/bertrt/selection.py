"""Which of a text's labels are its result: the best, the best few, or those over a threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from bertrt.postprocess import Prediction, over_thresholds, predictions, scores

__all__ = ["BEST", "Selection", "Threshold", "checked_top_k", "select"]


class _Best(Enum):
    """A value of its own that stays the same one when it is pickled on its way to a cluster."""

    BEST = "best"


BEST: Any = _Best.BEST  # stands for "top_k was not given": a Prediction instead of a list of them

# One for all labels, or one for each by its name.
Threshold = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which labels are the result of a text.

    labels: names in logit order. activation: that of the scores.
    top_k: at most so many, None for all.
    thresholds: the score from which each label is given, float64 [labels]; None for no such limit.
    alone: the best label by itself, and not a list.
    """

    labels: Sequence[str]
    activation: str
    top_k: int | None
    thresholds: np.ndarray | None
    alone: bool

    def of(self, logits: np.ndarray) -> list[Prediction] | list[list[Prediction]]:
        """The result of each text; logits: float32 [texts, labels]."""
        if self.thresholds is not None:
            probabilities = scores(logits, self.activation)
            return over_thresholds(probabilities, self.thresholds, self.labels, self.top_k)
        found = predictions(logits, self.labels, self.activation, self.top_k)
        return [best for (best,) in found] if self.alone else found


def select(
    labels: Sequence[str],
    activation: str,
    top_k: int | object | None,
    threshold: Threshold | None,
    tuned: Sequence[float] | None,
) -> Selection:
    """The selection that a caller asks for, or that the model has by default.

    top_k: a number, None for all labels, or BEST where it was not given.
    tuned: the thresholds of the artifact, in logit order, which a multi-label model takes where the
    caller gives neither top_k nor threshold.
    Raises ValueError for a top_k or threshold out of range.
    """
    count = None if top_k is BEST else checked_top_k(top_k)
    if threshold is not None:
        thresholds = _thresholds(threshold, labels, activation)
        return Selection(labels, activation, count, thresholds, alone=False)
    if top_k is not BEST:
        return Selection(labels, activation, count, None, alone=False)
    if tuned is not None and activation == "sigmoid":
        return Selection(labels, activation, None, np.array(tuned, dtype=np.float64), alone=False)
    return Selection(labels, activation, 1, None, alone=True)


def checked_top_k(top_k: object) -> int | None:
    """How many labels or texts to rank, None for all; ValueError for what is neither."""
    if top_k is None:
        return None
    if isinstance(top_k, SupportsIndex) and not isinstance(top_k, bool) and index(top_k) >= 1:
        return index(top_k)
    raise ValueError(f"top_k is {top_k!r}: give 1 or more, or None for all labels")


def _thresholds(threshold: Threshold, labels: Sequence[str], activation: str) -> np.ndarray:
    """The threshold of each label, float64 [labels]."""
    if not isinstance(threshold, Mapping):
        return np.full(len(labels), _checked(threshold, activation))
    unknown = [name for name in threshold if name not in labels]
    missing = [name for name in labels if name not in threshold]
    if unknown or missing:
        wrong = f"has {unknown[0]!r}, which is no label" if unknown else f"has no {missing[0]!r}"
        raise ValueError(f"threshold {wrong}: give a number for each of {', '.join(labels)}")
    return np.array([_checked(threshold[name], activation) for name in labels])


def _checked(threshold: object, activation: str) -> float:
    # The scores of a regression are raw values, of any size.
    low, high = (-np.inf, np.inf) if activation == "none" else (0, 1)
    numbers = (int, float, np.integer, np.floating)
    if isinstance(threshold, numbers) and not isinstance(threshold, bool):
        number = float(threshold)
        if low <= number <= high:
            return number
    bounds = "" if activation == "none" else " from 0 to 1"
    raise ValueError(
        f"threshold is {threshold!r}: give a number{bounds}, or one for each label by its name"
    )
