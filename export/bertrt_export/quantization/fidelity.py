"""How far a model's answers are from PyTorch's, in figures that users care for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Fidelity", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a quantized model must keep: shares between 0 and 1."""

    min_agreement: float = 0.99
    max_accuracy_drop: float = 0.005


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A model against PyTorch float32 on the same texts.

    texts: how many. tokens: how many there are in them, where each has an answer; else None.
    agreement: share of the texts (tokens) with the same answer: the same best label, or for a
    multi-label model the same side of 0.5 for every label. accuracy, reference_accuracy: share of
    right answers, None where no labels are known.
    """

    texts: int
    tokens: int | None
    agreement: float
    mean_abs_diff: float
    max_abs_diff: float
    accuracy: float | None
    reference_accuracy: float | None

    @classmethod
    def measure(
        cls,
        logits: np.ndarray,
        reference: np.ndarray,
        labels: Sequence[int] | None,
        *,
        single_label: bool,
        texts: int | None = None,
    ) -> "Fidelity":
        """Compare logits, float32 [texts, labels]. labels: the right answers of single labels.

        texts: how many there are, where the logits are those of their tokens.
        """
        difference = np.abs(logits - reference)
        if single_label:
            same = logits.argmax(axis=1) == reference.argmax(axis=1)
        else:
            same = ((logits > 0) == (reference > 0)).all(axis=1)
        known = labels is not None and single_label
        return cls(
            texts=len(logits) if texts is None else texts,
            tokens=None if texts is None else len(logits),
            agreement=float(same.mean()),
            mean_abs_diff=float(difference.mean()),
            max_abs_diff=float(difference.max()),
            accuracy=float((logits.argmax(axis=1) == labels).mean()) if known else None,
            reference_accuracy=float((reference.argmax(axis=1) == labels).mean())
            if known
            else None,
        )

    @property
    def compared(self) -> str:
        """How many of what were compared: `436 texts`, or `9,817 tokens`."""
        return f"{self.texts:,} texts" if self.tokens is None else f"{self.tokens:,} tokens"

    def within(self, limits: Limits) -> bool:
        """Whether the limits hold; logits that are no numbers never do."""
        drop = (self.reference_accuracy or 0.0) - (self.accuracy or 0.0)
        return (
            np.isfinite(self.max_abs_diff)
            and self.agreement >= limits.min_agreement
            and drop <= limits.max_accuracy_drop
        )
