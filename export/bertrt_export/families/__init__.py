"""What differs between model families. The graph passes know nothing of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from bertrt_export.families import modernbert, mpnet

__all__ = [
    "FAMILIES",
    "Family",
    "Positions",
    "StandIns",
    "base_model",
    "guess_family",
    "pools_by_mean",
    "position_limit",
    "position_table",
    "segment_table",
]

# Where a token's position comes from.
# from 0: a table of position embeddings, whose row is the token's place in its text.
# after padding: the table's rows up to the padding token's id are not for tokens; a padding token
#   within a text has its own row, and is not counted (RoBERTa).
# rotary: queries and keys are rotated, and there is no table.
Positions = Literal["from 0", "after padding", "rotary"]

# Makes modules that take the place of some of a base model's own while it is traced, by their paths
# in it. While tracing, the second argument gives the token positions, int64 [1, tokens].
StandIns = Callable[[nn.Module, Callable[[], torch.Tensor]], Mapping[str, nn.Module]]


@dataclass(frozen=True, slots=True)
class Family:
    """How to trace one family of Hugging Face classifiers.

    encoder: path, below the base model, of the submodule whose output is the last hidden state that
        the head reads; empty where it is the base model's own output. Where the base model has a
        pooler, that is part of the head.
    positions: where a token's position comes from.
    stand_ins: for modules that cannot be traced as they stand; None for most.
    """

    encoder: str
    positions: Positions
    stand_ins: StandIns | None = None


FAMILIES = {
    "albert": Family("encoder", "from 0"),
    "bert": Family("encoder", "from 0"),
    "camembert": Family("", "after padding"),
    "distilbert": Family("", "from 0"),
    "electra": Family("", "from 0"),
    "modernbert": Family("", "rotary", modernbert.stand_ins),
    "mpnet": Family("", "after padding", mpnet.stand_ins),
    "roberta": Family("", "after padding"),
    "xlm-roberta": Family("", "after padding"),
}


def guess_family(base: nn.Module) -> Family | None:
    """What an encoder that is none of FAMILIES most likely is, by its base model.

    None where there is no table of position embeddings. The guess is as good as the comparison with
    PyTorch that follows it.
    """
    table = position_table(base)
    if table is None:
        return None
    encoder = "encoder" if getattr(base, "pooler", None) is not None else ""
    return Family(encoder, "from 0" if table.padding_idx is None else "after padding")


def base_model(model: nn.Module) -> Any:
    """The encoder of a classifier of Transformers."""
    return model.base_model


def pools_by_mean(config: Any) -> bool:
    """Whether the head reads the mean of a text's tokens instead of the first (ModernBERT)."""
    return getattr(config, "classifier_pooling", None) == "mean"


def position_limit(base: Any) -> int | None:
    """Tokens that a model has positions for; None where its positions have no end."""
    table = position_table(base)
    if table is not None:
        first = 0 if table.padding_idx is None else table.padding_idx + 1
        return table.num_embeddings - first
    limit = getattr(base.config, "max_position_embeddings", None)
    return int(limit) if limit is not None and limit > 0 else None


def position_table(base: nn.Module) -> nn.Embedding | None:
    """The table of position embeddings of a base model, if it has one."""
    return _table(base, "position_embeddings")


def segment_table(base: nn.Module) -> nn.Embedding | None:
    """The table of segment embeddings of a base model, if it has one."""
    return _table(base, "token_type_embeddings")


def _table(base: nn.Module, name: str) -> nn.Embedding | None:
    for path, module in base.named_modules():
        if path.rpartition(".")[2] == name and isinstance(module, nn.Embedding):
            return module
    return None
