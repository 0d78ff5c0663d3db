"""Tokens to packed batches: no padding, little waste in the attention's rectangle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertrt.tokenizer import Encoding

__all__ = ["PackedBatch", "pack", "plan_batches"]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Texts one after another, without padding.

    input_ids, token_type_ids: int64 [tokens]; lengths: int32 [texts], their sum is tokens.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    lengths: np.ndarray


def plan_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Cut texts into batches of similar length; lists of positions in `lengths`, longest first.

    A batch's rectangle (its texts x its longest text) has at most `max_batch_tokens` places, so
    it has at most as many tokens; a text longer than that is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    longest = 0
    for position in order:
        if batches and (len(batches[-1]) + 1) * longest <= max_batch_tokens:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = lengths[position]
    return batches


def pack(encodings: Sequence[Encoding]) -> PackedBatch:
    """Join encodings into one batch, in the order given."""
    return PackedBatch(
        np.concatenate([encoding.input_ids for encoding in encodings]),
        np.concatenate([encoding.token_type_ids for encoding in encodings]),
        np.array([len(encoding) for encoding in encodings], dtype=np.int32),
    )
