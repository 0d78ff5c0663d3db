"""The texts of a table's rows to their logits, and errors that say which row."""

from collections.abc import Callable, Sequence

import numpy as np

from bertrt.errors import InputError
from bertrt.jobs.scoring import TextScorer, reason
from bertrt.tokenizer import TextInput

__all__ = ["row_logits"]


def row_logits(
    scorer: TextScorer, texts: Sequence[TextInput], describe: Callable[[int], str]
) -> np.ndarray:
    """The logits of texts, 0 or more: float32 [texts, labels], in order.

    They are computed `scorer.rows` at a time, so that memory is bounded however large the batches
    are that an engine hands out. describe: how an error calls the row of a text, by its position.
    Raises InputError for a text that cannot be classified.
    """
    parts = [np.empty((0, len(scorer.classifier.labels)), dtype=np.float32)]
    for first in range(0, len(texts), scorer.rows):
        chunk = texts[first : first + scorer.rows]
        try:
            parts.append(scorer.scores(chunk)[0])
        except InputError as error:
            for position, text in enumerate(chunk, first):
                why = reason(scorer, text)
                if why is not None:
                    raise InputError(f"{describe(position)} {why}") from error
            raise
    return np.concatenate(parts)
