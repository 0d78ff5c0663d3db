"""Text to tokens."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from bertrt.errors import ArtifactError, InputError, TextTooLongError
from bertrt.tokenizer_files import load_tokenizer, tokenizer_settings

__all__ = ["Encoding", "TextInput", "TextTokenizer"]

# A text, or a pair of texts.
TextInput = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tokens of one text or pair.

    input_ids, token_type_ids: int64 [tokens], special tokens included, no padding.
    truncated: whether the text was cut to the model's limit.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    truncated: bool

    def __len__(self) -> int:
        return len(self.input_ids)


class TextTokenizer:
    """The tokenizer whose files are in a folder, cut to `max_length` tokens, without padding.

    Texts are cut on the side that tokenizer_config.json's `truncation_side` names. Of a pair, the
    longer text is cut, token by token (`longest_first`, as Transformers' `truncation=True`), unless
    tokenizer.json itself names another strategy. Special tokens are always kept.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        self._tokenizer = load_tokenizer(folder)
        self.max_length = max_length
        self.vocabulary_size = self._tokenizer.get_vocab_size()
        saved = self._tokenizer.truncation or {}
        settings = tokenizer_settings(folder)
        side = settings.get("truncation_side", saved.get("direction", "right"))
        if side not in ("left", "right"):
            raise ArtifactError(
                f"{folder / 'tokenizer_config.json'}: truncation_side is {side!r}, "
                "not 'left' or 'right'"
            )
        self._tokenizer.no_padding()
        self._strategy = saved.get("strategy", "longest_first")
        self.truncation_side: str = side
        self._set_truncation(self._tokenizer, side)
        self._by_side = {side: self._tokenizer}
        self._cloning = threading.Lock()

    def encode(
        self,
        texts: Sequence[TextInput],
        *,
        truncate: bool = True,
        first: int = 0,
        side: str | None = None,
    ) -> list[Encoding]:
        """Encode texts and (text, pair) tuples, in order.

        first: the number that errors give to the first text.
        side: `left` or `right`, where texts are cut; by default as the artifact says.
        Raises InputError for what is not a text, TextTooLongError for a text over `max_length`
        tokens where `truncate` is false.
        """
        for position, text in enumerate(texts, first):
            _check_text(position, text)
        try:
            # Offsets are not needed, so they are not computed.
            encoded = self._cutting(side).encode_batch_fast(list(texts))
        except Exception as error:
            # A string that is no valid Unicode fails in the binding. Say which one it is.
            for position, text in enumerate(texts, first):
                _check_unicode(position, text)
            raise InputError(f"the tokenizer failed: {error}") from error
        encodings = [
            Encoding(
                np.array(encoding.ids, dtype=np.int64),
                np.array(encoding.type_ids, dtype=np.int64),
                bool(encoding.overflowing),
            )
            for encoding in encoded
        ]
        if not truncate:
            for position, (text, encoding) in enumerate(zip(texts, encodings, strict=True), first):
                if encoding.truncated:
                    raise TextTooLongError(position, self._full_length(text), self.max_length)
        return encodings

    def from_ids(self, texts: Sequence[Sequence[int]]) -> list[Encoding]:
        """Encodings of texts that somebody else has tokenized, special tokens included.

        Raises InputError for an id that the tokenizer does not have and for a text without tokens,
        TextTooLongError for one of more than `max_length`.
        """
        for position, ids in enumerate(texts):
            if not ids:
                raise InputError(f"text {position} has no tokens")
            if len(ids) > self.max_length:
                raise TextTooLongError(position, len(ids), self.max_length)
            if not all(0 <= token < self.vocabulary_size for token in ids):
                raise InputError(
                    f"text {position} has a token id outside 0 to {self.vocabulary_size - 1}"
                )
        return [
            Encoding(np.array(ids, dtype=np.int64), np.zeros(len(ids), dtype=np.int64), False)
            for ids in texts
        ]

    def _cutting(self, side: str | None) -> tokenizers.Tokenizer:
        """The tokenizer that cuts on this side; the one that is not the artifact's is made once."""
        if side is None or side in self._by_side:
            return self._by_side[side or self.truncation_side]
        with self._cloning:
            other = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
            self._set_truncation(other, side)
            self._by_side[side] = other
        return other

    def _set_truncation(self, tokenizer: tokenizers.Tokenizer, side: str) -> None:
        tokenizer.enable_truncation(self.max_length, strategy=self._strategy, direction=side)

    def _full_length(self, text: TextInput) -> int:
        """Tokens of a text that is not cut."""
        whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return len(whole.encode_batch_fast([text])[0].ids)


def _check_text(position: int, text: object) -> None:
    if isinstance(text, str):
        return
    if not isinstance(text, tuple):
        raise InputError(
            f"text {position} is of type {type(text).__name__}: "
            "give a string, or a tuple of two strings for a pair"
        )
    if len(text) != 2 or not all(isinstance(part, str) for part in text):
        kinds = ", ".join(type(part).__name__ for part in text)
        raise InputError(
            f"text {position} is a tuple of ({kinds}): a pair is a tuple of two strings"
        )


def _check_unicode(position: int, text: TextInput) -> None:
    for part in (text,) if isinstance(text, str) else text:
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {position} is not valid Unicode: a lone surrogate stands at character "
                f"{error.start}; decode the bytes with errors='replace'"
            ) from error
