"""Checkpoints of every kind of problem that a classifier solves: small, with random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["KINDS", "MAX_LENGTH", "Kind", "save_checkpoint"]

# Short, so that real sentences are over it too.
MAX_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Kind:
    """labels: names in logit order; problem_type: as config.json has it."""

    labels: tuple[str, ...]
    problem_type: (
        Literal["regression", "single_label_classification", "multi_label_classification"] | None
    ) = None


KINDS = {
    "single": Kind(("negative", "neutral", "positive", "mixed"), "single_label_classification"),
    "multi": Kind(("toxic", "insult", "threat", "hate", "spam"), "multi_label_classification"),
    "regression": Kind(("stars",), "regression"),
    "two-values": Kind(("valence", "arousal"), "regression"),
    "reranker": Kind(("LABEL_0",)),
    "nli": Kind(("contradiction", "neutral", "entailment")),
    "nli-entailment-first": Kind(("ENTAILMENT", "NOT_ENTAILMENT")),
}


def save_checkpoint(folder: Path, kind: str, tokenizer_folder: Path) -> None:
    """Write a BERT classifier of MAX_LENGTH tokens, with the tokenizer of a folder."""
    # Imported here: torch and transformers take seconds that many tests need not wait for.
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(sorted(KINDS).index(kind))
    labels = KINDS[kind].labels
    config = BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.2,  # the usual 0.02 gives logits near 0, which hide differences
        problem_type=KINDS[kind].problem_type,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
