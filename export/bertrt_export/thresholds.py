"""The score from which on a multi-label model says yes to a label, tuned on labelled texts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertrt_export.labelled_texts import LabelledTexts

__all__ = ["DEFAULT_THRESHOLD", "TunedThresholds", "f1_scores", "tune_thresholds", "tuned"]

DEFAULT_THRESHOLD = 0.5

_logger = logging.getLogger("bertrt_export")


@dataclass(frozen=True, slots=True)
class TunedThresholds:
    """The thresholds of a model's labels, in logit order, and what they do for it.

    thresholds: float64 [labels]. f1, f1_at_default: float64 [labels], by these thresholds and by
    DEFAULT_THRESHOLD; NaN for a label that no text has. positives: int64 [labels], texts that have
    the label. precision: of the graph that gave the scores.
    """

    labels: tuple[str, ...]
    thresholds: np.ndarray
    f1: np.ndarray
    f1_at_default: np.ndarray
    positives: np.ndarray
    texts: int
    precision: str
    source: str
    sha256: str

    def by_label(self) -> dict[str, float]:
        """The threshold of each label, by its name."""
        return dict(zip(self.labels, self.thresholds.tolist(), strict=True))

    def mean(self, f1: np.ndarray) -> float:
        """The mean over the labels that any text has; NaN where there are none."""
        known = f1[self.positives > 0]
        return float(known.mean()) if known.size else float("nan")


def tune_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The threshold of maximum F1 of each label, float64 [labels].

    scores: probabilities [texts, labels]. targets: bool of that shape. A label is predicted where
    its score is at least its threshold. Every cut that makes a difference is tried: midway between
    neighbouring scores, and midway between the lowest score and 0. Of cuts with equal F1 the one
    nearest to DEFAULT_THRESHOLD is taken, and of two as near the lower. A label that no text has
    keeps DEFAULT_THRESHOLD.
    """
    assert scores.shape == targets.shape
    columns = zip(scores.astype(np.float64).T, targets.T, strict=True)
    return np.array([_best_cut(score, target) for score, target in columns])


def _best_cut(scores: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return DEFAULT_THRESHOLD
    values, positions = np.unique(scores, return_inverse=True)
    cuts = (np.concatenate(([0.0], values[:-1])) + values) / 2
    # Of the texts with at least each value: how many there are, and how many have the label.
    predicted = np.bincount(positions)[::-1].cumsum()[::-1]
    right = np.bincount(positions, weights=targets)[::-1].cumsum()[::-1]
    f1 = _f1(right, predicted, targets.sum())
    best = np.flatnonzero(f1 == f1.max())
    return float(cuts[best[np.abs(cuts[best] - DEFAULT_THRESHOLD).argmin()]])


def f1_scores(
    scores: np.ndarray, targets: np.ndarray, thresholds: np.ndarray | float
) -> np.ndarray:
    """The F1 of each label, float64 [labels]: 2 right / (predicted + positives).

    NaN for a label that no text has. The rest is as for `tune_thresholds`.
    """
    predicted = scores.astype(np.float64) >= thresholds
    positives = targets.sum(axis=0)
    f1 = _f1((predicted & targets).sum(axis=0), predicted.sum(axis=0), positives)
    return np.where(positives > 0, f1, np.nan)


def _f1(right: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """2 right / (predicted + positives), of counts; 0 where there is nothing of either."""
    return np.asarray(2 * right / np.maximum(predicted + positives, 1))


def tuned(
    scores: np.ndarray, texts: LabelledTexts, labels: Sequence[str], precision: str
) -> TunedThresholds:
    """Tune each label's threshold; a label that none of the texts has is warned of."""
    thresholds = tune_thresholds(scores, texts.targets)
    positives = texts.targets.sum(axis=0)
    without = [label for label, count in zip(labels, positives, strict=True) if not count]
    if without:
        _logger.warning(
            "Warning: no text of %s has the labels %s: their threshold stays %s",
            texts.source,
            ", ".join(without),
            DEFAULT_THRESHOLD,
        )
    return TunedThresholds(
        tuple(labels),
        thresholds,
        f1_scores(scores, texts.targets, thresholds),
        f1_scores(scores, texts.targets, DEFAULT_THRESHOLD),
        positives,
        len(texts.texts),
        precision,
        texts.source,
        texts.sha256,
    )
