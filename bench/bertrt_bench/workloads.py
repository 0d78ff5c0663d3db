"""The texts that benchmarks classify, and how they are handed over."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

__all__ = [
    "EXAMPLES",
    "Order",
    "TextSet",
    "Workload",
    "WorkloadFacts",
    "mixed_set",
    "read_labelled",
    "read_texts",
    "sst2_sentences",
    "text_of",
    "throughput_workloads",
]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

_DOCUMENT_EVERY = 10
_DOCUMENT_TOKENS = (200, 512)

Order = Literal["arrival", "sorted"]


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts with the tokens of each (as the model cuts them), and their labels if known."""

    name: str
    description: str
    texts: tuple[str, ...]
    lengths: tuple[int, ...]
    labels: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        description: str,
        texts: Sequence[str],
        tokenizer: Tokenizer,
        labels: Sequence[int] | None = None,
    ) -> "TextSet":
        """The set, with its lengths by a tokenizer that cuts as the model does."""
        lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]
        return cls(
            name,
            description,
            tuple(texts),
            tuple(lengths),
            None if labels is None else tuple(labels),
        )

    def head(self, count: int) -> "TextSet":
        """The first texts."""
        return TextSet(
            self.name,
            self.description,
            self.texts[:count],
            self.lengths[:count],
            None if self.labels is None else self.labels[:count],
        )


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """A workload without its texts.

    title: in tables. set: the name of the text set, "" for one text by itself.
    batch_size: texts of a call; 0: the whole list. texts, tokens: how many in all.
    padding: places of the calls' rectangles for each token.
    """

    title: str
    set: str
    batch_size: int
    order: Order
    texts: int
    tokens: int
    padding: float

    @property
    def whole_list(self) -> bool:
        """Whether all texts are handed over in one call."""
        return self.batch_size == 0

    @property
    def full_title(self) -> str:
        """The title, with the set in front."""
        return f"{self.set}: {self.title}" if self.set else self.title


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts in the order in which they are handed over; `key` is the workload's in results."""

    key: str
    facts: WorkloadFacts
    texts: tuple[str, ...] = field(repr=False)

    @classmethod
    def single(cls, text: str, tokens: int) -> "Workload":
        """One text."""
        facts = WorkloadFacts(f"{tokens} tokens", "", 1, "arrival", 1, tokens, 1.0)
        return cls(f"text-{tokens}", facts, (text,))


def throughput_workloads(texts: TextSet, batch_sizes: Sequence[int]) -> list[Workload]:
    """A set in calls of each size, 0 standing for the whole list, in both orders.

    In one order where that makes no difference: to calls of one text, and to a single call.
    """
    orders: tuple[Order, ...] = ("arrival", "sorted")
    return [
        _workload(texts, size, order)
        for size in dict.fromkeys(batch_sizes)
        for order in orders[: 2 if 1 < size < len(texts.texts) else 1]
    ]


def _workload(texts: TextSet, size: int, order: Order) -> Workload:
    positions = list(range(len(texts.texts)))
    if order == "sorted":
        positions.sort(key=lambda position: -texts.lengths[position])
    lengths = [texts.lengths[position] for position in positions]
    step = size or len(lengths)
    calls = [lengths[first : first + step] for first in range(0, len(lengths), step)]
    title = f"{size} a call" if size else "all in one call"
    facts = WorkloadFacts(
        title + (", sorted" if order == "sorted" else ""),
        texts.name,
        size,
        order,
        len(lengths),
        sum(lengths),
        sum(max(call) * len(call) for call in calls) / sum(lengths),
    )
    return Workload(
        f"{texts.name}-{size or 'all'}-{order}",
        facts,
        tuple(texts.texts[position] for position in positions),
    )


def read_labelled(file: Path) -> tuple[list[str], list[int]]:
    """The sentences and labels of a file of `sentence<TAB>label` lines, blank lines left out.

    Raises ValueError for a line that is not so.
    """
    texts, labels = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        text, tab, label = line.rstrip("\r").rpartition("\t")
        if not tab or not label.strip().isdecimal():
            raise ValueError(f"{file}, line {number}, is not TEXT<TAB>LABEL-ID: {line[:60]!r}")
        texts.append(text)
        labels.append(int(label))
    return texts, labels


def sst2_sentences() -> list[str]:
    """The sentences of SST-2's train and dev sets."""
    folder = EXAMPLES / "data" / "sst2"
    return [text for name in ("train", "dev") for text in read_labelled(folder / f"{name}.tsv")[0]]


def read_texts(file: Path) -> list[str]:
    """The lines of a file, blank ones left out."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return [line.rstrip("\r") for line in lines if line.strip()]


def mixed_set(sentences: Sequence[str], tokenizer: Tokenizer, seed: int = 0) -> list[str]:
    """The sentences, with one of every ten replaced by a document of 200 to 512 tokens.

    A document is random sentences joined until its length, drawn evenly, is reached; where it
    stands among its ten is random too. The tokenizer is one that does not cut.
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


def text_of(tokens: int, sentences: Sequence[str], tokenizer: Tokenizer) -> str:
    """A text of exactly so many tokens, special ones included: words of the sentences.

    Raises ValueError if no word of theirs is one token by itself.
    """
    special = len(tokenizer.encode("").ids)
    distinct = list(dict.fromkeys(" ".join(sentences).split()))
    encodings = tokenizer.encode_batch_fast(distinct)
    words = [w for w, e in zip(distinct, encodings, strict=True) if len(e.ids) == special + 1]
    if not words:
        raise ValueError("no word of the texts is a single token: give texts in whole words")
    draw = random.Random(tokens)  # noqa: S311 (a workload, not a secret)
    text = " ".join(draw.choices(words, k=tokens - special))
    if len(tokenizer.encode(text).ids) != tokens:
        raise ValueError(f"words of the texts do not add up to {tokens} tokens with this tokenizer")
    return text
