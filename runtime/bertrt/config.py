"""What Hugging Face's config.json says of a classifier."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertrt.errors import ArtifactError

__all__ = [
    "TASKS",
    "activation_of",
    "first_position",
    "labels_of",
    "pad_token",
    "task_of",
    "token_limit",
]

_logger = logging.getLogger("bertrt")

# The last part of the name of a model's class in Transformers -> the task.
TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
}

_ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "none",
}

# Families whose positions begin behind the padding token's id (fairseq's way), so that a table of
# 514 positions is for 512 tokens. Their padding token is 1 where config.json does not say.
_OFFSET_FAMILIES = {
    "camembert", "data2vec-text", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip

# Transformers writes 1e30 for "no limit", and takes all over 1e20 for it.
_NO_LIMIT = 10**20

# Where nobody says how many tokens a model takes: what nearly all encoders were trained with.
_USUAL_LIMIT = 512


def task_of(config: Mapping[str, Any], source: Path) -> str:
    """The task, from `architectures`; ArtifactError for a model that is no classifier."""
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        raise ArtifactError(
            f"{source} names no architectures, so what the model is for is unknown: add e.g. "
            '"architectures": ["BertForSequenceClassification"]'
        )
    name = str(architectures[0])
    for ending, task in TASKS.items():
        if name.endswith(ending):
            return task
    raise ArtifactError(
        f"{source}: the model is a {name}, which has no classification head: bertrt runs models "
        f"whose architecture ends in {' or '.join(TASKS)}"
    )


def labels_of(config: Mapping[str, Any], source: Path, *, default_names: bool) -> tuple[str, ...]:
    """Label names in logit order, from `id2label`.

    default_names: without `id2label` take LABEL_0, LABEL_1, .. as Transformers does, which leaves
    them out of the file; else it is an ArtifactError.
    """
    id2label = config.get("id2label")
    if id2label is None and default_names:
        count = config.get("num_labels", 2)
        if not isinstance(count, int) or count < 1:
            raise ArtifactError(f"{source}: num_labels is {count!r}, not a number of labels")
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(id2label, dict) or not id2label:
        raise ArtifactError(f"{source} has no id2label, so the labels are unknown: add it")
    try:
        return tuple(str(id2label[str(index)]) for index in range(len(id2label)))
    except KeyError as error:
        raise ArtifactError(
            f"{source}: id2label has {len(id2label)} entries but none for {error}: "
            f"number the labels 0 to {len(id2label) - 1}"
        ) from error


def activation_of(config: Mapping[str, Any], labels: int, source: Path) -> str:
    """`softmax`, `sigmoid` or `none`, from `problem_type` and the number of labels."""
    problem_type = config.get("problem_type")
    if problem_type in (None, "single_label_classification"):
        # One score and no competing label: a probability by itself, as in Transformers.
        return "sigmoid" if labels == 1 else "softmax"
    if problem_type not in _ACTIVATIONS:
        raise ArtifactError(
            f"{source}: problem_type is {problem_type!r}, not one of {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[problem_type]


def pad_token(config: Mapping[str, Any]) -> int:
    """The id of the padding token: config.json leaves it out where it is the family's default."""
    value = config.get("pad_token_id")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return 1 if config.get("model_type") in _OFFSET_FAMILIES else 0


def first_position(config: Mapping[str, Any]) -> int:
    """The position of a text's first token."""
    return pad_token(config) + 1 if config.get("model_type") in _OFFSET_FAMILIES else 0


def token_limit(config: Mapping[str, Any], tokenizer: Mapping[str, Any], source: Path) -> int:
    """Tokens that a text may have: the smaller of the tokenizer's limit and the positions.

    config, tokenizer: config.json and tokenizer_config.json. Models with relative positions state
    no number of them. Where the tokenizer states no limit either, 512 is taken, with a warning:
    such a model runs longer texts too, but nobody says that it was trained for them, and an error
    would keep a sound model from being used.
    """
    positions = _count(config.get("max_position_embeddings"))
    stated = _count(tokenizer.get("model_max_length", tokenizer.get("max_len")))
    limits = [stated] if stated is not None and stated < _NO_LIMIT else []
    if positions is not None:
        limits.append(positions - first_position(config))
    if limits:
        return min(limits)
    _logger.warning(
        "%s has no max_position_embeddings and the tokenizer no model_max_length: texts are cut to "
        "%d tokens; state the limit there if it is another",
        source,
        _USUAL_LIMIT,
    )
    return _USUAL_LIMIT


def _count(value: object) -> int | None:
    """A number of tokens; None for what is none (absent, null, -1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
        return None
    return _NO_LIMIT if value >= _NO_LIMIT else int(value)
