"""Texts as most engines want them: rectangles of tokens, padded to the longest text."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from bertrt_bench.peers.model import Model

__all__ = [
    "BATCH_SIZE",
    "MAX_TOKENS",
    "Run",
    "in_batches",
    "load_tokenizer",
    "padded",
    "padded_model",
]

BATCH_SIZE = 32
MAX_TOKENS = 512

# The model's inputs by name, int64 [texts, tokens], to logits, float32 [texts, labels].
Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def load_tokenizer(checkpoint: Path) -> Tokenizer:
    """The checkpoint's tokenizer, without padding, cut to 512 tokens.

    The same for all peers, because Transformers' versions differ in which tokenizers they read.
    """
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def in_batches(
    tokenizer: Tokenizer, run: Callable[[list[Encoding]], np.ndarray]
) -> Callable[[list[str], bool], np.ndarray]:
    """The `classify` of a peer, from a function that answers one batch.

    Texts go 32 at a time: in the order they come, or, where that is asked for, the longest first.
    """

    def classify(texts: list[str], by_length: bool) -> np.ndarray:
        encodings = tokenizer.encode_batch_fast(texts)
        order = list(range(len(texts)))
        if by_length:
            order.sort(key=lambda position: -len(encodings[position].ids))
        logits: dict[int, np.ndarray] = {}
        for start in range(0, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            rows = run([encodings[position] for position in positions])
            logits.update(zip(positions, rows, strict=True))
        return np.stack([logits[position] for position in range(len(texts))])

    return classify


def padded(
    ids: Sequence[Sequence[int] | np.ndarray], type_ids: Sequence[Sequence[int] | np.ndarray]
) -> dict[str, np.ndarray]:
    """The inputs of one batch by name, int64 [texts, longest]; 0 where a text has ended."""
    longest = max(len(row) for row in ids)
    inputs = {
        name: np.zeros((len(ids), longest), dtype=np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for number, (row, types) in enumerate(zip(ids, type_ids, strict=True)):
        inputs["input_ids"][number, : len(row)] = row
        inputs["attention_mask"][number, : len(row)] = 1
        inputs["token_type_ids"][number, : len(row)] = types
    return inputs


def padded_model(run: Run, checkpoint: Path) -> Model:
    """The peer whose engine takes padded batches."""
    classify = in_batches(
        load_tokenizer(checkpoint),
        lambda encodings: run(padded([e.ids for e in encodings], [e.type_ids for e in encodings])),
    )

    def session(input_ids: np.ndarray) -> np.ndarray:
        return run(
            {
                "input_ids": input_ids,
                "attention_mask": np.ones_like(input_ids),
                "token_type_ids": np.zeros_like(input_ids),
            }
        )

    return Model(classify, session)
