"""Texts over the model's limit: cut, or read in overlapping windows whose logits are combined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertrt.tokenizer import Encoding, TextInput, TextTokenizer

__all__ = [
    "COMBINE",
    "LONG_TEXT",
    "Combine",
    "LongText",
    "LongTextOptions",
    "checked_stride",
    "combine_windows",
    "encode_groups",
]

LongText = Literal["truncate", "window"]
Combine = Literal["mean", "max"]
LONG_TEXT = ("truncate", "window")
COMBINE = ("mean", "max")


@dataclass(frozen=True, slots=True)
class LongTextOptions:
    """What happens to a text over the model's limit.

    long_text: `truncate` cuts it; `window` reads all of it, in overlapping windows.
    truncate: where false, a long text is an error instead of being cut.
    stride: tokens that consecutive windows share; None for an eighth of the limit.
    combine: how a text's logits come of those of its windows, label by label: `mean` or `max`.
    Raises ValueError for what is unknown, and for options that only windows have.
    """

    long_text: LongText = "truncate"
    truncate: bool = True
    stride: int | None = None
    combine: Combine = "mean"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("long_text", self.long_text, LONG_TEXT),
            ("combine", self.combine, COMBINE),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}: choose one of {', '.join(known)}")
        if self.long_text == "window":
            if not self.truncate:
                raise ValueError(
                    "long_text is 'window', which takes texts over the limit, and truncation is "
                    "off, which refuses them: choose one of the two"
                )
        elif self.stride is not None or self.combine != "mean":
            raise ValueError("stride and combine are for windows: set long_text to 'window' too")


def checked_stride(tokenizer: TextTokenizer, stride: int | None) -> int:
    """The tokens that windows share: those given, or an eighth of the limit (64 of 512).

    Raises ValueError for a stride that leaves windows of a text nothing new, or is no number.
    """
    chosen = tokenizer.max_length // 8 if stride is None else stride
    tokenizer.windows([], stride=chosen)
    return chosen


def encode_groups(
    tokenizer: TextTokenizer, texts: Sequence[TextInput], options: LongTextOptions, first: int = 0
) -> list[list[Encoding]]:
    """The encodings of each text: one, or those of its windows.

    first: the number that errors give to the first text.
    Raises what `TextTokenizer.encode` and `TextTokenizer.windows` raise.
    """
    if options.long_text == "truncate":
        encodings = tokenizer.encode(texts, truncate=options.truncate, first=first)
        return [[encoding] for encoding in encodings]
    stride = checked_stride(tokenizer, options.stride)
    groups = []
    # `longest_first` can cut every text. What fits is encoded as without windows.
    encodings = tokenizer.encode(texts, first=first, strategy="longest_first")
    for position, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first):
        if encoding.truncated:
            (windows,) = tokenizer.windows([text], stride=stride, first=position)
            groups.append([window.encoding for window in windows])
        else:
            groups.append([encoding])
    return groups


def combine_windows(logits: np.ndarray, counts: Sequence[int], combine: Combine) -> np.ndarray:
    """The logits of texts, float32 [texts, labels], of those of their windows [windows, labels].

    counts: the windows of each text, 1 or more; the windows of a text stand together. The logits of
    a text of one window are that window's.
    """
    starts = np.cumsum([0, *counts[:-1]])
    if combine == "max":
        return np.maximum.reduceat(logits, starts, axis=0)
    sums = np.add.reduceat(logits, starts, axis=0)
    return np.asarray(sums / np.array(counts, dtype=logits.dtype)[:, None])
