"""Compare an exported artifact with PyTorch before anyone relies on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bertrt.cpus import available_cpus
from bertrt.packing import pack
from bertrt.session import Session
from bertrt.tokenizer import Encoding, TextTokenizer

from bertrt_export.checkpoint import Checkpoint
from bertrt_export.errors import VerificationError
from bertrt_export.golden import GOLDEN_TEXTS

__all__ = ["TOLERANCE", "Verification", "verify"]

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and how far apart the logits are at most.

    lengths: tokens of the compared texts, in ascending order.
    alone, batched, shuffled: max |Δlogit| against PyTorch, each text run by itself, all of them
    in one packed batch, and in one packed batch of another order.
    golden_logits: the artifact's logits of GOLDEN_TEXTS, float32 [texts, labels].
    """

    lengths: tuple[int, ...]
    alone: float
    batched: float
    shuffled: float
    tolerance: float
    golden_logits: np.ndarray

    @property
    def max_abs_diff(self) -> float:
        return max(self.alone, self.batched, self.shuffled)


def verify(
    checkpoint: Checkpoint,
    folder: Path,
    graph: Path,
    max_length: int,
    on_progress: Callable[[int, int], None],
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compare the graph in `folder` with PyTorch, which gets each text alone and unpadded.

    The texts are GOLDEN_TEXTS, through the artifact's own tokenizer, and random tokens of 1 to
    `max_length`. Raises VerificationError with the figures where they differ by more than
    `tolerance`, or the tokenizer's ids differ from the original's.
    """
    session = Session(graph, device="cpu", threads=available_cpus())
    golden = TextTokenizer(folder, max_length).encode(GOLDEN_TEXTS)
    _check_tokens(checkpoint, golden, max_length)
    texts = [*golden, *_random_texts(checkpoint, max_length)]
    expected = np.empty((len(texts), session.labels), dtype=np.float32)
    alone = np.empty_like(expected)
    for position, text in enumerate(texts):
        expected[position] = _pytorch_logits(checkpoint, text)
        alone[position] = session.run(pack([text]))
        on_progress(position + 1, len(texts))
    order = np.random.default_rng(0).permutation(len(texts))
    batched = session.run(pack(texts))
    shuffled = session.run(pack([texts[position] for position in order]))
    result = Verification(
        lengths=tuple(sorted(len(text) for text in texts)),
        alone=_max_abs_diff(alone, expected),
        batched=_max_abs_diff(batched, expected),
        shuffled=_max_abs_diff(shuffled, expected[order]),
        tolerance=tolerance,
        golden_logits=alone[: len(golden)],
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
    config = checkpoint.config
    segments = int(getattr(config, "type_vocab_size", 1)) if checkpoint.family.segments else 1
    return [
        Encoding(
            random.integers(0, int(config.vocab_size), length),
            np.sort(random.integers(0, segments, length)),
            truncated=False,
        )
        for length in lengths
        if length <= max_length
    ]


def _pytorch_logits(checkpoint: Checkpoint, text: Encoding) -> np.ndarray:
    inputs = {"input_ids": torch.from_numpy(text.input_ids)[None]}
    if checkpoint.family.segments:
        inputs["token_type_ids"] = torch.from_numpy(text.token_type_ids)[None]
    with torch.inference_mode():
        logits: np.ndarray = checkpoint.model(**inputs).logits[0].numpy()
    return logits


def _check_tokens(checkpoint: Checkpoint, golden: Sequence[Encoding], max_length: int) -> None:
    """The saved tokenizer must give the original's ids."""
    for text, encoding in zip(GOLDEN_TEXTS, golden, strict=True):
        parts = (text,) if isinstance(text, str) else text
        original = checkpoint.tokenizer(*parts, truncation=True, max_length=max_length)
        if original["input_ids"] != encoding.input_ids.tolist():
            raise VerificationError(
                f"the saved tokenizer splits {text!r} otherwise than the original: "
                f"{encoding.input_ids.tolist()} instead of {original['input_ids']}"
            )
