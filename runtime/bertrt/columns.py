"""Logits to the columns that a table of texts gets: labels, scores, logits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from bertrt.artifact import Artifact
from bertrt.errors import InputError
from bertrt.postprocess import Prediction, scores
from bertrt.selection import BEST, Selection, Threshold, select

__all__ = ["ADD", "Column", "ResultColumns", "result_columns"]

# What is added to a table: the result alone; the score of every label too; or every logit too.
ADD = ("label", "scores", "logits")

# Labels, lists of predictions, or numbers: a value a text.
Column = list[str] | list[list[Prediction]] | np.ndarray


@dataclass(frozen=True, slots=True)
class ResultColumns:
    """The columns that are added to a table of texts.

    Where a text has one label, they are `label` and `score`; where it may have any number (top_k,
    thresholds), `predictions`, best first. With add="scores" each label has a column `score_LABEL`
    too, with "logits" `logit_LABEL`, in logit order.

    selection: which labels are a text's result. add: one of ADD. prefix: begins each name.
    Raises ValueError for an `add` that is unknown.
    """

    selection: Selection
    add: str = "label"
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.add not in ADD:
            raise ValueError(f"add is {self.add!r}: choose one of {', '.join(ADD)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        own = ("label", "score") if self.selection.alone else ("predictions",)
        kind = {"label": None, "scores": "score", "logits": "logit"}[self.add]
        each = () if kind is None else tuple(f"{kind}_{label}" for label in self.selection.labels)
        return tuple(self.prefix + name for name in own + each)

    def check_free(self, existing: Collection[str], source: str) -> None:
        """Raise InputError where a table, called `source`, has one of the columns already."""
        for name in self.names:
            if name in existing:
                raise InputError(
                    f"{source} has a column {name!r} already, and so would the result: give the "
                    "added columns other names with a prefix, such as predicted_"
                )

    def of(self, logits: np.ndarray) -> dict[str, Column]:
        """The columns by name, of logits, float32 [texts, labels]: numbers are float32 [texts]."""
        results = self.selection.of(logits)
        columns: list[Column]
        if self.selection.alone:
            columns = [
                [best.label for best in results],  # type: ignore[union-attr]
                np.array([best.score for best in results], dtype=np.float32),  # type: ignore[union-attr]
            ]
        else:
            columns = [results]  # type: ignore[list-item]
        if self.add != "label":
            numbers = logits if self.add == "logits" else scores(logits, self.selection.activation)
            columns += list(np.ascontiguousarray(numbers.T, dtype=np.float32))
        return dict(zip(self.names, columns, strict=True))


def result_columns(
    artifact: Artifact,
    *,
    add: str = "label",
    top_k: int | object | None = BEST,
    threshold: Threshold | None = None,
    prefix: str = "",
    labels: Sequence[str] | None = None,
) -> ResultColumns:
    """The columns for a model's texts; top_k and threshold as `Classifier` takes them.

    labels: for zero-shot, the candidates, whose scores stand in place of logits.
    Raises ValueError for an option out of range.
    """
    if labels is not None:
        return ResultColumns(select(labels, "none", top_k, threshold, None), add, prefix)
    chosen = select(artifact.labels, artifact.activation, top_k, threshold, artifact.thresholds)
    return ResultColumns(chosen, add, prefix)
