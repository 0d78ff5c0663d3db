"""Compare an exported artifact with PyTorch before anyone relies on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bertrt.packing import pack
from bertrt.tokenizer import Encoding, TextTokenizer

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import VerificationError
from bertrt_export.families import base_model, segment_table
from bertrt_export.golden import GOLDEN_TEXTS
from bertrt_export.sessions import open_graph
from bertrt_export.tokenizer_fidelity import check_tokenizer

__all__ = ["TOLERANCE", "Verification", "pytorch_logits", "reference_logits", "verify"]

TOLERANCE = 1e-4

# Texts of one length that PyTorch gets at once, and tokens.
_BATCH_SIZE = 16
_BATCH_TOKENS = 8192

# Texts up to this length share a batch. Attention takes memory by the square of the longest.
_BATCHED_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and how far apart the logits are at most.

    lengths: tokens of the compared texts, in ascending order.
    alone, batched, shuffled: max |Δlogit| against PyTorch, each text run by itself, all of them
    in one packed batch, and in one packed batch of another order.
    """

    lengths: tuple[int, ...]
    alone: float
    batched: float
    shuffled: float
    tolerance: float

    @property
    def max_abs_diff(self) -> float:
        return max(self.alone, self.batched, self.shuffled)


def verify(
    checkpoint: Checkpoint,
    tokenizer: TextTokenizer,
    graph: Path,
    on_progress: Callable[[int, int], None],
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compare the float graph in a file with PyTorch, which never gets padding.

    The texts are GOLDEN_TEXTS, through the artifact's own tokenizer, and random tokens of 1 to as
    many as it lets through. Raises VerificationError with the figures where they differ by more
    than `tolerance`, or the tokenizer's ids differ from the original's.
    """
    session = open_graph(checkpoint, graph)
    max_length = tokenizer.max_length
    check_tokenizer(checkpoint.tokenizer, tokenizer, max_length, segments=checkpoint.segments)
    golden = tokenizer.encode(GOLDEN_TEXTS)
    texts = [*golden, *_random_texts(checkpoint, max_length)]
    expected = pytorch_logits(checkpoint, texts, on_progress)
    together = [number for number, text in enumerate(texts) if len(text) <= _BATCHED_LENGTH]
    order = np.random.default_rng(0).permutation(together)

    def compared(batch: Sequence[int]) -> float:
        logits = session.run(pack([texts[number] for number in batch]))
        return _max_abs_diff(logits, np.concatenate([expected[number] for number in batch]))

    result = Verification(
        lengths=tuple(sorted(len(text) for text in texts)),
        alone=max(compared([number]) for number in range(len(texts))),
        batched=compared(together),
        shuffled=compared(order.tolist()),
        tolerance=tolerance,
    )
    # A NaN is no agreement either, so the test is for "within", not for "beyond".
    if not result.max_abs_diff <= tolerance:
        raise VerificationError(
            f"the exported model does not answer as PyTorch does: max |Δlogit| is "
            f"{result.alone:.2e} alone, {result.batched:.2e} in a batch and {result.shuffled:.2e} "
            f"shuffled, and the limit is {tolerance:.0e} ({len(texts)} texts of "
            f"{result.lengths[0]} to {result.lengths[-1]} tokens); nothing was written"
        )
    return result


def _max_abs_diff(logits: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(logits - expected).max())


def _random_texts(checkpoint: Checkpoint, max_length: int) -> list[Encoding]:
    """Random tokens, one text of each length: 1, 2, 3, powers of two and around, the maximum."""
    powers = [2**n for n in range(12)]
    lengths = sorted({min(max_length, n) for p in powers for n in (p, p + 1)} | {3, max_length})
    random = np.random.default_rng(0)
    table = segment_table(base_model(checkpoint.model)) if checkpoint.segments else None
    segments = table.num_embeddings if table is not None else 1
    return [
        Encoding(
            random.integers(0, int(checkpoint.config.vocab_size), length),
            np.sort(random.integers(0, segments, length)),
            truncated=False,
        )
        for length in lengths
        if length <= max_length
    ]


def pytorch_logits(
    checkpoint: Checkpoint, texts: Sequence[Encoding], on_progress: Callable[[int, int], None]
) -> list[np.ndarray]:
    """PyTorch's logits of each text, float32 [1, labels]; of a token classifier, [tokens, labels].

    Only texts of equal length share a batch.
    """
    by_length: dict[int, list[int]] = {}
    for position, text in enumerate(texts):
        by_length.setdefault(len(text), []).append(position)
    logits: dict[int, np.ndarray] = {}
    for length, positions in by_length.items():
        size = max(1, min(_BATCH_SIZE, _BATCH_TOKENS // length))
        for start in range(0, len(positions), size):
            batch = positions[start : start + size]
            inputs = {"input_ids": np.stack([texts[p].input_ids for p in batch])}
            if checkpoint.segments:
                inputs["token_type_ids"] = np.stack([texts[p].token_type_ids for p in batch])
            tensors = {name: torch.from_numpy(rows) for name, rows in inputs.items()}
            with torch.inference_mode():
                answers = checkpoint.model(**tensors).logits.numpy()
            for position, answer in zip(batch, answers, strict=True):
                logits[position] = np.atleast_2d(answer)
            on_progress(len(logits), len(texts))
    return [logits[position] for position in range(len(texts))]


def reference_logits(
    checkpoint: Checkpoint,
    texts: Sequence[Encoding],
    on_progress: Callable[[str, int, int], None],
) -> np.ndarray:
    """PyTorch's logits as one array, float32 [texts, labels]; of a token classifier [tokens, ..].

    What int8 and fp16 are compared with.
    """
    return np.concatenate(
        pytorch_logits(checkpoint, texts, lambda *steps: on_progress("asking PyTorch", *steps))
    )
