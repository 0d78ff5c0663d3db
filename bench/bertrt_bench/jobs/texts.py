"""Many texts from few: SST-2's sentences, each time a little different."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

__all__ = ["vary", "write_csv"]


def vary(sentences: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """`count` different texts: sentences in which a word or two are other sentences' words."""
    choose = random.Random(seed)  # noqa: S311 -- no secret
    words = sorted({word for sentence in sentences for word in sentence.split()})
    texts: dict[str, None] = {}
    while len(texts) < count:
        for sentence in sentences:
            own = sentence.split()
            for _ in range(choose.randint(1, 2)):
                own[choose.randrange(len(own))] = choose.choice(words)
            texts[" ".join(own)] = None
    return list(texts)[:count]


def write_csv(texts: Sequence[str], file: Path) -> None:
    """A table of numbered texts, with a column that the job has to carry along."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text", "source"])
        writer.writerows((number, text, "sst2") for number, text in enumerate(texts))
