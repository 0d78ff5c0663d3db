"""Texts to the numbers of which results are made."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

import numpy as np

from bertrt.classifier import Classifier
from bertrt.errors import InputError
from bertrt.long_text import LongTextOptions, encode_groups
from bertrt.tokenizer import TextInput
from bertrt.zero_shot import ZeroShotClassifier

__all__ = ["Scorer", "TextScorer", "ZeroShotScorer", "reason"]

# Texts that share batches: enough of them to be batched by length. A GPU takes larger batches, and
# tokenizes some while it runs others.
_CPU_ROWS, _GPU_ROWS = 4096, 32_768


class Scorer(Protocol):
    """What a job does with texts.

    classifier: what runs. rows: texts to give it at a time. settings: what else the numbers depend
    on.
    """

    classifier: Classifier
    rows: int
    settings: dict[str, object]

    def scores(self, texts: Sequence[TextInput]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers, float32 [texts, labels], and which texts were cut, bool [texts].

        Raises InputError where a text is none.
        """

    def check(self, text: TextInput) -> None:
        """Raise the InputError that a text is for, which calls it text 0."""


def reason(scorer: Scorer, text: TextInput) -> str | None:
    """Why a text cannot be classified, as `has 600 tokens ..`; None for one that can."""
    try:
        scorer.check(text)
    except InputError as error:
        return str(error).removeprefix("text 0 ")
    return None


class TextScorer:
    """Logits of texts and pairs; options: what becomes of those over the model's limit."""

    def __init__(self, classifier: Classifier, options: LongTextOptions | None = None) -> None:
        self._options = options or LongTextOptions()
        self.classifier = classifier
        self.rows = _GPU_ROWS if classifier.session.on_gpu else _CPU_ROWS
        self.settings: dict[str, object] = {"long texts": asdict(self._options)}

    def scores(self, texts: Sequence[TextInput]) -> tuple[np.ndarray, np.ndarray]:
        """Logits, and which texts were cut."""
        return self.classifier.answers(list(texts), self._options)

    def check(self, text: TextInput) -> None:
        """Raise the InputError that a text is for."""
        encode_groups(self.classifier.tokenizer, [text], self._options)


class ZeroShotScorer:
    """Scores of candidate labels. What is cut of a text differs by label, so none counts as cut.

    labels: what the numbers of a text are for, in order.
    """

    def __init__(self, zero_shot: ZeroShotClassifier, *, multi_label: bool = False) -> None:
        if zero_shot.labels is None:
            raise ValueError(
                "the classifier has no labels to choose from: give them when it is made"
            )
        self._zero_shot, self._multi_label = zero_shot, multi_label
        self.classifier = zero_shot.classifier
        self.labels = zero_shot.labels
        self.rows = max(1, _CPU_ROWS // len(self.labels))
        self.settings: dict[str, object] = {
            "candidate labels": list(self.labels),
            "template": zero_shot.hypothesis_template,
            "multi-label": multi_label,
        }

    def scores(self, texts: Sequence[TextInput]) -> tuple[np.ndarray, np.ndarray]:
        """Scores, and that no text was cut."""
        strings = [text for text in texts if isinstance(text, str)]
        assert len(strings) == len(texts)
        scores = self._zero_shot.scores(strings, multi_label=self._multi_label)
        return scores, np.zeros(len(texts), dtype=np.bool_)

    def check(self, text: TextInput) -> None:
        """Raise the InputError that a text is for."""
        self.classifier.tokenizer.encode([text], strategy="longest_first")
