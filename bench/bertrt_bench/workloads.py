"""The texts that benchmarks classify."""

import random
from pathlib import Path

from tokenizers import Tokenizer

__all__ = ["EXAMPLES", "mixed_set", "read_labelled"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

_DOCUMENT_EVERY = 10
_DOCUMENT_TOKENS = (200, 512)


def read_labelled(file: Path) -> tuple[list[str], list[int]]:
    """The sentences and labels of a file of `sentence<TAB>label` lines."""
    rows = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def mixed_set(sentences: list[str], tokenizer: Tokenizer, seed: int = 0) -> list[str]:
    """The sentences, with one of every ten replaced by a document of 200 to 512 tokens.

    A document is random sentences joined until its length, drawn evenly, is reached; where it
    stands among its ten is random too.
    """
    draw = random.Random(seed)  # noqa: S311 (a workload, not a secret)
    texts = list(sentences)
    for start in range(0, len(texts) - _DOCUMENT_EVERY + 1, _DOCUMENT_EVERY):
        goal = draw.randint(*_DOCUMENT_TOKENS)
        document = ""
        while len(tokenizer.encode(document).ids) < goal:
            document = f"{document} {draw.choice(sentences)}".strip()
        texts[start + draw.randrange(_DOCUMENT_EVERY)] = document
    return texts
