"""Zero-shot classification by entailment: labels to pairs, and the pairs' logits to scores.

Method: Yin, Hay and Roth, "Benchmarking Zero-shot Text Classification" (2019). Numbers in, numbers
out: whoever has a model of its own, such as the server, uses these with it.
"""

from collections.abc import Iterable, Sequence
from string import Formatter

import numpy as np

from bertrt.errors import ArtifactError
from bertrt.postprocess import scores

__all__ = [
    "HYPOTHESIS_TEMPLATE",
    "candidate_labels",
    "entailment_labels",
    "entailment_scores",
    "hypotheses",
]

HYPOTHESIS_TEMPLATE = "This example is {}."


def candidate_labels(labels: str | Iterable[str]) -> tuple[str, ...]:
    """The labels to choose from: a list of names, or one string with commas between them.

    Raises ValueError where there is none, or one is no name.
    """
    if isinstance(labels, str):
        found: tuple[str, ...] = tuple(
            label.strip() for label in labels.split(",") if label.strip()
        )
    elif isinstance(labels, (bytes, dict)) or not isinstance(labels, Iterable):
        raise ValueError(
            f"labels is of type {type(labels).__name__}: give a list of names, or one string with "
            "commas between them"
        )
    else:
        found = tuple(labels)
    if not found:
        raise ValueError("there is no label to choose from: give at least one")
    for position, label in enumerate(found):
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"label {position} is {label!r}: give the name of a label")
    return found


def hypotheses(labels: Sequence[str], template: str) -> list[str]:
    """The sentence that says of a text that it has a label, for each label.

    Raises ValueError for a template that has no place for the label, `{}`, or other ones, and for
    what is not valid Unicode.
    """
    # Not only str.format: a template may come from a stranger, and `{:>999999999}` or
    # `{0.__doc__}` are no places for a label.
    try:
        fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
        well_formed = fields == [["", "", None]] or (
            bool(fields) and all(field == ["0", "", None] for field in fields)
        )
    except (TypeError, ValueError):
        well_formed = False
    if not well_formed:
        raise ValueError(
            f"hypothesis_template is {template!r}: write {{}} once, where the label goes, as in "
            f"{HYPOTHESIS_TEMPLATE!r} (and a brace of the text twice)"
        )
    sentences = [template.format(label) for label in labels]
    for sentence in sentences:
        try:
            sentence.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the hypothesis {sentence!r} is not valid Unicode") from error
    return sentences


def entailment_labels(labels: Sequence[str], model: object) -> tuple[int, int]:
    """The indices of a model's labels for entailment and for contradiction.

    Entailment is the label whose name begins with `entail`. Contradiction is the one that begins
    with `contradict`; where none does, the first label, or the last if the first is entailment, as
    in Transformers.
    model: what errors call it. Raises ArtifactError for a model that has no such labels.
    """
    names = [label.lower() for label in labels]
    entailment = next((at for at, name in enumerate(names) if name.startswith("entail")), None)
    if entailment is None or len(names) == 1:
        raise ArtifactError(
            f"{model} has the labels {', '.join(labels)}, and zero-shot classification needs a "
            "model trained on natural language inference: one with a label `entailment`, by that "
            "name in config.json's id2label, and another"
        )
    by_place = len(names) - 1 if entailment == 0 else 0
    by_name = (at for at, name in enumerate(names) if name.startswith("contradict"))
    return entailment, next(by_name, by_place)


def entailment_scores(
    logits: np.ndarray, entailment: int, contradiction: int, *, multi_label: bool = False
) -> np.ndarray:
    """The scores of candidate labels, float32 [texts, labels].

    logits: float32 [texts, labels, labels of the model], of the pairs (text, hypothesis of label).
    entailment, contradiction: as `entailment_labels` gives them.
    multi_label: each label by itself, by entailment against contradiction; so a single label is
    scored always. Otherwise the labels of a text compete: its scores sum to 1.
    """
    if multi_label or logits.shape[1] == 1:
        return scores(logits[..., [contradiction, entailment]], "softmax")[..., 1]
    return scores(logits[..., entailment], "softmax")
