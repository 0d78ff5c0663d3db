"""The models and texts that are measured on the GPU; none of them needs a download."""

import random
from pathlib import Path

from bertrt_bench.gpu.settings import Settings
from bertrt_bench.models import SIZES, find_model
from bertrt_bench.peers.padded import load_tokenizer
from bertrt_bench.workloads import EXAMPLES, read_labelled, text_of

__all__ = ["checkpoint_of", "equal_texts", "is_there", "unseen_texts"]

_SST2 = EXAMPLES / "data" / "sst2"


def is_there(model: str, settings: Settings) -> bool:
    """Whether a model need not be trained first."""
    made = (settings.work / model / "tokenizer.json").exists()
    return model == "example" or model in SIZES or made


def checkpoint_of(model: str, settings: Settings) -> Path:
    """A model's folder; one of random weights is made where it is not there."""
    return find_model(model, settings.work).path.resolve()


def unseen_texts(count: int) -> tuple[list[str], list[int]]:
    """Sentences of SST-2 and their labels, of those that no model was trained on: dev and test."""
    parts = [read_labelled(_SST2 / f"{part}.tsv") for part in ("dev", "test")]
    texts = [text for found, _ in parts for text in found]
    labels = [label for _, found in parts for label in found]
    return texts[:count], labels[:count]


def equal_texts(tokens: int, count: int, checkpoint: Path) -> list[str]:
    """Texts of exactly so many tokens each: one's words, each of them a token, in other orders."""
    tokenizer = load_tokenizer(checkpoint)
    words = text_of(tokens, unseen_texts(_SENTENCES)[0], tokenizer).split()
    draw = random.Random(0)  # noqa: S311 (a workload, not a secret)
    return [" ".join(draw.sample(words, len(words))) for _ in range(count)]


# Enough for words that are one token by themselves.
_SENTENCES = 500
