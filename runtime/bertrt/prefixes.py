"""Of a text far over the model's limit, the part whose tokens are kept: the rest costs nothing.

Without this a text of 40 MB takes 4 GB of memory and half a minute, for 512 tokens. It is exact:
where a space ends all that a token depends on, a part that ends with a word, before a space, has
the tokens that the whole text begins with. Whether spaces do, the tokenizer's own parts say.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tokenizers

if TYPE_CHECKING:
    from bertrt.tokenizer import TextInput

__all__ = ["Shortener"]

# Characters that are tried first for each token of the limit; English has 4 or 5.
_CHARACTERS = 8
# Tokens that a part has more than are kept, lest its last word be among them.
_SPARE = 32
# Texts of so many times that are shortened. The part is tokenized twice, first to count.
_WORTHWHILE = 4

# Normalizers that change characters by themselves and their neighbours, and let spaces be.
_NORMALIZERS = (
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend",
    "Strip", "StripAccents",
)  # fmt: skip
# What splits at each space, if nothing before has changed it; and what splits words further.
_SPLITTERS = ("BertPreTokenizer", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit")
_FURTHER = (*_SPLITTERS, "Digits", "Punctuation")


@dataclass(frozen=True, slots=True)
class _Long:
    """A long text. position: in the list. number: in a pair, 0 or 1; 0 for a text by itself.

    least: tokens that its part has to have.
    """

    position: int
    number: int
    text: str
    least: int


class Shortener:
    """Shortens texts that a tokenizer will cut, on the right, to `max_length` tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def shorten(
        self, texts: "list[TextInput]", cutting: tokenizers.Tokenizer, strategy: str
    ) -> "list[TextInput]":
        """The texts; of the long ones the beginning, which has all the tokens that are kept.

        Where none is long it is the list that was given.
        `cutting`, which cuts by the strategy, keeps the same tokens of them, and says as well that
        it has cut.
        """
        if strategy not in ("longest_first", "only_first"):  # the others refuse to cut one text
            return texts
        count = functools.partial(_counts, cutting)
        waiting = self._long(texts, strategy, count)
        if not waiting:
            return texts
        shortened, size = list(texts), _CHARACTERS * self._max_length
        while waiting:
            parts = [_part(long.text, size) for long in waiting]
            enough = [
                number >= long.least for long, number in zip(waiting, count(parts), strict=True)
            ]
            for long, part, suffices in zip(waiting, parts, enough, strict=True):
                if suffices:
                    shortened[long.position] = _replaced(texts[long.position], long.number, part)
            size *= 2
            waiting = [
                long
                for long, suffices in zip(waiting, enough, strict=True)
                if not suffices and len(long.text) >= _WORTHWHILE * size
            ]
        return shortened

    def _long(
        self,
        texts: "Sequence[TextInput]",
        strategy: str,
        count: Callable[[Sequence[str]], list[int]],
    ) -> list[_Long]:
        """What is worth it: long texts, and those of pairs that will be the ones to be cut."""
        long_from = _WORTHWHILE * _CHARACTERS * self._max_length
        found = []
        for position, text in enumerate(texts):
            parts = (text,) if isinstance(text, str) else text
            cut = parts[:1] if strategy == "only_first" else parts
            long = [number for number, part in enumerate(cut) if len(part) >= long_from]
            if len(long) != 1 or not self._ends_at_spaces:  # of two, who knows which is longer
                continue
            # The longer one of a pair is cut: the part must be the longer one too.
            others = [part for number, part in enumerate(cut) if number not in long]
            least = max([self._max_length, *count(others)]) + _SPARE
            found.append(_Long(position, long[0], parts[long[0]], least))
        return found

    @functools.cached_property
    def _ends_at_spaces(self) -> bool:
        """Whether nothing of the tokenizer looks past a space that stands behind a word."""
        splitters = _components(self._tokenizer.pre_tokenizer, "pretokenizers")
        added = self._tokenizer.get_added_tokens_decoder().values()
        return (
            bool(splitters)
            and _splits_at_spaces(splitters[0])
            and all(splitter["type"] in _FURTHER for splitter in splitters)
            and all(map(_is_local, _components(self._tokenizer.normalizer, "normalizers")))
            and not any(" " in token.content for token in added)
        )


def _components(component: Any, name: str) -> list[dict[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, in order, as tokenizer.json has them."""
    if component is None:
        return []
    stated = json.loads(component.__getstate__())  # what it is pickled as
    return list(stated[name]) if stated["type"] == "Sequence" else [stated]


def _splits_at_spaces(splitter: dict[str, Any]) -> bool:
    return (
        splitter["type"] in _SPLITTERS
        and splitter.get("split", True)
        and splitter.get("use_regex", True)
    )


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"]
        # SentencePiece's makes one of several spaces, and the part has none at its end.
        return pattern == {"Regex": " {2,}"} or " " not in pattern.get("String", " ")
    return normalizer["type"] in _NORMALIZERS


def _part(text: str, size: int) -> str:
    """The longest beginning of up to `size` characters that ends with a word, before a space."""
    end = text.rfind(" ", 0, size + 1)
    # A letter or digit at the end: no normalizer removes it, and joins nothing to what it is with.
    while end > 0 and not text[end - 1].isalnum():
        end = text.rfind(" ", 0, end)
    return text[: max(end, 0)]


def _counts(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[int]:
    """The tokens of each text, special ones not included."""
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [len(each.ids) + sum(len(rest.ids) for rest in each.overflowing) for each in encoded]


def _replaced(text: "TextInput", number: int, part: str) -> "TextInput":
    if isinstance(text, str):
        return part
    return (part, text[1]) if number == 0 else (text[0], part)
