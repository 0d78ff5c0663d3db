"""The texts of a request as the model gets them: one encoding a text, or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bertrt.long_text import LongTextOptions, combine_windows, encode_groups
from bertrt.server.scheduler import Combining
from bertrt.tokenizer import Encoding, TextInput, TextTokenizer

__all__ = ["Encoded", "encode"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The encodings of all texts, in order; those of a text stand together.

    counts: how many each text has, 1 or more; None where each has one.
    combine: makes the logits of texts of those of encodings; None where these are wanted.
    """

    encodings: Sequence[Encoding]
    counts: Sequence[int] | None = None
    combine: Combining | None = None

    def tokens(self) -> list[int]:
        """The tokens of each text, in all of its encodings."""
        tokens = [len(encoding) for encoding in self.encodings]
        return tokens if self.counts is None else [sum(tokens[a:b]) for a, b in self._spans()]

    def truncated(self) -> list[int]:
        """The positions of the texts that were cut."""
        cut = [encoding.truncated for encoding in self.encodings]
        if self.counts is not None:
            cut = [any(cut[a:b]) for a, b in self._spans()]
        return [at for at, is_cut in enumerate(cut) if is_cut]

    def _spans(self) -> list[tuple[int, int]]:
        """Where the encodings of each text begin and end."""
        ends: list[int] = np.cumsum([0, *(self.counts or ())]).tolist()
        return list(pairwise(ends))


def encode(
    tokenizer: TextTokenizer, texts: Sequence[TextInput], options: LongTextOptions, side: str | None
) -> Encoded:
    """Encode texts; those over the limit are cut, on a side, or read in windows, or an error.

    Raises what `TextTokenizer.encode` and `TextTokenizer.windows` raise.
    """
    if options.long_text == "truncate":
        return Encoded(tokenizer.encode(texts, truncate=options.truncate, side=side))
    groups = encode_groups(tokenizer, texts, options)
    encodings = [encoding for group in groups for encoding in group]
    if len(encodings) == len(groups):
        return Encoded(encodings)
    counts = [len(group) for group in groups]
    return Encoded(
        encodings, counts, lambda logits: combine_windows(logits, counts, options.combine)
    )
