"""Who asks, and what the answer is: the internal call that every protocol translates to."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bertrt.postprocess import Prediction, label_ranked, predictions, scores
from bertrt.server.models import ServedModel
from bertrt.server.scheduler import Job

__all__ = ["Caller", "Classification"]


class Caller(Protocol):
    """Who waits for the answer."""

    deadline: float | None
    """When (time.monotonic) the answer is of no use any more."""

    def gone(self) -> Awaitable[None]:
        """Returns when the client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one request.

    job: its logits and scores, float32 [texts, labels], in input order. tokens: of each text.
    truncated: the positions of the texts that were cut to the model's limit. seconds: by stage:
    tokenize, queue, inference.
    """

    model: ServedModel
    job: Job
    tokens: Sequence[int]
    truncated: Sequence[int]
    seconds: dict[str, float]

    def scores(self, activation: str | None = None) -> np.ndarray:
        """Scores, float32 [texts, labels]; by default with the model's own activation."""
        return self.job.scores if activation is None else scores(self.logits, activation)

    def predictions(
        self, activation: str | None = None, top_k: int | None = None
    ) -> list[list[Prediction]]:
        """The `top_k` best labels (all for None) of each text, best first."""
        labels = self.model.classifier.labels
        if activation is None:
            return label_ranked(self.job.scores, self.job.order, labels, top_k)
        return predictions(self.logits, labels, activation, top_k)

    @property
    def logits(self) -> np.ndarray:
        """The model's raw answers, float32 [texts, labels]."""
        return self.job.logits
