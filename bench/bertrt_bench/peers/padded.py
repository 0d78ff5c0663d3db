"""Texts as most engines want them: a rectangle of tokens, padded to the longest text."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

__all__ = [
    "INPUTS",
    "MAX_TOKENS",
    "PaddedModel",
    "Run",
    "load_tokenizer",
    "max_tokens",
    "padded",
    "run",
]

MAX_TOKENS = 512
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# The model's inputs by name, int64 [texts, tokens], to logits, float32 [texts, labels].
Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def max_tokens(checkpoint: Path) -> int:
    """The longest text that a checkpoint takes, and at most 512 tokens."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return min(MAX_TOKENS, int(config.get("max_position_embeddings", MAX_TOKENS)))


def load_tokenizer(checkpoint: Path) -> Tokenizer:
    """The checkpoint's tokenizer, without padding, cutting texts to `max_tokens`.

    The same for all peers that have none of their own: it is the fastest there is.
    """
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens(checkpoint))
    return tokenizer


@dataclass(frozen=True, slots=True)
class PaddedModel:
    """An engine that takes padded batches, and the tokenizer in front of it."""

    engine: Run
    tokenizer: Tokenizer

    @classmethod
    def of(cls, engine: Run, checkpoint: Path) -> "PaddedModel":
        """The engine with its checkpoint's tokenizer."""
        return cls(engine, load_tokenizer(checkpoint))

    def classify(self, texts: list[str]) -> np.ndarray:
        """One batch, padded to its longest text, to logits, float32 [texts, labels]."""
        encodings: list[Encoding] = self.tokenizer.encode_batch_fast(texts)
        return self.engine(padded([e.ids for e in encodings], [e.type_ids for e in encodings]))


def run(model: PaddedModel, texts: list[str]) -> np.ndarray:
    """The `run` of all peers that load a PaddedModel: one padded batch."""
    return model.classify(texts)


def padded(
    ids: Sequence[Sequence[int] | np.ndarray], type_ids: Sequence[Sequence[int] | np.ndarray]
) -> dict[str, np.ndarray]:
    """The inputs of one batch by name, int64 [texts, longest]; 0 where a text has ended."""
    longest = max(len(row) for row in ids)
    inputs = {name: np.zeros((len(ids), longest), dtype=np.int64) for name in INPUTS}
    for number, (row, types) in enumerate(zip(ids, type_ids, strict=True)):
        inputs["input_ids"][number, : len(row)] = row
        inputs["attention_mask"][number, : len(row)] = 1
        inputs["token_type_ids"][number, : len(row)] = types
    return inputs
